//! The inputs of a model, and what every family makes of them.

use corer_mil::Dim;

use super::build::Build;
use crate::error::ConvertError;
use crate::graph::{Kind, Op, ValueId};
use crate::shapes::InputShape;

/// Declared inputs, all (B, S) integers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inputs {
    pub(super) input_ids: ValueId,
    /// Ones and zeros.
    pub(super) attention_mask: ValueId,
    /// There when the family tells types of tokens apart and the request wants the input.
    token_type_ids: Option<ValueId>,
    shape: InputShape,
}

impl Inputs {
    /// Declares them. A family with a single token type has no use for an input that says which.
    pub(super) fn declare(build: &mut Build<'_>, shape: InputShape, types: u64, wanted: bool) -> Self {
        let tokens = vec![shape.batch_dim(), shape.tokens_dim()];
        let mut input = |name: &str| build.graph.input(name, Kind::Int, tokens.clone());
        Self {
            input_ids: input("input_ids"),
            attention_mask: input("attention_mask"),
            token_type_ids: (types > 1 && wanted).then(|| input("token_type_ids")),
            shape,
        }
    }

    /// Token types: the input, or all zero.
    pub(super) fn token_types(&self, build: &mut Build<'_>, name: &str) -> Result<ValueId, ConvertError> {
        match self.token_type_ids {
            Some(input) => Ok(input),
            None => self.buffer(build, name, |_| 0),
        }
    }

    /// Positions from 0 on.
    pub(super) fn positions(&self, build: &mut Build<'_>, name: &str) -> Result<ValueId, ConvertError> {
        self.buffer(build, name, |position| position)
    }

    /// Positions as RoBERTa counts them: over the ids that are not `padding`, wherever the padding stands.
    ///
    /// With padding on the right they are `padding` + 1, `padding` + 2 … for every token, and a constant table
    /// would do; computed, they are right for any input, and cost five operations on integers beside a lookup
    /// that runs on the CPU anyway (rule D6).
    pub(super) fn counted_positions(
        &self,
        build: &mut Build<'_>,
        name: &str,
        padding: u32,
    ) -> Result<ValueId, ConvertError> {
        build.push(name, Op::PositionIds { padding }, vec![self.input_ids])
    }

    /// The additive mask (B, 1, 1, S).
    pub(super) fn padding_mask(&self, build: &mut Build<'_>) -> Result<ValueId, ConvertError> {
        build.push("attention_mask.scale", Op::PaddingMask, vec![self.attention_mask])
    }

    /// The length, which tables by relative position need to be fixed.
    pub(super) fn length(&self) -> Result<u64, ConvertError> {
        self.shape.tokens.known().ok_or_else(|| ConvertError::Request {
            flag: "--sequence-length",
            reason: "this model's positions are tables of one length, so that none can stay open; list the \
                     lengths (32,64,128) with --target ios18 to have a function for each"
                .into(),
        })
    }

    /// Integers (1, S) that are known from the start, cut to the length where that is open. Hugging Face keeps
    /// such as buffers.
    fn buffer(
        &self,
        build: &mut Build<'_>,
        name: &str,
        value: impl Fn(i64) -> i64,
    ) -> Result<ValueId, ConvertError> {
        let most = self.shape.tokens.most;
        let values: Vec<i64> = (0..most.cast_signed()).map(value).collect();
        let all = build
            .graph
            .ints(name, vec![Dim::Known(1), Dim::Known(most)], values);
        match self.shape.tokens.known() {
            Some(_) => Ok(all),
            None => build.push(
                &format!("{name}.slice"),
                Op::SliceLike(1),
                vec![all, self.input_ids],
            ),
        }
    }
}
