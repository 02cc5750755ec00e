//! The op table against coremltools' own registry, as recorded in `conformance/op_signatures.json`.

use std::collections::{BTreeMap, BTreeSet};

use corer_mil::ops::{self, OpDef, Param, TypeRule};
use corer_mil::{DataType, Opset};
use serde_json::Value;

/// coremltools 9.0 registers nothing newer than iOS 18.
const OPSETS: [(Opset, &str); 4] = [
    (Opset::CoreMl5, "ios15"),
    (Opset::CoreMl6, "ios16"),
    (Opset::CoreMl7, "ios17"),
    (Opset::CoreMl8, "ios18"),
];

fn registry() -> BTreeMap<String, Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/op_signatures.json");
    let text = std::fs::read_to_string(path).expect("conformance/op_signatures.json is in the repository");
    let json: Value = serde_json::from_str(&text).expect("it is JSON");
    json["ops"]
        .as_object()
        .expect("it has ops")
        .clone()
        .into_iter()
        .collect()
}

/// The version of an operation that holds in the `index`-th opset.
fn version(op: &Value, index: usize) -> Option<&Value> {
    let names: Vec<&str> = OPSETS[..=index].iter().map(|(_, name)| *name).collect();
    op["versions"]
        .as_array()?
        .iter()
        .rfind(|version| names.contains(&version["opset"].as_str().unwrap_or_default()))
}

/// Every operation a written package can hold; blocks and internals are not parameters on disk.
fn on_disk(input: &Value) -> bool {
    !matches!(input["kind"].as_str(), Some("block" | "internal")) || input["name"] == "val"
}

fn anchor(row: &OpDef, param: &Param) -> &'static str {
    match param.types {
        TypeRule::SameAs(other) => other,
        _ => row
            .params
            .iter()
            .find(|other| other.name == param.name)
            .map_or("", |other| other.name),
    }
}

fn compare(name: &str, row: &OpDef, version: &Value, opset: Opset, faults: &mut Vec<String>) {
    let inputs: Vec<&Value> = version["inputs"]
        .as_array()
        .expect("inputs")
        .iter()
        .filter(|input| on_disk(input))
        .collect();
    let params: Vec<&Param> = row.params.iter().filter(|param| param.since <= opset).collect();
    let theirs: BTreeSet<&str> = inputs.iter().filter_map(|input| input["name"].as_str()).collect();
    let ours: BTreeSet<&str> = params.iter().map(|param| param.name).collect();
    if theirs != ours {
        faults.push(format!("parameters {ours:?}, registry {theirs:?}"));
    }
    // `const` holds its value as an attribute. `constexpr_affine_dequantize` has no iOS 18 class of its own, and
    // coremltools' writer goes by the class: it writes attributes even in iOS 18 programs, whatever the record says.
    let attributes =
        version["parameters_as"] == "attributes" || matches!(name, "const" | "constexpr_affine_dequantize");
    if row.attributes != attributes {
        faults.push(format!("attributes {}, registry {attributes}", row.attributes));
    }
    let mut domains: BTreeMap<&str, &str> = BTreeMap::new();
    let mut anchors: BTreeMap<&str, &str> = BTreeMap::new();
    for input in inputs {
        let input_name = input["name"].as_str().expect("a name");
        let Some(param) = params.iter().find(|param| param.name == input_name) else {
            continue;
        };
        if input["optional"].as_bool() == Some(param.required) {
            faults.push(format!("`{input_name}` required {}", param.required));
        }
        if input["const"].as_bool() != Some(param.constant) {
            faults.push(format!("`{input_name}` constant {}", param.constant));
        }
        if (input["kind"] == "tuple") != param.variadic {
            faults.push(format!("`{input_name}` variadic {}", param.variadic));
        }
        if let Some(dtypes) = input["dtypes"].as_array() {
            let mut theirs: Vec<DataType> = dtypes
                .iter()
                .map(|dtype| {
                    dtype
                        .as_str()
                        .unwrap_or_default()
                        .parse()
                        .expect("a known element type")
                })
                .collect();
            theirs.sort_unstable();
            let ours = row.element_types(param, opset);
            if ours.as_ref() != Some(&theirs) {
                faults.push(format!("`{input_name}` takes {ours:?}, registry {theirs:?}"));
            }
        }
        if let Some(domain) = input["domain"].as_str() {
            let first = domains.entry(domain).or_insert(input_name);
            let wanted = *first;
            let group = anchors.entry(wanted).or_insert_with(|| anchor(row, param));
            if anchor(row, param) != *group {
                faults.push(format!("`{input_name}` should share the type of `{wanted}`"));
            }
            if let TypeRule::SameAs(other) = param.types
                && domain_of(version, other).is_none_or(|other| other != domain)
            {
                faults.push(format!("`{input_name}` should not share the type of `{other}`"));
            }
        } else if matches!(param.types, TypeRule::SameAs(_))
            && row
                .element_types(param, opset)
                .is_none_or(|types| types.len() > 1)
        {
            faults.push(format!("`{input_name}` has a type of its own"));
        }
    }
}

fn domain_of<'a>(version: &'a Value, name: &str) -> Option<&'a str> {
    version["inputs"]
        .as_array()?
        .iter()
        .find(|input| input["name"] == name)?["domain"]
        .as_str()
}

#[test]
fn every_row_agrees_with_the_registry() {
    let registry = registry();
    let mut report = Vec::new();
    for row in ops::all() {
        let Some(op) = registry.get(row.name) else {
            report.push(format!("{}: the registry has no such operation", row.name));
            continue;
        };
        for (index, (opset, label)) in OPSETS.into_iter().enumerate() {
            let mut faults = Vec::new();
            match (ops::lookup(row.name, opset), version(op, index)) {
                (Some(found), Some(version)) => compare(row.name, found, version, opset, &mut faults),
                (None, None) => {}
                (found, _) => faults.push(format!(
                    "in the table {}, in the registry {}",
                    found.is_some(),
                    found.is_none()
                )),
            }
            report.extend(
                faults
                    .into_iter()
                    .map(|fault| format!("{} {label}: {fault}", row.name)),
            );
        }
    }
    report.dedup();
    assert!(report.is_empty(), "{}", report.join("\n"));
}

#[test]
fn every_other_operation_of_the_registry_is_foreign() {
    let mut report = Vec::new();
    for (name, op) in registry() {
        for (index, (opset, label)) in OPSETS.into_iter().enumerate() {
            let (Some(version), None) = (version(&op, index), ops::lookup(&name, opset)) else {
                continue;
            };
            let Some(row) = ops::foreign(&name, opset) else {
                report.push(format!("{name} {label} is in neither table"));
                continue;
            };
            let inputs = version["inputs"].as_array().expect("inputs");
            let theirs: BTreeSet<(&str, bool, bool)> = inputs
                .iter()
                .filter(|input| on_disk(input))
                .map(|input| {
                    let name = input["name"].as_str().expect("a name");
                    (name, input["optional"] == false, input["kind"] == "tuple")
                })
                .collect();
            let ours: BTreeSet<(&str, bool, bool)> = row
                .params
                .iter()
                .filter(|param| param.exists_in(opset))
                .map(|param| (param.name, param.required, param.variadic))
                .collect();
            if theirs != ours {
                report.push(format!("{name} {label}: {ours:?}, registry {theirs:?}"));
            }
        }
    }
    // Written by coremltools under names that are not its registry's.
    let unregistered = ["custom_layer", "write_state"];
    for row in ops::all_foreign().filter(|row| !unregistered.contains(&row.name)) {
        match registry().get(row.name) {
            Some(op) if version(op, 3).is_some() && ops::lookup(row.name, Opset::CoreMl8).is_none() => {
                let since = OPSETS
                    .iter()
                    .find(|(_, label)| op["since"] == *label)
                    .map(|(opset, _)| *opset);
                if since != Some(row.since) {
                    report.push(format!("{} since {}", row.name, row.since));
                }
            }
            _ => report.push(format!("{} does not belong there", row.name)),
        }
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
}

#[test]
fn anchors_are_parameters_with_a_rule_of_their_own() {
    for row in ops::all() {
        for param in row.params {
            if let TypeRule::SameAs(anchor) = param.types {
                let anchor = row.params.iter().find(|other| other.name == anchor);
                assert!(
                    anchor.is_some_and(|anchor| !matches!(anchor.types, TypeRule::SameAs(_))),
                    "{} `{}`",
                    row.name,
                    param.name
                );
            }
        }
    }
}
