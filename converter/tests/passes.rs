//! Passes match what they should, leave alone what they should not, and keep the numbers.

use corer_converter::graph::{AttentionLayout, Graph, Kind, Op, PoolKind, ValueId};
use corer_converter::source::LazyTensor;
use corer_converter::{AttentionForm, Layout, passes};
use corer_mil::Dim;

const TOKENS: u64 = 4;
const WIDTH: u64 = 6;
const HEADS: i64 = 2;

fn known(sizes: &[u64]) -> Vec<Dim> {
    sizes.iter().copied().map(Dim::Known).collect()
}

fn weight(graph: &mut Graph, name: &str, shape: &[u64]) -> ValueId {
    let count = shape.iter().product::<u64>();
    let values = (0..count).map(|index| index as f32).collect();
    let tensor = LazyTensor::from_values(name, shape.to_vec(), values).expect("a tensor");
    graph.weight(name, tensor)
}

fn mask(graph: &mut Graph, factor: f64, dims: [i64; 2]) -> ValueId {
    let mut value = graph.input("attention_mask", Kind::Int, known(&[1, TOKENS]));
    let steps = [
        Op::ToFloat,
        Op::Unsqueeze(dims[0]),
        Op::Unsqueeze(dims[1]),
        Op::RsubScalar(1.0),
        Op::MulScalar(factor),
    ];
    for (index, op) in steps.into_iter().enumerate() {
        value = graph
            .push(&format!("mask.{index}"), op, vec![value])
            .expect("fits");
    }
    value
}

/// One attention as a framework writes it; `swap` is the transpose that splits heads.
fn attention(graph: &mut Graph, mask: ValueId, swap: Op) -> ValueId {
    let x = graph.input("x", Kind::Float, known(&[1, TOKENS, WIDTH]));
    let mut arguments = Vec::new();
    for name in ["query", "key", "value"] {
        let matrix = weight(graph, &format!("{name}.weight"), &[WIDTH, WIDTH]);
        let bias = weight(graph, &format!("{name}.bias"), &[WIDTH]);
        let projected = graph.push(name, Op::Linear, vec![x, matrix, bias]).expect("fits");
        let sizes = if swap == Op::Transpose(1, 2) {
            vec![1, -1, HEADS, 3]
        } else {
            vec![1, HEADS, -1, 3]
        };
        let viewed = graph.push(name, Op::View(sizes), vec![projected]).expect("fits");
        arguments.push(if swap == Op::Transpose(1, 2) {
            graph.push(name, swap.clone(), vec![viewed]).expect("fits")
        } else {
            viewed
        });
    }
    arguments.push(mask);
    let context = graph
        .push("sdpa", Op::ScaledDotProductAttention { scale: None }, arguments)
        .expect("fits");
    let context = graph
        .push("merge", Op::Transpose(1, 2), vec![context])
        .expect("fits");
    let context = graph
        .push("view", Op::View(vec![1, -1, 6]), vec![context])
        .expect("fits");
    let matrix = weight(graph, "output.weight", &[WIDTH, WIDTH]);
    graph
        .push("output", Op::Linear, vec![context, matrix])
        .expect("fits")
}

fn run(graph: &mut Graph, layout: Layout, form: AttentionForm) -> Vec<(&'static str, usize)> {
    let reports = passes::run(graph, layout, form).expect("passes");
    reports
        .into_iter()
        .map(|report| (report.name, report.rewrites))
        .collect()
}

fn rewrites(reports: &[(&'static str, usize)], name: &str) -> usize {
    reports.iter().find(|(pass, _)| *pass == name).expect("ran").1
}

#[test]
fn a_padding_mask_is_found_whatever_its_lowest_number() {
    for factor in [f64::from(f32::MIN), -1e9, -65504.0, -1e4] {
        let mut graph = Graph::default();
        let value = mask(&mut graph, factor, [1, 2]);
        graph.outputs.push(("mask".into(), value));
        assert_eq!(
            rewrites(
                &run(&mut graph, Layout::Standard, AttentionForm::Auto),
                "lift-padding-mask"
            ),
            1
        );
        assert_eq!(graph.nodes.len(), 1);
        assert_eq!(graph.nodes[0].op, Op::PaddingMask);
    }
}

#[test]
fn a_scaled_difference_that_is_no_mask_is_left_alone() {
    let mut graph = Graph::default();
    let value = mask(&mut graph, -2.0, [1, 2]);
    graph.outputs.push(("mask".into(), value));
    assert_eq!(
        rewrites(
            &run(&mut graph, Layout::Standard, AttentionForm::Auto),
            "lift-padding-mask"
        ),
        0
    );
    assert_eq!(graph.nodes.len(), 5);
}

#[test]
fn attention_is_lifted_only_when_heads_are_split_by_a_transpose() {
    for (swap, expected) in [(Op::Transpose(1, 2), 1), (Op::Relu, 0)] {
        let mut graph = Graph::default();
        let mask = mask(&mut graph, -1e9, [1, 2]);
        let output = attention(&mut graph, mask, swap);
        graph.outputs.push(("y".into(), output));
        assert_eq!(
            rewrites(
                &run(&mut graph, Layout::Standard, AttentionForm::Auto),
                "lift-attention"
            ),
            expected
        );
    }
}

/// The weights around one attention after the passes: query, key, value, output.
fn weights_after(form: AttentionForm) -> (AttentionLayout, f64, Vec<Vec<f32>>) {
    let mut graph = Graph::default();
    let mask = mask(&mut graph, -1e9, [1, 2]);
    let output = attention(&mut graph, mask, Op::Transpose(1, 2));
    graph.outputs.push(("y".into(), output));
    run(&mut graph, Layout::Ane, form);
    let linears = graph.nodes.iter().filter(|node| node.op == Op::Linear);
    let weights = linears
        .map(|node| {
            graph
                .as_weight(node.inputs[1])
                .expect("a weight")
                .read_f32()
                .expect("readable")
        })
        .collect();
    let Some(Op::Attention { layout, scale, .. }) = graph
        .nodes
        .iter()
        .map(|node| &node.op)
        .find(|op| matches!(op, Op::Attention { .. }))
    else {
        panic!("no attention")
    };
    (*layout, *scale, weights)
}

/// Where each interleaved channel of two heads of width three comes from.
const ORDER: [usize; 6] = [0, 3, 1, 4, 2, 5];

#[test]
fn packed_attention_interleaves_rows_before_and_columns_after() {
    let (layout, scale, weights) = weights_after(AttentionForm::Packed);
    assert_eq!((layout, scale), (AttentionLayout::Packed, 1.0));
    let root = (1.0f64 / 3.0f64.sqrt()) as f32;
    for (row, from_row) in ORDER.into_iter().enumerate() {
        for (column, from_column) in ORDER.into_iter().enumerate() {
            let at = row * 6 + column;
            assert_eq!(
                weights[0][at],
                (from_row * 6 + column) as f32 * root,
                "query, scaled"
            );
            assert_eq!(weights[1][at], (from_row * 6 + column) as f32, "key");
            assert_eq!(weights[2][at], (from_row * 6 + column) as f32, "value");
            assert_eq!(weights[3][at], (row * 6 + from_column) as f32, "output");
        }
    }
}

#[test]
fn split_attention_interleaves_the_key_alone() {
    let (layout, _, weights) = weights_after(AttentionForm::Split);
    assert_eq!(layout, AttentionLayout::Split);
    for row in 0..6 {
        assert_eq!(weights[1][row * 6], (ORDER[row] * 6) as f32, "key");
        assert_eq!(weights[2][row * 6], (row * 6) as f32, "value");
        assert_eq!(weights[3][row], row as f32, "output");
    }
}

#[test]
fn a_query_that_is_also_an_output_keeps_its_weights() {
    let mut graph = Graph::default();
    let mask = mask(&mut graph, -1e9, [1, 2]);
    let output = attention(&mut graph, mask, Op::Transpose(1, 2));
    let query = graph
        .nodes
        .iter()
        .find(|node| node.scope == "query" && node.op == Op::Linear)
        .expect("a query")
        .output;
    graph.outputs.push(("y".into(), output));
    graph.outputs.push(("query".into(), query));
    let reports = run(&mut graph, Layout::Ane, AttentionForm::Packed);
    assert_eq!(rewrites(&reports, "fold-attention-scale"), 0);
    assert_eq!(rewrites(&reports, "attention-form"), 0);
}

#[test]
fn known_rows_of_a_table_become_a_weight_and_sums_of_weights_one() {
    let mut graph = Graph::default();
    let ids = graph.input("input_ids", Kind::Int, known(&[1, TOKENS]));
    let words = weight(&mut graph, "words", &[9, WIDTH]);
    let x = graph
        .push("words", Op::Embedding, vec![words, ids])
        .expect("fits");
    let mut sum = x;
    for (name, rows) in [("types", vec![1i64; 4]), ("positions", vec![0, 1, 2, 3])] {
        let table = weight(&mut graph, name, &[9, WIDTH]);
        let indices = graph.ints(name, known(&[1, TOKENS]), rows);
        let looked_up = graph
            .push(name, Op::Embedding, vec![table, indices])
            .expect("fits");
        sum = graph
            .push(&format!("add.{name}"), Op::Add, vec![sum, looked_up])
            .expect("fits");
    }
    graph.outputs.push(("y".into(), sum));
    let reports = run(&mut graph, Layout::Standard, AttentionForm::Auto);
    assert_eq!(rewrites(&reports, "fold-constant-lookups"), 2);
    assert_eq!(rewrites(&reports, "fold-constant-adds"), 1);
    assert_eq!(graph.nodes.len(), 2, "a lookup and an add");
    let added = graph
        .as_weight(graph.nodes[1].inputs[1])
        .expect("a weight")
        .read_f32()
        .expect("readable");
    for (index, value) in added.iter().enumerate() {
        // Row 1 of the types (6 + column) plus row `token` of the positions (6 · token + column).
        let (token, column) = (index / 6, index % 6);
        assert_eq!(*value, (6 + column + 6 * token + column) as f32);
    }
}

#[test]
fn rows_in_order_are_those_of_the_longest_function_cut() {
    // Types are one row again and again, positions rows in order; cut alike, they are one sum cut once.
    for (rows, folded) in [(vec![2i64, 3, 4, 5], 1), (vec![2, 3, 4, 6], 0)] {
        let mut graph = Graph::default();
        let ids = graph.input("input_ids", Kind::Int, known(&[1, TOKENS]));
        let words = weight(&mut graph, "words", &[9, WIDTH]);
        let mut sum = graph
            .push("words", Op::Embedding, vec![words, ids])
            .expect("fits");
        for (name, rows) in [("types", vec![1; 4]), ("positions", rows)] {
            let table = weight(&mut graph, name, &[9, WIDTH]);
            let indices = graph.ints(name, known(&[1, TOKENS]), rows);
            let looked_up = graph
                .push(name, Op::Embedding, vec![table, indices])
                .expect("fits");
            sum = graph
                .push(&format!("add.{name}"), Op::Add, vec![sum, looked_up])
                .expect("fits");
        }
        graph.outputs.push(("y".into(), sum));
        graph.longest = Some(7);
        let reports = run(&mut graph, Layout::Standard, AttentionForm::Auto);
        assert_eq!(rewrites(&reports, "fold-constant-lookups"), 2);
        assert_eq!(rewrites(&reports, "fold-constant-adds"), folded);
        if folded == 0 {
            // Rows out of order say nothing of the longest function's.
            continue;
        }
        let ops: Vec<&Op> = graph.nodes.iter().map(|node| &node.op).collect();
        let cut = Op::Slice {
            dim: 1,
            start: 0,
            end: TOKENS,
        };
        assert_eq!(ops, [&Op::Embedding, &cut, &Op::Add]);
        let table = graph.as_weight(graph.nodes[1].inputs[0]).expect("a weight");
        assert_eq!(table.shape(), [1, 7, WIDTH]);
        for (index, value) in table.read_f32().expect("readable").iter().enumerate() {
            let (token, column) = (index / 6, index % 6);
            assert_eq!(*value, (6 + column + 6 * (token + 2) + column) as f32);
        }
    }
}

#[test]
fn a_table_too_short_for_the_longest_function_is_not_shared() {
    let mut graph = Graph::default();
    let table = weight(&mut graph, "table", &[6, WIDTH]);
    let indices = graph.ints("ids", known(&[1, TOKENS]), vec![0i64, 1, 2, 3]);
    let rows = graph
        .push("lookup", Op::Embedding, vec![table, indices])
        .expect("fits");
    graph.outputs.push(("y".into(), rows));
    graph.longest = Some(7);
    run(&mut graph, Layout::Standard, AttentionForm::Auto);
    assert!(graph.nodes.is_empty(), "four rows, a weight");
}

#[test]
fn a_row_outside_the_table_is_refused() {
    let mut graph = Graph::default();
    let table = weight(&mut graph, "table", &[3, WIDTH]);
    let indices = graph.ints("ids", known(&[1, 2]), vec![0i64, 3]);
    let looked_up = graph
        .push("lookup", Op::Embedding, vec![table, indices])
        .expect("fits");
    let mask = graph.input("mask", Kind::Int, known(&[1, 2]));
    let pooled = graph
        .push("pool", Op::Pool(PoolKind::Mean), vec![looked_up, mask])
        .expect("fits");
    graph.outputs.push(("y".into(), pooled));
    let said = passes::run(&mut graph, Layout::Standard, AttentionForm::Auto)
        .expect_err("there is no such row")
        .to_string();
    assert!(said.contains("`table` has 3 rows, and row 3"), "{said}");
}

#[test]
fn a_graph_that_does_not_hold_together_is_refused() {
    let mut graph = Graph::default();
    let x = graph.input("x", Kind::Float, known(&[1, TOKENS, WIDTH]));
    let matrix = weight(&mut graph, "w", &[WIDTH, WIDTH + 1]);
    let error = graph
        .push("dense", Op::Linear, vec![x, matrix])
        .expect_err("7 channels wanted");
    assert!(error.to_string().contains("7 channels, has 6"), "{error}");
    let error = graph
        .push("view", Op::View(vec![5, -1]), vec![x])
        .expect_err("24 is no multiple of 5");
    assert!(error.to_string().contains("no view"), "{error}");
}
