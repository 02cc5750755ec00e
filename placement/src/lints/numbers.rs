//! Constants and operations whose numbers come out wrong on the Neural Engine.

use corer_mil::value::Data;
use corer_mil::{DataType, Value};
use half::f16;

use crate::chip::Family;
use crate::graph::{Node, Operand};
use crate::rules::Rule;

use super::{Findings, Kind, Subject};

/// Where sums of products overflow (rule N1): a mask beyond it does so too if it is added while summing.
const ACCUMULATOR_LIMIT: f32 = 32_768.0;

/// Longest constant that is looked through, in bytes; masks and biases of scores are below it.
const MOST_BYTES: u64 = 16 << 20;

pub(super) fn check(subject: Subject<'_>, findings: &mut Findings) {
    for node in &subject.graph.nodes {
        masks(node, findings);
        match node.operation.op.as_str() {
            "layer_norm" | "instance_norm" | "batch_norm" | "l2_norm" => norm(subject, node, findings),
            "slice_by_index" => cut(subject, node, findings),
            _ => {}
        }
    }
}

/// Terms and alternatives that are infinite or nearly so.
fn masks(node: &Node<'_>, findings: &mut Findings) {
    let terms: &[&str] = match node.operation.op.as_str() {
        "add" | "sub" | "mul" | "maximum" | "minimum" => &["x", "y"],
        "select" => &["a", "b"],
        "scaled_dot_product_attention" => &["attn_mask"],
        "fill" => &["value"],
        _ => return,
    };
    let fixed = node
        .operands
        .iter()
        .filter(|operand| operand.fixed && terms.contains(&operand.parameter));
    for operand in fixed {
        let Some(extreme) = operand.value.and_then(extreme) else {
            continue;
        };
        let what = match extreme {
            extreme if extreme.is_nan() => "NaN".to_owned(),
            extreme if extreme.is_infinite() => format!("{}∞", if extreme < 0.0 { "−" } else { "" }),
            extreme if extreme.abs() >= ACCUMULATOR_LIMIT => format!("{extreme}"),
            _ => continue,
        };
        findings.add(
            Rule::N6,
            Kind::Numbers,
            format!("a constant of {what} in `{}`, as masks have", node.operation.op),
            "use a finite value, −10000 (`corer convert` writes that)",
            node.operation.name(),
        );
    }
}

/// The element of largest magnitude, NaN before all.
fn extreme(value: &Value) -> Option<f32> {
    let ty = value.tensor_type()?;
    if ty.byte_len()? > MOST_BYTES {
        return None;
    }
    let larger = |a: f32, b: f32| if b.is_nan() || b.abs() > a.abs() { b } else { a };
    let bytes = match &value.data {
        Data::Weight(source) if source.bytes().is_none() => source.to_vec().ok()?,
        _ => value.to_bytes().ok()??,
    };
    match ty.dtype {
        DataType::Fp16 => {
            let halves = bytes.as_chunks::<2>().0.iter();
            halves
                .map(|bytes| f16::from_le_bytes(*bytes).to_f32())
                .reduce(larger)
        }
        DataType::Fp32 => {
            let singles = bytes.as_chunks::<4>().0.iter();
            singles.map(|bytes| f32::from_le_bytes(*bytes)).reduce(larger)
        }
        _ => None,
    }
}

/// An epsilon that fp16 doesn't hold, and the axis that overflowed on old systems.
fn norm(subject: Subject<'_>, node: &Node<'_>, findings: &mut Findings) {
    let name = node.operation.name();
    let is_half = node.result().is_some_and(|ty| ty.dtype == DataType::Fp16);
    let epsilon = node
        .operand("epsilon")
        .and_then(|operand| operand.value?.as_float());
    if let Some(epsilon) = epsilon.filter(|_| is_half) {
        // Half of the smallest subnormal and less is zero.
        if f16::from_f32(epsilon) == f16::ZERO {
            findings.add(
                Rule::N7,
                Kind::Numbers,
                "an epsilon that is zero in fp16".into(),
                "use at least 1e-7",
                name,
            );
        } else if subject.chip.family == Family::A13 && epsilon < f16::MIN_POSITIVE.to_f32() {
            findings.add(
                Rule::N7,
                Kind::Numbers,
                format!("an epsilon of {epsilon:e} is subnormal in fp16, which M1's products were seen to take for zero"),
                "use at least 6.2e-5 if a channel can be all zero",
                name,
            );
        }
    }
    let axes = node.operand("axes").and_then(|operand| operand.value?.as_ints());
    let rank = node.result().map_or(0, corer_mil::TensorType::rank);
    if subject.os.number() < 17 && rank == 4 && axes.is_some_and(|axes| axes == [1] || axes == [-3]) {
        findings.add(
            Rule::N7,
            Kind::Numbers,
            "normalises over channels, which overflowed before macOS 14".into(),
            "ask for iOS 17 or macOS 14 at least, or keep values below 256",
            name,
        );
    }
}

/// Cuts that don't begin at 0 on the last axis.
fn cut(subject: Subject<'_>, node: &Node<'_>, findings: &mut Findings) {
    if subject.chip.family >= Family::A16 {
        return;
    }
    let last =
        |operand: Option<&Operand<'_>>| operand.and_then(|operand| operand.value?.as_ints()?.last().copied());
    let begins =
        last(node.operand("begin")).unwrap_or(0) != 0 && last(node.operand("begin_mask")).unwrap_or(0) == 0;
    if begins {
        findings.add(
            Rule::N5,
            Kind::Numbers,
            "cuts behind the beginning of the last axis: values beyond ±4094 become infinite".into(),
            "cut along another axis (the `ane` layout does)",
            node.operation.name(),
        );
    }
}
