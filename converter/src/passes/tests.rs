//! Small passes on small graphs: what they find, and what only looks like it.

use corer_mil::Dim;

use super::*;
use crate::graph::{AttentionLayout, Comparison, Graph, Kind, Op, PoolKind, Reduction, Unary, ValueId};
use crate::source::LazyTensor;

fn input(graph: &mut Graph, kind: Kind, sizes: &[u64]) -> ValueId {
    let name = format!("input_{}", graph.inputs.len());
    graph.input(&name, kind, sizes.iter().copied().map(Dim::Known).collect())
}

fn weight(graph: &mut Graph, sizes: &[u64]) -> ValueId {
    let values = (0..sizes.iter().product::<u64>())
        .map(|value| value as f32)
        .collect();
    let tensor = LazyTensor::from_values("w", sizes.to_vec(), values).expect("a tensor");
    graph.weight("w", tensor)
}

fn push(graph: &mut Graph, op: Op, inputs: &[ValueId]) -> ValueId {
    let scope = format!("step.{}", graph.nodes.len());
    graph.push(&scope, op, inputs.to_vec()).expect("fits")
}

/// How often the pass changes the graph, which must hold together afterwards, and the operations left.
fn after(mut graph: Graph, output: ValueId, pass: Rewrite) -> (usize, Vec<Op>) {
    graph.outputs.push(("y".into(), output));
    let rewrites = pass(&mut graph).expect("the pass holds the graph together");
    graph.sweep();
    graph.check().expect("holds together");
    (rewrites, graph.nodes.iter().map(|node| node.op.clone()).collect())
}

#[test]
fn what_broadcasts_is_not_repeated() {
    let mut graph = Graph::default();
    let x = input(&mut graph, Kind::Float, &[2, 3]);
    let row = input(&mut graph, Kind::Float, &[1, 3]);
    let rows = push(&mut graph, Op::Expand(vec![2, 3]), &[row]);
    let sum = push(&mut graph, Op::Add, &[x, rows]);
    assert_eq!(after(graph, sum, sink_expands::run), (1, vec![Op::Add]));
}

#[test]
fn copies_are_computed_once_and_repeated_afterwards() {
    let mut graph = Graph::default();
    let row = input(&mut graph, Kind::Float, &[1, 3]);
    let rows = push(&mut graph, Op::Expand(vec![2, 3]), &[row]);
    let more = push(&mut graph, Op::AddScalar(1.0), &[rows]);
    let scaled = push(&mut graph, Op::MulScalar(2.0), &[more]);
    let wanted = vec![Op::AddScalar(1.0), Op::MulScalar(2.0), Op::Expand(vec![2, 3])];
    assert_eq!(after(graph, scaled, sink_expands::run), (2, wanted));
}

#[test]
fn a_sum_over_copies_counts_them() {
    let reduced = |dim: i64, kind: Reduction| {
        let mut graph = Graph::default();
        let row = input(&mut graph, Kind::Float, &[1, 3]);
        let rows = push(&mut graph, Op::Expand(vec![2, 3]), &[row]);
        let op = Op::Reduce {
            kind,
            dims: vec![dim],
            keep: true,
        };
        let sum = push(&mut graph, op, &[rows]);
        after(graph, sum, sink_expands::run).0
    };
    assert_eq!(reduced(1, Reduction::Sum), 1);
    assert_eq!(reduced(0, Reduction::Sum), 0);
    assert_eq!(reduced(-2, Reduction::Sum), 0);
    assert_eq!(reduced(1, Reduction::Norm), 0);
}

#[test]
fn the_same_of_the_same_is_one() {
    let twice = |first: Op, second: Op, same: bool| {
        let mut graph = Graph::default();
        let x = input(&mut graph, Kind::Float, &[2, 3]);
        let y = input(&mut graph, Kind::Float, &[2, 3]);
        let a = push(&mut graph, first, &[x]);
        let b = push(&mut graph, second, &[if same { x } else { y }]);
        let sum = push(&mut graph, Op::Add, &[a, b]);
        after(graph, sum, merge_duplicates::run)
    };
    assert_eq!(twice(Op::Tanh, Op::Tanh, true), (1, vec![Op::Tanh, Op::Add]));
    assert_eq!(twice(Op::Tanh, Op::Relu, true).0, 0);
    assert_eq!(twice(Op::Tanh, Op::Tanh, false).0, 0);
    assert_eq!(twice(Op::MulScalar(2.0), Op::MulScalar(2.5), true).0, 0);
}

#[test]
fn chains_of_the_same_are_one_chain() {
    let mut graph = Graph::default();
    let x = input(&mut graph, Kind::Float, &[2, 3]);
    let mut ends = Vec::new();
    for _ in 0..3 {
        let a = push(&mut graph, Op::Tanh, &[x]);
        ends.push(push(&mut graph, Op::MulScalar(2.0), &[a]));
    }
    let sum = push(&mut graph, Op::Add, &[ends[0], ends[1]]);
    let sum = push(&mut graph, Op::Add, &[sum, ends[2]]);
    let wanted = vec![Op::Tanh, Op::MulScalar(2.0), Op::Add, Op::Add];
    assert_eq!(after(graph, sum, merge_duplicates::run), (4, wanted));
}

/// `cumsum(ids ≠ padding) · (ids ≠ marked) + offset`.
fn counted(padding: f64, marked: f64, offset: f64, dim: i64) -> (usize, Vec<Op>) {
    let mut graph = Graph::default();
    let ids = input(&mut graph, Kind::Int, &[1, 5]);
    let mut marks = |padding: f64| {
        let mark = push(&mut graph, Op::CompareScalar(Comparison::Ne, padding), &[ids]);
        push(&mut graph, Op::ToInt, &[mark])
    };
    let (counted, marked) = (marks(padding), marks(marked));
    let sum = push(&mut graph, Op::CumSum(dim), &[counted]);
    let product = push(&mut graph, Op::Mul, &[marked, sum]);
    let positions = push(&mut graph, Op::AddScalar(offset), &[product]);
    after(graph, positions, lift_position_ids::run)
}

#[test]
fn positions_counted_over_ids() {
    let lifted = vec![Op::PositionIds { padding: 1 }];
    assert_eq!(counted(1.0, 1.0, 1.0, 1), (1, lifted.clone()));
    assert_eq!(counted(1.0, 1.0, 1.0, -1), (1, lifted));
    // Other ids counted than marked, another offset, down instead of along, half a token.
    for (padding, marked, offset, dim) in [
        (1.0, 0.0, 1.0, 1),
        (1.0, 1.0, 2.0, 1),
        (1.0, 1.0, 1.0, 0),
        (0.5, 0.5, 0.5, 1),
        (-1.0, -1.0, -1.0, 1),
    ] {
        assert_eq!(
            counted(padding, marked, offset, dim).0,
            0,
            "{padding} {marked} {offset} {dim}"
        );
    }
}

/// A graph of (1, 4, 6) vectors with their mask, and an attention of them over two heads that hides padding.
struct Encoder {
    graph: Graph,
    mask: ValueId,
    padding: ValueId,
}

impl Encoder {
    fn new() -> (Self, ValueId) {
        let mut graph = Graph::default();
        let x = input(&mut graph, Kind::Float, &[1, 4, 6]);
        let mask = input(&mut graph, Kind::Int, &[1, 4]);
        let padding = push(&mut graph, Op::PaddingMask, &[mask]);
        (Self { graph, mask, padding }, x)
    }

    fn attend(&mut self, x: ValueId, terms: &[ValueId]) -> ValueId {
        let matrix = weight(&mut self.graph, &[6, 6]);
        let sides = [(); 3].map(|()| push(&mut self.graph, Op::Linear, &[x, matrix]));
        let op = Op::Attention {
            heads: 2,
            scale: 1.0,
            layout: AttentionLayout::HeadMajor,
        };
        push(&mut self.graph, op, &[&sides[..], terms].concat())
    }

    fn reads_padding(&mut self, value: ValueId, output: ValueId) -> bool {
        self.graph.outputs.push(("y".into(), output));
        padding::is_read(&self.graph, value, self.mask)
    }
}

#[test]
fn padding_that_is_hidden_is_not_read() {
    let (mut encoder, x) = Encoder::new();
    let hidden = [encoder.padding];
    let attended = encoder.attend(x, &hidden);
    let sum = push(&mut encoder.graph, Op::Add, &[attended, x]);
    let again = encoder.attend(sum, &hidden);
    let mask = encoder.mask;
    let pooled = push(&mut encoder.graph, Op::Pool(PoolKind::Mean), &[again, mask]);
    assert!(!encoder.reads_padding(x, pooled));
}

#[test]
fn padding_that_is_pooled_mixed_or_attended_to_is_read() {
    let (mut encoder, x) = Encoder::new();
    let attended = encoder.attend(x, &[]);
    assert!(encoder.reads_padding(x, attended), "an attention without a mask");

    let (mut encoder, x) = Encoder::new();
    let other = input(&mut encoder.graph, Kind::Int, &[1, 4]);
    let other = push(&mut encoder.graph, Op::PaddingMask, &[other]);
    let attended = encoder.attend(x, &[other]);
    assert!(encoder.reads_padding(x, attended), "another mask");

    let (mut encoder, x) = Encoder::new();
    let op = Op::Reduce {
        kind: Reduction::Mean,
        dims: vec![1],
        keep: false,
    };
    let mean = push(&mut encoder.graph, op, &[x]);
    assert!(encoder.reads_padding(x, mean), "a mean over all");

    let (mut encoder, x) = Encoder::new();
    let last = push(&mut encoder.graph, Op::Select { dim: 1, index: 3 }, &[x]);
    assert!(encoder.reads_padding(x, last), "the last token");

    let (mut encoder, x) = Encoder::new();
    let kernel = weight(&mut encoder.graph, &[6, 6, 3]);
    let convolved = push(
        &mut encoder.graph,
        Op::TokenConvolution { groups: 1 },
        &[x, kernel],
    );
    assert!(encoder.reads_padding(x, convolved), "a convolution");
}

#[test]
fn zeroed_padding_goes_where_nothing_reads_it() {
    let zeroed = |pooled: bool| {
        let (mut encoder, x) = Encoder::new();
        let mask = encoder.mask;
        let column = push(&mut encoder.graph, Op::Unsqueeze(2), &[mask]);
        let column = push(&mut encoder.graph, Op::ToFloat, &[column]);
        let masked = push(&mut encoder.graph, Op::Mul, &[x, column]);
        let op = Op::Reduce {
            kind: Reduction::Sum,
            dims: vec![1],
            keep: false,
        };
        let output = match pooled {
            true => push(&mut encoder.graph, op, &[masked]),
            false => push(&mut encoder.graph, Op::Tanh, &[masked]),
        };
        let both: Rewrite = |graph| Ok(mask_tokens::lift(graph)? * 10 + mask_tokens::drop_unread(graph)?);
        after(encoder.graph, output, both)
    };
    assert_eq!(zeroed(false), (11, vec![Op::Tanh]));
    let (rewrites, left) = zeroed(true);
    assert_eq!(rewrites, 10);
    assert_eq!(left[0], Op::MaskTokens);
}

/// Scores filled where `mask[:, None, None, :] · mask[:, None, :, None]` is zero.
fn filled(same: bool, inverted: bool) -> usize {
    let mut graph = Graph::default();
    let scores = input(&mut graph, Kind::Float, &[1, 2, 4, 4]);
    let mask = input(&mut graph, Kind::Int, &[1, 4]);
    let other = input(&mut graph, Kind::Int, &[1, 4]);
    let row = push(&mut graph, Op::View(vec![1, 1, 1, 4]), &[mask]);
    let column = push(
        &mut graph,
        Op::View(vec![1, 1, 4, 1]),
        &[if same { mask } else { other }],
    );
    let pair = push(&mut graph, Op::Mul, &[row, column]);
    let mut condition = push(&mut graph, Op::ToBool, &[pair]);
    if inverted {
        condition = push(&mut graph, Op::Unary(Unary::Not), &[condition]);
    }
    let filled = push(
        &mut graph,
        Op::MaskedFill(f64::from(f32::MIN)),
        &[scores, condition],
    );
    let weights = push(&mut graph, Op::Softmax(-1), &[filled]);
    after(graph, weights, narrow_pair_masks::run).0
}

#[test]
fn masks_of_pairs_are_masks_of_keys() {
    assert_eq!(filled(true, true), 1);
    // Two masks; filled where tokens are.
    assert_eq!(filled(false, true), 0);
    assert_eq!(filled(true, false), 0);
}

#[test]
fn terms_of_several_attentions_are_summed_once() {
    let summed = |layers: usize, terms: usize| {
        let (mut encoder, mut x) = Encoder::new();
        let bias = weight(&mut encoder.graph, &[1, 2, 4, 4]);
        // In any order.
        let lists = [[encoder.padding, bias], [bias, encoder.padding]];
        for layer in 0..layers {
            x = encoder.attend(x, &lists[layer % 2][..terms]);
        }
        after(encoder.graph, x, share_terms::run)
    };
    let (rewrites, left) = summed(3, 2);
    assert_eq!(rewrites, 3);
    assert_eq!(left.iter().filter(|op| **op == Op::Add).count(), 1);
    // One attention sums its own; one term is no sum.
    assert_eq!(summed(1, 2).0, 0);
    assert_eq!(summed(2, 1).0, 0);
}
