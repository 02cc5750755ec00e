//! From the graph to MIL, one module per layout.

mod ane;
mod emit;
mod keep_f32;
mod layers;
mod plain;
mod standard;
mod tables;
mod weights;

use corer_mil::{DataType, Function, Opset};

use crate::error::ConvertError;
use crate::graph::Graph;
use crate::request::Layout;
use crate::source::Overflow;

pub use keep_f32::Pattern;
pub(crate) use keep_f32::keep_f32;
pub use weights::Weights;

/// What a lowering needs to know besides the graph.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Opset written.
    pub opset: Opset,
    /// Layout of activations.
    pub layout: Layout,
    /// Element type of weights and activations.
    pub dtype: DataType,
    /// Element type of float outputs.
    pub output_dtype: DataType,
    /// What becomes of weights the element type can't hold.
    pub overflow: Overflow,
}

/// How logits become a label.
#[derive(Clone, Debug)]
pub struct Classifier {
    /// Name of the label output; probabilities are `<label>_probs`.
    pub label: String,
    /// Class names in order.
    pub classes: Vec<String>,
}

/// Writes the graph as one function; functions written with the same `weights` share what they have in common.
///
/// # Errors
/// When the layout has no form for an operation.
pub fn lower(
    graph: &Graph,
    settings: Settings,
    classifier: Option<&Classifier>,
    weights: &mut Weights,
) -> Result<Function, ConvertError> {
    let emit = emit::Emit::new(graph, settings, weights);
    match settings.layout {
        Layout::Ane => ane::lower(emit, classifier),
        Layout::Standard => standard::lower(emit, classifier),
    }
}
