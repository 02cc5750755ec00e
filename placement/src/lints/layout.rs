//! Shapes and layouts that take longer on the Neural Engine, or more memory.

use corer_mil::{DataType, NamedType, TensorType};

use crate::chip::Family;
use crate::graph::Node;
use crate::rules::Rule;

use super::{Findings, Kind, Subject};

/// The last axis of a buffer is padded to this (rule S5).
const ROW_BYTES: u64 = 64;

/// Tensors that padding makes no larger than this are left alone: they stay on the chip (rule L8).
const SMALL_BYTES: u64 = 64 << 10;

/// Operands above this are cut into tiles (rule L8).
const TILE_BYTES: u64 = 2 << 20;

/// Chains of operations longer than this came near where compiling fails (rule S18).
const LONGEST_PATH: usize = 350;

/// Lengths up to this were not placed on M1's Neural Engine in one model (rule P7).
const SHORT: u64 = 64;

pub(super) fn check(subject: Subject<'_>, findings: &mut Findings) {
    interface(subject, findings);
    let mut softmaxes = 0usize;
    let mut transposes = Vec::new();
    for node in &subject.graph.nodes {
        narrow(node, findings);
        match node.operation.op.as_str() {
            "softmax" => {
                softmaxes += 1;
                softmax(node, findings);
            }
            "transpose" if moves_last_axis(node) => transposes.push(node.operation.name()),
            _ => {}
        }
    }
    // One for each attention, one at each end (rules A5, L5).
    let budget = softmaxes + 2;
    if transposes.len() > budget {
        let text = format!(
            "{} transposes move the last axis, where {budget} are enough for {softmaxes} attentions",
            transposes.len()
        );
        for name in transposes {
            findings.add(Rule::L3, Kind::Speed, text.clone(), "use the `ane` layout", name);
        }
    }
    let path = longest_path(subject);
    if path > LONGEST_PATH {
        findings.add(
            Rule::S18,
            Kind::Placement,
            format!("{path} operations one after the other; compiling failed from 384 layers on"),
            "split the model in two",
            "(the whole function)",
        );
    }
}

/// Inputs and outputs: fp32, batches, short lengths.
fn interface(subject: Subject<'_>, findings: &mut Findings) {
    let body = subject.function.body();
    let outputs = body.into_iter().flat_map(|body| &body.outputs);
    let outputs = outputs.filter_map(|name| Some((name.as_str(), subject.graph.tensor(name)?)));
    let tensor = |input: &'_ NamedType| -> Option<TensorType> { input.ty.as_tensor().cloned() };
    for (name, ty) in subject
        .function
        .inputs
        .iter()
        .filter_map(|input| Some((input.name.as_str(), tensor(input)?)))
        .chain(outputs.map(|(name, ty)| (name, ty.clone())))
    {
        if ty.dtype == DataType::Fp32 {
            findings.add(
                Rule::D4,
                Kind::Speed,
                "an fp32 input or output: a cast, usually on the CPU, and a copy".into(),
                "declare it fp16 (iOS 16 on)",
                name,
            );
        }
    }
    let shapes: Vec<_> = subject.function.inputs.iter().filter_map(tensor).collect();
    let known = |axis: usize| shapes.iter().filter_map(|ty| ty.shape.get(axis)?.known()).max();
    if let Some(batch) = known(0).filter(|batch| *batch > 1)
        && shapes.iter().all(|ty| ty.rank() >= 2)
    {
        findings.add(
            Rule::S15,
            Kind::Speed,
            format!("a batch of {batch}: on the Neural Engine a row of 8 cost 1.3 times, of 16 2.8 times a single one"),
            "convert for a batch of 1 and call more often",
            "(the whole function)",
        );
    }
    let ids = shapes
        .iter()
        .filter(|ty| ty.rank() == 2)
        .filter_map(|ty| ty.shape[1].known())
        .max();
    if let Some(length) = ids.filter(|length| *length <= SHORT)
        && subject.chip.family == Family::A13
    {
        findings.add(
            Rule::P7,
            Kind::Placement,
            format!("a length of {length}: one model left M1's Neural Engine at 64 and less, Apple's DistilBERT did not (P8)"),
            "measure it, or pad to 128",
            "(the whole function)",
        );
    }
}

/// Results whose last axis is padded to several times its length.
fn narrow(node: &Node<'_>, findings: &mut Findings) {
    for ty in node.results().filter(|ty| ty.rank() > 1) {
        let (Some(shape), Some(bytes)) = (ty.known_shape(), ty.byte_len()) else {
            continue;
        };
        let Some(last) = shape.last().copied().filter(|last| *last > 0) else {
            continue;
        };
        let element = u64::from(ty.dtype.bits()).div_ceil(8).max(1);
        let row = last.saturating_mul(element);
        let times = row.next_multiple_of(ROW_BYTES) / row;
        let padded = (bytes / row).saturating_mul(row.next_multiple_of(ROW_BYTES));
        if times < 2 || padded <= SMALL_BYTES {
            continue;
        }
        let text = if last == 1 {
            format!("a last axis of 1: {times} times the memory")
        } else {
            format!("a last axis of {last}: {times} times the memory")
        };
        findings.add(
            Rule::S5,
            Kind::Speed,
            text,
            "put a longer axis last, such as the sequence ((B, C, 1, S), the `ane` layout)",
            node.operation.name(),
        );
    }
}

fn softmax(node: &Node<'_>, findings: &mut Findings) {
    let Some(ty) = node.result() else { return };
    let Some(bytes) = ty.byte_len().filter(|bytes| *bytes > TILE_BYTES) else {
        return;
    };
    let name = node.operation.name();
    let mib = bytes as f64 / f64::from(1 << 20);
    let rank = i64::try_from(ty.rank()).unwrap_or(i64::MAX);
    let axis = node
        .operand("axis")
        .and_then(|operand| operand.value?.as_int())
        .unwrap_or(-1);
    let axis = if axis < 0 { axis + rank } else { axis };
    if rank == 4 && axis >= 2 {
        findings.add(
            Rule::L6,
            Kind::Speed,
            format!(
                "softmax along a spatial axis of {mib:.1} MiB of scores, which can't be cut into tiles freely"
            ),
            "put keys on the channel axis (the `ane` layout does)",
            name,
        );
    } else if ty
        .shape
        .get(2)
        .and_then(|dim| dim.known())
        .is_some_and(|heads| heads > 1)
    {
        findings.add(
            Rule::A8,
            Kind::Speed,
            format!("scores of all heads together take {mib:.1} MiB, 2 fit on the chip"),
            "split the heads (`--attention split`)",
            name,
        );
    }
}

/// Whether a transpose moves the last axis, which copies.
fn moves_last_axis(node: &Node<'_>) -> bool {
    let perm = node.operand("perm").and_then(|operand| operand.value?.as_ints());
    let Some(perm) = perm else { return true };
    let rank = i64::try_from(perm.len()).unwrap_or(i64::MAX);
    perm.last().is_some_and(|last| *last != -1 && *last != rank - 1)
}

/// How many operations follow one another at most, reshapes and the like included.
fn longest_path(subject: Subject<'_>) -> usize {
    let nodes = &subject.graph.nodes;
    let mut lengths = Vec::with_capacity(nodes.len());
    for node in nodes {
        let before = node
            .moving()
            .filter_map(|operand| subject.graph.producer(operand));
        let before = before.filter_map(|producer| lengths.get(producer).copied()).max();
        lengths.push(before.unwrap_or(0usize) + 1);
    }
    lengths.into_iter().max().unwrap_or(0)
}
