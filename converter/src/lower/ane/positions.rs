//! Rotary and relative positions in (B, C, 1, S).

use std::sync::Arc;

use corer_mil::Var;

use super::Ane;
use super::terms::Orientation;
use crate::error::ConvertError;
use crate::graph::{AttentionLayout, Node, ScoreSide};
use crate::lower::emit::fail;
use crate::lower::tables::{ByHead, angles, relative_table};

impl Ane<'_> {
    /// Rotary positions. Interleaved channels have each half of every head in one half of the channel axis, so
    /// that nothing is viewed or moved but along it (rule L3); head-major ones are viewed by head.
    pub(super) fn rotary(
        &mut self,
        node: &Node,
        heads: u64,
        layout: AttentionLayout,
    ) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let sides = ByHead::of(self.emit.graph, node, heads)?;
        let (tokens, width) = (sides.tokens, sides.width);
        let x = self.channels_first(node, node.inputs[0])?;
        if layout != AttentionLayout::HeadMajor {
            let channels = heads * width;
            let rows: Option<Arc<[u32]>> = (0..channels)
                .map(|channel| u32::try_from(channel / heads).ok())
                .collect();
            let rows = rows.ok_or_else(|| fail(node, "has too many channels"))?;
            let (cos, sin) = angles(node, &mut self.emit, |table| {
                Ok(table
                    .select_rows(rows.clone())?
                    .reshape(vec![1, channels, 1, tokens])?)
            })?;
            return self.emit.rotary(scope, &x, 1, &cos, &sin);
        }
        let (cos, sin) = angles(node, &mut self.emit, |table| {
            Ok(table.reshape(vec![1, 1, width, tokens])?)
        })?;
        let viewed = self.emit.reshape(
            &format!("{scope}_heads"),
            &x,
            &sides.shape([heads, width, tokens]),
        )?;
        let turned = self
            .emit
            .rotary(&format!("{scope}_turned"), &viewed, 2, &cos, &sin)?;
        self.emit
            .reshape(scope, &turned, &sides.shape([heads * width, 1, tokens]))
    }

    /// Scores of one side against relative positions, as the scores lie.
    pub(super) fn relative_scores(
        &mut self,
        node: &Node,
        heads: u64,
        layout: AttentionLayout,
        of: ScoreSide,
        orientation: Orientation,
    ) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let sides = ByHead::of(self.emit.graph, node, heads)?;
        let (tokens, width) = (sides.tokens, sides.width);
        let x = self.channels_first(node, node.inputs[0])?;
        let name = self.emit.graph.value(node.inputs[1]).name.clone();
        let products = if layout == AttentionLayout::HeadMajor {
            let table = relative_table(&self.emit, node, [heads, width, tokens])?;
            let table = self.emit.weight(&name, table);
            let viewed = sides.shape([heads, width, tokens]);
            let viewed = self.emit.reshape(&format!("{scope}_heads"), &x, &viewed)?;
            self.emit
                .matmul(&format!("{scope}_products"), (&viewed, true), (&table, false))?
        } else {
            // (1, 2S, heads, d) with (B, d, heads, S): the same einsum as the scores themselves.
            let table = self.emit.known_weight(node, node.inputs[1])?;
            let table = table.reshape(vec![1, 2 * tokens, heads, width])?;
            let table = self.emit.weight(&name, table);
            let viewed = sides.shape([width, heads, tokens]);
            let viewed = self.emit.reshape(&format!("{scope}_heads"), &x, &viewed)?;
            let products = self.einsum(&format!("{scope}_products"), &table, &viewed)?;
            self.emit
                .transpose(&format!("{scope}_by_token"), &products, &[0, 2, 3, 1])?
        };
        let scores = self
            .emit
            .relative_shift(scope, &products, (sides.batch, heads, tokens))?;
        let order = match (of, orientation) {
            (ScoreSide::Key, Orientation::HeadsFirst) => return Ok(scores),
            (ScoreSide::Key, Orientation::KeysFirst) => [0, 2, 1, 3],
            (ScoreSide::Query, Orientation::HeadsFirst) => [0, 1, 3, 2],
            (ScoreSide::Query, Orientation::KeysFirst) => [0, 3, 1, 2],
        };
        self.emit.transpose(&format!("{scope}_by_key"), &scores, &order)
    }
}
