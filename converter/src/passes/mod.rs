//! Small named rewrites of the graph, run in order, the graph swept and checked after each.
//!
//! Lifting passes turn what a framework spells out into what it means; layout passes rearrange weights for one
//! layout. A pass that matches nothing changes nothing.

mod attention_form;
mod drop_safe_softmax;
mod drop_transposes;
mod fill_to_add;
mod fold_attention_scale;
mod fold_constant_adds;
mod fold_constant_layers;
mod fold_constant_lookups;
mod indicator;
mod keep_rows;
mod left_plain;
mod lift_attention;
mod lift_gelu;
mod lift_layer_norm;
mod lift_padding_mask;
mod lift_pooling;
mod lift_position_ids;
mod mask_tokens;
mod merge_duplicates;
mod narrow_pair_masks;
mod padding;
mod projection;
mod share_terms;
mod sink_expands;
mod split_projections;
mod table_limits;
#[cfg(test)]
mod tests;

use crate::error::ConvertError;
use crate::graph::{Graph, GraphError};
use crate::request::{AttentionForm, Layout};
use crate::source::SourceError;

pub use left_plain::LeftPlain;

/// Why a pass gave up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassError {
    /// It broke the graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// It had to read a weight and could not.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// One rewrite; returns how many places it changed.
type Rewrite = fn(&mut Graph) -> Result<usize, PassError>;

/// What a pass did, for `--explain-passes`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PassReport {
    /// Name of the pass.
    pub name: &'static str,
    /// Places rewritten.
    pub rewrites: usize,
}

/// What the passes left as the source spells it.
pub fn left_plain(graph: &Graph) -> Vec<LeftPlain> {
    left_plain::of(graph)
}

/// Finds what the source means, whatever the layout.
///
/// # Errors
/// A weight that can't be read, a table that is too short for the length, or a graph that does not hold together after a
/// pass.
pub fn lift(graph: &mut Graph) -> Result<Vec<PassReport>, ConvertError> {
    table_limits::check(graph)?;
    let spelled = graph.clone();
    let mut reports = run_all(graph, LIFTS)?;
    let narrowed = |report: &PassReport| report.name == NARROW_PAIR_MASKS && report.rewrites > 0;
    if reports.iter().any(narrowed) && narrow_pair_masks::padding_is_read(graph) {
        // Then it has to be computed as the model does.
        *graph = spelled;
        let others: Vec<_> = LIFTS
            .iter()
            .copied()
            .filter(|(name, _)| *name != NARROW_PAIR_MASKS)
            .collect();
        reports = run_all(graph, &others)?;
    }
    table_limits::check(graph)?;
    Ok(reports)
}

const NARROW_PAIR_MASKS: &str = "narrow-pair-masks";

/// Constants first: the later passes look through sums and lookups.
const LIFTS: &[(&str, Rewrite)] = &[
    ("fold-constant-lookups", fold_constant_lookups::run),
    ("fold-constant-adds", fold_constant_adds::run),
    ("fold-constant-layers", fold_constant_layers::run),
    ("keep-rows", keep_rows::run),
    ("drop-transposes", drop_transposes::run),
    ("sink-expands", sink_expands::run),
    (NARROW_PAIR_MASKS, narrow_pair_masks::run),
    ("lift-padding-mask", lift_padding_mask::run),
    ("lift-pooling", lift_pooling::run),
    ("fill-to-add", fill_to_add::run),
    ("lift-token-mask", mask_tokens::lift),
    ("merge-duplicates", merge_duplicates::run),
    ("drop-safe-softmax", drop_safe_softmax::run),
    ("lift-position-ids", lift_position_ids::run),
    ("lift-layer-norm", lift_layer_norm::run),
    ("lift-gelu", lift_gelu::run),
    ("split-projections", split_projections::run),
    ("lift-attention", lift_attention::run),
    ("drop-token-mask", mask_tokens::drop_unread),
    ("share-terms", share_terms::run),
];

/// Suits what was lifted to a layout.
///
/// # Errors
/// As [`lift`].
pub fn suit(
    graph: &mut Graph,
    layout: Layout,
    attention: AttentionForm,
) -> Result<Vec<PassReport>, ConvertError> {
    if layout != Layout::Ane {
        return Ok(Vec::new());
    }
    let form: Rewrite = match attention {
        AttentionForm::Auto if graph.longest.is_some() => attention_form::auto_shared,
        AttentionForm::Auto => attention_form::auto,
        AttentionForm::Packed => attention_form::packed,
        AttentionForm::Split => attention_form::split,
    };
    // The scale is folded before weights are interleaved, so that both see plain linears.
    run_all(
        graph,
        &[
            ("fold-attention-scale", fold_attention_scale::run),
            ("attention-form", form),
        ],
    )
}

/// Runs every pass the layout asks for.
///
/// # Errors
/// As [`lift`].
pub fn run(
    graph: &mut Graph,
    layout: Layout,
    attention: AttentionForm,
) -> Result<Vec<PassReport>, ConvertError> {
    let mut reports = lift(graph)?;
    reports.extend(suit(graph, layout, attention)?);
    Ok(reports)
}

fn run_all(graph: &mut Graph, passes: &[(&'static str, Rewrite)]) -> Result<Vec<PassReport>, ConvertError> {
    let mut reports = Vec::with_capacity(passes.len());
    for (name, pass) in passes {
        let graph_error = |error| ConvertError::Graph {
            stage: (*name).into(),
            error,
        };
        let rewrites = pass(graph).map_err(|error| match error {
            PassError::Graph(error) => graph_error(error),
            PassError::Source(error) => ConvertError::Source(error),
        })?;
        graph.sweep();
        graph.check().map_err(graph_error)?;
        reports.push(PassReport { name, rewrites });
    }
    Ok(reports)
}
