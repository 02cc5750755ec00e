//! Compressed weights as the operations that decompress them.
//!
//! Up to iOS 17 parameters are attributes and packed in whole bytes; from iOS 18 on they are inputs of sub-byte types,
//! and one operation may take another's result. The last operation makes a value of the weight's own name, so
//! nothing that uses it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use corer_mil::{Binding, DataType, NamedType, Operation, Opset, TensorType, Value, WeightSource};

use crate::dense::to_bytes;
use crate::grid::Grid;
use crate::linear::Step;
use crate::mask::Mask;
use crate::scheme::{Granularity, Linear};

/// A weight in pieces, as they are stored.
#[derive(Clone, Debug)]
pub(crate) struct Compressed {
    pub(crate) dtype: DataType,
    pub(crate) grid: Grid,
    pub(crate) content: Content,
    pub(crate) mask: Option<Arc<Mask>>,
    /// Packed codes, or the numbers that are kept.
    pub(crate) codes: Arc<dyn WeightSource>,
}

/// What the codes mean.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Numbers.
    Dense,
    /// Steps by cell.
    Linear { linear: Linear, steps: Vec<Step> },
    /// Entries by cell.
    Palette {
        bits: u32,
        tables: Vec<f32>,
        /// The entries as int8 codes, with a scale per cell.
        int8: Option<(Vec<i8>, Vec<f32>)>,
        /// Elements of an entry, and the axis they follow each other along.
        vector: Option<(usize, usize)>,
    },
}

/// The operations of one weight, and the bytes of their values.
#[derive(Debug)]
pub(crate) struct Emitted {
    pub(crate) operations: Vec<Operation>,
    pub(crate) bytes: u64,
}

/// Writes `compressed` as operations for `opset`; the result is called `name`, further names are added to `taken`.
pub(crate) fn emit(
    compressed: &Compressed,
    name: &str,
    opset: Opset,
    taken: &mut BTreeSet<String>,
) -> Emitted {
    let mut emit = Emit {
        compressed,
        name,
        taken,
        emitted: Emitted {
            operations: Vec::new(),
            bytes: 0,
        },
    };
    if opset < Opset::CoreMl8 {
        emit.attributes();
    } else {
        emit.inputs();
    }
    emit.emitted
}

struct Emit<'a> {
    compressed: &'a Compressed,
    name: &'a str,
    taken: &'a mut BTreeSet<String>,
    emitted: Emitted,
}

impl Emit<'_> {
    fn shape(&self) -> Vec<u64> {
        to_u64(&self.compressed.grid.shape)
    }

    fn kept(&self) -> u64 {
        match &self.compressed.mask {
            Some(mask) => mask.kept() as u64,
            None => self.compressed.grid.len() as u64,
        }
    }

    /// A stored weight's value.
    fn stored(&self, dtype: DataType, shape: Vec<u64>) -> Value {
        Value::weight(TensorType::new(dtype, shape), Arc::clone(&self.compressed.codes))
    }

    fn floats(&self, shape: Vec<u64>, values: &[f32]) -> Value {
        Value::memory_weight(
            TensorType::new(self.compressed.dtype, shape),
            to_bytes(self.compressed.dtype, values),
        )
    }

    fn dense_type(&self) -> TensorType {
        TensorType::new(self.compressed.dtype, self.shape())
    }

    /// iOS 16 and 17.
    fn attributes(&mut self) {
        let shape = self.shape();
        let shape_value = Value::tensor(
            TensorType::new(DataType::UInt32, [shape.len() as u64]),
            shape
                .iter()
                .flat_map(|size| (*size as u32).to_le_bytes())
                .collect(),
        );
        let packed = |bits: u64, count: u64| vec![(bits * count).div_ceil(8)];
        let count = self.compressed.grid.len() as u64;
        match (&self.compressed.content, &self.compressed.mask) {
            (Content::Linear { linear, steps }, _) => {
                let dtype = code_type(*linear);
                let zeros: Vec<u8> = steps.iter().map(|step| step.zero as u8).collect();
                let scales: Vec<f32> = steps.iter().map(|step| step.scale).collect();
                let axis = self.compressed.grid.cells.iter().position(|cells| *cells > 1);
                let per = match (linear.granularity, steps.len()) {
                    (Granularity::Tensor, _) | (_, 1) => vec![],
                    (_, cells) => vec![cells as u64],
                };
                let parameters = vec![
                    ("quantized_data", self.stored(dtype, shape)),
                    ("zero_point", small(TensorType::new(dtype, per.clone()), zeros)),
                    ("scale", {
                        let bytes = to_bytes(self.compressed.dtype, &scales);
                        small(TensorType::new(self.compressed.dtype, per), bytes)
                    }),
                    ("axis", Value::i32(axis.unwrap_or(0) as i32)),
                ];
                self.attribute_form("constexpr_affine_dequantize", parameters);
            }
            (Content::Palette { bits, tables, .. }, _) => {
                let indices = self.stored(DataType::UInt8, packed(u64::from(*bits), count));
                let parameters = vec![
                    ("indices", indices),
                    ("lut", self.floats(vec![tables.len() as u64], tables)),
                    ("shape", shape_value),
                ];
                self.attribute_form("constexpr_lut_to_dense", parameters);
            }
            (Content::Dense, Some(mask)) => {
                let ty = TensorType::new(DataType::UInt8, packed(1, count));
                let parameters = vec![
                    (
                        "nonzero_data",
                        self.stored(self.compressed.dtype, vec![self.kept()]),
                    ),
                    ("mask", Value::memory_weight(ty, mask.bits.clone())),
                    ("shape", shape_value),
                ];
                self.attribute_form("constexpr_sparse_to_dense", parameters);
            }
            (Content::Dense, None) => self.constant(),
        }
    }

    /// iOS 18 and newer.
    fn inputs(&mut self) {
        let shape = self.shape();
        let mask = self.compressed.mask.clone();
        let mask = mask.map(|mask| {
            let ty = TensorType::new(DataType::UInt1, shape.clone());
            Value::memory_weight(ty, mask.bits.clone())
        });
        match (self.compressed.content.clone(), mask) {
            (Content::Dense, None) => self.constant(),
            (Content::Dense, Some(mask)) => {
                let data = self.stored(self.compressed.dtype, vec![self.kept()]);
                self.sparse(Binding::Value(mask), Binding::Value(data));
            }
            (Content::Linear { linear, steps }, mask) => {
                let dtype = code_type(linear);
                let cells = to_u64(&self.compressed.grid.cells);
                let scales: Vec<f32> = steps.iter().map(|step| step.scale).collect();
                let mut parameters = vec![("scale", self.floats(cells.clone(), &scales))];
                if linear.affine || !linear.signed {
                    let zeros: Vec<u8> = steps.iter().map(|step| step.zero as u8).collect();
                    let zeros = crate::pack::pack(&zeros, linear.bits);
                    parameters.push((
                        "offset",
                        Value::memory_weight(TensorType::new(dtype, cells), zeros),
                    ));
                }
                match mask {
                    None => {
                        parameters.push(("data", self.stored(dtype, shape)));
                        self.last("constexpr_blockwise_shift_scale", bound(parameters));
                    }
                    Some(mask) => {
                        parameters.push(("nonzero_data", self.stored(dtype, vec![self.kept()])));
                        parameters.push(("data_mask", mask));
                        self.masked(
                            "constexpr_sparse_blockwise_shift_scale",
                            bound(parameters),
                            shape,
                            self.kept(),
                        );
                    }
                }
            }
            (
                Content::Palette {
                    bits,
                    tables,
                    int8,
                    vector,
                },
                mask,
            ) => {
                let index = index_type(bits);
                let (length, axis) = vector.unwrap_or((1, 0));
                let mut indices = shape.clone();
                if let Some(size) = indices.get_mut(axis) {
                    *size /= length as u64;
                }
                let mut lut_shape = to_u64(&self.compressed.grid.cells);
                lut_shape.extend([1 << bits, length as u64]);
                let lut = match int8 {
                    None => Binding::Value(self.floats(lut_shape, &tables)),
                    Some((codes, scales)) => self.int8_table(lut_shape, &codes, &scales),
                };
                let mut parameters = vec![("lut", lut)];
                if length > 1 {
                    parameters.push(("vector_axis", Binding::Value(Value::i32(axis as i32))));
                }
                match mask {
                    None => {
                        parameters.push(("indices", Binding::Value(self.stored(index, indices))));
                        self.last("constexpr_lut_to_dense", parameters);
                    }
                    Some(mask) => {
                        let kept = self.kept();
                        let data = self.stored(index, vec![kept]);
                        parameters.push(("indices_nonzero_data", Binding::Value(data)));
                        parameters.push(("indices_mask", Binding::Value(mask)));
                        self.masked("constexpr_lut_to_sparse", parameters, shape, kept);
                    }
                }
            }
        }
    }

    /// A table of int8 entries, scaled cell by cell by an operation of its own.
    fn int8_table(&mut self, shape: Vec<u64>, codes: &[i8], scales: &[f32]) -> Binding {
        let bytes = codes.iter().map(|code| *code as u8).collect();
        let data = Value::memory_weight(TensorType::new(DataType::Int8, shape.clone()), bytes);
        let mut scale_shape = to_u64(&self.compressed.grid.cells);
        scale_shape.extend([1, 1]);
        let scale = self.floats(scale_shape, scales);
        let name = self.fresh("lut");
        let ty = TensorType::new(self.compressed.dtype, shape);
        self.push(
            "constexpr_blockwise_shift_scale",
            bound(vec![("data", data), ("scale", scale)]),
            vec![NamedType::new(name.clone(), ty)],
        );
        Binding::Name(name)
    }

    /// An operation that gives mask and values, and the one that spreads them out.
    fn masked(&mut self, op: &str, parameters: Vec<(&str, Binding)>, shape: Vec<u64>, kept: u64) {
        let (mask, values) = (self.fresh("mask"), self.fresh("nonzero"));
        let outputs = vec![
            NamedType::new(mask.clone(), TensorType::new(DataType::UInt1, shape)),
            NamedType::new(values.clone(), TensorType::new(self.compressed.dtype, [kept])),
        ];
        self.push(op, parameters, outputs);
        self.sparse(Binding::Name(mask), Binding::Name(values));
    }

    fn sparse(&mut self, mask: Binding, data: Binding) {
        self.last(
            "constexpr_sparse_to_dense",
            vec![("nonzero_data", data), ("mask", mask)],
        );
    }

    fn last(&mut self, op: &str, parameters: Vec<(&str, Binding)>) {
        let output = NamedType::new(self.name, self.dense_type());
        self.push(op, parameters, vec![output]);
    }

    fn constant(&mut self) {
        let value = self.stored(self.compressed.dtype, self.shape());
        self.emitted.bytes += value.tensor_type().and_then(TensorType::byte_len).unwrap_or(0);
        self.emitted.operations.push(constant(self.name, value));
    }

    fn attribute_form(&mut self, op: &str, parameters: Vec<(&str, Value)>) {
        let bytes: u64 = parameters
            .iter()
            .filter_map(|(_, value)| value.tensor_type()?.byte_len())
            .sum();
        self.emitted.bytes += bytes;
        let mut attributes: BTreeMap<String, Value> = parameters
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        attributes.insert("name".into(), Value::string(self.name));
        self.emitted.operations.push(Operation {
            op: op.into(),
            inputs: BTreeMap::new(),
            outputs: vec![NamedType::new(self.name, self.dense_type())],
            attributes,
            blocks: Vec::new(),
        });
    }

    fn push(&mut self, op: &str, parameters: Vec<(&str, Binding)>, outputs: Vec<NamedType>) {
        for (_, binding) in &parameters {
            if let Binding::Value(value) = binding {
                self.emitted.bytes += value.tensor_type().and_then(TensorType::byte_len).unwrap_or(0);
            }
        }
        let name = outputs
            .first()
            .map_or("", |output| output.name.as_str())
            .to_owned();
        self.emitted.operations.push(Operation {
            op: op.into(),
            inputs: parameters
                .into_iter()
                .map(|(name, binding)| (name.to_owned(), vec![binding]))
                .collect(),
            outputs,
            attributes: BTreeMap::from([("name".into(), Value::string(name))]),
            blocks: Vec::new(),
        });
    }

    /// A name for a value on the way to the weight.
    fn fresh(&mut self, part: &str) -> String {
        let base = format!("{}_{part}", self.name);
        let mut name = base.clone();
        let mut counter = 0;
        while !self.taken.insert(name.clone()) {
            counter += 1;
            name = format!("{base}_{counter}");
        }
        name
    }
}

/// A `const` operation.
pub(crate) fn constant(name: &str, value: Value) -> Operation {
    Operation {
        op: "const".into(),
        inputs: BTreeMap::new(),
        outputs: vec![NamedType::new(name, value.ty.clone())],
        attributes: BTreeMap::from([("name".into(), Value::string(name)), ("val".into(), value)]),
        blocks: Vec::new(),
    }
}

fn bound(parameters: Vec<(&str, Value)>) -> Vec<(&str, Binding)> {
    parameters
        .into_iter()
        .map(|(name, value)| (name, Binding::Value(value)))
        .collect()
}

fn small(ty: TensorType, bytes: Vec<u8>) -> Value {
    if ty.rank() == 0 {
        Value::tensor(ty, bytes)
    } else {
        Value::memory_weight(ty, bytes)
    }
}

fn to_u64(sizes: &[usize]) -> Vec<u64> {
    sizes.iter().map(|size| *size as u64).collect()
}

fn code_type(linear: Linear) -> DataType {
    match (linear.bits, linear.signed) {
        (4, true) => DataType::Int4,
        (4, false) => DataType::UInt4,
        (_, true) => DataType::Int8,
        (_, false) => DataType::UInt8,
    }
}

/// The type of an index of so many bits.
pub(crate) fn index_type(bits: u32) -> DataType {
    match bits {
        1 => DataType::UInt1,
        2 => DataType::UInt2,
        3 => DataType::UInt3,
        4 => DataType::UInt4,
        6 => DataType::UInt6,
        _ => DataType::UInt8,
    }
}
