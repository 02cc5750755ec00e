//! A function of a package as something that takes rows and gives rows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corer_mil::{DataType, Dim, Program};
use corer_proto::Package;
use corer_runtime::{
    Arithmetic, Engine as _, Executable, Labels, Observation, Options, Tensor as EngineTensor,
};

use crate::bounds::bounds;
use crate::buckets::Bucket;
use crate::error::VerifyError;
use crate::inputs::{ATTENTION_MASK, Batch, INPUT_IDS, InputRow, InputType, TOKEN_TYPE_IDS, Values};
use crate::reference::Feed;
use crate::report::Precision;
use crate::tensor::Tensor;

/// A function compiled, with what its inputs and outputs are, and the size it is run at.
pub(crate) struct Subject {
    path: PathBuf,
    pub(crate) function: String,
    executable: Executable,
    inputs: Vec<Taken>,
    /// What integers of an input lie below, where the program says so.
    bounds: BTreeMap<String, usize>,
    /// Outputs in declared order.
    pub(crate) outputs: Vec<(String, Form)>,
    /// How finely its values are held.
    pub(crate) precision: Precision,
    /// Rows per execution.
    pub(crate) batch: usize,
    /// Positions per row.
    pub(crate) length: usize,
}

/// An input as the function declares it.
struct Taken {
    name: String,
    dtype: DataType,
    shape: Vec<Dim>,
}

/// What an output holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// Numbers.
    Array,
    /// A classifier's label.
    Label(Vec<String>),
    /// A classifier's probabilities, in the order of these classes.
    Probabilities(Vec<String>),
}

/// One output for a number of rows.
pub(crate) enum Produced {
    Array(Tensor),
    Labels(Vec<String>),
}

impl Subject {
    /// Compiles the bucket's function, to be run at the bucket's size.
    pub(crate) fn compile(
        package: &Package,
        bucket: &Bucket,
        arithmetic: Arithmetic,
        threads: Option<usize>,
    ) -> Result<Self, VerifyError> {
        let path = package.path.clone();
        let options = Options {
            threads,
            ..Options::new(arithmetic)
        };
        let executable =
            Executable::compile(&package.model.program, &bucket.function, &options).map_err(|source| {
                VerifyError::Compile {
                    path: path.clone(),
                    source: Box::new(source),
                }
            })?;
        let fail = |reason: String| VerifyError::Interface {
            path: path.clone(),
            reason,
        };
        let mut inputs = Vec::new();
        for input in executable.inputs() {
            let name = &input.name;
            let tensor = input
                .ty
                .as_tensor()
                .ok_or_else(|| fail(format!("input `{name}` is {}", input.ty)))?;
            if !matches!(tensor.dtype, DataType::Int32 | DataType::Fp32 | DataType::Fp16) {
                return Err(fail(format!(
                    "input `{name}` is {}, expected int32, fp16 or fp32",
                    tensor.dtype
                )));
            }
            inputs.push(Taken {
                name: name.clone(),
                dtype: tensor.dtype,
                shape: tensor.shape.clone(),
            });
        }
        if inputs.iter().all(|input| input.name != INPUT_IDS) {
            return Err(fail(format!("has no input {INPUT_IDS}")));
        }
        let outputs: Vec<(String, Form)> = executable
            .outputs()
            .iter()
            .map(|output| (output.name.clone(), form(&executable, &output.name, &output.ty)))
            .collect();
        let mut subject = Self {
            path,
            function: bucket.function.clone(),
            executable,
            inputs,
            bounds: bounds(&package.model.program, &bucket.function),
            outputs,
            precision: precision(&package.model.program, &bucket.function),
            batch: bucket.batch,
            length: bucket.length,
        };
        subject.resize(bucket)?;
        Ok(subject)
    }

    /// Runs at another size of the same function from now on.
    pub(crate) fn resize(&mut self, bucket: &Bucket) -> Result<(), VerifyError> {
        if bucket.batch > 1 && self.outputs.iter().any(|(_, form)| *form != Form::Array) {
            return Err(self.fail("a classifier takes one row at a time".into()));
        }
        (self.batch, self.length) = (bucket.batch, bucket.length);
        Ok(())
    }

    /// Whether the package takes this input.
    pub(crate) fn takes(&self, input: &str) -> bool {
        self.inputs.iter().any(|taken| taken.name == input)
    }

    /// What the program says integers of an input lie below.
    pub(crate) fn bound(&self, input: &str) -> Option<usize> {
        self.bounds.get(input).copied()
    }

    /// What it takes at its present size.
    pub(crate) fn feed(&self) -> Result<Feed, VerifyError> {
        let ids = self.inputs.iter().find(|input| input.name == INPUT_IDS);
        let own: Vec<(Dim, usize)> = ids
            .into_iter()
            .flat_map(|input| input.shape.iter().copied())
            .zip([self.batch, self.length])
            .collect();
        let size = |input: &Taken, dim: &Dim| {
            match dim {
                Dim::Known(size) => usize::try_from(*size).ok(),
                symbol => own.iter().find(|(own, _)| own == symbol).map(|(_, size)| *size),
            }
            .ok_or_else(|| {
                self.fail(format!(
                    "input `{}` has a size {dim} that is none of {INPUT_IDS}'s",
                    input.name
                ))
            })
        };
        let inputs = self.inputs.iter().map(|input| {
            let of_tokens = [INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS].contains(&input.name.as_str());
            Ok(InputType {
                name: input.name.clone(),
                float: input.dtype != DataType::Int32 && !of_tokens,
                shape: if of_tokens {
                    vec![self.batch, self.length]
                } else {
                    let sizes = input.shape.iter().map(|dim| size(input, dim));
                    sizes.collect::<Result<_, _>>()?
                },
            })
        });
        Ok(Feed {
            batch: self.batch,
            length: self.length,
            inputs: inputs.collect::<Result<_, VerifyError>>()?,
        })
    }

    pub(crate) fn engine(&self) -> String {
        self.executable.describe().to_string()
    }

    /// Outputs for `batch`, in declared order, one row per input row.
    pub(crate) fn outputs(&self, batch: &Batch<'_>) -> Result<Vec<Produced>, VerifyError> {
        let mut gathered: Vec<Gathered> = self.outputs.iter().map(|_| Gathered::default()).collect();
        for (index, rows) in batch.rows.chunks(self.batch).enumerate() {
            let first_row = batch.first_row + index * self.batch;
            let results = self
                .executable
                .run(&self.tensors(rows)?)
                .map_err(|source| VerifyError::Run {
                    path: self.path.clone(),
                    first_row,
                    rows: rows.len(),
                    source: Box::new(source),
                })?;
            for ((name, form), gathered) in self.outputs.iter().zip(&mut gathered) {
                let result = results
                    .get(name)
                    .ok_or_else(|| self.fail(format!("output `{name}` was not computed")))?;
                gathered
                    .add(result, form, self.batch, rows.len())
                    .map_err(|reason| self.fail(format!("output `{name}` {reason}")))?;
            }
        }
        let produced = gathered
            .into_iter()
            .zip(&self.outputs)
            .map(|(gathered, (name, form))| {
                if matches!(form, Form::Label(_)) {
                    return Ok(Produced::Labels(gathered.labels));
                }
                let shape = std::iter::once(batch.rows.len())
                    .chain(gathered.row_shape.unwrap_or_default())
                    .collect();
                let tensor = Tensor::new(shape, gathered.values);
                tensor
                    .map(Produced::Array)
                    .ok_or_else(|| self.fail(format!("output `{name}` changes its shape")))
            });
        produced.collect()
    }

    /// Runs `batch`, no more rows than one execution takes, and shows every value.
    pub(crate) fn observed(
        &self,
        batch: &Batch<'_>,
        observer: &mut dyn FnMut(&Observation<'_>),
    ) -> Result<(), VerifyError> {
        let run = self.executable.run_observed(&self.tensors(batch.rows)?, observer);
        run.map(drop).map_err(|source| VerifyError::Run {
            path: self.path.clone(),
            first_row: batch.first_row,
            rows: batch.rows.len(),
            source: Box::new(source),
        })
    }

    /// The function's inputs for rows, no more than one execution takes.
    pub(crate) fn tensors(&self, rows: &[InputRow]) -> Result<BTreeMap<String, EngineTensor>, VerifyError> {
        // A last batch that is not full repeats its last row; what comes of that is dropped.
        let missing = self.batch - rows.len();
        let full: Vec<InputRow>;
        let rows = if missing == 0 {
            rows
        } else {
            let last = std::iter::repeat_n(rows.last(), missing).flatten();
            full = rows.iter().chain(last).cloned().collect();
            &full
        };
        let batch = Batch {
            first_row: 0,
            length: self.length,
            rows,
        };
        let tensors = self.inputs.iter().map(|input| {
            let name = &input.name;
            let values = batch
                .input(name)
                .ok_or_else(|| self.fail(format!("input `{name}`: nothing is known to fill it with")))?;
            let tensor = match (input.dtype, values.values) {
                (DataType::Int32, Values::Ints(ids)) => EngineTensor::i32(values.shape, ids),
                (DataType::Int32, Values::Floats(_)) => {
                    return Err(self.fail(format!("input `{name}` takes integers, not real numbers")));
                }
                (_, numbers) => EngineTensor::f32(values.shape, numbers.to_f32()),
            };
            let tensor = tensor.map_err(|error| self.fail(format!("input `{name}`: {error}")))?;
            Ok((name.clone(), tensor))
        });
        tensors.collect()
    }

    pub(crate) fn fail(&self, reason: String) -> VerifyError {
        VerifyError::Interface {
            path: self.path.clone(),
            reason,
        }
    }
}

/// One output, piece by piece.
#[derive(Default)]
struct Gathered {
    row_shape: Option<Vec<usize>>,
    values: Vec<f32>,
    labels: Vec<String>,
}

impl Gathered {
    /// Adds the first `rows` of `batch` rows.
    fn add(&mut self, result: &EngineTensor, form: &Form, batch: usize, rows: usize) -> Result<(), String> {
        if let Form::Label(_) = form {
            let label = match result.as_strings() {
                Some([label]) => label.clone(),
                _ if result.len() == 1 => format!("{}", result.to_f32()[0]),
                _ => return Err(format!("is no label but has shape {:?}", result.shape())),
            };
            self.labels.push(label);
            return Ok(());
        }
        let row_shape = match (form, result.shape()) {
            // A dictionary has no batch axis.
            (Form::Probabilities(_), shape) => vec![shape.iter().product()],
            (_, [first, rest @ ..]) if *first == batch => rest.to_vec(),
            (_, shape) => return Err(format!("has shape {shape:?}, expected {batch} rows")),
        };
        let row: usize = row_shape.iter().product();
        if *self.row_shape.get_or_insert_with(|| row_shape.clone()) != row_shape {
            return Err("changes its shape from run to run".into());
        }
        let values = result.to_f32();
        let kept = values
            .get(..row * rows)
            .ok_or("has fewer values than its shape says")?;
        self.values.extend_from_slice(kept);
        Ok(())
    }
}

fn form(executable: &Executable, name: &str, ty: &corer_mil::ValueType) -> Form {
    let names = executable.labels(name).map(|labels| match labels {
        Labels::Strings(names) => names.clone(),
        Labels::Integers(numbers) => numbers.iter().map(ToString::to_string).collect(),
    });
    match (names, ty) {
        (Some(names), corer_mil::ValueType::Dictionary(..)) => Form::Probabilities(names),
        (Some(names), _) => Form::Label(names),
        (None, _) => Form::Array,
    }
}

/// How finely the values of a function are held, by the types it declares.
fn precision(program: &Program, function: &str) -> Precision {
    let operations = program
        .functions
        .get(function)
        .and_then(|function| function.body())
        .into_iter()
        .flat_map(|body| &body.operations);
    let mut precision = Precision::Fp32;
    for operation in operations {
        if operation.op.starts_with("constexpr_") && operation.op != "constexpr_cast" {
            return Precision::Compressed;
        }
        let half = operation.outputs.iter().any(|output| {
            output
                .ty
                .as_tensor()
                .is_some_and(|tensor| tensor.dtype == DataType::Fp16)
        });
        if half {
            precision = Precision::Fp16;
        }
    }
    precision
}

/// The path as shown in reports.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
