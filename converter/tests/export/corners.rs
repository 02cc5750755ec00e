//! What exports may hold beyond a plain BERT, as every version of PyTorch since 2.5 writes it: lists and tuples of results, modules
//! called twice, wrappers of autocast and no_grad, arithmetic on sizes, infinities, shared and transposed storage.
//! Held against what PyTorch told of the same program without its serializer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use corer_converter::frontend::aten::RecordedSize;
use corer_converter::frontend::aten::{Arg, ScalarType, Size};
use corer_converter::source::StoredType;
use serde_json::Value;

use crate::read;

const VERSIONS: [&str; 6] = ["2.5", "2.6", "2.7", "2.8", "2.9", "2.15"];

fn file(name: String) -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/export/written_by_torch"
    ))
    .join(name)
}

pub(crate) fn export(version: &str) -> PathBuf {
    file(format!("{version}.pt2"))
}

/// What PyTorch told of a program.
fn told(version: &str) -> Value {
    serde_json::from_slice(&std::fs::read(file(format!("{version}.json"))).unwrap()).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap()
}

#[test]
fn calls_are_those_of_the_graph() {
    for version in VERSIONS {
        let program = read(&export(version)).unwrap();
        let told = told(version);
        let mut wanted = Vec::new();
        for node in list(&told, "nodes") {
            let target = node["target"].as_str().unwrap();
            let name = match target {
                // Taken apart by their producers; checks.
                "<built-in function getitem>"
                | "aten._assert_scalar.default"
                | "aten._assert_tensor_metadata.default" => continue,
                "<built-in function eq>" => "aten::eq".into(),
                "<built-in function mul>" => "aten::mul".into(),
                "aten.sym_size.int" => "aten::size".into(),
                _ => {
                    let (name, _) = target.strip_prefix("aten.").unwrap().split_once('.').unwrap();
                    format!("aten::{name}")
                }
            };
            let scope = node["scope"].as_str().unwrap();
            let scope = scope.split('@').next().unwrap();
            let unknown = scope.starts_with("_empty_nn_module_stack");
            wanted.push((name, if unknown { "" } else { scope }));
        }
        let calls = program
            .nodes
            .iter()
            .filter(|node| node.target != "aten::__getitem__");
        let found: Vec<_> = calls.map(|node| (node.target.clone(), &*node.scope)).collect();
        assert_eq!(found, wanted, "{version}");
        // Lists of one.
        assert_eq!(program.nodes.len() - found.len(), 2, "{version}");
    }
}

#[test]
fn results_have_the_names_types_and_shapes_of_the_graph() {
    for version in VERSIONS {
        let export = read(&export(version)).unwrap();
        let told = told(version);
        let known: BTreeMap<&str, &Value> = list(&told, "nodes")
            .iter()
            .filter(|node| node["meta"].is_object())
            .map(|node| (node["name"].as_str().unwrap(), &node["meta"]))
            .collect();
        assert!(export.recorded.len() > 30, "{version}");
        let results = export.nodes.iter().flat_map(|node| &node.outputs);
        for recorded in results.filter_map(|value| export.recorded.get(value)) {
            if recorded.name.contains("_unused_") {
                // Named by the serializer, for want of a node.
                continue;
            }
            let meta = known[recorded.name.as_str()];
            let dtype = recorded.dtype.unwrap();
            assert_eq!(
                meta["dtype"],
                format!("torch.{dtype}"),
                "{version}: {}",
                recorded.name
            );
            let shape: Vec<RecordedSize> = list(meta, "shape")
                .iter()
                .map(|size| match size.as_u64() {
                    Some(size) => RecordedSize::Fixed(size),
                    None => RecordedSize::Example(size["example"].as_u64()),
                })
                .collect();
            assert_eq!(recorded.shape, shape, "{version}: {}", recorded.name);
        }
    }
}

#[test]
fn inputs_keep_their_symbols_and_outputs_their_keys() {
    for version in VERSIONS {
        let program = read(&export(version)).unwrap();
        let names: Vec<&str> = program.inputs.iter().map(|input| input.name.as_str()).collect();
        assert_eq!(names, ["ids", "mask", "extra_shift"], "{version}");
        let told = told(version);
        let ranges = told["range_constraints"].as_object().unwrap();
        let symbols: Vec<Size> = ranges
            .iter()
            .map(|(name, range)| Size::Symbol {
                name: name.clone(),
                min: range[0].as_u64().unwrap(),
                max: range[1].as_u64(),
            })
            .collect();
        assert_eq!(program.inputs[0].shape.as_ref().unwrap(), &symbols, "{version}");
        assert_eq!(program.inputs[1].shape.as_ref().unwrap(), &symbols, "{version}");
        assert_eq!(
            program.inputs[2].shape.as_ref().unwrap(),
            &[Size::Fixed(3)],
            "{version}"
        );
        assert_eq!(program.inputs[2].dtype, Some(ScalarType::Float32));
        // `None` among them is not returned.
        let names: Vec<_> = program
            .outputs
            .iter()
            .map(|output| output.name.as_deref().unwrap())
            .collect();
        assert_eq!(names, ["logits", "rest_0", "turned"], "{version}");
    }
}

#[test]
fn tensors_are_read_where_they_lie() {
    for version in VERSIONS {
        let program = read(&export(version)).unwrap();
        let told = told(version);
        let tensors = told["tensors"].as_object().unwrap();
        let mut found = BTreeMap::new();
        for parameter in program.parameters.values() {
            let wanted = &tensors[&parameter.name];
            let stored = parameter.tensor.stored().unwrap();
            let dtype = ScalarType::from_stored(stored).unwrap();
            assert_eq!(
                wanted["dtype"],
                format!("torch.{dtype}"),
                "{version}: {}",
                parameter.name
            );
            let shape: Vec<u64> = list(wanted, "shape")
                .iter()
                .map(|size| size.as_u64().unwrap())
                .collect();
            assert_eq!(parameter.tensor.shape(), shape, "{version}: {}", parameter.name);
            if stored.is_real() {
                let values: Vec<f32> = list(wanted, "values")
                    .iter()
                    .map(|v| v.as_f64().unwrap() as f32)
                    .collect();
                assert_eq!(
                    parameter.tensor.read_f32().unwrap(),
                    values,
                    "{version}: {}",
                    parameter.name
                );
            }
            found.insert(parameter.name.as_str(), stored);
        }
        // One name for the tied weight is enough for the graph.
        let missing: Vec<_> = tensors
            .keys()
            .filter(|name| !found.contains_key(name.as_str()))
            .collect();
        assert!(
            missing.is_empty() || missing == ["head.weight"],
            "{version}: {missing:?}"
        );
        assert_eq!(found["short"], StoredType::F16, "{version}");
        assert_eq!(found["positions"], StoredType::I64, "{version}");
    }
}

#[test]
fn sizes_and_infinities_are_arguments() {
    for version in VERSIONS {
        let program = read(&export(version)).unwrap();
        let find = |target: &str| program.nodes.iter().find(|node| node.target == target).unwrap();
        let has = |target: &str, arg: &Arg| {
            let node = find(target);
            node.args.contains(arg) || node.kwargs.iter().any(|(_, value)| value == arg)
        };
        assert!(
            has("aten::masked_fill", &Arg::Float(f64::NEG_INFINITY)),
            "{version}"
        );
        assert!(has("aten::clamp", &Arg::Float(-1e4)), "{version}");
        // tokens · 2, from the size of the ids.
        let doubled = program
            .nodes
            .iter()
            .find(|node| node.args.contains(&Arg::Int(2)) && node.target == "aten::mul");
        let [Arg::Value(tokens), Arg::Int(2)] = doubled.unwrap().args[..] else {
            panic!("{version}: {doubled:?}");
        };
        let size = program
            .nodes
            .iter()
            .find(|node| node.outputs == [tokens])
            .unwrap();
        assert_eq!(size.target, "aten::size", "{version}");
        let ids = program.inputs[0].value;
        let of_ids =
            size.args.contains(&Arg::Value(ids)) || size.kwargs.contains(&("self".into(), Arg::Value(ids)));
        assert!(
            of_ids || size.args.contains(&Arg::Value(program.inputs[1].value)),
            "{version}: {size:?}"
        );
    }
}
