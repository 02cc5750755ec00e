//! What decomposed exports spell out is found, and only where it means the same.

use corer_converter::graph::{Comparison, Graph, Kind, Op, Reduction, Unary, ValueId};
use corer_converter::source::LazyTensor;
use corer_converter::{AttentionForm, Layout, passes};
use corer_mil::Dim;

fn known(sizes: &[u64]) -> Vec<Dim> {
    sizes.iter().copied().map(Dim::Known).collect()
}

fn push(graph: &mut Graph, op: Op, inputs: &[ValueId]) -> ValueId {
    let scope = format!("step.{}", graph.nodes.len());
    graph.push(&scope, op, inputs.to_vec()).expect("fits")
}

fn weight(graph: &mut Graph, shape: &[u64], value: f32) -> ValueId {
    let values = vec![value; shape.iter().product::<u64>() as usize];
    let tensor = LazyTensor::from_values("w", shape.to_vec(), values).expect("a tensor");
    graph.weight("w", tensor)
}

/// The operations left of what `build` writes, after the passes of the standard layout.
fn after(build: impl FnOnce(&mut Graph) -> ValueId) -> Vec<Op> {
    let mut graph = Graph::default();
    let output = build(&mut graph);
    graph.outputs.push(("y".into(), output));
    passes::run(&mut graph, Layout::Standard, AttentionForm::Auto)
        .expect("the passes hold the graph together");
    graph.nodes.iter().map(|node| node.op.clone()).collect()
}

#[test]
fn rows_in_one_line_are_rows() {
    let linear = |before: Vec<i64>, after_: Vec<i64>| {
        after(|graph| {
            let x = graph.input("x", Kind::Float, known(&[2, 3, 4]));
            let rows = push(graph, Op::View(before), &[x]);
            let width = graph.shape(rows)[1].known().expect("a size");
            let matrix = weight(graph, &[6, width], 1.0);
            let y = push(graph, Op::Linear, &[rows, matrix]);
            push(graph, Op::View(after_), &[y])
        })
    };
    assert_eq!(linear(vec![6, 4], vec![2, 3, 6]), [Op::Linear]);
    // Other rows than before.
    assert_eq!(linear(vec![6, 4], vec![3, 2, 6]).len(), 3);
    assert_eq!(linear(vec![6, 4], vec![2, 3, 2, 3]).len(), 3);
    assert_eq!(linear(vec![12, 2], vec![2, 3, 12]).len(), 3);
}

#[test]
fn orders_that_undo_each_other() {
    let turned = |first: Op, second: Op| {
        after(|graph| {
            let x = graph.input("x", Kind::Float, known(&[2, 3, 4]));
            let y = push(graph, first, &[x]);
            let y = push(graph, second, &[y]);
            push(graph, Op::Tanh, &[y])
        })
    };
    let permute = |dims: [i64; 3]| Op::Permute(dims.to_vec());
    assert_eq!(turned(permute([2, 0, 1]), permute([1, 2, 0])), [Op::Tanh]);
    assert_eq!(turned(permute([0, 2, 1]), Op::Transpose(-1, 1)), [Op::Tanh]);
    assert_eq!(turned(permute([2, 0, 1]), permute([2, 0, 1])).len(), 3);
    assert_eq!(turned(Op::Transpose(0, 1), Op::Transpose(1, 2)).len(), 3);
}

/// `where(~any(scores != −∞), zeros, softmax(scores))`, with a mask added or not.
fn guarded(lifted_mask: bool, compared: f64, fill: f32, own: bool) -> Vec<Op> {
    after(|graph| {
        let query = graph.input("query", Kind::Float, known(&[1, 2, 3, 4]));
        let key = graph.input("key", Kind::Float, known(&[1, 2, 4, 3]));
        let product = push(graph, Op::Matmul, &[query, key]);
        let term = if lifted_mask {
            let mask = graph.input("mask", Kind::Int, known(&[1, 3]));
            push(graph, Op::PaddingMask, &[mask])
        } else {
            graph.input("bias", Kind::Float, known(&[1, 1, 1, 3]))
        };
        let scores = push(graph, Op::Add, &[product, term]);
        let other = push(graph, Op::Tanh, &[scores]);
        let softmax = push(graph, Op::Softmax(-1), &[scores]);
        let asked = if own { scores } else { other };
        let lowest = push(graph, Op::CompareScalar(Comparison::Eq, compared), &[asked]);
        let more = push(graph, Op::Unary(Unary::Not), &[lowest]);
        let more = push(graph, Op::ToFloat, &[more]);
        let any = Op::Reduce {
            kind: Reduction::Max,
            dims: vec![3],
            keep: true,
        };
        let any = push(graph, any, &[more]);
        let any = push(graph, Op::ToBool, &[any]);
        let none = push(graph, Op::Unary(Unary::Not), &[any]);
        let zeros = weight(graph, &[1, 2, 3, 3], fill);
        let result = push(graph, Op::Where, &[none, zeros, softmax]);
        push(graph, Op::MulScalar(2.0), &[result])
    })
}

#[test]
fn a_guard_goes_where_nothing_can_be_infinite() {
    let is_guarded = |ops: Vec<Op>| ops.contains(&Op::Where);
    assert!(!is_guarded(guarded(true, f64::NEG_INFINITY, 0.0, true)));
    // A term that may hold −∞; another number; other values for empty rows; another value's rows.
    assert!(is_guarded(guarded(false, f64::NEG_INFINITY, 0.0, true)));
    assert!(is_guarded(guarded(true, 0.0, 0.0, true)));
    assert!(is_guarded(guarded(true, f64::NEG_INFINITY, 1.0, true)));
    assert!(is_guarded(guarded(true, f64::NEG_INFINITY, 0.0, false)));
}
