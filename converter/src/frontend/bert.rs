//! BERT's encoder as Hugging Face writes it (`BertModel` with `attn_implementation="sdpa"`), op by op.

use corer_mil::Dim;

use super::config::{Activation, BertConfig};
use super::parameters::Parameters;
use crate::graph::{Graph, GraphError, Kind, Op, ValueId};
use crate::shapes::InputShape;

/// The lowest float32, which Hugging Face multiplies masks with. It never reaches a package: the lifted
/// mask has a finite value of its own.
const FLOAT32_MIN: f64 = f32::MIN as f64;

/// The encoder's inputs and results within a graph.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoder {
    /// (B, S) of ones and zeros.
    pub(crate) attention_mask: ValueId,
    /// (B, S, C) after the last layer.
    pub(crate) last_hidden_state: ValueId,
}

/// Builds the inputs, the embeddings and every layer.
pub(crate) fn encoder(
    graph: &mut Graph,
    parameters: &mut Parameters<'_>,
    config: &BertConfig,
    shape: InputShape,
    token_types: bool,
) -> Result<Encoder, GraphError> {
    let tokens = vec![shape.batch_dim(), shape.tokens_dim()];
    let input_ids = graph.input("input_ids", Kind::Int, tokens.clone());
    let attention_mask = graph.input("attention_mask", Kind::Int, tokens.clone());
    // Hugging Face's buffers are (1, positions), cut to the length of the input.
    let row = vec![Dim::Known(1), Dim::Known(shape.tokens.most)];
    // Positions and counts were checked against i32 by the configuration.
    let length = usize::try_from(shape.tokens.most).unwrap_or(usize::MAX);
    let buffer = |graph: &mut Graph, name: &str, values: Vec<i64>| {
        let all = graph.ints(name, row.clone(), values);
        match shape.tokens.known() {
            Some(_) => Ok(all),
            None => graph.push(&format!("{name}.slice"), Op::SliceLike(1), vec![all, input_ids]),
        }
    };
    let token_type_ids = if token_types {
        graph.input("token_type_ids", Kind::Int, tokens)
    } else {
        buffer(graph, "embeddings.token_type_ids", vec![0; length])?
    };
    let position_ids = buffer(graph, "embeddings.position_ids", (0..).take(length).collect())?;

    let embedding = |graph: &mut Graph, parameters: &mut Parameters<'_>, table: &str, rows, indices| {
        let scope = format!("embeddings.{table}");
        let weight = parameters.encoder(graph, &format!("{scope}.weight"), &[rows, config.hidden_size]);
        graph.push(&scope, Op::Embedding, vec![weight, indices])
    };
    let words = embedding(graph, parameters, "word_embeddings", config.vocabulary, input_ids)?;
    let types = embedding(
        graph,
        parameters,
        "token_type_embeddings",
        config.token_types,
        token_type_ids,
    )?;
    let positions = embedding(
        graph,
        parameters,
        "position_embeddings",
        config.positions,
        position_ids,
    )?;
    let sum = graph.push("embeddings.add", Op::Add, vec![words, types])?;
    let sum = graph.push("embeddings.add_positions", Op::Add, vec![sum, positions])?;
    let mut hidden = layer_norm(graph, parameters, config, "embeddings.LayerNorm", sum)?;

    let mask = graph.push("attention_mask.float", Op::ToFloat, vec![attention_mask])?;
    let mask = graph.push("attention_mask.unsqueeze_heads", Op::Unsqueeze(1), vec![mask])?;
    let mask = graph.push("attention_mask.unsqueeze_queries", Op::Unsqueeze(2), vec![mask])?;
    let mask = graph.push("attention_mask.invert", Op::RsubScalar(1.0), vec![mask])?;
    let mask = graph.push("attention_mask.scale", Op::MulScalar(FLOAT32_MIN), vec![mask])?;

    for layer in 0..config.layers {
        hidden = encoder_layer(graph, parameters, config, layer, hidden, mask)?;
    }
    parameters.ignore("embeddings.position_ids");
    parameters.ignore("embeddings.token_type_ids");
    Ok(Encoder {
        attention_mask,
        last_hidden_state: hidden,
    })
}

/// One transformer layer.
fn encoder_layer(
    graph: &mut Graph,
    parameters: &mut Parameters<'_>,
    config: &BertConfig,
    layer: u64,
    input: ValueId,
    mask: ValueId,
) -> Result<ValueId, GraphError> {
    let scope = format!("encoder.layer.{layer}");
    let width = config.hidden_size;
    let signed = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
    let by_head = vec![0, 0, signed(config.heads), signed(width / config.heads)];

    let mut heads = Vec::with_capacity(3);
    for part in ["query", "key", "value"] {
        let name = format!("{scope}.attention.self.{part}");
        let projected = linear(graph, parameters, &name, (width, width), input)?;
        let viewed = graph.push(
            &format!("{name}.view"),
            Op::View(by_head.clone()),
            vec![projected],
        )?;
        heads.push(graph.push(&format!("{name}.transpose"), Op::Transpose(1, 2), vec![viewed])?);
    }
    heads.push(mask);
    let name = format!("{scope}.attention.self");
    let context = graph.push(&name, Op::ScaledDotProductAttention { scale: None }, heads)?;
    let context = graph.push(&format!("{name}.transpose"), Op::Transpose(1, 2), vec![context])?;
    let merged = Op::View(vec![0, 0, signed(width)]);
    let context = graph.push(&format!("{name}.view"), merged, vec![context])?;

    let name = format!("{scope}.attention.output");
    let projected = linear(
        graph,
        parameters,
        &format!("{name}.dense"),
        (width, width),
        context,
    )?;
    let sum = graph.push(&format!("{name}.add"), Op::Add, vec![projected, input])?;
    let attended = layer_norm(graph, parameters, config, &format!("{name}.LayerNorm"), sum)?;

    let inner = config.intermediate_size;
    let name = format!("{scope}.intermediate");
    let widened = linear(
        graph,
        parameters,
        &format!("{name}.dense"),
        (inner, width),
        attended,
    )?;
    let activated = graph.push(
        &format!("{name}.intermediate_act_fn"),
        activation(config.activation),
        vec![widened],
    )?;
    let name = format!("{scope}.output");
    let narrowed = linear(
        graph,
        parameters,
        &format!("{name}.dense"),
        (width, inner),
        activated,
    )?;
    let sum = graph.push(&format!("{name}.add"), Op::Add, vec![narrowed, attended])?;
    layer_norm(graph, parameters, config, &format!("{name}.LayerNorm"), sum)
}

/// A dense layer of the encoder; `size` is (out, in).
pub(crate) fn linear(
    graph: &mut Graph,
    parameters: &mut Parameters<'_>,
    name: &str,
    size: (u64, u64),
    input: ValueId,
) -> Result<ValueId, GraphError> {
    let weight = parameters.encoder(graph, &format!("{name}.weight"), &[size.0, size.1]);
    let bias = parameters.encoder(graph, &format!("{name}.bias"), &[size.0]);
    graph.push(name, Op::Linear, vec![input, weight, bias])
}

/// A layer norm of the encoder.
fn layer_norm(
    graph: &mut Graph,
    parameters: &mut Parameters<'_>,
    config: &BertConfig,
    name: &str,
    input: ValueId,
) -> Result<ValueId, GraphError> {
    let weight = parameters.encoder(graph, &format!("{name}.weight"), &[config.hidden_size]);
    let bias = parameters.encoder(graph, &format!("{name}.bias"), &[config.hidden_size]);
    graph.push(
        name,
        Op::LayerNorm {
            epsilon: config.epsilon,
        },
        vec![input, weight, bias],
    )
}

/// The operation of a configured non-linearity.
pub(crate) const fn activation(activation: Activation) -> Op {
    match activation {
        Activation::Gelu => Op::Gelu { tanh: false },
        Activation::GeluTanh => Op::Gelu { tanh: true },
        Activation::Relu => Op::Relu,
        Activation::Silu => Op::Silu,
        Activation::Tanh => Op::Tanh,
    }
}
