//! A function of a package as something that takes rows and gives rows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corer_mil::{DataType, Program};
use corer_proto::Package;
use corer_runtime::{Arithmetic, Engine as _, Executable, Labels, Options, Tensor as EngineTensor};

use crate::buckets::Bucket;
use crate::error::VerifyError;
use crate::inputs::{Batch, InputRow};
use crate::report::Precision;
use crate::tensor::Tensor;

/// The inputs a BERT takes; a package may leave out all but the first.
pub(crate) const INPUT_IDS: &str = "input_ids";
pub(crate) const ATTENTION_MASK: &str = "attention_mask";
pub(crate) const TOKEN_TYPE_IDS: &str = "token_type_ids";

/// A function compiled, with what its inputs and outputs are, and the size it is run at.
pub(crate) struct Subject {
    path: PathBuf,
    pub(crate) function: String,
    executable: Executable,
    inputs: Vec<(String, DataType)>,
    /// Outputs in declared order.
    pub(crate) outputs: Vec<(String, Form)>,
    /// How finely its values are held.
    pub(crate) precision: Precision,
    /// Rows per execution.
    pub(crate) batch: usize,
    /// Positions per row.
    pub(crate) length: usize,
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
            let name = input.name.as_str();
            if ![INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS].contains(&name) {
                return Err(fail(format!(
                    "input `{name}`: nothing is known to fill it with; known are {INPUT_IDS}, {ATTENTION_MASK}, \
                     {TOKEN_TYPE_IDS}"
                )));
            }
            let tensor = input
                .ty
                .as_tensor()
                .ok_or_else(|| fail(format!("input `{name}` is {}", input.ty)))?;
            if !matches!(tensor.dtype, DataType::Int32 | DataType::Fp32 | DataType::Fp16) {
                return Err(fail(format!(
                    "input `{name}` is {}, expected int32",
                    tensor.dtype
                )));
            }
            inputs.push((input.name.clone(), tensor.dtype));
        }
        if inputs.iter().all(|(name, _)| name != INPUT_IDS) {
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
        self.inputs.iter().any(|(name, _)| name == input)
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
                .run(&self.feed(rows)?)
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

    fn feed(&self, rows: &[InputRow]) -> Result<BTreeMap<String, EngineTensor>, VerifyError> {
        let feed = self.inputs.iter().map(|(name, dtype)| {
            let pick = |row: &InputRow| match name.as_str() {
                ATTENTION_MASK => row.attention_mask.clone(),
                TOKEN_TYPE_IDS => row.token_type_ids.clone(),
                _ => row.input_ids.clone(),
            };
            // A last batch that is not full repeats its last row; what comes of that is dropped.
            let missing = self.batch - rows.len();
            let padded = rows
                .iter()
                .chain(std::iter::repeat_n(rows.last(), missing).flatten());
            let values: Vec<i32> = padded.flat_map(pick).collect();
            let shape = [self.batch, self.length];
            let tensor = if *dtype == DataType::Int32 {
                EngineTensor::i32(shape, values)
            } else {
                #[allow(clippy::cast_precision_loss)] // token ids are below 2²⁴
                EngineTensor::f32(shape, values.into_iter().map(|value| value as f32).collect())
            };
            let tensor = tensor.map_err(|error| self.fail(format!("input `{name}`: {error}")))?;
            Ok((name.clone(), tensor))
        });
        feed.collect()
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
