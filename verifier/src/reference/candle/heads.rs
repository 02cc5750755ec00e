//! What transformers puts on a BERT encoder (`modeling_bert.py`), written with candle-nn.

use std::collections::BTreeMap;

use candle_core::{D, Result, Tensor};
use candle_nn::{Activation, LayerNorm, Linear, Module, VarBuilder, layer_norm, linear};
use candle_transformers::models::bert::HiddenAct;

use super::Task;
use super::config::BertConfig;

/// The heads of one checkpoint: the pooler wherever there is one, and the task's own.
pub(super) struct Heads {
    pooler: Option<Linear>,
    task: Option<TaskHead>,
}

enum TaskHead {
    /// `BertForSequenceClassification`: a dense layer on the pooled first token.
    Sequence(Linear),
    /// `BertForTokenClassification`: a dense layer on every token.
    Token(Linear),
    /// `BertForQuestionAnswering`: two scores per token.
    Span(Linear),
    /// `BertForMaskedLM`: a transform, then a score per vocabulary entry.
    Mask {
        dense: Linear,
        activation: Activation,
        norm: LayerNorm,
        decoder: Linear,
    },
}

impl Heads {
    pub(super) fn load(weights: &VarBuilder<'_>, config: &BertConfig, task: Task) -> Result<Self> {
        let hidden = config.candle.hidden_size;
        let needs_pooler = task == Task::SequenceClassification;
        let pooler = if needs_pooler || weights.contains_tensor("pooler.dense.weight") {
            Some(linear(hidden, hidden, weights.pp("pooler.dense"))?)
        } else {
            None
        };
        let task = match task {
            Task::FeatureExtraction | Task::SentenceEmbedding => None,
            Task::SequenceClassification => Some(TaskHead::Sequence(classifier(weights, "classifier")?)),
            Task::TokenClassification => Some(TaskHead::Token(classifier(weights, "classifier")?)),
            Task::QuestionAnswering => Some(TaskHead::Span(linear(hidden, 2, weights.pp("qa_outputs"))?)),
            Task::FillMask => Some(mask_head(weights, config)?),
        };
        Ok(Self { pooler, task })
    }

    pub(super) const fn has_pooler(&self) -> bool {
        self.pooler.is_some()
    }

    /// Whether an output has a part for each position.
    pub(super) fn per_position(&self, output: &str) -> bool {
        match output {
            "last_hidden_state" | "start_logits" | "end_logits" => true,
            "logits" => matches!(self.task, Some(TaskHead::Token(_) | TaskHead::Mask { .. })),
            _ => false,
        }
    }

    /// Outputs by their names in transformers, from token vectors (n, S, H).
    pub(super) fn forward(&self, hidden: &Tensor) -> Result<BTreeMap<&'static str, Tensor>> {
        let mut outputs = BTreeMap::new();
        if let Some(pooler) = &self.pooler {
            let first = hidden.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
            outputs.insert("pooler_output", pooler.forward(&first)?.tanh()?);
        }
        match &self.task {
            None => {}
            Some(TaskHead::Sequence(classifier)) => {
                let pooled = outputs.get("pooler_output").ok_or_else(no_pooler)?;
                let logits = classifier.forward(pooled)?;
                outputs.insert("logits", logits);
            }
            Some(TaskHead::Token(classifier)) => {
                outputs.insert("logits", classifier.forward(hidden)?);
            }
            Some(TaskHead::Span(scores)) => {
                let scores = scores.forward(hidden)?;
                outputs.insert(
                    "start_logits",
                    scores.narrow(D::Minus1, 0, 1)?.squeeze(D::Minus1)?,
                );
                outputs.insert("end_logits", scores.narrow(D::Minus1, 1, 1)?.squeeze(D::Minus1)?);
            }
            Some(TaskHead::Mask {
                dense,
                activation,
                norm,
                decoder,
            }) => {
                let transformed = norm.forward(&activation.forward(&dense.forward(hidden)?)?)?;
                outputs.insert("logits", decoder.forward(&transformed)?);
            }
        }
        Ok(outputs)
    }
}

fn no_pooler() -> candle_core::Error {
    candle_core::Error::Msg("a sequence classifier without a pooler".into())
}

/// A dense layer with as many outputs as its weight has rows: `num_labels` is not always in config.json.
fn classifier(weights: &VarBuilder<'_>, name: &str) -> Result<Linear> {
    let weights = weights.pp(name);
    let weight = weights.get_unchecked("weight")?;
    let bias = weights.get(weight.dim(0)?, "bias")?;
    Ok(Linear::new(weight, Some(bias)))
}

fn mask_head(weights: &VarBuilder<'_>, config: &BertConfig) -> Result<TaskHead> {
    let (hidden, vocabulary) = (config.candle.hidden_size, config.candle.vocab_size);
    let head = weights.pp("cls.predictions");
    let transform = head.pp("transform");
    // Tying overrides a decoder that was saved, as `tie_weights` does after loading.
    let weight = if config.tied {
        weights.get((vocabulary, hidden), "embeddings.word_embeddings.weight")?
    } else {
        head.get((vocabulary, hidden), "decoder.weight")?
    };
    // One parameter under two names in transformers; old checkpoints have the first only.
    let bias = if head.contains_tensor("bias") {
        "bias"
    } else {
        "decoder.bias"
    };
    Ok(TaskHead::Mask {
        dense: linear(hidden, hidden, transform.pp("dense"))?,
        activation: match config.candle.hidden_act {
            HiddenAct::Gelu => Activation::Gelu,
            HiddenAct::GeluApproximate => Activation::GeluPytorchTanh,
            HiddenAct::Relu => Activation::Relu,
        },
        norm: layer_norm(hidden, config.candle.layer_norm_eps, transform.pp("LayerNorm"))?,
        decoder: Linear::new(weight, Some(head.get(vocabulary, bias)?)),
    })
}
