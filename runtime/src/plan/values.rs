//! The values of a function while it is being planned, and one operation as lowering rules see it.

use std::collections::{BTreeMap, HashMap};

use corer_mil::ops::Call;
use corer_mil::{DataType, Value, ValueType};

use super::constants::{ConstantId, Constants};
use super::emit::{Emit, Reason};
use crate::kernels::Sum;
use crate::view::View;

/// What is known of a value.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    /// A constant that is not decoded unless someone asks.
    Constant(ConstantId),
    /// Elements somewhere.
    View(View),
    /// Two views still to be added.
    Sum(Sum),
    /// A literal that is no tensor, or holds strings.
    Literal,
    /// The label of a classifier whose probabilities these are.
    Label(View),
    /// A classifier's probabilities as a dictionary.
    Probabilities(View),
}

/// One value.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Its type, with sizes known.
    pub(crate) ty: ValueType,
    /// Its elements where the plan may depend on them: constants as written and small computed integers.
    pub(crate) value: Option<Value>,
    pub(crate) held: Held,
}

/// All values so far, by name.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub(crate) known: HashMap<String, Known>,
    pub(crate) constants: Constants,
}

/// An argument of an operation.
#[derive(Clone, Debug)]
pub(crate) struct Argument {
    /// The value's name, if it has one.
    pub(crate) name: Option<String>,
    pub(crate) held: Held,
}

/// An operation about to be lowered.
#[derive(Debug)]
pub(crate) struct Op<'a> {
    /// Argument types and constants, as the op table sees them.
    pub(crate) call: &'a Call<'a>,
    /// Result types: element type and sizes.
    pub(crate) results: &'a [(DataType, Vec<usize>)],
    pub(crate) arguments: &'a BTreeMap<&'a str, Vec<Argument>>,
    pub(crate) constants: &'a Constants,
    /// Functions that follow and may be computed along.
    pub(crate) stages: Vec<(crate::kernels::Unary, crate::half_values::Rounding)>,
}

impl Op<'_> {
    /// Sizes of the (first) result.
    pub(crate) fn shape(&self) -> &[usize] {
        self.results.first().map_or(&[], |result| &result.1)
    }

    /// Element type of the (first) result.
    pub(crate) fn dtype(&self) -> DataType {
        self.results.first().map_or(DataType::Fp32, |result| result.0)
    }

    /// The (first) argument bound to a parameter.
    pub(crate) fn argument(&self, name: &str) -> Option<&Argument> {
        self.arguments.get(name).and_then(|arguments| arguments.first())
    }

    /// The name of the value bound to a parameter, for messages.
    pub(crate) fn name_of(&self, name: &str) -> String {
        self.argument(name)
            .and_then(|argument| argument.name.clone())
            .unwrap_or_else(|| name.to_owned())
    }

    /// The tensor bound to a parameter.
    pub(crate) fn view(&self, emit: &mut Emit<'_>, name: &str) -> Result<View, Reason> {
        self.optional(emit, name)?
            .ok_or_else(|| Reason::Invalid(format!("`{name}` is missing")))
    }

    /// The tensor bound to a parameter, if any is.
    pub(crate) fn optional(&self, emit: &mut Emit<'_>, name: &str) -> Result<Option<View>, Reason> {
        self.argument(name)
            .map(|argument| self.resolve(emit, name, argument))
            .transpose()
    }

    /// All tensors bound to a variadic parameter.
    pub(crate) fn all(&self, emit: &mut Emit<'_>, name: &str) -> Result<Vec<View>, Reason> {
        let arguments = self.arguments.get(name).map_or(&[][..], Vec::as_slice);
        arguments
            .iter()
            .map(|argument| self.resolve(emit, name, argument))
            .collect()
    }

    fn resolve(&self, emit: &mut Emit<'_>, name: &str, argument: &Argument) -> Result<View, Reason> {
        match &argument.held {
            Held::View(view) => Ok(view.clone()),
            Held::Constant(id) => emit.load(self.constants, *id),
            Held::Sum(sum) => sum.compute(emit),
            Held::Literal | Held::Label(_) | Held::Probabilities(_) => {
                Err(Reason::Invalid(format!("`{name}` is not a tensor of numbers")))
            }
        }
    }

    /// The constant bound to a parameter, if it is one that was not computed.
    pub(crate) fn constant(&self, name: &str) -> Option<ConstantId> {
        match self.argument(name)?.held {
            Held::Constant(id) => Some(id),
            _ => None,
        }
    }

    /// Elements of a small float constant (a bias, a norm's parameters), widened.
    pub(crate) fn floats(&self, emit: &mut Emit<'_>, name: &str) -> Result<Option<Vec<f32>>, Reason> {
        let Some(view) = self.optional(emit, name)? else {
            return Ok(None);
        };
        let crate::view::Storage::Constant(index) = view.storage else {
            return Err(Reason::Unsupported(format!("a computed `{name}`")));
        };
        let words = emit.constants[index].floats();
        let nest = crate::view::Nest::new(&view.shape, &[&view.strides]);
        let (inner, stride) = (nest.inner(), nest.inner_stride(0));
        let mut out = Vec::with_capacity(view.count());
        for run in 0..nest.runs() {
            let start = view.offset.wrapping_add_signed(nest.start(0, run));
            out.extend((0..inner).map(|i| words[start.wrapping_add_signed(i as isize * stride)]));
        }
        Ok(Some(out))
    }
}
