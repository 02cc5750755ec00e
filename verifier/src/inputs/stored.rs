//! Rows that lie in a file as tensors: the inputs of a recording, or token ids.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{ATTENTION_MASK, Extra, INPUT_IDS, InputRow, InputSet, TOKEN_TYPE_IDS, Values};
use crate::error::ReferenceError;
use crate::reference::stored::{ElementType, StoredTensor};

/// Rows from the tensors of `file`, by input: `input_ids` (N, S), `attention_mask` and `token_type_ids` of the same
/// shape or missing (all ones, all zeros), and others of N rows or, when they have another first size, shared by all.
///
/// # Errors
/// When there are no token ids, the sizes don't agree, or an element type can't be read.
pub(crate) fn rows(
    file: &Path,
    prefix: &str,
    mut tensors: BTreeMap<String, StoredTensor>,
) -> Result<InputSet, ReferenceError> {
    let ids = tensors
        .remove(INPUT_IDS)
        .ok_or_else(|| ReferenceError::MissingTensors {
            path: file.to_owned(),
            names: vec![format!("{prefix}{INPUT_IDS}")],
        })?;
    let [count, length] = ids.shape[..] else {
        return Err(ids.wrong(format!("has shape {:?}, expected (rows, positions)", ids.shape)));
    };
    if count == 0 || length == 0 {
        return Err(ids.wrong("records no input"));
    }
    let mut column = |name: &str, default: i32| match tensors.remove(name) {
        None => Ok(vec![default; count * length]),
        Some(tensor) if tensor.shape == [count, length] => tensor.to_i32(),
        Some(tensor) => Err(tensor.wrong(format!(
            "has shape {:?}, expected {count} x {length}",
            tensor.shape
        ))),
    };
    let (mask, types) = (column(ATTENTION_MASK, 1)?, column(TOKEN_TYPE_IDS, 0)?);
    let ids = ids.to_i32()?;
    let rows = (0..count)
        .map(|row| row * length..(row + 1) * length)
        .map(|range| InputRow {
            input_ids: ids[range.clone()].to_vec(),
            attention_mask: mask[range.clone()].to_vec(),
            token_type_ids: types[range].to_vec(),
            ..InputRow::default()
        });
    let mut rows: Vec<InputRow> = rows.collect();
    for (name, tensor) in tensors {
        let shared = tensor.shape.first() != Some(&count);
        let whole = match tensor.element {
            ElementType::I32 | ElementType::I64 => Values::Ints(tensor.to_i32()?),
            _ => Values::Floats(tensor.to_f32()?),
        };
        let shape = if shared {
            &tensor.shape[..]
        } else {
            &tensor.shape[1..]
        };
        let each: usize = shape.iter().product();
        let part = |row: usize| {
            let range = if shared {
                0..each
            } else {
                row * each..(row + 1) * each
            };
            Arc::new(Extra {
                shape: shape.to_vec(),
                shared,
                values: match &whole {
                    Values::Ints(values) => Values::Ints(values[range].to_vec()),
                    Values::Floats(values) => Values::Floats(values[range].to_vec()),
                },
            })
        };
        let common = shared.then(|| part(0));
        for (index, row) in rows.iter_mut().enumerate() {
            let extra = common.clone().unwrap_or_else(|| part(index));
            row.extra.insert(name.clone(), extra);
        }
    }
    Ok(InputSet {
        length,
        rows,
        origin: "recorded inputs".into(),
        truncated: 0,
    })
}
