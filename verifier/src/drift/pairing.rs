//! Which value of a package is which place of the reference.

use std::collections::{BTreeMap, BTreeSet};

use corer_mil::builder::identifier;
use corer_mil::{Binding, Block, Operation};

use super::arrangement::{Arrangement, Sizes};
use crate::reference::Place;
use crate::report::drift::{PlacePairing, Unpaired};
use crate::tensor::Tensor;

/// A value both sides have.
pub(super) struct Pair {
    /// The innermost of the places that have it.
    pub(super) place: Place,
    /// Its name in the package.
    pub(super) value: String,
    pub(super) operation: String,
    pub(super) op: String,
    /// Index of the operation in the function's body.
    pub(super) index: usize,
    pub(super) paired_by: PlacePairing,
    /// Shape of the package's value.
    pub(super) shape: Vec<usize>,
    /// The same in the reference's order.
    pub(super) sizes: Sizes,
    /// Every way it may lie, to be settled by looking.
    pub(super) candidates: Vec<Arrangement>,
}

/// What a value of the package is known by.
pub(super) struct Values<'a> {
    body: &'a Block,
    /// Values that are computed, with their shapes, by name.
    pub(super) shapes: &'a BTreeMap<String, Vec<usize>>,
    /// Output names of both sides that belong together, the package's first.
    pub(super) outputs: &'a [(String, String)],
}

/// Operations that are a module of their own with their weight.
const WEIGHED: [&str; 4] = ["conv", "linear", "gather", "layer_norm"];

/// Operations that give what they take in another shape, order or format.
const MOVING: [&str; 6] = [
    "cast",
    "expand_dims",
    "identity",
    "reshape",
    "squeeze",
    "transpose",
];

/// Ends that writers give names of weights, outermost first.
const WEIGHT_ENDS: [&str; 7] = [
    "_to_fp16",
    "_palettized",
    "_quantized",
    "_sparsified",
    "_weight",
    "_gamma",
    "_affine",
];

impl<'a> Values<'a> {
    pub(super) const fn new(
        body: &'a Block,
        shapes: &'a BTreeMap<String, Vec<usize>>,
        outputs: &'a [(String, String)],
    ) -> Self {
        Self {
            body,
            shapes,
            outputs,
        }
    }

    /// Pairs the reference's places, each with its value for some rows, and says of the rest why not. `results` are the
    /// reference's outputs for the same rows.
    pub(super) fn pair(
        &self,
        places: &[(Place, Tensor)],
        results: &BTreeMap<String, Tensor>,
    ) -> (Vec<Pair>, Vec<Unpaired>) {
        let heads = head_counts(self.shapes, self.body);
        let groups: Vec<&[(Place, Tensor)]> = places.chunk_by(|(_, a), (_, b)| a == b).collect();
        let mut found = self.by_name_or_output(&groups, results);
        let taken: BTreeSet<&str> = found.iter().flatten().map(|(value, _)| *value).collect();
        let by_weight = self.by_weight();
        for (group, found) in groups.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            let named = group.iter().find_map(|(place, _)| by_weight.get(&key(place)));
            *found = named
                .filter(|value| !taken.contains(**value))
                .map(|value| (*value, PlacePairing::Weight));
        }
        let (mut pairs, mut unpaired): (Vec<Pair>, Vec<Unpaired>) = (Vec::new(), Vec::new());
        for (group, found) in groups.iter().zip(found) {
            let Some((place, value)) = group.first() else {
                continue;
            };
            let outcome = match found {
                None => Err("no operation is named after it, takes its weight or gives it out".to_owned()),
                // A value that is many places at different times of the run is none of them.
                Some((found, _)) if pairs.iter().any(|other| other.value == found) => {
                    Err(format!("`{found}` is another place's already"))
                }
                // The place is the module's last call, the name its first.
                Some((found, PlacePairing::Name)) if self.is_repeated(found) => {
                    Err(format!("`{found}` is computed more than once"))
                }
                Some((found, paired_by)) => self.pair_of(place, value, found, paired_by, &heads),
            };
            match outcome {
                Ok(pair) => pairs.push(pair),
                Err(reason) => unpaired.push(Unpaired {
                    place: place.clone(),
                    reason,
                }),
            }
        }
        pairs.sort_by_key(|pair| pair.index);
        (pairs, unpaired)
    }

    /// The counterpart of every group of places that have one value, by their names, else as an output.
    fn by_name_or_output(
        &self,
        groups: &[&[(Place, Tensor)]],
        results: &BTreeMap<String, Tensor>,
    ) -> Vec<Option<(&'a str, PlacePairing)>> {
        let by_name = self.by_name();
        let find = |group: &&[(Place, Tensor)]| {
            let (_, value) = group.first()?;
            let named = group.iter().find_map(|(place, _)| by_name.get(&key(place)));
            let output = self.output(value, results);
            match (named, output) {
                // A module's last value is an output, and the name is an earlier one's: a layer without its activation.
                (Some(named), Some(output)) if self.unmoved(output) != *named => {
                    Some((output, PlacePairing::Output))
                }
                (Some(named), _) => Some((*named, PlacePairing::Name)),
                (None, output) => Some((output?, PlacePairing::Output)),
            }
        };
        groups.iter().map(find).collect()
    }

    /// A place and a value as a pair, where their shapes allow it.
    fn pair_of(
        &self,
        place: &Place,
        exact: &Tensor,
        value: &str,
        paired_by: PlacePairing,
        heads: &[usize],
    ) -> Result<Pair, String> {
        let shape = &self.shapes[value];
        let differ = || format!("`{value}` has shape {shape:?}, the reference {:?}", exact.shape());
        let sizes = Sizes::of(exact.shape()).ok_or_else(differ)?;
        let candidates = Arrangement::candidates(shape, sizes, heads, score_terms(self.body));
        if candidates.is_empty() {
            return Err(differ());
        }
        let maker = |operation: &Operation| operation.outputs.iter().any(|output| output.name == value);
        let index = self.body.operations.iter().position(maker);
        let index = index.ok_or_else(|| format!("`{value}` is not computed"))?;
        let operation = &self.body.operations[index];
        Ok(Pair {
            place: place.clone(),
            value: value.to_owned(),
            operation: operation.name().to_owned(),
            op: operation.op.clone(),
            index,
            paired_by,
            shape: shape.clone(),
            sizes,
            candidates,
        })
    }

    /// Whether other values have its name and a number, as those of a module called again.
    fn is_repeated(&self, value: &str) -> bool {
        let again = |name: &String| {
            let rest = name.strip_prefix(value).and_then(|rest| rest.strip_prefix('_'));
            rest.is_some_and(|rest| rest.parse::<usize>().is_ok())
        };
        self.shapes.keys().any(again)
    }

    fn by_name(&self) -> BTreeMap<String, &'a str> {
        let names = self.shapes.keys();
        names.map(|name| (key(name), name.as_str())).collect()
    }

    /// Results of the operations that take a weight, by the module the weight is named after.
    fn by_weight(&self) -> BTreeMap<String, &'a str> {
        let constant: BTreeSet<&str> = self
            .body
            .operations
            .iter()
            .filter(|operation| operation.op == "const" || operation.op.starts_with("constexpr_"))
            .flat_map(|operation| &operation.outputs)
            .map(|output| output.name.as_str())
            .collect();
        let mut found = BTreeMap::new();
        for operation in &self.body.operations {
            let result = operation.outputs.first();
            let known = result.and_then(|result| self.shapes.get_key_value(&result.name));
            let (Some((result, _)), true) = (known, WEIGHED.contains(&operation.op.as_str())) else {
                continue;
            };
            let weight = ["weight", "gamma", "x"].iter().find_map(|parameter| {
                match operation.inputs.get(*parameter)?.first()? {
                    Binding::Name(name) if constant.contains(name.as_str()) => Some(name),
                    _ => None,
                }
            });
            if let Some(weight) = weight {
                let mut module = weight.as_str();
                for end in WEIGHT_ENDS {
                    module = module.strip_suffix(end).unwrap_or(module);
                }
                found.entry(key(module)).or_insert(result.as_str());
            }
        }
        found
    }

    /// The output of the package whose counterpart among the reference's outputs has this very value.
    fn output(&self, value: &Tensor, results: &BTreeMap<String, Tensor>) -> Option<&'a str> {
        let same = |(_, theirs): &&(String, String)| results.get(theirs) == Some(value);
        let (ours, _) = self.outputs.iter().find(same)?;
        self.shapes.get_key_value(ours).map(|(name, _)| name.as_str())
    }

    /// The value that `value` is but for its shape and order.
    fn unmoved(&self, mut value: &'a str) -> &'a str {
        for operation in self.body.operations.iter().rev() {
            if !operation.outputs.iter().any(|output| output.name == value) {
                continue;
            }
            let from = operation.inputs.get("x").and_then(|from| from.first());
            match from {
                Some(Binding::Name(from)) if MOVING.contains(&operation.op.as_str()) => value = from,
                _ => break,
            }
        }
        value
    }
}

/// A path or a name without what identifiers can't hold, and without what was put before a leading digit.
fn key(name: &str) -> String {
    identifier(name).trim_start_matches('_').to_owned()
}

/// Numbers of heads that the program views channels in: the second of two sizes that channels are cut into.
fn head_counts(shapes: &BTreeMap<String, Vec<usize>>, body: &Block) -> Vec<usize> {
    let mut found = BTreeSet::new();
    for operation in body
        .operations
        .iter()
        .filter(|operation| operation.op == "reshape")
    {
        let result = operation.outputs.first();
        if let Some([_, _, heads, _]) = result
            .and_then(|result| shapes.get(&result.name))
            .map(Vec::as_slice)
            && *heads > 1
        {
            found.insert(*heads);
        }
    }
    found.into_iter().collect()
}

/// How many products a score of attention is the sum of: one, but for DeBERTa, which adds one by positions and one of
/// positions. Each softmax has those before it and one behind it.
fn score_terms(body: &Block) -> usize {
    let count = |names: &[&str]| {
        let named = body
            .operations
            .iter()
            .filter(|operation| names.contains(&operation.op.as_str()));
        named.count()
    };
    let (products, softmaxes) = (count(&["einsum", "matmul"]), count(&["softmax"]));
    products
        .saturating_sub(softmaxes)
        .checked_div(softmaxes)
        .unwrap_or(1)
        .max(1)
}
