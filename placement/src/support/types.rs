//! Element types: fp16, 8 and 16 bits are the Neural Engine's own.

use corer_mil::DataType;

use crate::graph::{Graph, Node, Operand};
use crate::rules::Rule;

use super::Reason;

/// Adds what an operation's element types speak against.
pub(super) fn check(graph: &Graph<'_>, node: &Node<'_>, reasons: &mut Vec<Reason>) {
    if node.operation.op == "cast" {
        cast(node, reasons);
        return;
    }
    let results = node.results().map(|ty| ty.dtype);
    let moving = node
        .moving()
        .filter(|operand| !is_place(operand))
        .filter_map(|operand| Some(operand.ty?.dtype));
    let mut dtypes: Vec<DataType> = results.chain(moving).collect();
    dtypes.sort_unstable();
    dtypes.dedup();
    for dtype in &dtypes {
        if let Some(reason) = refused(*dtype) {
            reasons.push(reason);
        }
    }
    // A constant written in fp32 is what drags an operation, or the stretch between two casts, into fp32.
    let is_f32 =
        |operand: &&Operand<'_>| operand.fixed && operand.ty.is_some_and(|ty| ty.dtype == DataType::Fp32);
    let all_cast = dtypes.contains(&DataType::Fp32)
        && node.moving().count() > 0
        && node.moving().all(|operand| is_widened(graph, operand));
    if let Some(constant) = node.operands.iter().find(is_f32)
        && (all_cast || !dtypes.contains(&DataType::Fp32))
    {
        let name = constant.name.map_or(String::new(), |name| format!(" `{name}`"));
        let mut reason = Reason::new(
            Rule::D2,
            format!("the constant{name} for `{}` is fp32", constant.parameter),
        )
        .fix("write the constant in fp16, then nothing has to be cast");
        if !dtypes.contains(&DataType::Fp32) {
            reason = reason.fix("write the constant in fp16");
        }
        reasons.push(reason);
    }
}

/// Whether an operand was fp16 until a cast.
fn is_widened(graph: &Graph<'_>, operand: &Operand<'_>) -> bool {
    let Some(producer) = graph.producer(operand) else {
        return false;
    };
    let producer = &graph.nodes[producer];
    producer.operation.op == "cast"
        && producer
            .operand("x")
            .and_then(|x| x.ty)
            .is_some_and(|ty| ty.dtype == DataType::Fp16)
}

/// Whether an operand says where and not what: indices, shapes, beginnings. Other rules look at those.
fn is_place(operand: &Operand<'_>) -> bool {
    matches!(
        operand.parameter,
        "indices" | "shape" | "begin" | "end" | "size" | "reps" | "stride"
    )
}

fn refused(dtype: DataType) -> Option<Reason> {
    let rule = match dtype {
        DataType::Fp16
        | DataType::Int8
        | DataType::UInt8
        | DataType::Int16
        | DataType::UInt16
        | DataType::Bool => {
            return None;
        }
        DataType::Fp32 => {
            return Some(
                Reason::new(Rule::D1, "computes in fp32").fix("compute in fp16 (`--precision fp16`)"),
            );
        }
        DataType::Int32 | DataType::UInt32 => Rule::D3,
        _ => Rule::D5,
    };
    let article = if dtype.is_integer() && !dtype.name().starts_with('u') {
        "an"
    } else {
        "a"
    };
    Some(Reason::new(rule, format!("{article} {dtype} tensor")))
}

fn cast(node: &Node<'_>, reasons: &mut Vec<Reason>) {
    let from = node.operand("x").and_then(|x| x.ty).map(|ty| ty.dtype);
    let to = node.result().map(|ty| ty.dtype);
    let float = |dtype| matches!(dtype, Some(DataType::Fp16 | DataType::Fp32));
    if float(from) && float(to) {
        return;
    }
    let name = |dtype: Option<DataType>| dtype.map_or("?", DataType::name);
    let rule = match (from, to) {
        (Some(DataType::Int32), _) | (_, Some(DataType::Int32)) => Rule::D3,
        _ => Rule::O15,
    };
    reasons.push(Reason::new(
        rule,
        format!("a cast from {} to {}", name(from), name(to)),
    ));
}
