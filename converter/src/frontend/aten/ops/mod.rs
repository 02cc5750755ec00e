//! The ATen operators traces and exports use: one row each, one small file per operator or family.
//!
//! Each file opens with the schemas it reads (`aten/src/ATen/native/native_functions.yaml`). In-place variants have no
//! rows of their own: the importer rebinds the value they change. Where all arguments are known, so is the result.

mod activation;
mod attention;
mod binary;
mod cast;
mod choose;
mod clamp;
mod convolution;
mod create;
mod cumsum;
mod dropout;
mod einsum;
mod embedding;
mod expand;
mod gather;
mod join;
mod layer_norm;
mod linear;
mod reduce;
mod size;
mod slice;
mod softmax;
mod split;
mod transpose;
mod truth;
mod unary;
mod view;

use super::call::Call;
use super::context::{Context, Outcome};

/// One operator.
pub(super) struct Row {
    /// Name with namespace, without overload.
    pub(super) target: &'static str,
    /// Parameters of its schema in order; overloads that differ share the longest list.
    pub(super) parameters: &'static [&'static str],
    /// Whether the result may share the first argument's elements.
    pub(super) view: bool,
    /// Reads a call.
    pub(super) read: fn(&mut Context, &Call) -> Outcome,
}

const fn row(
    target: &'static str,
    parameters: &'static [&'static str],
    read: fn(&mut Context, &Call) -> Outcome,
) -> Row {
    Row {
        target,
        parameters,
        view: false,
        read,
    }
}

const fn view(
    target: &'static str,
    parameters: &'static [&'static str],
    read: fn(&mut Context, &Call) -> Outcome,
) -> Row {
    Row {
        target,
        parameters,
        view: true,
        read,
    }
}

const FAMILIES: &[&[Row]] = &[
    activation::ROWS,
    attention::ROWS,
    binary::ROWS,
    cast::ROWS,
    choose::ROWS,
    clamp::ROWS,
    convolution::ROWS,
    create::ROWS,
    cumsum::ROWS,
    dropout::ROWS,
    einsum::ROWS,
    embedding::ROWS,
    expand::ROWS,
    gather::ROWS,
    join::ROWS,
    layer_norm::ROWS,
    linear::ROWS,
    reduce::ROWS,
    size::ROWS,
    slice::ROWS,
    softmax::ROWS,
    split::ROWS,
    transpose::ROWS,
    truth::ROWS,
    unary::ROWS,
    view::ROWS,
];

fn rows() -> impl Iterator<Item = &'static Row> {
    FAMILIES.iter().copied().flatten()
}

/// The row of an operator or of its in-place variant.
pub(super) fn find(target: &str) -> Option<&'static Row> {
    let named = |name: &str| rows().find(|row| row.target == name);
    named(target).or_else(|| named(target.strip_suffix('_')?))
}

/// Whether an operator changes its first argument.
pub(super) fn in_place(target: &str) -> bool {
    !rows().any(|row| row.target == target)
        && target
            .strip_suffix('_')
            .is_some_and(|base| rows().any(|row| row.target == base))
}

/// Names of every operator there is a reading for, in order.
pub fn supported() -> Vec<&'static str> {
    let mut names: Vec<_> = rows().map(|row| row.target).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_operator_has_two_rows() {
        let names = supported();
        for pair in names.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
    }

    #[test]
    fn an_underscore_at_the_end_changes_in_place_unless_it_is_part_of_the_name() {
        assert!(in_place("aten::add_"));
        assert!(!in_place("aten::add"));
        assert!(!in_place("aten::__and__"));
        assert!(find("aten::masked_fill_").is_some());
        assert!(find("aten::no_such_operator").is_none());
    }
}
