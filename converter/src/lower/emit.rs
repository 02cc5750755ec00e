//! What both layouts write alike: weights, casts, masks, constants, outputs.

use std::collections::HashMap;

use corer_mil::{DataType, Dim, Function, FunctionBuilder, Input, TensorType, Value, Var};

use super::{Classifier, Settings, Weights};
use crate::error::ConvertError;
use crate::graph::{Def, Graph, Kind, Node, ValueId};
use crate::source::LazyTensor;

/// The additive mask value (rule N6): finite, below any score, and inside the accumulator limit even when the
/// add is fused (rule N1).
pub(super) const NEVER_ATTEND: f32 = 1e4;

/// Smallest epsilon written in fp16 (rule N7): what Apple's own rewrite uses, so that 1e-12 does not round to
/// zero; fp16 stores it as 2⁻²³.
const FP16_EPSILON: f64 = 1e-7;

/// A function being written, and what of it can be shared between operations.
pub(super) struct Emit<'a> {
    pub(super) graph: &'a Graph,
    pub(super) settings: Settings,
    pub(super) builder: FunctionBuilder,
    inputs: HashMap<ValueId, Var>,
    float_masks: HashMap<ValueId, Var>,
    weights: &'a mut Weights,
}

impl<'a> Emit<'a> {
    /// Starts a function with the graph's inputs.
    pub(super) fn new(graph: &'a Graph, settings: Settings, weights: &'a mut Weights) -> Self {
        let mut builder = FunctionBuilder::new(settings.opset);
        let mut inputs = HashMap::new();
        for id in &graph.inputs {
            let value = graph.value(*id);
            let dtype = match value.kind {
                Kind::Int => DataType::Int32,
                Kind::Float => settings.dtype,
                Kind::Bool => DataType::Bool,
            };
            let var = builder.input(
                &value.name,
                TensorType {
                    dtype,
                    shape: value.shape.clone(),
                },
            );
            inputs.insert(*id, var);
        }
        Self {
            graph,
            settings,
            builder,
            inputs,
            float_masks: HashMap::new(),
            weights,
        }
    }

    /// The variable of a graph input.
    pub(super) fn input(&self, id: ValueId) -> Option<Var> {
        self.inputs.get(&id).cloned()
    }

    /// One operation.
    pub(super) fn op(
        &mut self,
        op: &str,
        name: &str,
        inputs: Vec<(&str, Input)>,
    ) -> Result<Var, ConvertError> {
        Ok(self.builder.op(op, name, inputs)?)
    }

    /// A float constant of the working precision.
    pub(super) fn scalar(&self, value: f32) -> Input {
        Value::float(self.settings.dtype, value).into()
    }

    /// An epsilon of the working precision that is not zero there.
    #[allow(clippy::cast_possible_truncation)] // rounding to the working precision is meant
    pub(super) fn epsilon(&self, epsilon: f64) -> Input {
        let smallest = if self.settings.dtype == DataType::Fp16 {
            FP16_EPSILON
        } else {
            0.0
        };
        self.scalar(epsilon.max(smallest) as f32)
    }

    /// The smallest norm divided by. In fp16 the source's 1e-12 would be zero; the smallest normal number only
    /// differs for vectors that are zero for every purpose.
    #[allow(clippy::cast_possible_truncation)] // rounding to the working precision is meant
    pub(super) fn norm_floor(&self, epsilon: f64) -> Input {
        let smallest = if self.settings.dtype == DataType::Fp16 {
            f64::powi(2.0, -14)
        } else {
            0.0
        };
        self.scalar(epsilon.max(smallest) as f32)
    }

    /// A weight as a `const`.
    pub(super) fn weight(&mut self, name: &str, tensor: LazyTensor) -> Var {
        let ty = TensorType::new(self.settings.dtype, tensor.shape().iter().copied());
        let source = self
            .weights
            .source(tensor, self.settings.dtype, self.settings.overflow);
        self.builder.constant(name, Value::weight(ty, source))
    }

    /// The weight behind a graph value, or an error naming who wanted it.
    pub(super) fn known_weight(&self, node: &Node, id: ValueId) -> Result<LazyTensor, ConvertError> {
        self.graph
            .as_weight(id)
            .cloned()
            .ok_or_else(|| fail(node, "its weight is not a constant"))
    }

    /// A dense layer's weight under the graph's own name, rearranged to `shape`.
    pub(super) fn named_weight(
        &mut self,
        node: &Node,
        id: ValueId,
        shape: Option<Vec<u64>>,
    ) -> Result<Var, ConvertError> {
        let mut tensor = self.known_weight(node, id)?;
        if let Some(shape) = shape {
            tensor = tensor.reshape(shape)?;
        }
        let name = self.graph.value(id).name.clone();
        Ok(self.weight(&name, tensor))
    }

    /// Reshapes. A size that is open is written as −1, what is left, so there can be one. MIL would let others stay
    /// where they are as 0, but Apple's reader takes those for sizes as soon as any is open.
    pub(super) fn reshape(&mut self, name: &str, x: &Var, shape: &[Dim]) -> Result<Var, ConvertError> {
        let size = |dim: &Dim| match dim.known() {
            Some(size) => i32::try_from(size).unwrap_or(i32::MAX),
            None => -1,
        };
        let sizes: Vec<i32> = shape.iter().map(size).collect();
        self.op(
            "reshape",
            name,
            vec![("x", x.into()), ("shape", Value::i32s(&sizes).into())],
        )
    }

    /// Cuts one axis into equal parts and joins them along another, of size 1 until then: what a reshape and a
    /// transpose do to heads, whatever sizes are open.
    pub(super) fn move_heads(
        &mut self,
        name: &str,
        x: &Var,
        heads: u64,
        (from, to): (i32, i32),
    ) -> Result<Var, ConvertError> {
        let parts = self.cut(&format!("{name}_head"), x, heads, from)?;
        self.concat(name, parts, to)
    }

    /// Cuts one axis into equal parts.
    pub(super) fn cut(
        &mut self,
        name: &str,
        x: &Var,
        parts: u64,
        axis: i32,
    ) -> Result<Vec<Var>, ConvertError> {
        let inputs = vec![
            ("x", Input::from(x)),
            (
                "num_splits",
                Value::i32(i32::try_from(parts).unwrap_or(i32::MAX)).into(),
            ),
            ("axis", Value::i32(axis).into()),
        ];
        Ok(self.builder.ops("split", name, inputs)?)
    }

    /// Inserts dimensions of size 1.
    pub(super) fn expand(&mut self, name: &str, x: &Var, axes: &[i32]) -> Result<Var, ConvertError> {
        self.op(
            "expand_dims",
            name,
            vec![("x", x.into()), ("axes", Value::i32s(axes).into())],
        )
    }

    /// Reorders dimensions.
    pub(super) fn transpose(&mut self, name: &str, x: &Var, order: &[i32]) -> Result<Var, ConvertError> {
        self.op(
            "transpose",
            name,
            vec![("x", x.into()), ("perm", Value::i32s(order).into())],
        )
    }

    /// Drops dimensions of size 1.
    pub(super) fn squeeze(&mut self, name: &str, x: &Var, axes: &[i32]) -> Result<Var, ConvertError> {
        self.op(
            "squeeze",
            name,
            vec![("x", x.into()), ("axes", Value::i32s(axes).into())],
        )
    }

    /// Reduces one axis, keeping it with size 1.
    pub(super) fn reduce(&mut self, op: &str, name: &str, x: &Var, axis: i32) -> Result<Var, ConvertError> {
        let inputs = vec![
            ("x", Input::from(x)),
            ("axes", Value::i32s(&[axis]).into()),
            ("keep_dims", Value::bool(true).into()),
        ];
        self.op(op, name, inputs)
    }

    /// An elementwise operation of two values or a value and a constant.
    pub(super) fn binary(
        &mut self,
        op: &str,
        name: &str,
        x: &Var,
        y: impl Into<Input>,
    ) -> Result<Var, ConvertError> {
        self.op(op, name, vec![("x", x.into()), ("y", y.into())])
    }

    /// Positions `start..end` of one axis, all of the others.
    pub(super) fn slice(
        &mut self,
        name: &str,
        x: &Var,
        axis: usize,
        start: u64,
        end: u64,
    ) -> Result<Var, ConvertError> {
        let rank = x.tensor().rank();
        let at = |size: u64| i32::try_from(size).unwrap_or(i32::MAX);
        let (mut begin, mut stop, mut whole) = (vec![0; rank], vec![0; rank], vec![true; rank]);
        begin[axis] = at(start);
        stop[axis] = at(end);
        whole[axis] = false;
        let mut begin_whole = whole.clone();
        // A cut from the very start is told as such: begin 0 is safe on every axis (rules L5, N5). Of an axis that
        // is not known Apple's reader can tell the length by numbers only.
        begin_whole[axis] = start == 0 && x.tensor().shape[axis].known().is_some();
        let inputs = vec![
            ("x", x.into()),
            ("begin", Value::i32s(&begin).into()),
            ("end", Value::i32s(&stop).into()),
            ("begin_mask", Value::bools(&begin_whole).into()),
            ("end_mask", Value::bools(&whole).into()),
        ];
        self.op("slice_by_index", name, inputs)
    }

    /// As much of `x` as `like` is long on one axis. The length is computed on the CPU's side, with the lookups.
    pub(super) fn slice_like(
        &mut self,
        name: &str,
        x: &Var,
        like: &Var,
        axis: usize,
    ) -> Result<Var, ConvertError> {
        let rank = x.tensor().rank();
        let missing: Vec<i32> = (like.tensor().rank()..rank)
            .filter_map(|axis| i32::try_from(axis).ok())
            .collect();
        let like = match missing[..] {
            [] => like.clone(),
            _ => self.expand(&format!("{name}_like"), like, &missing)?,
        };
        let end = self.op("shape", &format!("{name}_length"), vec![("x", (&like).into())])?;
        let whole: Vec<bool> = (0..rank).map(|other| other != axis).collect();
        let inputs = vec![
            ("x", x.into()),
            ("begin", Value::i32s(&vec![0; rank]).into()),
            ("end", (&end).into()),
            ("begin_mask", Value::bools(&vec![true; rank]).into()),
            ("end_mask", Value::bools(&whole).into()),
        ];
        self.op("slice_by_index", name, inputs)
    }

    /// The embedding lookup: indices stay int32, nothing around it (rule D6).
    pub(super) fn gather(&mut self, node: &Node, indices: &Var) -> Result<Var, ConvertError> {
        let table = self.named_weight(node, node.inputs[0], None)?;
        let mut inputs = vec![
            ("x", Input::from(&table)),
            ("indices", indices.into()),
            ("axis", Value::i32(0).into()),
        ];
        if self.settings.opset >= corer_mil::Opset::CoreMl6 {
            inputs.push(("batch_dims", Value::i32(0).into()));
        }
        if self.settings.opset >= corer_mil::Opset::CoreMl7 {
            inputs.push(("validate_indices", Value::bool(false).into()));
        }
        self.op("gather", &node.scope, inputs)
    }

    /// Positions counted over the ids that are not padding. Integers all the way, so part of the CPU's prefix
    /// like the lookup they are for (rules D3, D6).
    pub(super) fn position_ids(&mut self, node: &Node, ids: &Var, padding: u32) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let padding = i32::try_from(padding).map_err(|_| fail(node, format!("padding id {padding}")))?;
        let counted = self.binary("not_equal", &format!("{scope}_tokens"), ids, Value::i32(padding))?;
        let counted = self.cast(&format!("{scope}_ones"), &counted, DataType::Int32)?;
        let inputs = vec![
            ("x", Input::from(&counted)),
            ("axis", Value::i32(1).into()),
            ("exclusive", Value::bool(false).into()),
            ("reverse", Value::bool(false).into()),
        ];
        let count = self.op("cumsum", &format!("{scope}_count"), inputs)?;
        let count = self.binary("mul", &format!("{scope}_count_of_tokens"), &count, &counted)?;
        self.binary("add", scope, &count, Value::i32(padding))
    }

    /// The (B, S) integer mask in the working precision; one cast however often it is used (rule D8).
    pub(super) fn float_mask(&mut self, node: &Node, id: ValueId) -> Result<Var, ConvertError> {
        if let Some(mask) = self.float_masks.get(&id) {
            return Ok(mask.clone());
        }
        let mask = self
            .input(id)
            .ok_or_else(|| fail(node, "its mask is not an input"))?;
        let mask = self.cast(&format!("{}_float", mask.name), &mask, self.settings.dtype)?;
        self.float_masks.insert(id, mask.clone());
        Ok(mask)
    }

    /// (mask − 1) · 10⁴ with dimensions of size 1 inserted: zero where attended, finite below any score elsewhere.
    pub(super) fn additive_mask(&mut self, node: &Node, axes: &[i32]) -> Result<Var, ConvertError> {
        let mask = self.float_mask(node, node.inputs[0])?;
        let shaped = self.expand(&format!("{}_shaped", node.scope), &mask, axes)?;
        let less = self.binary(
            "sub",
            &format!("{}_less_one", node.scope),
            &shaped,
            self.scalar(1.0),
        )?;
        self.binary("mul", &node.scope, &less, self.scalar(NEVER_ATTEND))
    }

    /// Converts the element type when it differs.
    pub(super) fn cast(&mut self, name: &str, x: &Var, dtype: DataType) -> Result<Var, ConvertError> {
        if x.tensor().dtype == dtype {
            return Ok(x.clone());
        }
        self.op(
            "cast",
            name,
            vec![("x", x.into()), ("dtype", Value::string(dtype.name()).into())],
        )
    }

    /// Ends the function: outputs under their own names and in the output precision, or the classifier's two.
    pub(super) fn finish(
        mut self,
        outputs: Vec<(String, Var)>,
        classifier: Option<&Classifier>,
    ) -> Result<Function, ConvertError> {
        let mut vars: Vec<Var> = Vec::with_capacity(outputs.len());
        if let (Some(classifier), Some((_, logits))) = (classifier, outputs.first()) {
            let probabilities = self.softmax("probabilities", logits, -1)?;
            let probabilities = self.cast("probabilities_fp32", &probabilities, DataType::Fp32)?;
            let classes = string_list(&classifier.classes);
            let inputs = vec![
                ("probabilities", Input::from(&probabilities)),
                ("classes", Input::Literal(classes)),
            ];
            let results = self.builder.ops("classify", &classifier.label, inputs)?;
            let names = [classifier.label.clone(), format!("{}_probs", classifier.label)];
            for (name, var) in names.iter().zip(&results) {
                vars.push(self.builder.rename(var, name)?);
            }
            return Ok(self.builder.finish(&vars));
        }
        // What each was before it was renamed.
        let mut before: Vec<Var> = Vec::with_capacity(outputs.len());
        for (name, var) in outputs {
            let cast = self.cast(&format!("{name}_cast"), &var, self.settings.output_dtype)?;
            let returned = before.iter().position(|other| *other == cast);
            // A value already returned under another name, or an input, can't be renamed: copy it.
            let own = match returned {
                Some(first) => self.op("identity", &name, vec![("x", (&vars[first]).into())])?,
                None if self.inputs.values().any(|input| *input == cast) => {
                    self.op("identity", &name, vec![("x", (&cast).into())])?
                }
                None => cast.clone(),
            };
            before.push(cast);
            vars.push(self.builder.rename(&own, &name)?);
        }
        Ok(self.builder.finish(&vars))
    }
}

/// An error about a node.
pub(super) fn fail(node: &Node, reason: impl Into<String>) -> ConvertError {
    ConvertError::Lowering {
        scope: node.scope.clone(),
        op: node.op.to_string(),
        reason: reason.into(),
    }
}

/// A position on a dimension that may be counted from the end, if the end is known.
pub(super) fn position(node: &Node, index: i64, dim: Dim) -> Result<u64, ConvertError> {
    let counted = match (index, dim) {
        (0.., _) => Some(index),
        (_, Dim::Known(size)) => size.checked_add_signed(index).map(u64::cast_signed),
        (_, Dim::Symbol(_)) => {
            return Err(fail(
                node,
                format!("position {index} counts from an end that is not known"),
            ));
        }
    };
    counted
        .and_then(|at| u64::try_from(at).ok())
        .filter(|at| dim.known().is_none_or(|size| *at < size))
        .ok_or_else(|| fail(node, format!("index {index} is out of range")))
}

/// The known shape of a graph value.
pub(super) fn known_shape(graph: &Graph, node: &Node, id: ValueId) -> Result<Vec<u64>, ConvertError> {
    let value = graph.value(id);
    let shape: Option<Vec<u64>> = value.shape.iter().map(|dim| dim.known()).collect();
    shape.ok_or_else(|| fail(node, format!("`{}` has no fixed shape", value.name)))
}

/// Whether a graph value is a constant of the source.
pub(super) fn is_weight(graph: &Graph, id: ValueId) -> bool {
    matches!(graph.value(id).def, Def::Weight(_))
}

/// A MIL list of strings.
fn string_list(items: &[String]) -> Value {
    let element = corer_mil::ValueType::Tensor(TensorType::scalar(DataType::String));
    let length = corer_mil::Dim::Known(items.len() as u64);
    Value {
        ty: corer_mil::ValueType::List(Box::new(element), length),
        data: corer_mil::Data::List(items.iter().map(Value::string).collect()),
    }
}
