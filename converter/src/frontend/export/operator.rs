//! Operators by the names traces give them.

/// What a call's target is.
#[derive(PartialEq, Debug)]
pub(super) enum Operator {
    /// An operator and its overload, where it has one.
    Call {
        target: String,
        overload: Option<String>,
    },
    /// Nothing but a check of what was true when the model was exported.
    Guard,
    /// Calls a graph among its arguments as it stands, those after it being the graph's: the arguments before it
    /// say how gradients or casts are to be handled.
    Inline(Wrapper),
}

/// Operators that call a graph as it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wrapper {
    /// `torch.no_grad()` and its like; gradients don't matter here.
    SetGradEnabled,
    /// `torch.autocast(…)`, harmless when disabled.
    Autocast,
}

/// How the targets that are PyTorch's operators start.
pub(super) const OPERATORS: &str = "torch.ops.";

/// Checks that compute nothing.
const GUARDS: [&str; 6] = [
    "aten::_assert_async",
    "aten::_assert_scalar",
    "aten::_assert_tensor_metadata",
    "aten::_functional_assert_async",
    "aten::sym_constrain_range",
    "aten::sym_constrain_range_for_size",
];

/// Sizes and arithmetic on them, which traces write with the same operators as TorchScript's code: Python's spelling,
/// TorchScript's.
const ARITHMETIC: [(&str, &str); 27] = [
    ("_operator.add", "aten::add"),
    ("_operator.sub", "aten::sub"),
    ("_operator.mul", "aten::mul"),
    ("_operator.floordiv", "aten::floordiv"),
    ("_operator.truediv", "aten::div"),
    ("_operator.mod", "aten::remainder"),
    ("_operator.pow", "aten::pow"),
    ("_operator.neg", "aten::neg"),
    ("_operator.eq", "aten::eq"),
    ("_operator.ne", "aten::ne"),
    ("_operator.lt", "aten::lt"),
    ("_operator.le", "aten::le"),
    ("_operator.gt", "aten::gt"),
    ("_operator.ge", "aten::ge"),
    ("_operator.and_", "aten::__and__"),
    ("_operator.or_", "aten::__or__"),
    ("_operator.not_", "aten::__not__"),
    ("_operator.getitem", "aten::__getitem__"),
    ("math.ceil", "aten::ceil"),
    ("math.floor", "aten::floor"),
    ("math.trunc", "aten::Int"),
    ("torch.sym_float", "aten::Float"),
    ("torch.sym_int", "aten::Int"),
    ("torch.sym_max", "prim::max"),
    ("torch.sym_min", "prim::min"),
    ("torch.sym_not", "aten::__not__"),
    ("torch._sym_sqrt", "aten::sqrt"),
];

/// Reads a target: `torch.ops.aten.linear.default`, `_operator.mul`.
pub(super) fn operator(target: &str) -> Operator {
    if let Some((_, name)) = ARITHMETIC.iter().find(|(python, _)| *python == target) {
        return Operator::Call {
            target: (*name).into(),
            overload: None,
        };
    }
    let call = |target: String, overload: Option<&str>| Operator::Call {
        target,
        overload: overload.map(Into::into),
    };
    let Some(name) = target.strip_prefix(OPERATORS) else {
        return call(target.into(), None);
    };
    match name {
        "higher_order.wrap_with_set_grad_enabled" => return Operator::Inline(Wrapper::SetGradEnabled),
        "higher_order.wrap_with_autocast" => return Operator::Inline(Wrapper::Autocast),
        _ => {}
    }
    let Some((namespace, rest)) = name.split_once('.') else {
        return call(target.into(), None);
    };
    let (name, overload) = rest.rsplit_once('.').unwrap_or((rest, ""));
    let overload = if overload == "default" { "" } else { overload };
    let qualified = format!("{namespace}::{name}");
    if GUARDS.contains(&qualified.as_str()) {
        return Operator::Guard;
    }
    match qualified.as_str() {
        // The same question, asked so that the answer may be symbolic.
        "aten::sym_size" => call("aten::size".into(), Some(overload)),
        "aten::sym_numel" => call("aten::numel".into(), Some(overload)),
        _ => call(qualified, Some(overload)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_as_exports_write_them() {
        let call = |target: &str, overload: Option<&str>| Operator::Call {
            target: target.into(),
            overload: overload.map(Into::into),
        };
        for (target, expected) in [
            ("torch.ops.aten.linear.default", call("aten::linear", Some(""))),
            ("torch.ops.aten.add_.Tensor", call("aten::add_", Some("Tensor"))),
            ("torch.ops.aten.sym_size.int", call("aten::size", Some("int"))),
            ("torch.ops.mylib.my.op.default", call("mylib::my.op", Some(""))),
            ("_operator.floordiv", call("aten::floordiv", None)),
            ("torch.sym_max", call("prim::max", None)),
            ("torch.ops.aten._assert_tensor_metadata.default", Operator::Guard),
            (
                "torch.ops.higher_order.wrap_with_set_grad_enabled",
                Operator::Inline(Wrapper::SetGradEnabled),
            ),
            (
                "torch.ops.higher_order.cond",
                call("higher_order::cond", Some("")),
            ),
            ("builtins.print", call("builtins.print", None)),
        ] {
            assert_eq!(operator(target), expected, "{target}");
        }
    }
}
