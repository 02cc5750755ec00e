//! What a model computes from its parameters alone is a parameter: DeBERTa normalises its table of distances and projects
//! it in every layer.

use corer_mil::Dim;

use super::PassError;
use crate::constants;
use crate::graph::{Graph, Op};
use crate::source::LazyTensor;

/// Results of more elements would have to be held in memory; they are left to the package.
const MOST_ELEMENTS: u64 = 1 << 22;

/// Replaces layers and views of weights by weights.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let weights: Option<Vec<&LazyTensor>> = node.inputs.iter().map(|id| graph.as_weight(*id)).collect();
        let shape: Option<Vec<u64>> = graph.shape(node.output).iter().copied().map(Dim::known).collect();
        let (Some(weights), Some(shape)) = (weights, shape) else {
            continue;
        };
        let few = shape
            .iter()
            .try_fold(1u64, |count, size| count.checked_mul(*size))
            .is_some_and(|count| count <= MOST_ELEMENTS);
        if !few {
            continue;
        }
        let Some(folded) = folded(&node.op, &weights, shape)? else {
            continue;
        };
        let (scope, output) = (node.scope.clone(), node.output);
        let folded = graph.weight(&scope, folded);
        graph.substitute(&scope, output, folded)?;
        rewrites += 1;
    }
    Ok(rewrites)
}

/// The result of an operation on weights, if it is one of those.
fn folded(op: &Op, weights: &[&LazyTensor], shape: Vec<u64>) -> Result<Option<LazyTensor>, PassError> {
    let values = match (op, weights) {
        (Op::View(_) | Op::Unsqueeze(_), [x]) => return Ok(Some((*x).clone().reshape(shape)?)),
        (Op::Slice { dim: 0, start, end }, [x]) => return Ok(Some((*x).clone().slice_rows(*start..*end)?)),
        (Op::Linear, [x, weight]) => {
            let none = vec![0.0; shape.last().map_or(0, |width| *width as usize)];
            let none = LazyTensor::from_values("no bias", vec![none.len() as u64], none)?;
            constants::dense(&x.read_f32()?, weight, &none)?
        }
        (Op::Linear, [x, weight, bias]) => constants::dense(&x.read_f32()?, weight, bias)?,
        (Op::LayerNorm { epsilon }, [x, weight, bias]) => {
            let mut rows = x.read_f32()?;
            constants::layer_norm(&mut rows, &weight.read_f32()?, &bias.read_f32()?, *epsilon);
            rows
        }
        _ => return Ok(None),
    };
    let name = weights[0].name().to_owned();
    Ok(Some(LazyTensor::from_values(&name, shape, values)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Kind;

    fn weight(graph: &mut Graph, shape: &[u64], values: &[f32]) -> crate::graph::ValueId {
        let tensor = LazyTensor::from_values("w", shape.to_vec(), values.to_vec()).expect("a tensor");
        graph.weight("w", tensor)
    }

    #[test]
    fn a_projected_table_is_a_weight() {
        let mut graph = Graph::default();
        let table = weight(&mut graph, &[3, 2], &[0.0, 1.0, 3.0, 1.0, 5.0, -5.0]);
        let gain = weight(&mut graph, &[2], &[1.0, 2.0]);
        let shift = weight(&mut graph, &[2], &[0.0, 0.5]);
        let norm = Op::LayerNorm { epsilon: 0.0 };
        let normed = graph.push("norm", norm, vec![table, gain, shift]).expect("fits");
        let cut = Op::Slice {
            dim: 0,
            start: 1,
            end: 3,
        };
        let cut = graph.push("cut", cut, vec![normed]).expect("fits");
        let row = graph.push("row", Op::Unsqueeze(0), vec![cut]).expect("fits");
        let matrix = weight(&mut graph, &[1, 2], &[10.0, 1.0]);
        let projected = graph
            .push("project", Op::Linear, vec![row, matrix])
            .expect("fits");
        let x = graph.input(
            "x",
            Kind::Float,
            vec![Dim::Known(1), Dim::Known(2), Dim::Known(1)],
        );
        let sum = graph.push("sum", Op::Add, vec![x, projected]).expect("fits");
        graph.outputs.push(("y".into(), sum));
        assert_eq!(run(&mut graph).expect("reads"), 4);
        graph.sweep();
        graph.check().expect("holds together");
        assert_eq!(graph.nodes.len(), 1);
        let folded = graph.as_weight(graph.nodes[0].inputs[1]).expect("a weight");
        assert_eq!(folded.shape(), [1, 2, 1]);
        // Both rows normalise to 1 and −1: 10 · 1 + (−2 + 0.5).
        assert_eq!(folded.read_f32().expect("reads"), [8.5, 8.5]);
    }
}
