//! Operations that stay in f32 in an fp16 function.
//!
//! Works on the function as it was lowered, so that both layouts are served alike and nothing else is written
//! differently: the operations named compute in f32, what they take is cast before them and what they give after them,
//! and their weights are read from the source once more, in f32. Neighbours that are both kept pass f32 on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use corer_mil::{
    Binding, Block, Data, DataType, Function, NamedType, Operation, TensorType, Value, ValueType,
    WeightError, WeightSource,
};

use super::Weights;
use crate::source::Overflow;

/// Names of operations, `*` standing for anything. A module's path may be written with its dots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    text: String,
    parts: Vec<String>,
}

impl Pattern {
    /// Reads a pattern.
    pub fn new(text: &str) -> Self {
        // What names of operations are made of; a dot of a module's path became a low line in them.
        let legal = |c: char| {
            if c.is_ascii_alphanumeric() || c == '@' {
                c
            } else {
                '_'
            }
        };
        Self {
            text: text.to_owned(),
            parts: text
                .split('*')
                .map(|part| part.chars().map(legal).collect())
                .collect(),
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the name is one of those meant.
    pub fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = &self.parts[..] else {
            return self.parts.first().is_some_and(|only| only == name);
        };
        let Some(mut rest) = name.strip_prefix(first.as_str()) else {
            return false;
        };
        for part in middle {
            match rest.find(part.as_str()) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

/// Keeps every operation that one of the patterns names in f32; gives the names of those kept, in order.
///
/// Constants and casts are no computation and stay as they are, and so do operations without an fp16 result.
pub(crate) fn keep_f32(
    function: &mut Function,
    patterns: &[Pattern],
    weights: &mut Weights,
    overflow: Overflow,
) -> Vec<String> {
    let mut types: HashMap<String, DataType> = HashMap::new();
    for input in &function.inputs {
        note(&mut types, input);
    }
    let opset = function.opset;
    let Some(body) = function.blocks.get_mut(&opset) else {
        return Vec::new();
    };
    let mut kept = BTreeSet::new();
    for (index, operation) in body.operations.iter().enumerate() {
        for output in &operation.outputs {
            note(&mut types, output);
        }
        let computes = operation.op != "const" && operation.op != "cast" && operation.blocks.is_empty();
        let half = |output: &NamedType| types.get(&output.name) == Some(&DataType::Fp16);
        if computes
            && operation.outputs.iter().any(half)
            && patterns.iter().any(|pattern| pattern.matches(operation.name()))
        {
            kept.insert(index);
        }
    }
    let names = kept
        .iter()
        .map(|index| body.operations[*index].name().to_owned())
        .collect();
    if !kept.is_empty() {
        let mut rewrite = Rewrite {
            taken: types.keys().cloned().collect(),
            halves_wanted: wanted_in_half(body, &kept),
            types,
            constants: HashMap::new(),
            wide: HashMap::new(),
            dtypes: BTreeMap::new(),
            operations: Vec::with_capacity(body.operations.len()),
            weights,
            overflow,
        };
        for (index, operation) in std::mem::take(&mut body.operations).into_iter().enumerate() {
            rewrite.operation(operation, kept.contains(&index));
        }
        body.operations = rewrite.operations;
        drop_unused(body);
    }
    names
}

fn note(types: &mut HashMap<String, DataType>, value: &NamedType) {
    if let Some(ty) = value.ty.as_tensor() {
        types.insert(value.name.clone(), ty.dtype);
    }
}

/// Whether an operation casts to f32.
fn widens(operation: &Operation) -> bool {
    operation.op == "cast"
        && operation
            .outputs
            .first()
            .and_then(|output| output.ty.as_tensor())
            .is_some_and(|ty| ty.dtype == DataType::Fp32)
}

/// Values that someone who is not kept uses, or the function returns.
fn wanted_in_half(body: &Block, kept: &BTreeSet<usize>) -> BTreeSet<String> {
    let mut wanted: BTreeSet<String> = body.outputs.iter().cloned().collect();
    for (index, operation) in body.operations.iter().enumerate() {
        if kept.contains(&index) || widens(operation) {
            continue;
        }
        for binding in operation.inputs.values().flatten() {
            if let Binding::Name(name) = binding {
                wanted.insert(name.clone());
            }
        }
    }
    wanted
}

/// The body being written again.
struct Rewrite<'a> {
    types: HashMap<String, DataType>,
    taken: BTreeSet<String>,
    halves_wanted: BTreeSet<String>,
    /// fp16 constants seen so far.
    constants: HashMap<String, Value>,
    /// The f32 twin of an fp16 value.
    wide: HashMap<String, String>,
    /// Names of the constants casts take.
    dtypes: BTreeMap<&'static str, String>,
    operations: Vec<Operation>,
    weights: &'a mut Weights,
    overflow: Overflow,
}

impl Rewrite<'_> {
    fn operation(&mut self, mut operation: Operation, kept: bool) {
        if !kept {
            // A cast to f32 of what is f32 already passes it on.
            let source = match operation.inputs.get("x").map(Vec::as_slice) {
                Some([Binding::Name(name)]) if widens(&operation) => self.wide.get(name).cloned(),
                _ => None,
            };
            if let Some(source) = source {
                operation.op = "identity".into();
                operation.inputs = BTreeMap::from([("x".to_owned(), vec![Binding::Name(source)])]);
            }
            if let (Some(value), [output]) = (operation.const_value(), &operation.outputs[..])
                && self.types.get(&output.name) == Some(&DataType::Fp16)
            {
                self.constants.insert(output.name.clone(), value.clone());
            }
            self.operations.push(operation);
            return;
        }
        let mut inputs = std::mem::take(&mut operation.inputs);
        for binding in inputs.values_mut().flatten() {
            match binding {
                Binding::Name(name) if self.types.get(name) == Some(&DataType::Fp16) => {
                    *name = self.widened(name);
                }
                Binding::Value(value) => {
                    if value.tensor_type().is_some_and(|ty| ty.dtype == DataType::Fp16) {
                        *value = self.widened_value(value);
                    }
                }
                Binding::Name(_) => {}
            }
        }
        operation.inputs = inputs;
        let mut narrow = Vec::new();
        for output in &mut operation.outputs {
            if self.types.get(&output.name) != Some(&DataType::Fp16) {
                continue;
            }
            let half = output.clone();
            output.name = self.fresh(&format!("{}_f32", half.name));
            output.ty = of_dtype(&half.ty, DataType::Fp32);
            self.wide.insert(half.name.clone(), output.name.clone());
            if self.halves_wanted.contains(&half.name) {
                narrow.push((output.name.clone(), half));
            }
        }
        self.operations.push(operation);
        for (wide, half) in narrow {
            let name = self.fresh(&format!("{}_to_fp16", half.name));
            self.cast(&name, wide, half, "fp16");
        }
    }

    /// The name of a value's f32 twin, which is made if there is none.
    fn widened(&mut self, name: &str) -> String {
        if let Some(wide) = self.wide.get(name) {
            return wide.clone();
        }
        let wide = self.fresh(&format!("{name}_f32"));
        match self.constants.get(name).cloned() {
            Some(value) => {
                let value = self.widened_value(&value);
                self.constant(&wide, value);
            }
            None => {
                let ty = self.type_of(name);
                let output = NamedType::new(wide.clone(), of_dtype(&ty, DataType::Fp32));
                self.cast(&wide, name.to_owned(), output, "fp32");
            }
        }
        self.wide.insert(name.to_owned(), wide.clone());
        wide
    }

    /// The type some operation written so far, or an input, gave a value.
    fn type_of(&self, name: &str) -> ValueType {
        self.operations
            .iter()
            .flat_map(|operation| &operation.outputs)
            .find(|output| output.name == name)
            .map_or_else(
                || TensorType::scalar(DataType::Fp16).into(),
                |output| output.ty.clone(),
            )
    }

    fn widened_value(&mut self, value: &Value) -> Value {
        let ty = of_dtype(&value.ty, DataType::Fp32);
        let data = match &value.data {
            Data::Weight(source) => {
                let wide = self.weights.in_f32(source, self.overflow);
                Data::Weight(wide.unwrap_or_else(|| Arc::new(Widened(source.clone()))))
            }
            _ => match (value.as_floats(), ty.as_tensor()) {
                (Some(floats), Some(_)) => {
                    let bytes = floats.iter().flat_map(|value| value.to_le_bytes()).collect();
                    Data::Immediate(corer_mil::Immediate::Bytes(bytes))
                }
                _ => value.data.clone(),
            },
        };
        Value { ty, data }
    }

    fn cast(&mut self, name: &str, from: String, output: NamedType, dtype: &'static str) {
        let of = match self.dtypes.get(dtype) {
            Some(constant) => constant.clone(),
            None => {
                let constant = self.fresh(&format!("to_{dtype}_dtype"));
                self.constant(&constant, Value::string(dtype));
                self.dtypes.insert(dtype, constant.clone());
                constant
            }
        };
        self.operations.push(Operation {
            op: "cast".into(),
            inputs: BTreeMap::from([
                ("dtype".to_owned(), vec![Binding::Name(of)]),
                ("x".to_owned(), vec![Binding::Name(from)]),
            ]),
            outputs: vec![output],
            attributes: BTreeMap::from([("name".to_owned(), Value::string(name))]),
            blocks: Vec::new(),
        });
    }

    fn constant(&mut self, name: &str, value: Value) {
        self.operations.push(Operation {
            op: "const".into(),
            inputs: BTreeMap::new(),
            outputs: vec![NamedType::new(name, value.ty.clone())],
            attributes: BTreeMap::from([
                ("name".to_owned(), Value::string(name)),
                ("val".to_owned(), value),
            ]),
            blocks: Vec::new(),
        });
    }

    /// A name nobody has.
    fn fresh(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut count = 1;
        while !self.taken.insert(name.clone()) {
            name = format!("{wanted}_{count}");
            count += 1;
        }
        name
    }
}

fn of_dtype(ty: &ValueType, dtype: DataType) -> ValueType {
    match ty.as_tensor() {
        Some(tensor) => TensorType {
            dtype,
            shape: tensor.shape.clone(),
        }
        .into(),
        None => ty.clone(),
    }
}

/// Lets go of fp16 constants that only operations in f32 used.
fn drop_unused(body: &mut Block) {
    let used: BTreeSet<String> = body
        .operations
        .iter()
        .flat_map(|operation| operation.inputs.values().flatten())
        .filter_map(|binding| match binding {
            Binding::Name(name) => Some(name.clone()),
            Binding::Value(_) => None,
        })
        .chain(body.outputs.iter().cloned())
        .collect();
    body.operations.retain(|operation| {
        operation.op != "const" || operation.outputs.iter().any(|output| used.contains(&output.name))
    });
}

/// An fp16 weight as f32: for tables that were computed, not read.
#[derive(Debug)]
struct Widened(Arc<dyn WeightSource>);

impl WeightSource for Widened {
    fn byte_len(&self) -> u64 {
        self.0.byte_len() * 2
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), WeightError> {
        let mut halves = vec![0; out.len() / 2];
        self.0.read_at(offset / 2, &mut halves)?;
        for (word, half) in out
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .zip(halves.as_chunks::<2>().0)
        {
            *word = half::f16::from_le_bytes(*half).to_f32().to_le_bytes();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn patterns_name_operations() {
        for (pattern, name, meant) in [
            ("a_b", "a_b", true),
            ("a.b", "a_b", true),
            ("a", "a_b", false),
            ("a*", "a_b", true),
            ("*b", "a_b", true),
            ("*", "a_b", true),
            (
                "encoder.layer.*.output.dense",
                "encoder_layer_3_output_dense",
                true,
            ),
            (
                "encoder.layer.*.output.dense",
                "encoder_layer_3_output_dense_1",
                false,
            ),
            ("*layer.1*", "encoder_layer_1_output", true),
            ("a*b*c", "axxbxc", true),
            ("a*b*c", "axxcxb", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), meant, "{pattern} {name}");
        }
    }
}
