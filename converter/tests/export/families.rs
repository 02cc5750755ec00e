//! Exports of every family, by torch 2.7 and by the newest torch there is.

use std::collections::{BTreeSet, HashSet};

use corer_converter::frontend::aten::RecordedSize;
use corer_converter::frontend::aten::{Arg, ScalarType, Size};
use corer_converter::source::StoredType;
use safetensors::tensor::TensorView;

use crate::{families, read};

fn floats(view: &TensorView<'_>) -> Vec<f32> {
    let (values, _) = view.data().as_chunks();
    values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn weights_are_those_of_the_checkpoint_beside() {
    for path in families() {
        let export = read(&path).unwrap();
        let bytes = std::fs::read(path.with_file_name("model.safetensors")).unwrap();
        let checkpoint = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut compared = BTreeSet::new();
        let mut others = HashSet::new();
        for parameter in export.parameters.values() {
            if !parameter.tensor.stored().is_some_and(StoredType::is_real) {
                continue;
            }
            let values = parameter.tensor.read_f32().unwrap();
            let Ok(view) = checkpoint.tensor(&parameter.name) else {
                others.extend(values.iter().map(|value| value.to_bits()));
                continue;
            };
            let shape: Vec<u64> = view.shape().iter().map(|size| *size as u64).collect();
            assert_eq!(parameter.tensor.shape(), shape, "{}", parameter.name);
            assert_eq!(values, floats(&view), "{}", parameter.name);
            compared.insert(parameter.name.clone());
        }
        for name in checkpoint.names() {
            if compared.contains(name) || name.contains("position_ids") {
                continue;
            }
            // Some classes hold tensors under other names than they are published under, or several in one.
            let held = |value: &f32| others.contains(&value.to_bits());
            assert!(
                floats(&checkpoint.tensor(name).unwrap()).iter().all(held),
                "{path:?}: {name}"
            );
        }
    }
}

#[test]
fn inputs_and_outputs_have_the_names_and_shapes_transformers_gave_them() {
    for path in families() {
        let program = read(&path).unwrap();
        let recorded = std::fs::read(path.with_file_name("expected.safetensors")).unwrap();
        let recorded = safetensors::SafeTensors::deserialize(&recorded).unwrap();
        let dynamic = path.to_string_lossy().contains("dynamic");
        let mut inputs = BTreeSet::new();
        for input in &program.inputs {
            let view = recorded.tensor(&format!("input.{}", input.name)).unwrap();
            assert_eq!(input.dtype, Some(ScalarType::Int64));
            let shape = input.shape.clone().unwrap();
            if dynamic {
                let [
                    Size::Symbol {
                        name: rows,
                        min: 0,
                        max: Some(8),
                    },
                    Size::Symbol {
                        name: tokens,
                        min: 2,
                        max: Some(47),
                    },
                ] = &shape[..]
                else {
                    panic!("{shape:?}");
                };
                assert_ne!(rows, tokens);
            } else {
                assert_eq!(shape, [Size::Fixed(1), Size::Fixed(view.shape()[1] as u64)]);
            }
            inputs.insert(format!("input.{}", input.name));
        }
        let names = |prefix: &str| -> BTreeSet<String> {
            let names = recorded.names().into_iter();
            names
                .filter(|name| name.starts_with(prefix))
                .map(str::to_owned)
                .collect()
        };
        // Families of one token type record them, all zero, and don't take them.
        let left_out: Vec<_> = names("input.").difference(&inputs).cloned().collect();
        assert!(
            left_out.is_empty() || left_out == ["input.token_type_ids"],
            "{path:?}"
        );
        let outputs = program.outputs.iter();
        let outputs: BTreeSet<String> = outputs
            .map(|output| format!("output.{}", output.name.as_ref().unwrap()))
            .collect();
        assert_eq!(outputs, names("output."), "{path:?}");
    }
}

#[test]
fn the_class_says_what_the_model_is_for() {
    for path in families() {
        let class = read(&path).unwrap().class.unwrap();
        assert!(class.ends_with("Model"), "{path:?}: {class}");
    }
}

#[test]
fn what_the_exporter_knew_of_results_is_kept() {
    for path in families() {
        let export = read(&path).unwrap();
        let recorded = std::fs::read(path.with_file_name("expected.safetensors")).unwrap();
        let recorded = safetensors::SafeTensors::deserialize(&recorded).unwrap();
        for output in &export.outputs {
            let view = recorded
                .tensor(&format!("output.{}", output.name.as_ref().unwrap()))
                .unwrap();
            let Arg::Value(value) = output.value else {
                panic!("{output:?}")
            };
            let known = &export.recorded[&value];
            assert_eq!(known.dtype, Some(ScalarType::Float32));
            assert_eq!(known.shape.len(), view.shape().len());
            assert_eq!(
                known.shape.last(),
                Some(&RecordedSize::Fixed(*view.shape().last().unwrap() as u64))
            );
        }
        let tensors = export.nodes.iter().flat_map(|node| &node.outputs);
        let known = tensors
            .filter(|value| export.recorded.contains_key(value))
            .count();
        // All but sizes.
        assert!(known + 4 >= export.nodes.len(), "{path:?}: {known}");
    }
}

#[test]
fn calls_are_told_with_the_modules_they_are_made_in() {
    for path in families() {
        let program = read(&path).unwrap();
        let scopes: BTreeSet<&str> = program.nodes.iter().map(|node| &*node.scope).collect();
        let modules: BTreeSet<&str> = program
            .parameters
            .values()
            .filter_map(|parameter| parameter.name.strip_suffix(".weight"))
            .collect();
        let missing: Vec<_> = modules.difference(&scopes).collect();
        // Weights used by another module than their own: tables of relative positions.
        assert!(missing.len() <= 1, "{path:?}: {missing:?}");
        for node in &program.nodes {
            assert!(!node.target.contains("torch.ops"), "{}", node.target);
            assert!(node.target.contains("::"), "{}", node.target);
        }
    }
}
