//! GELU written out: x · ½ · (1 + erf(x / √2)), and x · ½ · (1 + tanh(√(2/π) · (x + 0.044715 · x³))), in whatever order
//! the factors come.

use super::PassError;
use crate::graph::{Graph, Op, Unary, ValueId};

/// How far a constant may be from what the formula has: models write four to ten digits.
const TOLERANCE: f64 = 1e-4;

/// Replaces the last product of each.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        if !matches!(node.op, Op::Mul | Op::MulScalar(_)) {
            continue;
        }
        let mut product = Product::default();
        factors(graph, node.output, &mut product, 0);
        let Some((x, tanh)) = gelu(graph, &product) else {
            continue;
        };
        if graph.shape(x) == graph.shape(node.output) {
            graph.replace(index, Op::Gelu { tanh }, vec![x])?;
            rewrites += 1;
        }
    }
    Ok(rewrites)
}

/// A product taken apart.
struct Product {
    factors: Vec<ValueId>,
    scalar: f64,
}

impl Default for Product {
    fn default() -> Self {
        Self {
            factors: Vec::new(),
            scalar: 1.0,
        }
    }
}

/// Collects what a product is of; not deeper than the formulas are.
fn factors(graph: &Graph, value: ValueId, product: &mut Product, depth: usize) {
    let node = graph.producer(value).filter(|_| depth < 4);
    match node.map(|node| (&node.op, &node.inputs)) {
        Some((Op::Mul, inputs)) => {
            for id in inputs.clone() {
                factors(graph, id, product, depth + 1);
            }
        }
        Some((Op::MulScalar(by), inputs)) => {
            product.scalar *= by;
            factors(graph, inputs[0], product, depth + 1);
        }
        _ => product.factors.push(value),
    }
}

fn gelu(graph: &Graph, product: &Product) -> Option<(ValueId, bool)> {
    let [a, b] = product.factors[..] else { return None };
    if !near(product.scalar, 0.5) {
        return None;
    }
    for (x, sum) in [(a, b), (b, a)] {
        let node = graph.producer(sum)?;
        if !matches!(node.op, Op::AddScalar(one) if near(one, 1.0)) {
            continue;
        }
        let inner = graph.producer(node.inputs[0])?;
        match inner.op {
            Op::Unary(Unary::Erf) if scaled(graph, inner.inputs[0], x, std::f64::consts::FRAC_1_SQRT_2) => {
                return Some((x, false));
            }
            Op::Tanh if tanh_argument(graph, inner.inputs[0], x) => return Some((x, true)),
            _ => {}
        }
    }
    None
}

/// Whether `value` is `x · factor`.
fn scaled(graph: &Graph, value: ValueId, x: ValueId, factor: f64) -> bool {
    let mut product = Product::default();
    factors(graph, value, &mut product, 0);
    let mut of_x = Product::default();
    factors(graph, x, &mut of_x, 0);
    product.factors == of_x.factors && near(product.scalar, factor * of_x.scalar)
}

/// √(2/π) · (x + 0.044715 · x³).
fn tanh_argument(graph: &Graph, value: ValueId, x: ValueId) -> bool {
    let found = || -> Option<bool> {
        let node = graph.producer(value)?;
        let Op::MulScalar(root) = node.op else { return None };
        let sum = graph.producer(node.inputs[0]).filter(|node| node.op == Op::Add)?;
        let cube = match sum.inputs[..] {
            [a, b] if a == x => b,
            [a, b] if b == x => a,
            _ => return None,
        };
        let mut product = Product::default();
        factors(graph, cube, &mut product, 0);
        let cubed = match product.factors[..] {
            [only] => graph
                .producer(only)
                .is_some_and(|node| node.op == Op::PowScalar(3.0) && node.inputs[0] == x),
            [a, b, c] => [a, b, c] == [x; 3],
            _ => false,
        };
        let two_over_pi = std::f64::consts::FRAC_2_PI.sqrt();
        Some(cubed && near(root, two_over_pi) && near(product.scalar, 0.044_715))
    };
    found().unwrap_or(false)
}

fn near(value: f64, wanted: f64) -> bool {
    (value - wanted).abs() <= TOLERANCE * wanted.abs()
}
