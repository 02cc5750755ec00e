//! Weights as a program holds them, for whoever compares programs: how each is stored, and its numbers.

use std::sync::Arc;

use corer_mil::{Block, DataType, Opset, Program, WeightSource};

use crate::decompress::decompress;
use crate::error::QuantizeError;
use crate::sites::{self, Site, State};

/// A float weight of a program.
#[derive(Clone, Debug)]
pub struct StoredWeight<'p> {
    site: Site,
    body: &'p Block,
    opset: Opset,
}

/// The float weights of every function, in the order of functions and operations. Constants that are compressed count
/// as what they decompress to. A single number is an operand and no weight.
pub fn stored_weights(program: &Program) -> Vec<StoredWeight<'_>> {
    let sites = sites::find(program).into_iter();
    sites
        .filter(|site| !site.shape.is_empty())
        .filter_map(|site| {
            let function = program.functions.get(&site.function)?;
            Some(StoredWeight {
                body: function.body()?,
                opset: function.opset,
                site,
            })
        })
        .collect()
}

impl StoredWeight<'_> {
    /// The function it belongs to.
    pub fn function(&self) -> &str {
        &self.site.function
    }

    /// Name of the value.
    pub fn name(&self) -> &str {
        &self.site.name
    }

    /// Row-major sizes.
    pub fn shape(&self) -> &[usize] {
        &self.site.shape
    }

    /// Type of its elements where they are used.
    pub fn dtype(&self) -> DataType {
        self.site.dtype
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> u64 {
        self.site.bytes()
    }

    /// How it is stored: its element type when it is dense, else the operations that decompress it with the element type
    /// of what each is given, the last one first: `lut_to_dense uint4`.
    pub fn form(&self) -> String {
        match &self.site.state {
            State::Dense(dense) => dense.dtype.to_string(),
            State::Compressed { chain, .. } => {
                let names = chain.iter().rev().map(|index| {
                    let operation = &self.body.operations[*index];
                    operation.op.strip_prefix("constexpr_")
                });
                names.flatten().collect::<Vec<_>>().join(" of ")
            }
        }
    }

    /// The bytes of a dense weight, read on demand.
    pub fn source(&self) -> Option<&Arc<dyn WeightSource>> {
        match &self.site.state {
            State::Dense(dense) => Some(&dense.source),
            State::Compressed { .. } => None,
        }
    }

    /// Its numbers, row-major.
    ///
    /// # Errors
    /// When the weight can't be read or decompressed.
    pub fn values(&self) -> Result<Vec<f32>, QuantizeError> {
        match &self.site.state {
            State::Dense(dense) => dense.to_vec(),
            State::Compressed { chain, .. } => decompress(&self.site, self.body, self.opset, chain),
        }
    }
}
