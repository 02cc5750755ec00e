//! The module in libtorch: what it is called with, and what comes back.

use std::path::Path;
use std::sync::Mutex;

use corer_verifier::Tensor as Plain;
use corer_verifier::inputs::{ATTENTION_MASK, Batch, Extra, INPUT_IDS, TOKEN_TYPE_IDS, Values};
use tch::{Kind, TchError, Tensor};

use crate::error::LibtorchError;
use crate::module::{Argument, Module};

/// The inputs a module that takes a dictionary is given, as sentence-transformers' modules do.
const FEATURES: [&str; 3] = [INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS];

/// A loaded module.
pub(super) struct Running {
    /// libtorch may change a module while it runs.
    module: Mutex<Module>,
    arguments: Vec<Argument>,
}

impl Running {
    pub(super) fn load(path: &Path) -> Result<Self, LibtorchError> {
        let loading = |refused| LibtorchError::torch("loading the module", refused);
        // libtorch's own message for this is about its file reader.
        if let Err(source) = std::fs::File::open(path) {
            return Err(LibtorchError::Io {
                path: path.into(),
                source,
            });
        }
        let module = Module::load(path).map_err(loading)?;
        let arguments = module.arguments().map_err(loading)?;
        Ok(Self {
            module: Mutex::new(module),
            arguments,
        })
    }

    /// Runs rows; results are named by the module, else by their number.
    pub(super) fn run(&self, batch: &Batch<'_>) -> Result<Vec<(String, Plain)>, LibtorchError> {
        let as_dictionary = matches!(&self.arguments[..], [only] if only.ty.starts_with("Dict"));
        let wanted: Vec<&str> = match as_dictionary {
            true => FEATURES.to_vec(),
            false => self.arguments.iter().map(|argument| &*argument.name).collect(),
        };
        let mut inputs = Vec::with_capacity(wanted.len());
        for name in wanted {
            let given = batch.input(name).ok_or_else(|| LibtorchError::Torch {
                step: "running the module".into(),
                reason: format!("it takes `{name}`, which the package does not and no row has"),
            })?;
            let tensor =
                tensor(&given).map_err(|error| LibtorchError::torch(format!("input `{name}`"), error))?;
            inputs.push((name, tensor));
        }
        let running = |error: &dyn std::fmt::Display| LibtorchError::torch("running the module", error);
        let results = self
            .module
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .forward(&inputs, as_dictionary)
            .map_err(|refused| running(&refused))?;
        let several = results.len() > 1;
        let named = results.into_iter().enumerate().map(|(index, (own, tensor))| {
            let name = match own {
                Some(own) => own,
                None if several => format!("output_{index}"),
                None => "output".into(),
            };
            Ok((name, plain(&tensor).map_err(|error| running(&error))?))
        });
        named.collect()
    }
}

/// Integers are int64, as transformers has them.
fn tensor(given: &Extra) -> Result<Tensor, TchError> {
    let shape: Vec<i64> = given.shape.iter().map(|size| size.cast_signed() as i64).collect();
    match &given.values {
        Values::Ints(values) => Tensor::f_from_slice(values)?
            .f_reshape(shape)?
            .f_to_kind(Kind::Int64),
        Values::Floats(values) => Tensor::f_from_slice(values)?.f_reshape(shape),
    }
}

fn plain(tensor: &Tensor) -> Result<Plain, TchError> {
    let shape: Vec<usize> = tensor
        .size()
        .iter()
        .map(|size| size.unsigned_abs() as usize)
        .collect();
    let flat = tensor.f_to_kind(Kind::Float)?.f_contiguous()?;
    let mut values = vec![0f32; flat.numel()];
    let count = values.len();
    flat.f_copy_data(&mut values, count)?;
    Plain::new(shape, values).ok_or_else(|| TchError::Shape("sizes and values disagree".into()))
}
