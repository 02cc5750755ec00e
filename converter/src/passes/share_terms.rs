//! Terms that several attentions add are summed once for all of them: a padding mask and a bias by position.

use std::collections::BTreeMap;

use super::PassError;
use crate::graph::{Graph, Op, ValueId};

/// Position of the first term among an attention's arguments.
const FIRST_TERM: usize = 3;

/// Sums each list of terms that more than one attention has.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut groups: BTreeMap<Vec<ValueId>, Vec<ValueId>> = BTreeMap::new();
    for node in &graph.nodes {
        let terms = node.inputs.get(FIRST_TERM..).unwrap_or_default();
        let relative = terms.iter().any(|term| {
            graph
                .producer(*term)
                .is_some_and(|node| matches!(node.op, Op::RelativeScores { .. }))
        });
        if matches!(node.op, Op::Attention { .. }) && terms.len() > 1 && !relative {
            let mut terms = terms.to_vec();
            // Sums don't care for the order.
            terms.sort_unstable();
            groups.entry(terms).or_default().push(node.output);
        }
    }
    let mut rewrites = 0;
    for (terms, attentions) in groups {
        if attentions.len() < 2 {
            continue;
        }
        let Some(first) = graph.producer_index(attentions[0]) else {
            continue;
        };
        let mut sum = terms[0];
        for (position, term) in terms[1..].iter().enumerate() {
            sum = graph.insert(first + position, Op::Add, vec![sum, *term])?;
        }
        for attention in attentions {
            let Some(index) = graph.producer_index(attention) else {
                continue;
            };
            let (op, mut inputs) = (graph.nodes[index].op.clone(), graph.nodes[index].inputs.clone());
            inputs.truncate(FIRST_TERM);
            inputs.push(sum);
            graph.replace(index, op, inputs)?;
            rewrites += 1;
        }
    }
    Ok(rewrites)
}
