//! Every calibration row's values at one place of the function, on disk, and how they move on to the next place.

use std::collections::BTreeMap;
use std::path::Path;

use corer_mil::{DataType, NamedType, Program, WeightSource};
use corer_runtime::{Arithmetic, Executable, Options, Tensor, TensorData};
use rayon::prelude::*;

use crate::error::QuantizeError;
use crate::spill::{Room, Spill};

/// Values of all rows.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Which values there are.
    pub(crate) values: Vec<NamedType>,
    rows: Vec<BTreeMap<String, Stored>>,
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
    /// The function's inputs.
    pub(crate) fn begin(values: &[NamedType], rows: &[BTreeMap<String, Tensor>]) -> Self {
        let rows = rows
            .iter()
            .map(|row| {
                row.iter()
                    .map(|(name, tensor)| (name.clone(), Stored::Held(tensor.clone())))
                    .collect()
            })
            .collect();
        Self {
            values: values.to_vec(),
            rows,
        }
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
        let executable = if nothing_to_do {
            None
        } else {
            Some(Executable::compile(program, "main", &options).map_err(fail)?)
        };
        let rows = self
            .rows
            .par_iter()
            .map(|row| {
                let outputs = match &executable {
                    None => BTreeMap::new(),
                    Some(executable) => {
                        let inputs = executable
                            .inputs()
                            .iter()
                            .map(|input| {
                                let stored = row
                                    .get(&input.name)
                                    .ok_or_else(|| fail(format!("`{}` is missing", input.name)))?;
                                Ok((input.name.clone(), stored.load().map_err(fail)?))
                            })
                            .collect::<Result<BTreeMap<_, _>, QuantizeError>>()?;
                        executable.run(&inputs).map_err(fail)?
                    }
                };
                values
                    .iter()
                    .map(|value| {
                        let stored = match (outputs.get(&value.name), row.get(&value.name)) {
                            (Some(tensor), _) => Stored::new(tensor, &spill).map_err(fail)?,
                            // The old file lives on as long as something in it is needed.
                            (None, Some(stored)) => stored.clone(),
                            (None, None) => return Err(fail(format!("`{}` was not computed", value.name))),
                        };
                        Ok((value.name.clone(), stored))
                    })
                    .collect::<Result<BTreeMap<_, _>, _>>()
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            values: values.to_vec(),
            rows,
        })
    }

    /// One value of one row.
    pub(crate) fn load(&self, row: usize, name: &str) -> Result<Tensor, QuantizeError> {
        let stored = self.rows.get(row).and_then(|row| row.get(name));
        stored
            .ok_or_else(|| fail(format!("`{name}` is missing")))?
            .load()
            .map_err(fail)
    }
}
