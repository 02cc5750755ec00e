//! A very negative number where the mask is zero, on (B, 1, 1, S), is a padding mask.
//!
//! `(1 − float(mask)) · lowest`; `masked_fill` of the same inverted mask; `where(mask, 0, lowest)`. With a window that
//! is known (`mask & window`) it is a padding mask plus a constant. The lowest float32
//! becomes −∞ in fp16 and 0 · −∞ is NaN (coremltools issues 2669, 2223, 1932), so the factor must not reach the
//! package; lifted, the lowering picks a finite one.

use super::PassError;
use super::indicator::{Indicator, along_keys, indicator};
use crate::graph::{Graph, Kind, Op, ValueId};
use crate::source::LazyTensor;

/// Any factor at or below this means "never attend": its softmax weight is zero in every precision.
pub(super) const NEVER: f64 = -1e4;

/// What is added where nothing is attended to, in constants of the package (rule N6).
pub(super) const HIDDEN: f32 = -1e4;

/// Replaces the last step of each pattern.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    let mut index = 0;
    while index < graph.nodes.len() {
        if let Some((mask, window)) = windowed(graph, index) {
            let padding = graph.insert(index, Op::PaddingMask, vec![mask])?;
            let term = additive(graph, index, window)?;
            index += 1;
            graph.replace(index, Op::Add, vec![padding, term])?;
            rewrites += 1;
        }
        rewrites += usize::from(whole(graph, index)?);
        index += 1;
    }
    Ok(rewrites)
}

/// The padding mask alone.
fn whole(graph: &mut Graph, index: usize) -> Result<bool, PassError> {
    let node = &graph.nodes[index];
    let hidden = |id: ValueId| match indicator(graph, id) {
        Some(Indicator { mask, tokens: false }) => Some(mask),
        _ => None,
    };
    let mask = match node.op {
        Op::MulScalar(factor) if factor <= NEVER => hidden(node.inputs[0]),
        // Filled where hidden; elsewhere it is what the inverted mask is there, zero.
        Op::MaskedFill(value) if value <= NEVER => {
            hidden(node.inputs[1]).filter(|mask| hidden(node.inputs[0]) == Some(*mask))
        }
        _ => None,
    };
    if let Some(mask) = mask.filter(|mask| along_keys(graph, node.output, *mask)) {
        graph.replace(index, Op::PaddingMask, vec![mask])?;
        return Ok(true);
    }
    Ok(false)
}

/// `(1 − float(tokens & window)) · lowest`: the mask, and the window of known truth values.
fn windowed(graph: &Graph, index: usize) -> Option<(ValueId, ValueId)> {
    let node = &graph.nodes[index];
    if !matches!(node.op, Op::MulScalar(factor) if factor <= NEVER) {
        return None;
    }
    let inverted = graph.producer(node.inputs[0])?;
    let float = graph.producer(*inverted.inputs.first()?)?;
    let both = graph.producer(*float.inputs.first()?)?;
    let spelled = matches!(inverted.op, Op::RsubScalar(one) if one == 1.0)
        && float.op == Op::ToFloat
        && both.op == Op::And;
    let [a, b] = both.inputs[..] else { return None };
    for (tokens, window) in [(a, b), (b, a)] {
        if let Some(Indicator { mask, tokens: true }) = indicator(graph, tokens)
            && along_keys(graph, tokens, mask)
            && graph.as_ints(window).is_some()
            && graph.value(window).kind == Kind::Bool
            && spelled
        {
            return Some((mask, window));
        }
    }
    None
}

/// Known truth values as what is added: nothing where true.
fn additive(graph: &mut Graph, index: usize, window: ValueId) -> Result<ValueId, PassError> {
    let seen = graph.as_ints(window).map(<[i64]>::to_vec);
    let shape: Option<Vec<u64>> = graph.shape(window).iter().map(|dim| dim.known()).collect();
    let (Some(seen), Some(shape)) = (seen, shape) else {
        return Err(PassError::Graph(graph.fault(index, "its window is not known")));
    };
    let values = seen
        .iter()
        .map(|seen| if *seen == 0 { HIDDEN } else { 0.0 })
        .collect();
    let name = format!("{}.window", graph.nodes[index].scope);
    let tensor = LazyTensor::from_values(&name, shape, values)?;
    Ok(graph.weight(&name, tensor))
}
