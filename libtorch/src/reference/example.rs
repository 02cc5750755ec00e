//! Rows to try whether a module runs at a size.

use std::sync::Arc;

use corer_verifier::inputs::{ATTENTION_MASK, Extra, INPUT_IDS, InputRow, TOKEN_TYPE_IDS, Values};
use corer_verifier::reference::Feed;

/// As many rows as are run at once: token 0 everywhere, zeros for what else the function takes.
pub(super) fn rows(feed: &Feed) -> Vec<InputRow> {
    let usual = [INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS];
    let others = feed.inputs.iter().filter(|input| !usual.contains(&&*input.name));
    let extra = others.map(|input| {
        let shared = input.shape.first() != Some(&feed.batch);
        let shape = input.shape[usize::from(!shared)..].to_vec();
        let count = shape.iter().product();
        let values = match input.float {
            true => Values::Floats(vec![0.0; count]),
            false => Values::Ints(vec![0; count]),
        };
        (
            input.name.clone(),
            Arc::new(Extra {
                shape,
                shared,
                values,
            }),
        )
    });
    let row = InputRow {
        input_ids: vec![0; feed.length],
        attention_mask: vec![1; feed.length],
        token_type_ids: vec![0; feed.length],
        extra: extra.collect(),
        excerpt: None,
    };
    vec![row; feed.batch.max(1)]
}
