//! Constant tables of positions, turned to suit a layout on their way to disk.

use std::sync::Arc;

use corer_mil::{Dim, Var};

use super::emit::{Emit, fail};
use crate::error::ConvertError;
use crate::graph::{Graph, Node};
use crate::source::LazyTensor;

/// Sizes of (B, S, C) seen by head; constant tables of positions need the length.
#[derive(Clone, Copy)]
pub(super) struct ByHead {
    pub(super) batch: Dim,
    pub(super) tokens: u64,
    /// Channels of one head.
    pub(super) width: u64,
}

impl ByHead {
    /// Of a node's first argument.
    pub(super) fn of(graph: &Graph, node: &Node, heads: u64) -> Result<Self, ConvertError> {
        match graph.shape(node.inputs[0])[..] {
            [batch, Dim::Known(tokens), Dim::Known(channels)] => Ok(Self {
                batch,
                tokens,
                width: channels / heads,
            }),
            _ => Err(fail(
                node,
                "has a table of positions, which needs a fixed length: give the lengths as a list \
                 (--sequence-length 64,128), not as a range",
            )),
        }
    }

    /// A shape of this batch.
    pub(super) fn shape(self, rest: [u64; 3]) -> [Dim; 4] {
        let [a, b, c] = rest.map(Dim::Known);
        [self.batch, a, b, c]
    }
}

/// Cosines and signed sines of a [`crate::graph::Op::Rotary`], each (d, S) with the halves of d alike but for the sign of
/// the sines, as `arrange` turns them.
pub(super) fn angles(
    node: &Node,
    emit: &mut Emit<'_>,
    arrange: impl Fn(LazyTensor) -> Result<LazyTensor, ConvertError>,
) -> Result<(Var, Var), ConvertError> {
    let mut whole = Vec::with_capacity(2);
    for (id, first_half) in [(node.inputs[1], 1.0), (node.inputs[2], -1.0)] {
        let half = emit.known_weight(node, id)?;
        let [tokens, width] = half.shape()[..] else {
            return Err(fail(node, "its angles must be (S, d/2)"));
        };
        let name = emit.graph.value(id).name.clone();
        // Small: S · d numbers, computed when the graph was built.
        let values = half.read_f32()?;
        let columns = |sign: f32| {
            let values = &values;
            (0..width).flat_map(move |column| {
                (0..tokens).map(move |row| {
                    let at = usize::try_from(row * width + column).unwrap_or(usize::MAX);
                    sign * values[at]
                })
            })
        };
        let values = columns(first_half).chain(columns(1.0)).collect();
        let table = LazyTensor::from_values(&name, vec![2 * width, tokens], values)?;
        let table = arrange(table)?;
        whole.push(emit.weight(&name, table));
    }
    match <[Var; 2]>::try_from(whole) {
        Ok([cos, sin]) => Ok((cos, sin)),
        Err(_) => Err(fail(node, "needs cosines and sines")),
    }
}

/// The table of a [`crate::graph::Op::RelativeScores`] as (1, heads, d, 2S).
pub(super) fn relative_table(
    emit: &Emit<'_>,
    node: &Node,
    [heads, width, tokens]: [u64; 3],
) -> Result<LazyTensor, ConvertError> {
    let table = emit.known_weight(node, node.inputs[1])?;
    Ok(table.transpose()?.reshape(vec![1, heads, width, 2 * tokens])?)
}

/// A constant (1, heads, queries, keys) as (1, heads, keys, queries).
pub(super) fn keys_before_queries(
    tensor: LazyTensor,
    [heads, queries, keys]: [u64; 3],
) -> Result<LazyTensor, ConvertError> {
    let by_key = tensor.reshape(vec![heads * queries, keys])?.transpose()?;
    if heads == 1 {
        return Ok(by_key.reshape(vec![1, 1, keys, queries])?);
    }
    let rows: Option<Arc<[u32]>> = (0..heads)
        .flat_map(|head| (0..keys).map(move |key| u32::try_from(key * heads + head).ok()))
        .collect();
    let rows =
        rows.ok_or_else(|| crate::source::SourceError::view(by_key.name(), "has more than 2^32 rows"))?;
    let by_head = by_key.reshape(vec![keys * heads, queries])?.select_rows(rows)?;
    Ok(by_head.reshape(vec![1, heads, keys, queries])?)
}
