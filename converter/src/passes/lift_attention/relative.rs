//! Scores by relative position, as DeBERTa spells them: a side of the attention times a table of projected distances, one
//! element of each row gathered for every other token.

use std::sync::Arc;

use super::core::{swaps_last, under_views};
use super::sides::{Side, swapped};
use crate::graph::{Graph, Op, ScoreSide, ValueId};
use crate::source::{LazyTensor, SourceError};

/// Scores (B, heads, S, S) of one side against relative positions.
pub(super) struct Relative {
    /// (B, S, C), before it was cut into heads.
    pub(super) content: ValueId,
    pub(super) heads: u64,
    pub(super) of: ScoreSide,
    /// (rows, C): projected embeddings of distances, head-major.
    table: LazyTensor,
    /// For key − query = m − S the row of the table, at m.
    rows: Arc<[u32]>,
    factor: f64,
}

impl Relative {
    /// Of a term of the scores.
    pub(super) fn of(graph: &Graph, term: ValueId) -> Option<Self> {
        let (mut value, mut factor, mut turned) = (term, 1.0, false);
        let gather = loop {
            value = under_views(graph, value);
            let node = graph.producer(value)?;
            match node.op {
                Op::MulScalar(by) => factor *= by,
                Op::AddScalar(0.0) => {}
                Op::Transpose(a, b) if swaps_last(graph, node, a, b) => turned = !turned,
                Op::Gather(dim) if dim == -1 || dim == last(graph, node.output) => break node,
                _ => return None,
            }
            value = node.inputs[0];
        };
        let tokens = graph.shape(gather.output).last()?.known()?;
        let rows = rows(index(graph, gather.inputs[1])?, tokens)?;
        let product = graph.producer(under_views(graph, gather.inputs[0]))?;
        if product.op != Op::Matmul {
            return None;
        }
        let content = Side::of(graph, product.inputs[0], false)?;
        let (table, heads, by) = table(graph, product.inputs[1])?;
        let height = table.shape().first().copied()?;
        let plain = content.rotation.is_none() && content.heads == heads;
        let known = rows.iter().all(|row| u64::from(*row) < height);
        let square = graph.shape(content.source).get(1)?.known() == Some(tokens);
        (plain && known && square).then_some(Self {
            content: content.source,
            heads,
            of: match turned {
                false => ScoreSide::Query,
                true => ScoreSide::Key,
            },
            table,
            rows,
            factor: factor * content.factor * by,
        })
    }

    /// The table of the lifted operation, (2S, C): a row for every distance, scaled.
    ///
    /// # Errors
    /// When it can't be arranged so.
    pub(super) fn table(&self) -> Result<LazyTensor, SourceError> {
        #[allow(clippy::cast_possible_truncation)] // a factor; f32 is what weights are held in
        let factor = self.factor as f32;
        Ok(self.table.clone().select_rows(self.rows.clone())?.scale(factor))
    }
}

fn last(graph: &Graph, value: ValueId) -> i64 {
    graph.shape(value).len().cast_signed() as i64 - 1
}

/// Known positions, maybe repeated for every text and head.
fn index(graph: &Graph, value: ValueId) -> Option<&[i64]> {
    match graph.producer(value) {
        Some(node) if matches!(node.op, Op::Expand(_)) && same_matrix(graph, node.inputs[0], value) => {
            graph.as_ints(node.inputs[0])
        }
        _ => graph.as_ints(value),
    }
}

/// The row each distance looks up, when that depends on the distance alone and is the same for every head and text:
/// position m is of S − m places to the left. Position 0 is never met.
fn rows(index: &[i64], tokens: u64) -> Option<Arc<[u32]>> {
    let tokens = usize::try_from(tokens).ok()?;
    let square = tokens.checked_mul(tokens).filter(|square| *square > 0)?;
    let (first, others) = index.split_at_checked(square)?;
    if others.chunks(square).any(|other| other != first) {
        return None;
    }
    let mut rows: Vec<Option<i64>> = vec![None; 2 * tokens];
    for (at, row) in first.iter().enumerate() {
        let distance = &mut rows[tokens + at % tokens - at / tokens];
        if distance.get_or_insert(*row) != row {
            return None;
        }
    }
    rows[0] = rows[1];
    rows.into_iter().map(|row| u32::try_from(row?).ok()).collect()
}

/// The table under a value (…, d, rows) that is a weight in heads, transposed and maybe repeated for every text: as
/// (rows, C), its heads, and what it is multiplied with.
fn table(graph: &Graph, mut value: ValueId) -> Option<(LazyTensor, u64, f64)> {
    let (mut turned, mut factor) = (false, 1.0);
    loop {
        value = under_views(graph, value);
        if turned
            && let Some(cut) = swapped(graph, value)
            && let Some(weight) = graph.as_weight(cut)
        {
            let &[1, rows, heads, width] = weight.shape() else {
                return None;
            };
            let table = weight
                .clone()
                .reshape(vec![rows, heads.checked_mul(width)?])
                .ok()?;
            return Some((table, heads, factor));
        }
        let node = graph.producer(value)?;
        match &node.op {
            Op::MulScalar(by) => factor *= by,
            Op::Transpose(a, b) if !turned && swaps_last(graph, node, *a, *b) => turned = true,
            // Repeated: for one text after the other.
            Op::Concat(0) if node.inputs.iter().all(|id| *id == node.inputs[0]) => {}
            Op::Expand(_) if same_matrix(graph, node.inputs[0], value) => {}
            _ => return None,
        }
        value = node.inputs[0];
    }
}

fn same_matrix(graph: &Graph, a: ValueId, b: ValueId) -> bool {
    matches!((graph.shape(a), graph.shape(b)), ([.., a, b], [.., c, d]) if (a, b) == (c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_follow_the_distance_alone() {
        // Two tokens, two heads: 5 to itself, 7 to the right, 3 to the left.
        let index = [5, 7, 3, 5, 5, 7, 3, 5];
        assert_eq!(rows(&index, 2).as_deref(), Some(&[3, 3, 5, 7][..]));
        assert_eq!(rows(&[5, 7, 3, 6], 2), None);
        assert_eq!(rows(&[5, 7, 3, 5, 5, 7, 4, 5], 2), None);
        assert_eq!(rows(&[5, 7, 3], 2), None);
        assert_eq!(rows(&[-1, -1, -1, -1], 2), None);
        assert_eq!(rows(&[], 0), None);
    }
}
