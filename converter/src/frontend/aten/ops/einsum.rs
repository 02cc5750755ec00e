//! `einsum(equation, tensors, *, path=None)` of two operands without repeated or dropped indices, as a product of
//! matrices.

use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::value::{Tensor, Value};
use super::{Row, linear, row, transpose, view};

pub(super) const ROWS: &[Row] = &[row("aten::einsum", &["equation", "tensors", "path"], read)];

/// What an index is to a product: both operands and the result have it, one operand and the result, or both operands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Batch,
    Left,
    Right,
    Summed,
}

fn read(cx: &mut Context, call: &Call) -> Outcome {
    let equation = call.text_or("equation", "")?.replace(' ', "");
    let tensors = call.tensors("tensors")?;
    let refuse = || format!("`{equation}` is not read");
    let (operands, result) = equation.split_once("->").ok_or_else(refuse)?;
    let ([a, b], [left, right]) = (&operands.split(',').collect::<Vec<_>>()[..], &tensors[..]) else {
        return Err(refuse());
    };
    let unique = |labels: &str| {
        labels.chars().all(|c| c.is_ascii_alphabetic())
            && labels
                .chars()
                .enumerate()
                .all(|(at, c)| labels.find(c) == Some(at))
    };
    if ![*a, *b, result].into_iter().all(unique) || a.len() != left.rank() || b.len() != right.rank() {
        return Err(refuse());
    }
    let role = |label: char| match (a.contains(label), b.contains(label), result.contains(label)) {
        (true, true, true) => Some(Role::Batch),
        (true, false, true) => Some(Role::Left),
        (false, true, true) => Some(Role::Right),
        (true, true, false) => Some(Role::Summed),
        _ => None,
    };
    let all = a.chars().chain(b.chars()).chain(result.chars());
    if !all.clone().all(|label| role(label).is_some()) {
        return Err(refuse());
    }
    // Indices of one role in the order of the result, or of the left operand where the result lacks them.
    let labels = |wanted: Role| -> String {
        let source = if wanted == Role::Summed { a } else { result };
        source
            .chars()
            .filter(|label| role(*label) == Some(wanted))
            .collect()
    };
    let size = |label: char| -> u64 {
        let (labels, tensor) = match a.find(label) {
            Some(_) => (a, left),
            None => (b, right),
        };
        labels.find(label).map_or(1, |at| tensor.shape()[at])
    };
    let sizes = |labels: &str| labels.chars().map(size).collect::<Vec<u64>>();
    let merged = |labels: &str| sizes(labels).iter().product::<u64>();
    let (batch, rows, columns, summed) = (
        labels(Role::Batch),
        labels(Role::Left),
        labels(Role::Right),
        labels(Role::Summed),
    );
    let mut operand =
        |tensor: &Tensor, labels: &str, order: &str, tail: [u64; 2]| -> Result<Tensor, String> {
            let order: Option<Vec<usize>> = order.chars().map(|label| labels.find(label)).collect();
            let turned = transpose::reorder(cx, tensor, &order.ok_or_else(refuse)?)?;
            let shape = sizes(&batch).into_iter().chain(tail).collect();
            view::reshape(cx, &turned, shape)
        };
    let x = operand(
        left,
        a,
        &format!("{batch}{rows}{summed}"),
        [merged(&rows), merged(&summed)],
    )?;
    let y = operand(
        right,
        b,
        &format!("{batch}{summed}{columns}"),
        [merged(&summed), merged(&columns)],
    )?;
    let Value::Tensor(product) = linear::matmul(cx, &x, &y)? else {
        return Err(refuse());
    };
    let computed = format!("{batch}{rows}{columns}");
    let apart = view::reshape(cx, &product, sizes(&computed))?;
    let order: Option<Vec<usize>> = result.chars().map(|label| computed.find(label)).collect();
    transpose::reorder(cx, &apart, &order.ok_or_else(refuse)?).map(Value::Tensor)
}
