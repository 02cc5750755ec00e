//! The sizes a package takes, each judged on its own.
//!
//! A function of fixed shape is one bucket, one with enumerated shapes as many as it enumerates. A range is judged
//! where faults show: at both ends, at its default, and at one size in between; or, where the reference has answers
//! for one length only, at that.

use std::collections::BTreeSet;

use corer_mil::{Dim, Function, NamedType};
use corer_proto::{Feature, FeatureType, Flexibility, Package};

use crate::error::VerifyError;
use crate::inputs::{ATTENTION_MASK, INPUT_IDS, TOKEN_TYPE_IDS};

/// One size of one function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bucket {
    /// What reports call it: the function's name, its size, or both, whatever tells it from the others.
    pub(crate) name: String,
    pub(crate) function: String,
    /// Rows per execution.
    pub(crate) batch: usize,
    /// Positions per row.
    pub(crate) length: usize,
    /// Whether a caller who chooses nothing gets it.
    pub(crate) default: bool,
}

/// Rows and positions.
type Size = (u64, u64);

/// Every bucket of the functions to judge: of the one asked for, else of all that the package describes. Ranges are
/// judged at `length`, if one is given.
pub(crate) fn buckets(
    package: &Package,
    asked: Option<&str>,
    length: Option<u64>,
) -> Result<Vec<Bucket>, VerifyError> {
    let description = &package.model.description;
    let described: Vec<&str> = description
        .functions
        .iter()
        .map(|function| function.name.as_str())
        .collect();
    let default = default_function(package);
    let functions: Vec<&str> = match (asked, &described[..]) {
        (Some(name), _) => vec![name],
        (None, []) => vec![default.ok_or_else(|| {
            let known = names(package).join(", ");
            fail(
                package,
                format!("has several functions, say which with --function: {known}"),
            )
        })?],
        (None, described) => described.to_vec(),
    };
    let mut buckets = Vec::new();
    for name in &functions {
        let Some(function) = package.model.program.functions.get(*name) else {
            let known = names(package).join(", ");
            return Err(fail(
                package,
                format!("has no function `{name}`; it has: {known}"),
            ));
        };
        let features = match description.functions.iter().find(|other| other.name == *name) {
            Some(own) => &own.inputs,
            None => &description.inputs,
        };
        let sizes = sizes(function, features, length).map_err(|reason| fail(package, reason))?;
        let alone = sizes.all.len() == 1;
        for size in sizes.all {
            let (batch, length) = size;
            let shown = format!("{batch} x {length}");
            let small = |size: u64| {
                usize::try_from(size)
                    .ok()
                    .filter(|size| (1..=1 << 20).contains(size))
            };
            let (Some(rows), Some(positions)) = (small(batch), small(length)) else {
                return Err(fail(package, format!("takes {shown} token ids")));
            };
            buckets.push(Bucket {
                name: match (alone, functions.len()) {
                    (true, _) => (*name).to_owned(),
                    (false, 1) => shown,
                    (false, _) => format!("{name} {shown}"),
                },
                function: (*name).to_owned(),
                batch: rows,
                length: positions,
                default: size == sizes.default && default.is_none_or(|default| default == *name),
            });
        }
    }
    Ok(buckets)
}

/// The function of a caller who names none: the package's default, else `main`, else the only one.
fn default_function(package: &Package) -> Option<&str> {
    let functions = &package.model.program.functions;
    let main = || functions.contains_key("main").then_some("main");
    let only = || match functions.len() {
        1 => functions.keys().next().map(String::as_str),
        _ => None,
    };
    let default = package.model.description.default_function.as_deref();
    default.or_else(main).or_else(only)
}

fn names(package: &Package) -> Vec<&str> {
    package
        .model
        .program
        .functions
        .keys()
        .map(String::as_str)
        .collect()
}

fn fail(package: &Package, reason: String) -> VerifyError {
    VerifyError::Interface {
        path: package.path.clone(),
        reason,
    }
}

/// The sizes of one function that are judged.
#[derive(Debug)]
struct Sizes {
    default: Size,
    all: Vec<Size>,
}

/// What one input takes.
struct Accepts<'a> {
    default: Size,
    flexibility: &'a Flexibility,
}

impl Accepts<'_> {
    fn takes(&self, size: Size) -> bool {
        match self.flexibility {
            Flexibility::Fixed => size == self.default,
            Flexibility::Enumerated(shapes) => shapes.iter().any(|shape| shape[..] == [size.0, size.1]),
            Flexibility::Range(ranges) => {
                let within = |size: u64, axis: usize| {
                    ranges
                        .get(axis)
                        .is_some_and(|(least, most)| size >= *least && most.is_none_or(|most| size <= most))
                };
                within(size.0, 0) && within(size.1, 1)
            }
        }
    }

    /// Sizes to judge, as far as this input alone can say.
    fn sizes(&self, wanted: Option<u64>) -> Vec<Size> {
        match self.flexibility {
            Flexibility::Fixed => vec![self.default],
            Flexibility::Enumerated(shapes) => shapes
                .iter()
                .filter_map(|shape| match shape[..] {
                    [batch, length] => Some((batch, length)),
                    _ => None,
                })
                .collect(),
            Flexibility::Range(ranges) => {
                let [batches, lengths] = &ranges[..] else {
                    return Vec::new();
                };
                let (batch, length) = self.default;
                let ends = |(least, most): &(u64, Option<u64>), default: u64| {
                    let least = (*least).max(1);
                    let most = most.unwrap_or(default).max(least);
                    [least, most]
                };
                let [shortest, longest] = ends(lengths, length);
                let [few, many] = ends(batches, batch);
                if let Some(wanted) = wanted.filter(|wanted| (shortest..=longest).contains(wanted)) {
                    return BTreeSet::from([(few, wanted), (many, wanted)])
                        .into_iter()
                        .collect();
                }
                // In ratio half way, and odd where it can be: not every fault shows at powers of two.
                let middle = (shortest.saturating_mul(longest).isqrt() | 1).clamp(shortest, longest);
                let mut sizes = BTreeSet::from([(many, length), (batch, length)]);
                sizes.extend([shortest, middle, longest].map(|length| (few, length)));
                sizes.into_iter().collect()
            }
        }
    }
}

fn sizes(function: &Function, features: &[Feature], wanted: Option<u64>) -> Result<Sizes, String> {
    // The others have sizes of their own, or follow these.
    let of_tokens =
        |input: &&NamedType| [INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS].contains(&input.name.as_str());
    let of_tokens: Vec<&NamedType> = function.inputs.iter().filter(of_tokens).collect();
    let mut inputs = Vec::with_capacity(of_tokens.len());
    for input in &of_tokens {
        let Some([batch, length]) = input.ty.as_tensor().map(|tensor| &tensor.shape[..]) else {
            return Err(format!(
                "input `{}` is {}, expected (batch, positions)",
                input.name, input.ty
            ));
        };
        let feature = features.iter().find(|feature| feature.name == input.name);
        let accepts = match (batch, length, feature.map(|feature| &feature.ty)) {
            (&Dim::Known(batch), &Dim::Known(length), _) => Accepts {
                default: (batch, length),
                flexibility: &Flexibility::Fixed,
            },
            (
                _,
                _,
                Some(FeatureType::MultiArray {
                    shape, flexibility, ..
                }),
            ) if shape.len() == 2 => Accepts {
                default: (shape[0], shape[1]),
                flexibility,
            },
            _ => {
                return Err(format!(
                    "input `{}` is {} and nothing says which sizes it takes",
                    input.name, input.ty
                ));
            }
        };
        inputs.push(accepts);
    }
    // The input that lists its sizes knows best, then the one that has but one.
    let rank = |accepts: &&Accepts<'_>| match accepts.flexibility {
        Flexibility::Enumerated(_) => 0,
        Flexibility::Fixed => 1,
        Flexibility::Range(_) => 2,
    };
    let Some(leader) = inputs.iter().min_by_key(rank) else {
        return Err(format!("has no input {INPUT_IDS}"));
    };
    let default = leader.default;
    let mut all = leader.sizes(wanted);
    all.retain(|size| inputs.iter().all(|input| input.takes(*size)));
    if all.is_empty() {
        let shown: Vec<_> = of_tokens
            .iter()
            .zip(&inputs)
            .map(|(input, accepts)| {
                let (batch, length) = accepts.default;
                format!("`{}` is {batch} x {length}", input.name)
            })
            .collect();
        return Err(format!("no size suits all inputs: {}", shown.join(", ")));
    }
    all.sort_by_key(|(batch, length)| (*length, *batch));
    Ok(Sizes { default, all })
}

#[cfg(test)]
mod tests {
    use corer_mil::{DataType, FunctionBuilder, Opset, TensorType};
    use corer_proto::ArrayType;

    use super::*;

    /// Buckets of a function whose inputs are flexible in the ways given, all with default 1 x 64.
    fn judged(inputs: &[Flexibility]) -> Result<Vec<Size>, String> {
        judged_at(inputs, None)
    }

    fn judged_at(inputs: &[Flexibility], length: Option<u64>) -> Result<Vec<Size>, String> {
        let mut builder = FunctionBuilder::new(Opset::CoreMl8);
        let mut features = Vec::new();
        for (index, flexibility) in inputs.iter().enumerate() {
            let name = [INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS][index];
            let shape = match flexibility {
                Flexibility::Fixed => vec![Dim::Known(1), Dim::Known(64)],
                _ => vec![Dim::Symbol(0), Dim::Symbol(1)],
            };
            builder.input(
                name,
                TensorType {
                    dtype: DataType::Int32,
                    shape,
                },
            );
            let mut feature = Feature::multi_array(name, ArrayType::Int32, [1, 64]);
            if let FeatureType::MultiArray {
                flexibility: slot, ..
            } = &mut feature.ty
            {
                *slot = flexibility.clone();
            }
            features.push(feature);
        }
        let sizes = sizes(&builder.finish(&[]), &features, length)?;
        assert_eq!(sizes.default, (1, 64));
        Ok(sizes.all)
    }

    fn enumerated(sizes: &[Size]) -> Flexibility {
        Flexibility::Enumerated(
            sizes
                .iter()
                .map(|(batch, length)| vec![*batch, *length])
                .collect(),
        )
    }

    #[test]
    fn enumerated_shapes_are_judged_shortest_first() {
        let shapes = enumerated(&[(1, 64), (1, 128), (2, 32), (1, 32)]);
        assert_eq!(
            judged(&[shapes.clone(), shapes]),
            Ok(vec![(1, 32), (2, 32), (1, 64), (1, 128)])
        );
    }

    #[test]
    fn ranges_are_judged_at_their_ends_their_default_and_in_between() {
        let range = |batch, length| Flexibility::Range(vec![batch, length]);
        assert_eq!(
            judged(&[range((1, Some(1)), (1, Some(512)))]),
            Ok(vec![(1, 1), (1, 23), (1, 64), (1, 512)])
        );
        assert_eq!(
            judged(&[range((1, Some(4)), (32, Some(64)))]),
            Ok(vec![(1, 32), (1, 45), (1, 64), (4, 64)])
        );
        // A recording decides, if it can.
        let ranges = [range((1, Some(4)), (32, Some(64)))];
        assert_eq!(judged_at(&ranges, Some(48)), Ok(vec![(1, 48), (4, 48)]));
        assert_eq!(
            judged_at(&ranges, Some(16)),
            Ok(vec![(1, 32), (1, 45), (1, 64), (4, 64)])
        );
        // Without an upper end the default is the largest that is known to be meant.
        assert_eq!(
            judged(&[range((1, None), (63, None))]),
            Ok(vec![(1, 63), (1, 64)])
        );
    }

    #[test]
    fn inputs_have_to_agree() {
        let some = enumerated(&[(1, 32), (1, 64)]);
        let range = Flexibility::Range(vec![(1, Some(1)), (48, Some(128))]);
        assert_eq!(judged(&[range, some.clone()]), Ok(vec![(1, 64)]));
        assert_eq!(judged(&[some, Flexibility::Fixed]), Ok(vec![(1, 64)]));
        let others = enumerated(&[(1, 16)]);
        let error = judged(&[others, Flexibility::Fixed]).expect_err("no size in common");
        assert!(error.contains("no size suits all inputs"), "{error}");
    }
}
