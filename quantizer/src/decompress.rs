//! Compressed weights back to numbers, by the runtime's own decoders.

use std::collections::BTreeMap;

use corer_mil::{Block, Function, NamedType, Operation, Opset, Program, TensorType};
use corer_runtime::{Arithmetic, Executable, Options, TensorData};

use crate::error::QuantizeError;
use crate::sites::Site;

/// The numbers `chain` (operations of `body`, in order) makes of `site`, as the program's type holds them.
pub(crate) fn decompress(
    site: &Site,
    body: &Block,
    opset: Opset,
    chain: &[usize],
) -> Result<Vec<f32>, QuantizeError> {
    let fail = |reason: String| QuantizeError::Decompress {
        weight: site.name.clone(),
        reason,
    };
    let shape = site.shape.iter().map(|size| *size as u64);
    let ty = TensorType::new(site.dtype, shape);
    // A program of the chain alone.
    let mut operations: Vec<Operation> = chain
        .iter()
        .map(|index| body.operations[*index].clone())
        .collect();
    operations.push(Operation {
        op: "identity".into(),
        inputs: BTreeMap::from([("x".into(), vec![corer_mil::Binding::Name(site.name.clone())])]),
        outputs: vec![NamedType::new("corer_decompressed", ty)],
        attributes: BTreeMap::from([("name".into(), corer_mil::Value::string("corer_decompressed"))]),
        blocks: Vec::new(),
    });
    let block = Block {
        operations,
        outputs: vec!["corer_decompressed".into()],
        ..Block::default()
    };
    let function = Function {
        inputs: Vec::new(),
        opset,
        blocks: BTreeMap::from([(opset, block)]),
        attributes: BTreeMap::new(),
    };
    let program = Program {
        functions: BTreeMap::from([("main".into(), function)]),
        attributes: BTreeMap::new(),
    };
    let executable = Executable::compile(&program, "main", &Options::new(Arithmetic::AsWritten))
        .map_err(|error| fail(error.to_string()))?;
    let outputs = executable
        .run(&BTreeMap::new())
        .map_err(|error| fail(error.to_string()))?;
    let tensor = outputs
        .into_values()
        .next()
        .ok_or_else(|| fail("nothing came out".into()))?;
    match tensor.data() {
        TensorData::F16(_) | TensorData::F32(_) if tensor.len() == site.len() => Ok(tensor.to_f32()),
        _ => Err(fail("something else came out".into())),
    }
}
