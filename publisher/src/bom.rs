//! The bill of materials: CycloneDX 1.6 with a model card for each package (`cyclonedx.org/docs/1.6/json`).
//!
//! What is not known is left out, and so are the clock and a serial number: equal bundles have equal bills.

use corer_proto::{Feature, FeatureType};
use serde_json::{Map, Value, json};

use crate::bundle::{Bundled, path_of, title};
use crate::card;
use crate::oci::Descriptor;

/// Its name in a bundle.
pub(crate) const BOM: &str = "bom.cdx.json";

/// Writes the bill for packages whose files are among `layers`.
pub(crate) fn write(packages: &[Bundled], layers: &[&Descriptor], version: &str) -> Value {
    let mut components: Vec<_> = packages.iter().map(|package| model(package, layers)).collect();
    let mut dependencies = vec![json!({
        "ref": "artifact",
        "dependsOn": packages.iter().map(reference).collect::<Vec<_>>(),
    })];
    for package in packages {
        let mut sources = Vec::new();
        for file in package
            .report
            .iter()
            .flat_map(|report| &report.report.reference.files)
        {
            let source = format!("source:{}", file.sha256);
            let is_known = |component: &Value| component["bom-ref"] == source.as_str();
            if !components.iter().any(is_known) {
                components.push(json!({
                    "type": "file", "bom-ref": source, "name": file.name, "hashes": hashes(&file.sha256),
                }));
            }
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        dependencies.push(json!({ "ref": reference(package), "dependsOn": sources }));
    }
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": { "components": [
                { "type": "application", "name": "corer", "version": env!("CARGO_PKG_VERSION") },
            ] },
            "component": {
                "type": "machine-learning-model", "bom-ref": "artifact",
                "name": title(packages), "version": version,
            },
        },
        "components": components,
        "dependencies": dependencies,
    })
}

fn reference(package: &Bundled) -> String {
    format!("package:{}", package.name)
}

fn hashes(sha256: &str) -> Value {
    json!([{ "alg": "SHA-256", "content": sha256 }])
}

/// A package: its files, and what is known of the model in it.
fn model(package: &Bundled, layers: &[&Descriptor]) -> Value {
    let metadata = &package.model.description.metadata;
    let prefix = format!("{}/", package.name);
    let files: Vec<_> = layers
        .iter()
        .filter(|layer| path_of(layer).starts_with(&prefix))
        .map(|layer| json!({ "type": "file", "name": path_of(layer), "hashes": hashes(layer.digest.hex()) }))
        .collect();
    let mut component = Map::new();
    let mut say = |key: &str, value: Value| component.insert(key.to_owned(), value);
    say("type", "machine-learning-model".into());
    say("bom-ref", reference(package).into());
    say("name", package.name.as_str().into());
    if !metadata.short_description.is_empty() {
        say("description", metadata.short_description.as_str().into());
    }
    if !metadata.author.is_empty() {
        say("authors", json!([{ "name": metadata.author }]));
    }
    if !metadata.license.is_empty() {
        say("licenses", json!([{ "license": { "name": metadata.license } }]));
    }
    say("modelCard", model_card(package));
    say("components", files.into());
    let mut properties = vec![json!({ "name": "corer.package-digest", "value": package.digest })];
    let own = metadata.user_defined.iter();
    properties.extend(own.map(|(name, value)| json!({ "name": name, "value": value })));
    say("properties", properties.into());
    component.into()
}

fn model_card(package: &Bundled) -> Value {
    let description = &package.model.description;
    let mut parameters = Map::new();
    if let Some(task) = package.metadata("corer.task") {
        parameters.insert("task".into(), task.into());
    }
    parameters.insert("architectureFamily".into(), "transformer".into());
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    let functions = description
        .functions
        .iter()
        .map(|function| (&function.inputs, &function.outputs));
    for (takes, gives) in functions.chain([(&description.inputs, &description.outputs)]) {
        inputs.extend(takes.iter().map(format));
        outputs.extend(gives.iter().map(format));
    }
    for list in [&mut inputs, &mut outputs] {
        list.dedup();
    }
    parameters.insert("inputs".into(), inputs.into());
    parameters.insert("outputs".into(), outputs.into());
    let mut card = Map::new();
    card.insert("modelParameters".into(), parameters.into());
    let metrics = metrics(package);
    if !metrics.is_empty() {
        card.insert(
            "quantitativeAnalysis".into(),
            json!({ "performanceMetrics": metrics }),
        );
    }
    let mut limitations =
        vec!["Takes the sizes listed as inputs and no others; longer texts must be cut.".to_owned()];
    limitations.extend(
        package
            .objection
            .iter()
            .map(|objection| format!("Not verified: {objection}")),
    );
    card.insert(
        "considerations".into(),
        json!({ "technicalLimitations": limitations }),
    );
    card.into()
}

/// A tensor, as its name and form.
fn format(feature: &Feature) -> Value {
    let kind: &FeatureType = &feature.ty;
    json!({ "format": format!("{}: {}", feature.name, card::kind(kind)) })
}

/// How near each output is to the source's.
fn metrics(package: &Bundled) -> Vec<Value> {
    let mut metrics = Vec::new();
    for bucket in package.report.iter().flat_map(|report| &report.report.buckets) {
        for output in &bucket.outputs {
            let slice = format!(
                "{}, {} × {}, {}",
                bucket.function, bucket.batch, bucket.length, output.package
            );
            let mut say = |kind: &str, value: String| {
                metrics.push(json!({ "type": kind, "value": value, "slice": slice }));
            };
            match &output.psnr {
                Value::Number(decibels) => say("parity: PSNR in dB", decibels.to_string()),
                Value::String(text) => say("parity: PSNR in dB", text.clone()),
                _ => {}
            }
            if let Some(error) = output.max_abs.as_f64() {
                say("parity: largest absolute error", error.to_string());
            }
            if let Some(cosine) = &output.cosine {
                say("parity: lowest cosine", cosine.min.to_string());
            }
            if let Some(top1) = &output.top1 {
                say(
                    "parity: equal decisions",
                    format!("{} of {}", top1.agree, top1.total),
                );
            }
        }
    }
    metrics
}
