//! Faults planted in written packages: `corer verify` must refuse every one of them and say where it is,
//! whatever the layout.

use std::collections::BTreeMap;

use corer_mil::{Binding, Block, NamedType, Operation, Value};
use corer_proto::{Model, Package, WriteOptions};
use serde_json::Value as Json;

use crate::harness::{Scratch, fixture, fixtures};

/// Channels of the fixture's hidden state, and of one head.
const HIDDEN: usize = 64;
const HEADS: usize = 2;

/// A layout, by the name `corer convert --layout` knows it by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    Ane,
    Standard,
}

/// One way a converted model goes wrong.
struct Fault {
    what: &'static str,
    plant: fn(&mut Bent, Layout),
    /// Measures of the verdict that see it, among others.
    seen_by: &'static [&'static str],
    /// The operation whose own loss the drift departs at, in the `ane` layout and in the standard one.
    at: [&'static str; 2],
    /// The operation changed, which must be among those that can be at fault there, in both layouts.
    of: [&'static str; 2],
}

const DISTANCE: &str = "PSNR";
const DIRECTION: &str = "lowest cosine";
const ORDER: &str = "nearest neighbours shared";
const PADDING: &str = "change when ids under the padding change";
const NOT_FINITE: &str = "values that are not finite";

/// What goes wrong in conversions, one of each kind.
const FAULTS: [Fault; 8] = [
    Fault {
        what: "one weight transposed",
        plant: |package, _| {
            package.weight("encoder_layer_1_attention_output_dense", "weight", |values| {
                let original = values.to_vec();
                for (index, value) in values.iter_mut().enumerate() {
                    *value = original[index % HIDDEN * HIDDEN + index / HIDDEN];
                }
            });
        },
        seen_by: &[DISTANCE, DIRECTION, ORDER],
        at: [
            "encoder_layer_1_attention_output_dense",
            "encoder_layer_1_attention_output_dense",
        ],
        of: [
            "encoder_layer_1_attention_output_dense",
            "encoder_layer_1_attention_output_dense",
        ],
    },
    Fault {
        what: "scores scaled for heads of twice the size",
        plant: |package, layout| {
            let (operation, parameters) = match layout {
                // The factor is part of the weights here.
                Layout::Ane => ("encoder_layer_0_attention_self_query", &["weight", "bias"][..]),
                Layout::Standard => ("encoder_layer_0_attention_self_query_scaled", &["y"][..]),
            };
            for parameter in parameters {
                package.weight(operation, parameter, |values| {
                    for value in values {
                        *value *= std::f32::consts::FRAC_1_SQRT_2;
                    }
                });
            }
        },
        seen_by: &[DISTANCE, DIRECTION, ORDER],
        at: [
            "encoder_layer_0_attention_self_query",
            "encoder_layer_0_attention_self",
        ],
        of: [
            "encoder_layer_0_attention_self_query",
            "encoder_layer_0_attention_self_query_scaled",
        ],
    },
    Fault {
        what: "two heads exchanged",
        plant: |package, layout| {
            for parameter in ["weight", "bias"] {
                package.weight("encoder_layer_1_attention_self_value", parameter, |values| {
                    let row = values.len() / HIDDEN;
                    let original = values.to_vec();
                    for (channel, values) in values.chunks_exact_mut(row).enumerate() {
                        let other = match layout {
                            // Channels of the heads alternate.
                            Layout::Ane => channel ^ 1,
                            Layout::Standard => (channel + HIDDEN / HEADS) % HIDDEN,
                        };
                        values.copy_from_slice(&original[other * row..][..row]);
                    }
                });
            }
        },
        seen_by: &[DISTANCE, DIRECTION, ORDER],
        at: [
            "encoder_layer_1_attention_self_value",
            "encoder_layer_1_attention_self_value",
        ],
        of: [
            "encoder_layer_1_attention_self_value",
            "encoder_layer_1_attention_self_value",
        ],
    },
    Fault {
        what: "positions counted from one",
        plant: |package, layout| {
            package.weight("embeddings_add_positions", "y", |values| {
                match layout {
                    // Positions are the last axis.
                    Layout::Ane => values
                        .chunks_exact_mut(values.len() / HIDDEN)
                        .for_each(|row| row.rotate_left(1)),
                    Layout::Standard => values.rotate_left(HIDDEN),
                }
            });
        },
        seen_by: &[DISTANCE, DIRECTION, ORDER],
        at: ["embeddings_add_positions", "embeddings_add_positions"],
        of: ["embeddings_add_positions", "embeddings_add_positions"],
    },
    Fault {
        what: "the mask ignored",
        plant: |package, _| package.weight("attention_mask_scale", "y", |values| values.fill(0.0)),
        seen_by: &[DISTANCE, DIRECTION, PADDING],
        at: ["encoder_layer_0_attention_self", "encoder_layer_0_attention_self"],
        of: ["attention_mask_scale", "attention_mask_scale"],
    },
    Fault {
        what: "an epsilon of a tenth",
        plant: |package, _| {
            package.weight("encoder_layer_0_output_LayerNorm", "epsilon", |values| {
                values.fill(0.1)
            });
        },
        seen_by: &[DISTANCE, DIRECTION],
        at: [
            "encoder_layer_0_output_LayerNorm",
            "encoder_layer_0_output_LayerNorm",
        ],
        of: [
            "encoder_layer_0_output_LayerNorm",
            "encoder_layer_0_output_LayerNorm",
        ],
    },
    Fault {
        what: "one weight saturated",
        plant: |package, _| {
            package.weight("encoder_layer_1_intermediate_dense", "weight", |values| {
                values[HIDDEN + 3] = 65504.0;
            });
        },
        seen_by: &[DISTANCE, NOT_FINITE],
        at: [
            "encoder_layer_1_intermediate_dense",
            "encoder_layer_1_intermediate_dense",
        ],
        of: [
            "encoder_layer_1_intermediate_dense",
            "encoder_layer_1_intermediate_dense",
        ],
    },
    Fault {
        what: "one bias left out",
        plant: |package, _| package.weight("encoder_layer_0_output_dense", "bias", |values| values.fill(0.0)),
        seen_by: &[DISTANCE, DIRECTION],
        at: ["encoder_layer_0_output_dense", "encoder_layer_0_output_dense"],
        of: ["encoder_layer_0_output_dense", "encoder_layer_0_output_dense"],
    },
];

/// A package's model, to be changed and written again.
struct Bent {
    model: Model,
}

impl Bent {
    fn body(&mut self) -> &mut Block {
        let function = self.model.program.functions.get_mut("main").expect("a function");
        let opset = function.opset;
        function.blocks.get_mut(&opset).expect("a body")
    }

    /// Changes the values of one operation's constant. Other operations that use the same one keep it as it was.
    fn weight(&mut self, operation: &str, parameter: &str, change: impl FnOnce(&mut [f32])) {
        let body = self.body();
        let at = position(body, operation);
        let [Binding::Name(used)] = &body.operations[at].inputs[parameter][..] else {
            panic!("`{parameter}` of `{operation}` is not one named value");
        };
        let constant = &body.operations[position(body, used)];
        let value = constant.const_value().expect("a constant");
        let ty = constant.outputs[0].ty.clone();
        let tensor = value.tensor_type().expect("a tensor").clone();
        let bytes = value.to_bytes().expect("readable").expect("numbers");
        let before = Value::tensor(tensor.clone(), bytes).as_floats().expect("floats");
        let mut after = before.clone();
        change(&mut after);
        assert_ne!(before, after, "{operation}: nothing was planted");
        let shape = tensor.known_shape().expect("sizes");
        let mut value = Value::floats(tensor.dtype, &shape, &after);
        if !shape.is_empty() {
            value = Value::memory_weight(tensor, value.immediate_bytes().expect("numbers").to_vec());
        }
        let name = format!("{operation}_{parameter}_planted");
        let planted = Operation {
            op: "const".into(),
            inputs: BTreeMap::new(),
            outputs: vec![NamedType::new(&name, ty)],
            attributes: [("name".into(), Value::string(&name)), ("val".into(), value)].into(),
            blocks: Vec::new(),
        };
        body.operations[at]
            .inputs
            .insert(parameter.to_owned(), vec![Binding::Name(name)]);
        body.operations.insert(at, planted);
    }
}

/// Where the operation lies that has this output.
fn position(body: &Block, output: &str) -> usize {
    body.operations
        .iter()
        .position(|operation| operation.outputs.iter().any(|value| value.name == output))
        .unwrap_or_else(|| panic!("no operation gives `{output}`"))
}

/// The report of a verification, and its exit code.
fn verdict(scratch: &Scratch, package: &str) -> (Json, Option<i32>) {
    let model = fixture("feature-extraction");
    let output = scratch.output(&["verify", package, "--reference", &model, "--fast", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (report, output.status.code())
}

fn every_fault(layout: Layout) {
    let scratch = Scratch::new();
    let name = format!("{layout:?}").to_lowercase();
    let model = fixture("feature-extraction");
    let convert = [
        "convert",
        &model,
        "-o",
        "Sound.mlpackage",
        "--sequence-length",
        "64",
        "--layout",
        &name,
    ];
    assert!(scratch.output(&convert).status.success());
    // Read and written without a change: what the refusals below are not about.
    let sound = Package::open(&scratch.path().join("Sound.mlpackage")).expect("a package");
    let write = |name: &str, model: &Model| {
        corer_proto::write(&scratch.path().join(name), model, &WriteOptions::default()).expect("written")
    };
    write("Again.mlpackage", &sound.model);
    let (report, code) = verdict(&scratch, "Again.mlpackage");
    assert_eq!((code, &report["verdict"]["passed"]), (Some(0), &Json::Bool(true)));
    assert_eq!(report.get("drift"), None, "nobody asked");
    for fault in &FAULTS {
        let mut bent = Bent {
            model: sound.model.clone(),
        };
        (fault.plant)(&mut bent, layout);
        let package = format!("{}.mlpackage", fault.what.replace(' ', "-"));
        write(&package, &bent.model);
        let (report, code) = verdict(&scratch, &package);
        assert_eq!(code, Some(4), "{layout:?}, {}: {}", fault.what, report["verdict"]);
        let reasons = report["verdict"]["reasons"].as_array().expect("reasons");
        for measure in fault.seen_by {
            let seen = reasons.iter().any(|reason| reason["measure"] == *measure);
            assert!(seen, "{layout:?}, {}: {measure} in {reasons:?}", fault.what);
        }
        let side = usize::from(layout == Layout::Standard);
        let departure = &report["drift"]["departure"];
        let found = (&departure["operation"], &departure["by"]);
        let wanted = (&Json::from(fault.at[side]), &Json::from("itself"));
        assert_eq!(found, wanted, "{layout:?}, {}: {departure}", fault.what);
        let within = departure["within"].as_array().expect("operations");
        assert!(
            within.iter().any(|operation| operation == fault.of[side]),
            "{layout:?}, {}: {departure}",
            fault.what
        );
    }
}

#[test]
fn every_planted_fault_fails_in_the_ane_layout() {
    every_fault(Layout::Ane);
}

#[test]
fn every_planted_fault_fails_in_the_standard_layout() {
    every_fault(Layout::Standard);
}

/// Every family's encoder, as converted: what `--drift` must not find fault with.
#[test]
fn nothing_departs_in_a_sound_package_of_any_family() {
    let scratch = Scratch::new();
    let families = std::fs::read_dir(fixtures().join("families")).expect("the families");
    let mut models: Vec<_> = families.map(|entry| entry.expect("a family").path()).collect();
    models.sort();
    assert!(models.len() > 10, "{models:?}");
    for (model, layout) in models
        .iter()
        .flat_map(|model| [(model, "ane"), (model, "standard")])
    {
        let model = model.join("feature-extraction").display().to_string();
        let convert = [
            "convert",
            &model,
            "-o",
            "Sound.mlpackage",
            "--force",
            "--sequence-length",
            "32",
            "--layout",
            layout,
        ];
        let output = scratch.output(&convert);
        assert!(
            output.status.success(),
            "{model}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let output = scratch.output(&[
            "verify",
            "Sound.mlpackage",
            "--reference",
            &model,
            "--fast",
            "--drift",
            "--random-tokens",
            "16",
            "--json",
        ]);
        let said = String::from_utf8_lossy(&output.stderr);
        let report: Json =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{model}: {error}: {said}"));
        let drift = &report["drift"];
        assert!(
            drift["blocks"].as_array().is_some_and(|blocks| blocks.len() > 1),
            "{model}, {layout}: {drift}"
        );
        assert_eq!(
            drift.get("departure").unwrap_or(&Json::Null),
            &Json::Null,
            "{model}, {layout}"
        );
    }
}
