//! The heads `BertFor…` classes put on the encoder.

use super::bert::{Encoder, activation, linear};
use super::config::BertConfig;
use super::parameters::Parameters;
use crate::graph::{Graph, GraphError, Op, ValueId};
use crate::request::Task;

/// Adds the head of `task` and the graph's outputs. Returns notes worth telling the user.
pub(crate) fn head(
    graph: &mut Graph,
    parameters: &mut Parameters<'_>,
    config: &BertConfig,
    task: Task,
    encoder: Encoder,
) -> Result<Vec<String>, GraphError> {
    let hidden = encoder.last_hidden_state;
    match task {
        Task::SequenceClassification => {
            let pooled = pooler(graph, parameters, config, hidden)?;
            let logits = classifier(graph, parameters, config, pooled)?;
            graph.outputs.push(("logits".into(), logits));
        }
        Task::TokenClassification => {
            let logits = classifier(graph, parameters, config, hidden)?;
            graph.outputs.push(("logits".into(), logits));
        }
        Task::QuestionAnswering => {
            let weight = parameters.head(graph, "qa_outputs.weight", &[2, config.hidden_size]);
            let bias = parameters.head(graph, "qa_outputs.bias", &[2]);
            let logits = graph.push("qa_outputs", Op::Linear, vec![hidden, weight, bias])?;
            for (index, name) in [(0, "start_logits"), (1, "end_logits")] {
                let part = graph.push(name, Op::Select { dim: 2, index }, vec![logits])?;
                graph.outputs.push((name.into(), part));
            }
        }
        Task::FillMask => {
            let logits = masked_language_model(graph, parameters, config, hidden)?;
            graph.outputs.push(("logits".into(), logits));
        }
        Task::Auto | Task::Custom | Task::FeatureExtraction | Task::SentenceEmbedding => {
            graph.outputs.push(("last_hidden_state".into(), hidden));
            if !parameters.has_encoder("pooler.dense.weight") {
                return Ok(vec![
                    "the checkpoint has no pooler: pooler_output is left out".into(),
                ]);
            }
            let pooled = pooler(graph, parameters, config, hidden)?;
            graph.outputs.push(("pooler_output".into(), pooled));
        }
    }
    Ok(Vec::new())
}

/// `BertPooler`: the first token through a dense layer and tanh.
fn pooler(
    graph: &mut Graph,
    parameters: &mut Parameters<'_>,
    config: &BertConfig,
    hidden: ValueId,
) -> Result<ValueId, GraphError> {
    let first = graph.push(
        "pooler.first_token",
        Op::Select { dim: 1, index: 0 },
        vec![hidden],
    )?;
    let size = (config.hidden_size, config.hidden_size);
    let dense = linear(graph, parameters, "pooler.dense", size, first)?;
    graph.push("pooler.activation", Op::Tanh, vec![dense])
}

/// The `classifier` of sequence and token classification; as many rows as `id2label` has labels, two when the
/// configuration names none (Hugging Face's default).
fn classifier(
    graph: &mut Graph,
    parameters: &mut Parameters<'_>,
    config: &BertConfig,
    input: ValueId,
) -> Result<ValueId, GraphError> {
    let labels = if config.labels.is_empty() {
        2
    } else {
        config.labels.len() as u64
    };
    let weight = parameters.head(graph, "classifier.weight", &[labels, config.hidden_size]);
    let bias = parameters.head(graph, "classifier.bias", &[labels]);
    graph.push("classifier", Op::Linear, vec![input, weight, bias])
}

/// `BertOnlyMLMHead`: transform, then the decoder, whose weight is the word table when not stored apart.
fn masked_language_model(
    graph: &mut Graph,
    parameters: &mut Parameters<'_>,
    config: &BertConfig,
    hidden: ValueId,
) -> Result<ValueId, GraphError> {
    let width = config.hidden_size;
    let scope = "cls.predictions.transform";
    let weight = parameters.head(graph, &format!("{scope}.dense.weight"), &[width, width]);
    let bias = parameters.head(graph, &format!("{scope}.dense.bias"), &[width]);
    let dense = graph.push(&format!("{scope}.dense"), Op::Linear, vec![hidden, weight, bias])?;
    let active = graph.push(
        &format!("{scope}.transform_act_fn"),
        activation(config.activation),
        vec![dense],
    )?;
    let weight = parameters.head(graph, &format!("{scope}.LayerNorm.weight"), &[width]);
    let bias = parameters.head(graph, &format!("{scope}.LayerNorm.bias"), &[width]);
    let norm = Op::LayerNorm {
        epsilon: config.epsilon,
    };
    let normal = graph.push(&format!("{scope}.LayerNorm"), norm, vec![active, weight, bias])?;

    let table = [config.vocabulary, width];
    let weight = if parameters.has("cls.predictions.decoder.weight") {
        parameters.head(graph, "cls.predictions.decoder.weight", &table)
    } else {
        parameters.encoder(graph, "embeddings.word_embeddings.weight", &table)
    };
    let bias = if parameters.has("cls.predictions.bias") {
        "cls.predictions.bias"
    } else {
        "cls.predictions.decoder.bias"
    };
    let bias = parameters.head(graph, bias, &[config.vocabulary]);
    parameters.ignore("cls.predictions.decoder.bias");
    graph.push("cls.predictions.decoder", Op::Linear, vec![normal, weight, bias])
}
