//! Multi-head attention on (B, S, C), however it is spelled.
//!
//! As `scaled_dot_product_attention` of heads cut by view and transpose; or written out: a product of query and
//! transposed key, scaled before or after, terms added, a softmax, a product with the value; batched over (B, heads) or
//! with both in one dimension. Query and key may be turned by rotary positions between the cut and the product, and terms
//! may be scores by relative position.

mod core;
mod relative;
mod sides;

use std::collections::HashMap;

use corer_mil::Dim;

use super::PassError;
use crate::graph::{AttentionLayout, Graph, Op, ValueId};
use crate::source::LazyTensor;
use core::{Core, Term};
use sides::{Rotation, Side};

/// Replaces the view that joins the heads, the last step of the pattern.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    let mut halves = HashMap::new();
    let mut index = 0;
    while index < graph.nodes.len() {
        if let Some(found) = attention(graph, index) {
            let output = graph.nodes[index].output;
            if let Some(inputs) = inputs(graph, index, &found, &mut halves)? {
                // Rotary positions stand before it now.
                index = graph.producer_index(output).unwrap_or(index);
                let op = Op::Attention {
                    heads: found.heads,
                    scale: found.scale,
                    layout: AttentionLayout::HeadMajor,
                };
                graph.replace(index, op, inputs)?;
                graph.nodes[index].scope = found.scope;
                rewrites += 1;
            }
        }
        index += 1;
    }
    Ok(rewrites)
}

/// An attention, its sides not yet joined.
struct Found {
    sides: [Side; 3],
    heads: u64,
    scale: f64,
    terms: Vec<Term>,
    /// The module that computes it.
    scope: String,
}

/// The attention a view of joined heads ends, if it is one.
fn attention(graph: &Graph, index: usize) -> Option<Found> {
    let node = &graph.nodes[index];
    let (Op::View(_), [batch, tokens, Dim::Known(channels)]) = (&node.op, graph.shape(node.output)) else {
        return None;
    };
    let merged = sides::swapped(graph, node.inputs[0])?;
    let [core_batch, Dim::Known(heads), core_tokens, Dim::Known(width)] = graph.shape(merged) else {
        return None;
    };
    if (core_batch, core_tokens) != (batch, tokens) || heads.checked_mul(*width)? != *channels {
        return None;
    }
    let Core {
        query,
        key,
        value,
        scale,
        terms,
        scope,
    } = Core::of(graph, merged)?;
    let (query, key, value) = (
        Side::of(graph, query, false)?,
        Side::of(graph, key, true)?,
        Side::of(graph, value, false)?,
    );
    let same = [&query, &key, &value]
        .iter()
        .all(|side| side.heads == *heads && graph.shape(side.source).last() == Some(&Dim::Known(*channels)));
    let relative = terms.iter().all(|term| match term {
        Term::Value(_) => true,
        Term::Relative(relative) => relative.heads == *heads,
    });
    // The value is not scaled anywhere; a model that does so is another.
    if !same || !relative || value.factor != 1.0 || value.rotation.is_some() {
        return None;
    }
    #[allow(clippy::cast_precision_loss)] // head widths are small
    let own = 1.0 / (*width as f64).sqrt();
    Some(Found {
        heads: *heads,
        scale: scale.unwrap_or(own) * query.factor * key.factor,
        sides: [query, key, value],
        terms,
        scope,
    })
}

/// The arguments of the lifted operation: sides, turned where they are, and terms. `None` when a rotation is not one
/// that turns components j and j + d/2 by the same angle.
fn inputs(
    graph: &mut Graph,
    index: usize,
    found: &Found,
    halves: &mut HashMap<ValueId, Option<ValueId>>,
) -> Result<Option<Vec<ValueId>>, PassError> {
    let mut rotations = Vec::new();
    for side in &found.sides {
        rotations.push(match side.rotation {
            None => None,
            Some(Rotation { cos, sin }) => {
                let (Some(cos), Some(sin)) = (half(graph, cos, halves)?, half(graph, sin, halves)?) else {
                    return Ok(None);
                };
                Some((cos, sin))
            }
        });
    }
    let mut inputs = Vec::with_capacity(3 + found.terms.len());
    for (side, rotation) in found.sides.iter().zip(rotations) {
        inputs.push(match rotation {
            None => side.source,
            Some((cos, sin)) => {
                let op = Op::Rotary {
                    heads: found.heads,
                    layout: AttentionLayout::HeadMajor,
                };
                graph.insert(index, op, vec![side.source, cos, sin])?
            }
        });
    }
    for term in &found.terms {
        inputs.push(match term {
            Term::Value(value) => *value,
            Term::Relative(relative) => {
                let name = format!("{}.table", found.scope);
                let table = graph.weight(&name, relative.table()?);
                let op = Op::RelativeScores {
                    heads: relative.heads,
                    layout: AttentionLayout::HeadMajor,
                    of: relative.of,
                };
                graph.insert(index, op, vec![relative.content, table])?
            }
        });
    }
    Ok(Some(inputs))
}

/// The first half of a table (…, S, d) whose halves are the same, as (S, d/2).
fn half(
    graph: &mut Graph,
    table: ValueId,
    halves: &mut HashMap<ValueId, Option<ValueId>>,
) -> Result<Option<ValueId>, PassError> {
    if let Some(known) = halves.get(&table) {
        return Ok(*known);
    }
    let made = match graph.as_weight(table).cloned() {
        Some(tensor) => halved(graph, table, &tensor)?,
        None => None,
    };
    halves.insert(table, made);
    Ok(made)
}

fn halved(graph: &mut Graph, table: ValueId, tensor: &LazyTensor) -> Result<Option<ValueId>, PassError> {
    let [.., tokens, width] = *tensor.shape() else {
        return Ok(None);
    };
    if width % 2 != 0 || width == 0 || tokens.checked_mul(width) != Some(tensor.count()) {
        return Ok(None);
    }
    let values = tensor.read_f32()?;
    let middle = (width / 2) as usize;
    let mut first = Vec::with_capacity(values.len() / 2);
    for row in values.chunks_exact(2 * middle) {
        if row[..middle] != row[middle..] {
            return Ok(None);
        }
        first.extend_from_slice(&row[..middle]);
    }
    let name = graph.value(table).name.clone();
    let tensor = LazyTensor::from_values(&name, vec![tokens, width / 2], first)?;
    Ok(Some(graph.weight(&name, tensor)))
}
