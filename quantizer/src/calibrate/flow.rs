//! Every calibration row's values at one place of the function, on disk, and how they move on to the next place.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use corer_mil::{DataType, NamedType, Program, WeightSource};
use corer_runtime::{Arithmetic, Executable, Options, Tensor, TensorData};
use rayon::prelude::*;

use super::shorten::{agrees, shorten, shorten_tensor, step};
use super::{Calibration, CalibrationRow};
use crate::error::QuantizeError;
use crate::spill::{Room, Spill};

/// Values of all rows.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Which values there are.
    pub(crate) values: Vec<NamedType>,
    /// The function's length.
    length: usize,
    rows: Vec<Row>,
}

/// Values of one row.
#[derive(Debug)]
struct Row {
    /// The length it is run at.
    length: usize,
    values: BTreeMap<String, Stored>,
}

#[derive(Clone, Debug)]
enum Stored {
    /// Small, or of a type with no room of its own.
    Held(Tensor),
    Spilled {
        shape: Vec<usize>,
        dtype: DataType,
        room: Room,
    },
}

impl Stored {
    fn new(tensor: &Tensor, spill: &std::sync::Arc<Spill>) -> std::io::Result<Self> {
        let bytes: Vec<u8> = match tensor.data() {
            TensorData::F16(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            TensorData::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            _ => return Ok(Self::Held(tensor.clone())),
        };
        let room = spill.room(bytes.len() as u64);
        room.write(0, &bytes)?;
        Ok(Self::Spilled {
            shape: tensor.shape().to_vec(),
            dtype: tensor.dtype(),
            room,
        })
    }

    fn load(&self) -> Result<Tensor, String> {
        match self {
            Self::Held(tensor) => Ok(tensor.clone()),
            Self::Spilled { shape, dtype, room } => {
                let bytes = room.to_vec().map_err(|error| error.to_string())?;
                let data = if *dtype == DataType::Fp16 {
                    TensorData::F16(
                        bytes
                            .as_chunks()
                            .0
                            .iter()
                            .map(|half| half::f16::from_le_bytes(*half))
                            .collect(),
                    )
                } else {
                    TensorData::F32(
                        bytes
                            .as_chunks()
                            .0
                            .iter()
                            .map(|value| f32::from_le_bytes(*value))
                            .collect(),
                    )
                };
                Tensor::new(shape.clone(), data).map_err(|error| error.to_string())
            }
        }
    }
}

fn fail(reason: impl ToString) -> QuantizeError {
    QuantizeError::Calibration {
        reason: reason.to_string(),
    }
}

impl Flow {
    /// The function's inputs; `function` leads from them to its outputs. Rows of few tokens are shortened where the
    /// function can be.
    pub(crate) fn begin(values: &[NamedType], calibration: &Calibration<'_>, function: &Program) -> Self {
        let length = calibration
            .rows
            .first()
            .map_or(0, |row| row.length().unwrap_or(0));
        let mut allowed: BTreeMap<usize, bool> = BTreeMap::from([(length, true)]);
        let mut rows = Vec::with_capacity(calibration.rows.len());
        for row in calibration.rows {
            let wanted = match row.length() {
                Some(own) if own == length => step(row.longest(), length),
                _ => length,
            };
            let allowed = *allowed
                .entry(wanted)
                .or_insert_with(|| agrees(function, &row.inputs, length, wanted));
            let cut = |wanted| {
                let tensors = row.inputs.iter().map(|(name, tensor)| {
                    Some((
                        name.clone(),
                        Stored::Held(shorten_tensor(tensor, length, wanted)?),
                    ))
                });
                Some(Row {
                    length: wanted,
                    values: tensors.collect::<Option<_>>()?,
                })
            };
            let whole = || Row {
                length,
                values: row
                    .inputs
                    .iter()
                    .map(|(name, tensor)| (name.clone(), Stored::Held(tensor.clone())))
                    .collect(),
            };
            rows.push(allowed.then(|| cut(wanted)).flatten().unwrap_or_else(whole));
        }
        Self {
            values: values.to_vec(),
            length,
            rows,
        }
    }

    /// Which of a row's positions, as many as it is run at, hold tokens.
    pub(crate) fn tokens(&self, index: usize, row: &CalibrationRow) -> Vec<bool> {
        let kept = self.rows[index].length;
        row.tokens
            .chunks(self.length.max(1))
            .flat_map(|text| &text[..kept.min(text.len())])
            .copied()
            .collect()
    }

    /// Runs `program`, which leads from these values to `values`, on every row.
    pub(crate) fn advance(
        &self,
        program: &Program,
        values: &[NamedType],
        scratch: &Path,
    ) -> Result<Self, QuantizeError> {
        let spill = Spill::new(scratch).map_err(|source| QuantizeError::Spill {
            path: scratch.to_owned(),
            source,
        })?;
        let mut options = Options::new(Arithmetic::AsWritten);
        options.threads = Some(1);
        let main = &program.functions["main"];
        let nothing_to_do = main.body().is_none_or(|body| body.outputs.is_empty());
        let mut executables = BTreeMap::new();
        for row in self.rows.iter().filter(|_| !nothing_to_do) {
            if let Entry::Vacant(entry) = executables.entry(row.length) {
                let program = shorten(program, self.length, row.length)
                    .ok_or_else(|| fail(format!("a constant can't be cut to length {}", row.length)))?;
                entry.insert(Executable::compile(&program, "main", &options).map_err(fail)?);
            }
        }
        let rows = self
            .rows
            .par_iter()
            .map(|row| {
                let outputs = match executables.get(&row.length) {
                    None => BTreeMap::new(),
                    Some(executable) => {
                        let inputs = executable
                            .inputs()
                            .iter()
                            .map(|input| {
                                let stored = row
                                    .values
                                    .get(&input.name)
                                    .ok_or_else(|| fail(format!("`{}` is missing", input.name)))?;
                                Ok((input.name.clone(), stored.load().map_err(fail)?))
                            })
                            .collect::<Result<BTreeMap<_, _>, QuantizeError>>()?;
                        executable.run(&inputs).map_err(fail)?
                    }
                };
                let values = values
                    .iter()
                    .map(|value| {
                        let stored = match (outputs.get(&value.name), row.values.get(&value.name)) {
                            (Some(tensor), _) => Stored::new(tensor, &spill).map_err(fail)?,
                            // The old file lives on as long as something in it is needed.
                            (None, Some(stored)) => stored.clone(),
                            (None, None) => return Err(fail(format!("`{}` was not computed", value.name))),
                        };
                        Ok((value.name.clone(), stored))
                    })
                    .collect::<Result<BTreeMap<_, _>, QuantizeError>>()?;
                Ok(Row {
                    length: row.length,
                    values,
                })
            })
            .collect::<Result<Vec<_>, QuantizeError>>()?;
        Ok(Self {
            values: values.to_vec(),
            length: self.length,
            rows,
        })
    }

    /// One value of one row.
    pub(crate) fn load(&self, row: usize, name: &str) -> Result<Tensor, QuantizeError> {
        let stored = self.rows.get(row).and_then(|row| row.values.get(name));
        stored
            .ok_or_else(|| fail(format!("`{name}` is missing")))?
            .load()
            .map_err(fail)
    }
}
