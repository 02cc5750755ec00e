//! The model description against the program and the specification version.

use std::collections::{BTreeMap, BTreeSet};

use corer_mil::{Function, Opset, ValueType};

use super::{Faults, features};
use crate::model::{ColorSpace, Description, Feature, FeatureType, Flexibility, Model};

/// First specification version of each thing that came later than ML Programs (`Model.proto`).
const GRAYSCALE_FLOAT16: i32 = 7;
const SEVERAL_FUNCTIONS: i32 = 9;
const STATES: i32 = 9;
const SEVERAL_ENUMERATED_INPUTS: i32 = 9;

pub(super) fn check(model: &Model, faults: &mut Faults) {
    versions(model, faults);
    let description = &model.description;
    if description.functions.is_empty() {
        single(model, faults);
    } else {
        several(model, faults);
    }
    let has_metadata_key = description.metadata.user_defined.keys().any(String::is_empty);
    if has_metadata_key {
        faults.add("metadata.userDefined", "has an empty key");
    }
}

/// One function's side of the description.
struct Interface<'a> {
    place: String,
    inputs: &'a [Feature],
    outputs: &'a [Feature],
    states: &'a [Feature],
    predicted_feature: Option<&'a str>,
    predicted_probabilities: Option<&'a str>,
}

fn versions(model: &Model, faults: &mut Faults) {
    let version = model.specification_version;
    let (oldest, newest) = (Opset::ALL[0], Opset::ALL[Opset::ALL.len() - 1]);
    if version < oldest.specification_version() {
        let needed = oldest.specification_version();
        faults.add(
            "specificationVersion",
            format!("{version}: ML Programs need {needed} or later"),
        );
    } else if version > newest.specification_version() {
        let known = newest.specification_version();
        faults.add(
            "specificationVersion",
            format!("{version} is newer than {known}, the newest known"),
        );
    }
    for (name, function) in &model.program.functions {
        let needed = function.opset.specification_version();
        if needed > version {
            faults.add(
                format!("function `{name}`"),
                format!(
                    "opset {} needs specification version {needed}, the model says {version}",
                    function.opset
                ),
            );
        }
    }
}

fn single(model: &Model, faults: &mut Faults) {
    let description = &model.description;
    if let Some(name) = &description.default_function {
        faults.add(
            "description",
            format!("names the default function `{name}` but describes no functions"),
        );
    }
    let interface = Interface {
        place: String::new(),
        inputs: &description.inputs,
        outputs: &description.outputs,
        states: &description.states,
        predicted_feature: description.predicted_feature.as_deref(),
        predicted_probabilities: description.predicted_probabilities.as_deref(),
    };
    match model.program.functions.get("main") {
        Some(function) => interface.check(model.specification_version, function, faults),
        None => faults.add("program", "has no function `main`"),
    }
    for name in model.program.functions.keys().filter(|name| *name != "main") {
        faults.add(
            format!("function `{name}`"),
            "is not described: description.functions is empty",
        );
    }
}

fn several(model: &Model, faults: &mut Faults) {
    let description = &model.description;
    if model.specification_version < SEVERAL_FUNCTIONS {
        let version = model.specification_version;
        faults.add("description.functions", needs(SEVERAL_FUNCTIONS, version));
    }
    if !top_level_is_empty(description) {
        faults.add(
            "description",
            "a model with functions describes its features per function only",
        );
    }
    let mut described = BTreeSet::new();
    for function in &description.functions {
        let place = format!("function `{}`", function.name);
        if !described.insert(function.name.as_str()) {
            faults.add(&place, "is described twice");
        }
        let interface = Interface {
            place: format!("{place}, "),
            inputs: &function.inputs,
            outputs: &function.outputs,
            states: &function.states,
            predicted_feature: function.predicted_feature.as_deref(),
            predicted_probabilities: function.predicted_probabilities.as_deref(),
        };
        match model.program.functions.get(&function.name) {
            Some(body) => interface.check(model.specification_version, body, faults),
            None => faults.add(&place, "is described but not in the program"),
        }
    }
    for name in model
        .program
        .functions
        .keys()
        .filter(|name| !described.contains(name.as_str()))
    {
        faults.add(format!("function `{name}`"), "is not described");
    }
    match description.default_function.as_deref() {
        None => faults.add("description.defaultFunctionName", "is missing"),
        Some(name) if !described.contains(name) => {
            faults.add(
                "description.defaultFunctionName",
                format!("`{name}` is not described"),
            );
        }
        Some(_) => {}
    }
}

const fn top_level_is_empty(description: &Description) -> bool {
    description.inputs.is_empty()
        && description.outputs.is_empty()
        && description.states.is_empty()
        && description.predicted_feature.is_none()
        && description.predicted_probabilities.is_none()
}

fn needs(needed: i32, version: i32) -> String {
    format!("needs specification version {needed}, the model says {version}")
}

impl Interface<'_> {
    fn check(&self, version: i32, function: &Function, faults: &mut Faults) {
        let (states, inputs): (Vec<_>, Vec<_>) = function
            .inputs
            .iter()
            .partition(|input| matches!(input.ty, ValueType::State(_)));
        let types = |named: Vec<&'_ corer_mil::NamedType>| -> BTreeMap<String, ValueType> {
            named
                .into_iter()
                .map(|named| (named.name.clone(), named.ty.clone()))
                .collect()
        };
        self.match_names("input", self.inputs, &types(inputs), features::input, faults);
        self.match_names("state", self.states, &types(states), features::state, faults);
        self.match_names(
            "output",
            self.outputs,
            &outputs(function),
            features::output,
            faults,
        );
        self.since(version, faults);
        self.classifier(faults);
    }

    /// Pairs features with the program's values by name and compares each pair.
    fn match_names(
        &self,
        kind: &str,
        described: &[Feature],
        actual: &BTreeMap<String, ValueType>,
        compare: fn(&FeatureType, &ValueType) -> Result<(), String>,
        faults: &mut Faults,
    ) {
        let mut seen = BTreeSet::new();
        for feature in described {
            let place = format!("{}{kind} `{}`", self.place, feature.name);
            if !seen.insert(feature.name.as_str()) {
                faults.add(&place, "is described twice");
                continue;
            }
            match actual.get(&feature.name) {
                None => faults.add(
                    &place,
                    format!("is described but the function has no such {kind}"),
                ),
                Some(ty) => {
                    if let Err(message) = compare(&feature.ty, ty) {
                        faults.add(&place, message);
                    }
                }
            }
            if feature.optional && kind != "input" {
                faults.add(&place, "only inputs can be optional");
            }
        }
        for name in actual.keys().filter(|name| !seen.contains(name.as_str())) {
            faults.add(format!("{}{kind} `{name}`", self.place), "is not described");
        }
    }

    /// Features against the specification version that brought them.
    fn since(&self, version: i32, faults: &mut Faults) {
        for feature in self.inputs.iter().chain(self.outputs).chain(self.states) {
            let needed = match &feature.ty {
                FeatureType::MultiArray { dtype, .. } => dtype.since(),
                FeatureType::Image {
                    color_space: ColorSpace::GrayscaleFloat16,
                    ..
                } => GRAYSCALE_FLOAT16,
                FeatureType::State { .. } => STATES,
                _ => 0,
            };
            if version < needed {
                faults.add(
                    format!("{}feature `{}`", self.place, feature.name),
                    needs(needed, version),
                );
            }
        }
        let enumerated = self.inputs.iter().filter(|input| {
            matches!(
                &input.ty,
                FeatureType::MultiArray {
                    flexibility: Flexibility::Enumerated(_),
                    ..
                }
            )
        });
        if version < SEVERAL_ENUMERATED_INPUTS && enumerated.count() > 1 {
            let message = format!(
                "several inputs with enumerated shapes: {}",
                needs(SEVERAL_ENUMERATED_INPUTS, version)
            );
            faults.add(format!("{}inputs", self.place), message);
        }
    }

    fn classifier(&self, faults: &mut Faults) {
        let mut expect = |name: Option<&str>, field: &str, fits: fn(&FeatureType) -> bool, wanted: &str| {
            let Some(name) = name else { return };
            let place = format!("{}description.{field}", self.place);
            match self.outputs.iter().find(|output| output.name == name) {
                None => faults.add(place, format!("`{name}` is no output")),
                Some(output) if !fits(&output.ty) => faults.add(place, format!("`{name}` must be {wanted}")),
                Some(_) => {}
            }
        };
        // A regressor's predicted feature is a number.
        expect(
            self.predicted_feature,
            "predictedFeatureName",
            |ty| {
                matches!(
                    ty,
                    FeatureType::String
                        | FeatureType::Int64
                        | FeatureType::Double
                        | FeatureType::MultiArray { .. }
                )
            },
            "a label or a number",
        );
        expect(
            self.predicted_probabilities,
            "predictedProbabilitiesName",
            |ty| matches!(ty, FeatureType::Dictionary { .. }),
            "a dictionary of labels",
        );
        if self.predicted_probabilities.is_some() && self.predicted_feature.is_none() {
            let place = format!("{}description.predictedFeatureName", self.place);
            faults.add(place, "is missing though predictedProbabilitiesName is there");
        }
    }
}

/// The types of the values a function returns; those it returns without defining them are the checker's to report.
fn outputs(function: &Function) -> BTreeMap<String, ValueType> {
    let Some(body) = function.body() else {
        return BTreeMap::new();
    };
    let mut types: BTreeMap<&str, &ValueType> = function
        .inputs
        .iter()
        .map(|input| (input.name.as_str(), &input.ty))
        .collect();
    for output in body.operations.iter().flat_map(|operation| &operation.outputs) {
        types.insert(&output.name, &output.ty);
    }
    body.outputs
        .iter()
        .filter_map(|name| types.get(name.as_str()).map(|ty| (name.clone(), (*ty).clone())))
        .collect()
}
