//! Sizes that depend on the inputs, and the ranges the export promises for them.

use crate::frontend::aten::Size;
use crate::source::json::UniqueMap;
use crate::source::pt2::SymInt;
use crate::source::shortened;

use super::schema::Range;

/// What PyTorch before 2.7 writes for no upper bound: `sys.maxsize - 1`; an `int_oo` is left out.
const UNBOUNDED: i64 = i64::MAX - 1;

/// A declared size.
///
/// # Errors
/// When it is negative or an expression of more than one symbol, in words.
pub(super) fn size(size: &SymInt, ranges: &UniqueMap<Range>) -> Result<Size, String> {
    match size {
        SymInt::Int(value) => u64::try_from(*value)
            .map(Size::Fixed)
            .map_err(|_| format!("{value} is negative")),
        SymInt::Expression(expression) => {
            let text = &expression.expr_str;
            let name = symbol(text).ok_or_else(|| {
                format!(
                    "depends on other sizes (`{}`); export the model with a torch.export.Dim of its own for every \
                     size that varies",
                    shortened(text)
                )
            })?;
            let range = ranges.0.get(name);
            let bound = |value: Option<i64>| value.filter(|value| *value < UNBOUNDED);
            let least = |value: i64| u64::try_from(value).unwrap_or(0);
            let min = range.and_then(|range| range.min_val).map_or(0, least);
            let max = range.and_then(|range| bound(range.max_val)).map(least);
            if max.is_some_and(|max| max < min) {
                return Err(format!("`{name}` ranges from {min} to {}", max.unwrap_or(0)));
            }
            Ok(Size::Symbol {
                name: name.to_owned(),
                min,
                max,
            })
        }
    }
}

/// The symbol an expression is, if it is nothing else: `s0` or `Symbol('s0', positive=True, integer=True)`.
fn symbol(text: &str) -> Option<&str> {
    let name = match text.strip_prefix("Symbol('") {
        None => text,
        Some(rest) => {
            let (name, assumptions) = rest.split_once('\'')?;
            let plain = assumptions
                .strip_suffix(')')
                .is_some_and(|rest| !rest.contains(['(', ')']));
            plain.then_some(name)?
        }
    };
    let word = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    word.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_and_nothing_else() {
        assert_eq!(symbol("s0"), Some("s0"));
        assert_eq!(symbol("Symbol('s41', positive=True, integer=True)"), Some("s41"));
        for text in [
            "2*s0",
            "s0 + 1",
            "",
            "7",
            "Mul(Integer(2), Symbol('s0', positive=True, integer=True))",
            "Symbol('s0', positive=True) + Symbol('s1', positive=True)",
            "Symbol('s0'",
        ] {
            assert_eq!(symbol(text), None, "{text}");
        }
    }
}
