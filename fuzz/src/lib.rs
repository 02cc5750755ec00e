//! What the fuzz targets share: seeds made from the fixtures, and a small package to bend.

use std::fs;
use std::path::{Path, PathBuf};

use corer_converter::{Request, convert};
use corer_mil::{DataType, FunctionBuilder, Opset, Program, TensorType, Value};
use corer_proto::blob::BlobType;
use corer_proto::{ArrayType, Description, Feature, Model, WriteOptions};

/// Directory seeds are written to, after which the target ends.
const WRITE_SEEDS: &str = "CORER_FUZZ_WRITE_SEEDS";

/// Writes the seeds and ends the process, when the environment asks for it.
///
/// # Panics
/// When a seed can't be made or written: then there is nothing to fuzz.
pub fn write_seeds(seeds: impl FnOnce() -> Vec<Vec<u8>>) {
    let Some(folder) = std::env::var_os(WRITE_SEEDS) else {
        return;
    };
    let folder = PathBuf::from(folder);
    fs::create_dir_all(&folder).expect("the seed directory can be made");
    for (index, seed) in seeds().into_iter().enumerate() {
        fs::write(folder.join(format!("seed-{index:03}")), seed).expect("a seed can be written");
    }
    std::process::exit(0);
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Every file below a directory of the repository whose name ends so, in name order.
///
/// # Panics
/// When the directory can't be read.
pub fn files(below: &str, end: &str) -> Vec<Vec<u8>> {
    let mut folders = vec![root().join(below)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the fixtures are there") {
            let path = entry.expect("the fixtures can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
        .into_iter()
        .map(|path| fs::read(path).expect("the fixtures can be read"))
        .collect()
}

/// `model.mlmodel` and `weight.bin` of a package.
pub struct Parts {
    /// `model.mlmodel`.
    pub model: Vec<u8>,
    /// `weight.bin`; empty when there is none.
    pub weights: Vec<u8>,
}

impl Parts {
    fn of(model: &Model) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a package");
        let path = folder.path().join("x.mlpackage");
        corer_proto::write(&path, model, &WriteOptions::default()).expect("the package can be written");
        let core = path.join("Data/com.apple.CoreML");
        Self {
            model: fs::read(core.join("model.mlmodel")).expect("it has a model"),
            weights: fs::read(core.join("weights/weight.bin")).unwrap_or_default(),
        }
    }

    /// Both in one seed: the model's length, the model, the weights.
    pub fn join(&self) -> Vec<u8> {
        let len = u32::try_from(self.model.len()).expect("a fixture's model is small");
        [&len.to_le_bytes(), &self.model[..], &self.weights].concat()
    }
}

/// Takes model and weights apart again; lengths that reach too far are cut.
pub fn split(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = data.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?.min(rest.len());
    Some(rest.split_at(len))
}

/// Models converted from the smallest fixtures.
///
/// # Panics
/// When a fixture can't be converted.
pub fn converted() -> Vec<Model> {
    ["formats/f16", "sentence-cls-dense", "sentence-max"]
        .into_iter()
        .map(|name| {
            let request = Request::new(root().join("fixtures/bert-tiny").join(name));
            convert(&request).expect("fixtures can be converted").model
        })
        .collect()
}

/// The packages of [`converted`], and [`every_dtype`].
pub fn packages() -> Vec<Parts> {
    converted()
        .iter()
        .chain([&every_dtype()])
        .map(Parts::of)
        .collect()
}

/// A package with a weight of every element type a weight file knows.
pub fn blobs() -> Parts {
    Parts::of(&every_dtype())
}

/// A model that only returns its input, with a constant of every element type.
pub fn every_dtype() -> Model {
    let ty = TensorType::new(DataType::Fp16, [1u64, 4]);
    let mut builder = FunctionBuilder::new(Opset::CoreMl8);
    let input = builder.input("x", ty);
    for dtype in DataType::ALL {
        if BlobType::from_data_type(dtype).is_none() {
            continue;
        }
        let bytes = usize::try_from(dtype.packed_len(11).unwrap_or_default()).unwrap_or_default();
        let value = Value::memory_weight(TensorType::new(dtype, [11u64]), vec![0; bytes]);
        builder.constant(dtype.name(), value);
    }
    let shape = [1u64, 4];
    let array = ArrayType::from_data_type(DataType::Fp16).expect("fp16 is an array type");
    let output = builder
        .op("relu", "y", vec![("x", (&input).into())])
        .expect("relu takes fp16");
    let function = builder.finish(&[output]);
    let feature = |name: &str| Feature::multi_array(name, array, shape);
    let mut program = Program::default();
    program.functions.insert("main".into(), function);
    Model {
        specification_version: Opset::CoreMl8.specification_version(),
        description: Description {
            inputs: vec![feature("x")],
            outputs: vec![feature("y")],
            ..Description::default()
        },
        program,
    }
}
