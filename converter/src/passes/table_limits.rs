//! No table is looked up beyond its rows: PyTorch would stop at such a row, a package reads whatever lies there.

use crate::error::ConvertError;
use crate::graph::{Graph, Op, ValueId};

/// Holds every lookup whose largest row can be told against its table.
///
/// # Errors
/// The first that reaches beyond, as a length that is too long.
pub(super) fn check(graph: &Graph) -> Result<(), ConvertError> {
    for node in &graph.nodes {
        let [table, rows] = node.inputs[..] else { continue };
        let Some(&height) = graph.as_weight(table).and_then(|table| table.shape().first()) else {
            continue;
        };
        if let (Op::Embedding, Some(beyond)) = (&node.op, beyond(graph, rows, height)) {
            return Err(ConvertError::Request {
                flag: "--sequence-length",
                reason: format!("`{}` {beyond}", graph.value(table).name),
            });
        }
    }
    Ok(())
}

/// What is wrong with looking up `rows` in a table of `height`.
fn beyond(graph: &Graph, rows: ValueId, height: u64) -> Option<String> {
    if let Some(known) = graph.as_ints(rows) {
        let fits = |row: &i64| u64::try_from(*row).is_ok_and(|row| row < height);
        let (at, row) = known.iter().enumerate().find(|(_, row)| !fits(row))?;
        return Some(format!(
            "has {height} rows, and row {row} is looked up for token {at}: fewer tokens may do"
        ));
    }
    let node = graph.producer(rows)?;
    let Op::PositionIds { padding } = node.op else {
        return None;
    };
    let tokens = graph.most(*graph.shape(rows).last()?)?;
    let before = u64::from(padding) + 1;
    let longest = height.saturating_sub(before);
    (tokens > longest).then(|| {
        format!(
            "has {height} rows, of which {before} come before the first token's: {tokens} tokens are more than the \
             {longest} this model takes"
        )
    })
}

#[cfg(test)]
mod tests {
    use corer_mil::Dim;

    use super::*;
    use crate::graph::Kind;
    use crate::source::LazyTensor;

    /// What is said of `tokens` tokens, counted after `padding` or from the start, in a table of `height` rows.
    fn said(tokens: u64, padding: Option<u32>, height: u64) -> Option<String> {
        let mut graph = Graph::default();
        let shape = vec![Dim::Known(1), Dim::Known(tokens)];
        let rows = match padding {
            Some(padding) => {
                let ids = graph.input("ids", Kind::Int, shape);
                graph
                    .push("positions", Op::PositionIds { padding }, vec![ids])
                    .expect("fits")
            }
            None => graph.ints("positions", shape, (0..tokens.cast_signed()).collect::<Vec<_>>()),
        };
        let values = vec![0.0; height as usize * 2];
        let table = LazyTensor::from_values("table", vec![height, 2], values).expect("a tensor");
        let table = graph.weight("table", table);
        graph
            .push("lookup", Op::Embedding, vec![table, rows])
            .expect("fits");
        check(&graph).err().map(|error| error.to_string())
    }

    #[test]
    fn tables_are_as_high_as_they_are() {
        assert_eq!(said(48, Some(1), 50), None);
        let said_of_more = said(49, Some(1), 50).expect("too long");
        assert!(
            said_of_more.contains("`table` has 50 rows, of which 2 come before"),
            "{said_of_more}"
        );
        assert!(
            said_of_more.contains("49 tokens are more than the 48"),
            "{said_of_more}"
        );
        assert_eq!(said(50, None, 50), None);
        let said_of_more = said(52, None, 50).expect("too long");
        assert!(
            said_of_more.contains("row 50 is looked up for token 50"),
            "{said_of_more}"
        );
    }
}
