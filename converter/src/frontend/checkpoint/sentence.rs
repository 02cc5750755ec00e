//! What a sentence-transformers directory does with the token vectors: pooling, dense layers, normalising.
//!
//! These modules are data, not code, so the frontend writes their meaning directly.

use crate::error::ConvertError;
use crate::graph::{Graph, GraphError, Op, PoolKind, ValueId};
use crate::source::{
    DenseActivation, DenseModule, LazyTensor, Pooling, PoolingMode, SentenceModules, SentenceStep,
};

/// The floor `torch.nn.functional.normalize` puts under a norm.
const NORM_EPSILON: f64 = 1e-12;

/// Adds the modules and the output `sentence_embedding`.
pub(super) fn embedding(
    graph: &mut Graph,
    modules: &SentenceModules,
    hidden: ValueId,
    attention_mask: ValueId,
) -> Result<Vec<String>, ConvertError> {
    let mut vector = pool(graph, &modules.pooling, hidden, attention_mask)?;
    for (index, step) in modules.steps.iter().enumerate() {
        let result = match step {
            SentenceStep::Normalize => {
                let scope = format!("normalize_{index}");
                graph.push(
                    &scope,
                    Op::Normalize {
                        epsilon: NORM_EPSILON,
                    },
                    vec![vector],
                )
            }
            SentenceStep::Dense(dense) => dense_layer(graph, dense, &format!("dense_{index}"), vector),
        };
        vector = result.map_err(stage)?;
    }
    graph.outputs.push(("sentence_embedding".into(), vector));
    Ok(Vec::new())
}

/// Every pooling mode asked for, concatenated.
fn pool(
    graph: &mut Graph,
    pooling: &Pooling,
    hidden: ValueId,
    attention_mask: ValueId,
) -> Result<ValueId, ConvertError> {
    let mut parts = Vec::with_capacity(pooling.modes.len());
    for mode in &pooling.modes {
        let (scope, kind) = match mode {
            PoolingMode::Cls => ("pooling_cls", PoolKind::Cls),
            PoolingMode::Mean => ("pooling_mean", PoolKind::Mean),
            PoolingMode::Max => ("pooling_max", PoolKind::Max),
            PoolingMode::MeanSqrtLength => ("pooling_mean_sqrt_length", PoolKind::MeanSqrtLength),
            PoolingMode::WeightedMean | PoolingMode::LastToken => {
                return Err(ConvertError::Request {
                    flag: "--task",
                    reason: format!(
                        "the directory pools by {mode:?}, which is not supported yet; supported: cls, mean, max, \
                         mean_sqrt_len (convert with --task feature-extraction and pool outside)"
                    ),
                });
            }
        };
        let inputs = vec![hidden, attention_mask];
        parts.push(graph.push(scope, Op::Pool(kind), inputs).map_err(stage)?);
    }
    match parts[..] {
        [only] => Ok(only),
        _ => graph.push("pooling", Op::Concat(1), parts).map_err(stage),
    }
}

fn dense_layer(
    graph: &mut Graph,
    dense: &DenseModule,
    scope: &str,
    input: ValueId,
) -> Result<ValueId, GraphError> {
    let mut inputs = vec![
        input,
        graph.weight(&format!("{scope}.weight"), LazyTensor::new(dense.weight.clone())),
    ];
    if let Some(bias) = &dense.bias {
        inputs.push(graph.weight(&format!("{scope}.bias"), LazyTensor::new(bias.clone())));
    }
    let linear = graph.push(&format!("{scope}.linear"), Op::Linear, inputs)?;
    let op = match dense.activation {
        DenseActivation::Identity => return Ok(linear),
        DenseActivation::Tanh => Op::Tanh,
        DenseActivation::Relu => Op::Relu,
        DenseActivation::Gelu => Op::Gelu { tanh: false },
        DenseActivation::Sigmoid => Op::Sigmoid,
        DenseActivation::Silu => Op::Silu,
    };
    graph.push(&format!("{scope}.activation"), op, vec![linear])
}

fn stage(error: GraphError) -> ConvertError {
    ConvertError::Graph {
        stage: "sentence modules".into(),
        error,
    }
}
