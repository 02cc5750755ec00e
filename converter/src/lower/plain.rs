//! Operations written one to one, on values shaped as the graph shapes them. The `standard` layout is this; the `ane`
//! layout falls back to it for what it has no form of its own for.

use corer_mil::{DataType, Dim, Input, TensorType, Value, Var};

use super::emit::{Emit, NEVER_ATTEND, fail, known_shape, position};
use crate::error::ConvertError;
use crate::graph::{Comparison, Def, Node, Op, Reduction, Unary, ValueId};

impl Emit<'_> {
    /// Writes one operation on plain values; `args` are those of `node.inputs`. Layers, attention and pooling have
    /// forms of their own in each layout and are not written here.
    pub(super) fn plain(&mut self, node: &Node, args: &[Var]) -> Result<Var, ConvertError> {
        let scope = node.scope.as_str();
        let Some(x) = args.first() else {
            return Err(fail(node, "has no arguments"));
        };
        let axis = |dim: i64, rank: usize| {
            corer_mil::ops::normalize_axis(dim, rank)
                .map(|axis| i32::try_from(axis).unwrap_or(i32::MAX))
                .map_err(|reason| fail(node, reason))
        };
        let rank = x.tensor().rank();
        match &node.op {
            Op::Add => self.binary("add", scope, x, &args[1]),
            Op::Sub => self.binary("sub", scope, x, &args[1]),
            Op::Mul => self.binary("mul", scope, x, &args[1]),
            Op::Div => self.binary("real_div", scope, x, &args[1]),
            Op::Maximum => self.binary("maximum", scope, x, &args[1]),
            Op::Minimum => self.binary("minimum", scope, x, &args[1]),
            Op::And => self.binary("logical_and", scope, x, &args[1]),
            Op::Or => self.binary("logical_or", scope, x, &args[1]),
            Op::Compare(comparison) => self.binary(compare(*comparison), scope, x, &args[1]),
            Op::CompareScalar(comparison, scalar) => {
                let scalar = literal(x, *scalar);
                self.binary(compare(*comparison), scope, x, scalar)
            }
            Op::AddScalar(scalar) => self.binary("add", scope, x, literal(x, *scalar)),
            Op::MulScalar(scalar) => self.binary("mul", scope, x, literal(x, *scalar)),
            Op::RsubScalar(scalar) => {
                let inputs = vec![("x", literal(x, *scalar)), ("y", x.into())];
                self.op("sub", scope, inputs)
            }
            Op::PowScalar(exponent) => match *exponent {
                2.0 => self.op("square", scope, vec![("x", x.into())]),
                0.5 => self.op("sqrt", scope, vec![("x", x.into())]),
                exponent => self.binary("pow", scope, x, literal(x, exponent)),
            },
            Op::Clamp { min, max } => {
                let below = match min.is_finite() {
                    true => self.binary("maximum", scope, x, literal(x, *min))?,
                    false => x.clone(),
                };
                match max.is_finite() {
                    true => self.binary("minimum", scope, &below, literal(x, *max)),
                    false => Ok(below),
                }
            }
            Op::Where => {
                let inputs = vec![
                    ("cond", Input::from(x)),
                    ("a", (&args[1]).into()),
                    ("b", (&args[2]).into()),
                ];
                self.op("select", scope, inputs)
            }
            Op::MaskedFill(scalar) => {
                let inputs = vec![
                    ("cond", Input::from(&args[1])),
                    ("a", literal(x, *scalar)),
                    ("b", x.into()),
                ];
                self.op("select", scope, inputs)
            }
            Op::ToFloat => self.cast(scope, x, self.settings.dtype),
            Op::ToInt => self.cast(scope, x, DataType::Int32),
            Op::ToBool if x.tensor().dtype == DataType::Bool => Ok(x.clone()),
            Op::ToBool => self.binary("not_equal", scope, x, literal(x, 0.0)),
            Op::Unary(function) => self.op(unary(*function), scope, vec![("x", x.into())]),
            Op::View(_) => {
                let shape = self.graph.shape(node.output).to_vec();
                self.reshape(scope, x, &shape)
            }
            Op::Unsqueeze(dim) => {
                let axes = Value::i32s(&[axis(*dim, rank + 1)?]);
                self.op("expand_dims", scope, vec![("x", x.into()), ("axes", axes.into())])
            }
            Op::Transpose(a, b) => {
                let (a, b) = (axis(*a, rank)?, axis(*b, rank)?);
                let order: Vec<i32> = (0..i32::try_from(rank).unwrap_or(i32::MAX))
                    .map(|dim| match dim {
                        dim if dim == a => b,
                        dim if dim == b => a,
                        dim => dim,
                    })
                    .collect();
                self.transpose(scope, x, &order)
            }
            Op::Permute(dims) => {
                let order = dims
                    .iter()
                    .map(|dim| axis(*dim, rank))
                    .collect::<Result<Vec<_>, _>>()?;
                self.transpose(scope, x, &order)
            }
            Op::Slice { dim, start, end } => {
                let dim = axis(*dim, rank)?.unsigned_abs() as usize;
                self.slice(scope, x, dim, *start, *end)
            }
            Op::Select { dim, index } => {
                let dim = axis(*dim, rank)?;
                let along = dim.unsigned_abs() as usize;
                let at = position(node, *index, x.tensor().shape[along])?;
                let kept = self.slice(&format!("{scope}_kept"), x, along, at, at + 1)?;
                self.squeeze(scope, &kept, &[dim])
            }
            Op::SliceLike(dim) => {
                let along = axis(*dim, rank)?.unsigned_abs() as usize;
                self.slice_like(scope, x, &args[1], along)
            }
            Op::Expand(sizes) => self.repeat(scope, x, sizes),
            Op::Concat(dim) => self.concat(scope, args.to_vec(), axis(*dim, rank)?),
            Op::Matmul => self.matmul(scope, (x, false), (&args[1], false)),
            Op::Softmax(dim) => self.softmax(scope, x, axis(*dim, rank)?),
            Op::Reduce { kind, dims, keep } => {
                let axes = dims
                    .iter()
                    .map(|dim| axis(*dim, rank))
                    .collect::<Result<Vec<_>, _>>()?;
                let inputs = vec![
                    ("x", Input::from(x)),
                    ("axes", Value::i32s(&axes).into()),
                    ("keep_dims", Value::bool(*keep).into()),
                ];
                self.op(reduction(*kind), scope, inputs)
            }
            Op::CumSum(dim) => {
                let inputs = vec![
                    ("x", Input::from(x)),
                    ("axis", Value::i32(axis(*dim, rank)?).into()),
                    ("exclusive", Value::bool(false).into()),
                    ("reverse", Value::bool(false).into()),
                ];
                self.op("cumsum", scope, inputs)
            }
            Op::Gather(dim) => {
                let mut inputs = vec![
                    ("x", Input::from(x)),
                    ("indices", (&args[1]).into()),
                    ("axis", Value::i32(axis(*dim, rank)?).into()),
                ];
                if self.settings.opset >= corer_mil::Opset::CoreMl7 {
                    inputs.push(("validate_indices", Value::bool(false).into()));
                }
                self.op("gather_along_axis", scope, inputs)
            }
            Op::ScaledDotProductAttention { scale } => self.plain_attention(node, *scale, args),
            _ => match self.activation(node, x) {
                Some(active) => active,
                None => Err(fail(node, "has no plain form")),
            },
        }
    }

    /// Softmax(Q·scale·Kᵀ + mask)·V on (B, heads, S, d); the scale before the product (rule N11).
    fn plain_attention(
        &mut self,
        node: &Node,
        scale: Option<f64>,
        args: &[Var],
    ) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let width = known_shape(self.graph, node, node.inputs[0])?
            .last()
            .copied()
            .unwrap_or(1);
        #[allow(clippy::cast_precision_loss)] // head widths are small
        let scale = scale.unwrap_or_else(|| 1.0 / (width as f64).sqrt());
        let query = self.binary(
            "mul",
            &format!("{scope}_query_scaled"),
            &args[0],
            literal(&args[0], scale),
        )?;
        let mut scores = self.matmul(&format!("{scope}_scores"), (&query, false), (&args[1], true))?;
        if let Some(mask) = args.get(3) {
            scores = self.binary("add", &format!("{scope}_masked"), &scores, mask)?;
        }
        let probabilities = self.softmax(&format!("{scope}_probabilities"), &scores, -1)?;
        self.matmul(scope, (&probabilities, false), (&args[2], false))
    }

    /// Repeats along dimensions of size 1.
    fn repeat(&mut self, name: &str, x: &Var, sizes: &[u64]) -> Result<Var, ConvertError> {
        let shape: Vec<u64> = x
            .tensor()
            .shape
            .iter()
            .map(|dim| dim.known().unwrap_or(1))
            .collect();
        let mut padded = vec![1; sizes.len().saturating_sub(shape.len())];
        padded.extend(&shape);
        let x = match padded == shape {
            true => x.clone(),
            false => {
                let ranked: Vec<Dim> = padded.iter().copied().map(Dim::Known).collect();
                self.reshape(&format!("{name}_ranked"), x, &ranked)?
            }
        };
        let reps: Vec<i32> = padded
            .iter()
            .zip(sizes)
            .map(|(size, wanted)| match size == wanted {
                true => 1,
                false => i32::try_from(*wanted).unwrap_or(i32::MAX),
            })
            .collect();
        if reps.iter().all(|rep| *rep == 1) {
            return Ok(x);
        }
        self.op(
            "tile",
            name,
            vec![("x", (&x).into()), ("reps", Value::i32s(&reps).into())],
        )
    }

    /// A constant of the graph: a weight, or integers and truth values written inline.
    pub(super) fn constant(&mut self, node: &Node, id: ValueId) -> Result<Var, ConvertError> {
        let value = self.graph.value(id);
        let Def::Ints(values) = &value.def else {
            return self.named_weight(node, id, None);
        };
        let (dtype, bytes) = if value.kind == crate::graph::Kind::Bool {
            (
                DataType::Bool,
                values.iter().map(|value| u8::from(*value != 0)).collect(),
            )
        } else {
            let narrow = values
                .iter()
                .map(|value| i32::try_from(*value))
                .collect::<Result<Vec<_>, _>>();
            let narrow = narrow.map_err(|_| fail(node, format!("`{}` does not fit 32 bits", value.name)))?;
            let bytes: Vec<u8> = narrow.iter().flat_map(|value| value.to_le_bytes()).collect();
            (DataType::Int32, bytes)
        };
        let ty = TensorType {
            dtype,
            shape: value.shape.clone(),
        };
        let name = value.name.clone();
        Ok(self.builder.constant(&name, Value::tensor(ty, bytes)))
    }
}

/// A scalar of the element type of `x`. What says "never" to a softmax is told so that fp16 can hold it (rule N6).
#[allow(clippy::cast_possible_truncation)] // rounding to the element type is meant; integers are whole
fn literal(x: &Var, value: f64) -> Input {
    let never = -f64::from(NEVER_ATTEND);
    match x.tensor().dtype {
        DataType::Int32 => Value::i32(value as i32).into(),
        DataType::Bool => Value::bool(value != 0.0).into(),
        DataType::Fp16 if value < never => Value::float(DataType::Fp16, never as f32).into(),
        DataType::Fp16 => Value::float(DataType::Fp16, value.min(65504.0) as f32).into(),
        dtype => Value::float(
            dtype,
            value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32,
        )
        .into(),
    }
}

const fn compare(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Eq => "equal",
        Comparison::Ne => "not_equal",
        Comparison::Lt => "less",
        Comparison::Le => "less_equal",
        Comparison::Gt => "greater",
        Comparison::Ge => "greater_equal",
    }
}

const fn unary(function: Unary) -> &'static str {
    match function {
        Unary::Abs => "abs",
        Unary::Ceil => "ceil",
        Unary::Cos => "cos",
        Unary::Erf => "erf",
        Unary::Exp => "exp",
        Unary::Floor => "floor",
        Unary::Log => "log",
        Unary::Not => "logical_not",
        Unary::Rsqrt => "rsqrt",
        Unary::Sign => "sign",
        Unary::Sin => "sin",
        Unary::Sqrt => "sqrt",
    }
}

const fn reduction(kind: Reduction) -> &'static str {
    match kind {
        Reduction::Sum => "reduce_sum",
        Reduction::Mean => "reduce_mean",
        Reduction::Max => "reduce_max",
        Reduction::Min => "reduce_min",
        Reduction::Norm => "reduce_l2_norm",
    }
}
