//! Poolings, normalisation and repeated operations are found where they are, and nowhere else.

use corer_converter::graph::{Comparison, Graph, Kind, Op, PoolKind, Reduction, Unary, ValueId};
use corer_converter::{AttentionForm, Layout, passes};
use corer_mil::Dim;

const TOKENS: u64 = 4;
const WIDTH: u64 = 6;

fn known(sizes: &[u64]) -> Vec<Dim> {
    sizes.iter().copied().map(Dim::Known).collect()
}

fn push(graph: &mut Graph, op: Op, inputs: &[ValueId]) -> ValueId {
    let scope = format!("step.{}", graph.nodes.len());
    graph.push(&scope, op, inputs.to_vec()).expect("fits")
}

fn sum(dim: i64, keep: bool) -> Op {
    reduce(Reduction::Sum, dim, keep)
}

fn reduce(kind: Reduction, dim: i64, keep: bool) -> Op {
    Op::Reduce {
        kind,
        dims: vec![dim],
        keep,
    }
}

fn at_least(min: f64) -> Op {
    Op::Clamp {
        min,
        max: f64::INFINITY,
    }
}

struct Inputs {
    x: ValueId,
    mask: ValueId,
    other: ValueId,
}

/// The graph `build` writes, after the passes of the standard layout: its operations.
fn after(build: impl FnOnce(&mut Graph, &Inputs) -> ValueId) -> Vec<Op> {
    let mut graph = Graph::default();
    let inputs = Inputs {
        x: graph.input("x", Kind::Float, known(&[2, TOKENS, WIDTH])),
        mask: graph.input("attention_mask", Kind::Int, known(&[2, TOKENS])),
        other: graph.input("other_mask", Kind::Int, known(&[2, TOKENS])),
    };
    let output = build(&mut graph, &inputs);
    graph.outputs.push(("y".into(), output));
    passes::run(&mut graph, Layout::Standard, AttentionForm::Auto)
        .expect("the passes hold the graph together");
    graph.nodes.iter().map(|node| node.op.clone()).collect()
}

/// The mask as (B, S, 1) floats.
fn column(graph: &mut Graph, mask: ValueId) -> ValueId {
    let mask = push(graph, Op::Unsqueeze(-1), &[mask]);
    push(graph, Op::ToFloat, &[mask])
}

/// `(x · m).sum(1) / divisor(m)`.
fn mean(graph: &mut Graph, inputs: &Inputs, divisor: impl FnOnce(&mut Graph, ValueId) -> ValueId) -> ValueId {
    let mask = column(graph, inputs.mask);
    let masked = push(graph, Op::Mul, &[inputs.x, mask]);
    let total = push(graph, sum(1, false), &[masked]);
    let number = divisor(graph, mask);
    push(graph, Op::Div, &[total, number])
}

#[test]
fn means_in_their_spellings() {
    let pooled = [Op::Pool(PoolKind::Mean)];
    // The model card of all-MiniLM-L6-v2.
    let ops = after(|graph, inputs| {
        let mask = push(graph, Op::Unsqueeze(-1), &[inputs.mask]);
        let mask = push(graph, Op::Expand(vec![2, TOKENS, WIDTH]), &[mask]);
        let mask = push(graph, Op::ToFloat, &[mask]);
        let masked = push(graph, Op::Mul, &[inputs.x, mask]);
        let total = push(graph, sum(1, false), &[masked]);
        let number = push(graph, sum(1, false), &[mask]);
        let number = push(graph, at_least(1e-9), &[number]);
        push(graph, Op::Div, &[total, number])
    });
    assert_eq!(ops, pooled);
    // The mask first; its own sum, kept.
    let ops = after(|graph, inputs| {
        let mask = column(graph, inputs.mask);
        let masked = push(graph, Op::Mul, &[mask, inputs.x]);
        let total = push(graph, sum(-2, false), &[masked]);
        let number = push(graph, sum(1, true), &[inputs.mask]);
        let number = push(graph, Op::ToFloat, &[number]);
        push(graph, Op::Div, &[total, number])
    });
    assert_eq!(ops, pooled);
    let ops = after(|graph, inputs| {
        mean(graph, inputs, |graph, mask| {
            let number = push(graph, sum(1, false), &[mask]);
            let number = push(graph, at_least(1e-9), &[number]);
            push(graph, Op::Unary(Unary::Sqrt), &[number])
        })
    });
    assert_eq!(ops, [Op::Pool(PoolKind::MeanSqrtLength)]);
}

#[test]
fn what_is_no_mean() {
    let counted = |graph: &mut Graph, mask| push(graph, sum(1, false), &[mask]);
    type Build = Box<dyn Fn(&mut Graph, &Inputs) -> ValueId>;
    let refused: [(&str, Build); 4] = [
        (
            "at least two",
            Box::new(move |graph, inputs| {
                mean(graph, inputs, |graph, mask| {
                    let number = counted(graph, mask);
                    push(graph, at_least(2.0), &[number])
                })
            }),
        ),
        (
            "another mask's number",
            Box::new(move |graph, inputs| {
                mean(graph, inputs, |graph, _| {
                    let other = column(graph, inputs.other);
                    counted(graph, other)
                })
            }),
        ),
        (
            "the padding's number",
            Box::new(move |graph, inputs| {
                mean(graph, inputs, |graph, mask| {
                    let padding = push(graph, Op::RsubScalar(1.0), &[mask]);
                    counted(graph, padding)
                })
            }),
        ),
        (
            "squared",
            Box::new(move |graph, inputs| {
                mean(graph, inputs, |graph, mask| {
                    let number = counted(graph, mask);
                    push(graph, Op::PowScalar(2.0), &[number])
                })
            }),
        ),
    ];
    for (what, build) in refused {
        let ops = after(|graph, inputs| build(graph, inputs));
        assert!(!ops.iter().any(|op| matches!(op, Op::Pool(_))), "{what}: {ops:?}");
    }
}

#[test]
fn largest_values_of_tokens() {
    let largest = |hidden: Comparison, fill: f64| {
        after(|graph, inputs| {
            let mask = push(graph, Op::Unsqueeze(2), &[inputs.mask]);
            let padding = push(graph, Op::CompareScalar(hidden, 0.0), &[mask]);
            let filled = push(graph, Op::MaskedFill(fill), &[inputs.x, padding]);
            push(graph, reduce(Reduction::Max, 1, false), &[filled])
        })
    };
    assert_eq!(largest(Comparison::Eq, -1e9), [Op::Pool(PoolKind::Max)]);
    for ops in [largest(Comparison::Ne, -1e9), largest(Comparison::Eq, 0.0)] {
        assert!(!ops.iter().any(|op| matches!(op, Op::Pool(_))), "{ops:?}");
    }
}

#[test]
fn rows_by_their_norm() {
    let normalized = |dim: i64, floor: f64, own: bool| {
        after(|graph, inputs| {
            let row = push(graph, Op::Select { dim: 1, index: 0 }, &[inputs.x]);
            let other = push(graph, Op::Select { dim: 1, index: 1 }, &[inputs.x]);
            let norm = push(
                graph,
                reduce(Reduction::Norm, dim, true),
                &[if own { row } else { other }],
            );
            let norm = push(graph, at_least(floor), &[norm]);
            push(graph, Op::Div, &[row, norm])
        })
    };
    let last = |ops: Vec<Op>| ops.last().cloned().expect("operations");
    assert_eq!(last(normalized(1, 1e-12, true)), Op::Normalize { epsilon: 1e-12 });
    assert_eq!(last(normalized(-1, 1e-6, true)), Op::Normalize { epsilon: 1e-6 });
    for (dim, floor, own) in [(0, 1e-12, true), (1, -1.0, true), (1, 1e-12, false)] {
        assert_eq!(last(normalized(dim, floor, own)), Op::Div, "{dim} {floor} {own}");
    }
}

#[test]
fn the_same_of_the_same_is_computed_once() {
    let ops = after(|graph, inputs| {
        let a = push(graph, Op::Tanh, &[inputs.x]);
        let b = push(graph, Op::Tanh, &[inputs.x]);
        let (a, b) = (push(graph, Op::Relu, &[a]), push(graph, Op::Sigmoid, &[b]));
        let c = push(graph, Op::Gelu { tanh: false }, &[inputs.x]);
        let d = push(graph, Op::Gelu { tanh: true }, &[inputs.x]);
        let (left, right) = (push(graph, Op::Add, &[a, b]), push(graph, Op::Add, &[c, d]));
        push(graph, Op::Mul, &[left, right])
    });
    let count = |wanted: &Op| ops.iter().filter(|op| *op == wanted).count();
    assert_eq!(count(&Op::Tanh), 1);
    assert_eq!(count(&Op::Gelu { tanh: false }), 1);
    assert_eq!(count(&Op::Gelu { tanh: true }), 1);
    assert_eq!(ops.len(), 8);
}
