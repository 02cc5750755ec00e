//! Query, key and value made by one dense layer and cut apart afterwards are three dense layers with the rows of each:
//! nothing is moved, and each side can be rearranged by itself. So are input and gate of a gated layer.

use std::ops::Range;

use corer_mil::Dim;

use super::PassError;
use crate::graph::{Graph, Node, Op, ValueId};

/// Replaces each part taken from a layer.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    let mut index = 0;
    while index < graph.nodes.len() {
        if let Some(part) = seen_in_heads(graph, index).or_else(|| cut(graph, index)) {
            let mut inputs = vec![part.x];
            for parameter in &part.parameters {
                let name = graph.value(*parameter).name.clone();
                let Some(tensor) = graph.as_weight(*parameter).cloned() else {
                    return Err(PassError::Graph(
                        graph.fault(index, "its weight is not a constant"),
                    ));
                };
                inputs.push(graph.weight(&name, tensor.slice_rows(part.rows.clone())?));
            }
            match part.form {
                Form::Plain => graph.replace(index, Op::Linear, inputs)?,
                Form::Heads { view, turned } => {
                    let projected = graph.insert(index, Op::Linear, inputs)?;
                    index += 1;
                    if turned {
                        let viewed = graph.insert(index, Op::View(view), vec![projected])?;
                        index += 1;
                        graph.replace(index, Op::Transpose(1, 2), vec![viewed])?;
                    } else {
                        graph.replace(index, Op::View(view), vec![projected])?;
                    }
                }
            }
            rewrites += 1;
        }
        index += 1;
    }
    Ok(rewrites)
}

/// One part of a dense layer.
struct Part {
    x: ValueId,
    parameters: Vec<ValueId>,
    rows: Range<u64>,
    form: Form,
}

/// How a part is seen.
enum Form {
    /// As the layer gives it.
    Plain,
    /// As `view`, (B, S, heads, d), and then as (B, heads, S, d) if turned.
    Heads { view: Vec<i64>, turned: bool },
}

/// `select(view(linear), 2, i)` of (B, S, parts, heads, d), maybe with S and heads swapped before.
fn seen_in_heads(graph: &Graph, index: usize) -> Option<Part> {
    let node = &graph.nodes[index];
    let Op::Select { dim: 2, index: at } = node.op else {
        return None;
    };
    let under = graph.producer(node.inputs[0])?;
    let turned = matches!(under.op, Op::Transpose(1, 3) | Op::Transpose(3, 1));
    let viewed = match turned {
        true => graph.producer(*under.inputs.first()?)?,
        false => under,
    };
    let linear = graph.producer(*viewed.inputs.first()?)?;
    let shape: Option<Vec<u64>> = graph.shape(viewed.output).iter().map(|dim| dim.known()).collect();
    let [batch, tokens, parts, heads, width] = shape?[..] else {
        return None;
    };
    let fits = matches!(viewed.op, Op::View(_))
        && known_linear(graph, linear)
        && graph.shape(linear.output)
            == [batch, tokens, parts.checked_mul(heads)?.checked_mul(width)?].map(Dim::Known);
    let view = [batch, tokens, heads, width].map(|size| i64::try_from(size).ok());
    let (at, each) = (u64::try_from(at).ok()?, heads * width);
    fits.then_some(Part {
        x: linear.inputs[0],
        parameters: linear.inputs[1..].to_vec(),
        rows: at * each..(at + 1) * each,
        form: Form::Heads {
            view: view.into_iter().collect::<Option<_>>()?,
            turned,
        },
    })
}

/// A cut along the channels of a layer that is only ever cut.
fn cut(graph: &Graph, index: usize) -> Option<Part> {
    let channels = |node: &Node| match node.op {
        Op::Slice { dim, start, end } => {
            let rank = graph.shape(node.output).len();
            let dim = corer_mil::ops::normalize_axis(dim, rank).ok()?;
            (dim + 1 == rank).then_some(start..end)
        }
        _ => None,
    };
    let node = &graph.nodes[index];
    let rows = channels(node)?;
    let linear = graph.producer(node.inputs[0])?;
    let users = graph.users(linear.output);
    let only_cut = users.len() == graph.uses(linear.output)
        && users.iter().all(|user| channels(&graph.nodes[*user]).is_some());
    (only_cut && known_linear(graph, linear)).then(|| Part {
        x: linear.inputs[0],
        parameters: linear.inputs[1..].to_vec(),
        rows,
        form: Form::Plain,
    })
}

fn known_linear(graph: &Graph, node: &Node) -> bool {
    node.op == Op::Linear && node.inputs[1..].iter().all(|id| graph.as_weight(*id).is_some())
}
