//! Query, key and value made by one dense layer and cut apart afterwards are three dense layers with the rows of each:
//! nothing is moved, and each side can be rearranged by itself.

use corer_mil::Dim;

use super::PassError;
use crate::graph::{Graph, Op, ValueId};

/// Replaces each part taken from a layer seen as (B, S, parts, heads, d).
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    let mut index = 0;
    while index < graph.nodes.len() {
        if let Some(part) = part(graph, index) {
            let rows = part.index * part.width..(part.index + 1) * part.width;
            let mut inputs = vec![part.x];
            for parameter in &part.parameters {
                let name = graph.value(*parameter).name.clone();
                let Some(tensor) = graph.as_weight(*parameter).cloned() else {
                    return Err(PassError::Graph(
                        graph.fault(index, "its weight is not a constant"),
                    ));
                };
                inputs.push(graph.weight(&name, tensor.slice_rows(rows.clone())?));
            }
            let projected = graph.insert(index, Op::Linear, inputs)?;
            let viewed = graph.insert(index + 1, Op::View(part.view), vec![projected])?;
            graph.replace(index + 2, Op::Transpose(1, 2), vec![viewed])?;
            rewrites += 1;
            index += 2;
        }
        index += 1;
    }
    Ok(rewrites)
}

/// One part of a dense layer.
struct Part {
    x: ValueId,
    parameters: Vec<ValueId>,
    index: u64,
    /// Rows of each part.
    width: u64,
    /// (B, S, heads, d).
    view: Vec<i64>,
}

/// `select(transpose(view(linear), 1, 3), 2, i)`: (B, heads, S, d) of part i.
fn part(graph: &Graph, index: usize) -> Option<Part> {
    let node = &graph.nodes[index];
    let Op::Select { dim, index: at } = node.op else {
        return None;
    };
    let turned = graph.producer(node.inputs[0])?;
    let swaps = matches!(turned.op, Op::Transpose(1, 3) | Op::Transpose(3, 1));
    let viewed = graph.producer(*turned.inputs.first()?)?;
    let linear = graph.producer(*viewed.inputs.first()?)?;
    let shape: Option<Vec<u64>> = graph.shape(viewed.output).iter().map(|dim| dim.known()).collect();
    let [batch, tokens, parts, heads, width] = shape?[..] else {
        return None;
    };
    let fits = matches!(viewed.op, Op::View(_))
        && linear.op == Op::Linear
        && graph.shape(linear.output)
            == [batch, tokens, parts.checked_mul(heads)?.checked_mul(width)?].map(Dim::Known)
        && linear.inputs[1..].iter().all(|id| graph.as_weight(*id).is_some());
    let sizes = [batch, tokens, heads, width].map(|size| i64::try_from(size).ok());
    (swaps && dim == 2 && fits).then_some(Part {
        x: linear.inputs[0],
        parameters: linear.inputs[1..].to_vec(),
        index: u64::try_from(at).ok()?,
        width: heads * width,
        view: sizes.into_iter().collect::<Option<_>>()?,
    })
}
