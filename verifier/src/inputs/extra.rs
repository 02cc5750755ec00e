//! Inputs beside token ids, mask and token types: positions, or what a model of somebody's own takes. Whoever has
//! values for them gives them with the rows; the rest is filled from a seed.

use std::sync::Arc;

use super::tokens::Random;
use super::{ATTENTION_MASK, INPUT_IDS, InputSet, TOKEN_TYPE_IDS};
use crate::error::InputError;

/// Positions from 0, in models that take them.
const POSITION_IDS: &str = "position_ids";

/// An input at one size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputType {
    /// Its name.
    pub name: String,
    /// Whether it takes real numbers; else integers.
    pub float: bool,
    /// Its sizes, outermost first.
    pub shape: Vec<usize>,
}

/// Values of an input, row-major.
#[derive(Clone, PartialEq, Debug)]
pub enum Values {
    /// Integers, or truth values as 0 and 1.
    Ints(Vec<i32>),
    /// Real numbers.
    Floats(Vec<f32>),
}

/// What a row gives an input, or a batch of rows joined.
#[derive(Clone, PartialEq, Debug)]
pub struct Extra {
    /// Sizes of one row's part, without the batch axis; of the whole input when it is shared, or joined.
    pub shape: Vec<usize>,
    /// Whether the input has no batch axis, so that all rows give the same.
    pub shared: bool,
    /// The values.
    pub values: Values,
}

impl Values {
    /// Number of values.
    pub const fn len(&self) -> usize {
        match self {
            Self::Ints(values) => values.len(),
            Self::Floats(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As real numbers.
    #[allow(clippy::cast_precision_loss)] // token ids and positions are below 2²⁴
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::Ints(values) => values.iter().map(|value| *value as f32).collect(),
            Self::Floats(values) => values.clone(),
        }
    }

    fn extend(&mut self, more: &Self) -> bool {
        match (self, more) {
            (Self::Ints(values), Self::Ints(more)) => values.extend(more),
            (Self::Floats(values), Self::Floats(more)) => values.extend(more),
            _ => return false,
        }
        true
    }
}

impl Extra {
    /// The parts of all rows as one input with a batch axis, or what they share. `None` without rows, when one lacks it,
    /// or when they differ in shape or kind.
    pub(super) fn joined<'a>(mut parts: impl Iterator<Item = Option<&'a Self>>) -> Option<Self> {
        let first = parts.next()??;
        if first.shared {
            return Some(first.clone());
        }
        let mut values = first.values.clone();
        let mut rows = 1;
        for part in parts {
            let part = part.filter(|part| !part.shared && part.shape == first.shape)?;
            if !values.extend(&part.values) {
                return None;
            }
            rows += 1;
        }
        Some(Self {
            shape: std::iter::once(rows).chain(first.shape.iter().copied()).collect(),
            shared: false,
            values,
        })
    }
}

/// Gives every row of `set` what the inputs in `taken` need and the row lacks, for executions of `batch` rows.
///
/// `position_ids` count from 0. Other integers are drawn evenly below what `bound` says of the input, and are 0 or 1
/// where it says nothing; real numbers evenly from −1 to 1. An input whose first size is the batch has a part for each
/// row, any other is shared by all. Returns the names filled.
///
/// # Errors
/// When rows give an input something of another shape or kind.
pub(crate) fn fill(
    set: &mut InputSet,
    taken: &[InputType],
    batch: usize,
    seed: u64,
    bound: &dyn Fn(&str) -> Option<usize>,
) -> Result<Vec<String>, InputError> {
    let mut filled = Vec::new();
    for (position, input) in taken.iter().enumerate() {
        if [INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS].contains(&input.name.as_str()) {
            continue;
        }
        let shared = input.shape.first() != Some(&batch);
        let shape = if shared {
            &input.shape[..]
        } else {
            &input.shape[1..]
        };
        if set.rows.iter().all(|row| row.extra.contains_key(&input.name)) {
            for (index, row) in set.rows.iter_mut().enumerate() {
                let given = &row.extra[&input.name];
                let integers = matches!(given.values, Values::Ints(_));
                if given.shape != shape || (input.float && integers) || (!input.float && !integers) {
                    let kind = if input.float { "real numbers" } else { "integers" };
                    return Err(InputError::Request(format!(
                        "row {index} gives `{}` {:?}, the package takes {kind} of shape {shape:?} per row",
                        input.name, given.shape
                    )));
                }
                if shared && !given.shared {
                    let given = Extra {
                        shared,
                        ..(**given).clone()
                    };
                    row.extra.insert(input.name.clone(), Arc::new(given));
                }
            }
            continue;
        }
        let mut random = Random::new(seed, position as u64 + 1);
        let bound = bound(&input.name);
        let mut draw = || {
            Arc::new(Extra {
                shape: shape.to_vec(),
                shared,
                values: values(input, shape, bound, &mut random),
            })
        };
        let common = shared.then(&mut draw);
        for row in &mut set.rows {
            let extra = common.clone().unwrap_or_else(&mut draw);
            row.extra.insert(input.name.clone(), extra);
        }
        filled.push(input.name.clone());
    }
    Ok(filled)
}

fn values(input: &InputType, shape: &[usize], bound: Option<usize>, random: &mut Random) -> Values {
    let count = shape.iter().product();
    if input.float {
        return Values::Floats((0..count).map(|_| random.centred()).collect());
    }
    let last = shape.last().copied().unwrap_or(1).max(1);
    let mut draw = |at: usize| match (&input.name[..], bound) {
        (POSITION_IDS, bound) => (at % last).min(bound.unwrap_or(usize::MAX).saturating_sub(1)),
        (_, bound) => random.below(bound.unwrap_or(2).max(1)),
    };
    Values::Ints(
        (0..count)
            .map(|at| i32::try_from(draw(at)).unwrap_or(0))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::seeded;

    fn input(name: &str, float: bool, shape: &[usize]) -> InputType {
        InputType {
            name: name.into(),
            float,
            shape: shape.to_vec(),
        }
    }

    #[test]
    fn rows_get_what_they_lack() {
        let taken = [
            input(INPUT_IDS, false, &[2, 4]),
            input(POSITION_IDS, false, &[2, 4]),
            input("customer", true, &[2, 3]),
            input("kind", false, &[2]),
            input("table", true, &[4, 4]),
        ];
        let fill_rows = |seed| {
            let mut set = seeded(0, 5, 4, 10, 2, 0);
            let filled = fill(&mut set, &taken, 2, seed, &|name| (name == "kind").then_some(7)).unwrap();
            assert_eq!(filled, ["position_ids", "customer", "kind", "table"]);
            set
        };
        let set = fill_rows(1);
        assert_eq!(set, fill_rows(1));
        assert_ne!(set, fill_rows(2));
        let batch = set.batch(1, 3);
        assert_eq!(
            batch.input(POSITION_IDS).unwrap().values,
            Values::Ints([0, 1, 2, 3].repeat(3))
        );
        assert_eq!(batch.input("customer").unwrap().shape, [3, 3]);
        assert_ne!(set.rows[0].extra["customer"], set.rows[1].extra["customer"]);
        let kinds = batch.input("kind").unwrap();
        assert!(
            matches!(kinds.values, Values::Ints(kinds) if kinds.iter().all(|kind| (0..7).contains(kind)))
        );
        let table = batch.input("table").unwrap();
        assert_eq!((table.shape, table.shared), (vec![4, 4], true));
        assert_eq!(set.batch(0, 2).input("elsewhere"), None);
    }

    #[test]
    fn what_rows_give_stays_and_must_fit() {
        let mut set = seeded(0, 2, 4, 10, 2, 0);
        let given = Extra {
            shape: vec![3],
            shared: false,
            values: Values::Floats(vec![0.5; 3]),
        };
        for row in &mut set.rows {
            row.extra.insert("customer".into(), Arc::new(given.clone()));
        }
        let fits = |input| fill(&mut set.clone(), &[input], 1, 0, &|_| None);
        assert_eq!(fits(input("customer", true, &[1, 3])).unwrap(), [] as [&str; 0]);
        for other in [
            input("customer", true, &[1, 4]),
            input("customer", false, &[1, 3]),
        ] {
            let error = fits(other).unwrap_err().to_string();
            assert!(error.contains("`customer` [3]"), "{error}");
        }
    }
}
