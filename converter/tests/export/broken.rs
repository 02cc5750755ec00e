//! Programs that lie: each is refused with the way to the member at fault, none is believed.

use corer_converter::Request;
use serde_json::{Value, json};

use crate::bent::{Bent, read_bytes};
use crate::corners::export;

const PROGRAM: &str = "serialized_exported_program.json";

/// The program of a file torch 2.7 wrote, changed.
fn program(change: impl FnOnce(&mut Value)) -> Bent {
    Bent::open(&export("2.7")).json(PROGRAM, change)
}

fn refused(change: impl FnOnce(&mut Value), wanted: &str) {
    let message = program(change).refused();
    let wanted = format!("m.pt2, entry `{PROGRAM}`, {wanted}");
    assert!(message.starts_with(&wanted), "{message}\n{wanted}");
}

/// Position of the first call of an operator.
fn call(program: &Value, target: &str) -> usize {
    let nodes = program["graph_module"]["graph"]["nodes"].as_array().unwrap();
    let target = format!("torch.ops.{target}");
    nodes.iter().position(|node| node["target"] == target).unwrap()
}

fn nodes(program: &mut Value) -> &mut Vec<Value> {
    program["graph_module"]["graph"]["nodes"].as_array_mut().unwrap()
}

#[test]
fn put_together_unchanged_it_is_read() {
    for version in ["2.5", "2.7", "2.8", "2.15"] {
        Bent::open(&export(version)).read().unwrap();
    }
}

#[test]
fn a_schema_of_another_version() {
    refused(
        |program| program["schema_version"]["major"] = json!(9),
        "`schema_version`: is version 9.7 of the schema, written by torch 2.7.0+cu126; versions 7 and 8 are read",
    );
    refused(
        |program| program["schema_version"]["major"] = json!(-1),
        "`schema_version`: is version -1.7",
    );
    // What a later minor version adds is passed over.
    program(|program| {
        program["schema_version"]["minor"] = json!(99);
        program["graph_module"]["graph"]["nodes"][0]["soul"] = json!({"weight": 21});
    })
    .read()
    .unwrap();
    let message =
        program(|program| drop(program.as_object_mut().unwrap().remove("schema_version"))).refused();
    assert!(message.contains("missing field `schema_version`"), "{message}");
}

#[test]
fn members_that_are_missing_or_something_else() {
    refused(
        |program| drop(nodes(program)[3].as_object_mut().unwrap().remove("inputs")),
        "`graph_module.graph.nodes[3]`: is not valid: missing field `inputs`",
    );
    refused(
        |program| nodes(program)[3]["inputs"][0]["arg"] = json!({"as_thing": 1}),
        "`graph_module.graph.nodes[3].inputs[0].arg`: is not valid: unknown variant `as_thing`",
    );
    refused(
        |program| nodes(program)[3]["inputs"][0]["arg"] = json!({"as_int": 1e300}),
        "`graph_module.graph.nodes[3].inputs[0].arg.as_int`: is not valid: invalid type: floating point",
    );
    refused(
        |program| nodes(program)[3]["inputs"][0]["arg"] = json!({"as_int": 1, "as_bool": true}),
        "`graph_module.graph.nodes[3].inputs[0].arg`: is not valid",
    );
    refused(
        |program| program["graph_module"]["graph"]["nodes"] = json!({"length": 1u64 << 60}),
        "`graph_module.graph.nodes`: is not valid: invalid type: map",
    );
    refused(
        |program| {
            program["graph_module"]["graph"]["tensor_values"]["ids"]["sizes"] =
                json!([{"as_int": -2}, {"as_int": 3}])
        },
        "`graph_module.graph.tensor_values.ids.sizes[0]`: -2 is negative",
    );
    refused(
        |program| program["graph_module"]["graph"]["tensor_values"]["ids"]["dtype"] = json!(99),
        "`graph_module.graph.tensor_values.ids.dtype`: is the element type 99",
    );
    refused(
        |program| {
            drop(
                program["graph_module"]["graph"]["tensor_values"]
                    .as_object_mut()
                    .unwrap()
                    .remove("ids"),
            )
        },
        "`graph_module.signature.input_specs[",
    );
}

#[test]
fn every_member_may_be_missing() {
    // Whatever is taken away, what is left is read or refused, never believed.
    let whole = Bent::open(&export("2.7"));
    let mut pointers = Vec::new();
    whole
        .clone()
        .json(PROGRAM, |program| collect(program, String::new(), &mut pointers));
    assert!(pointers.len() > 2000);
    let mut refusals = 0;
    for pointer in pointers.iter().step_by(7) {
        let bent = whole.clone().json(PROGRAM, |program| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            match program.pointer_mut(parent).unwrap() {
                Value::Object(map) => drop(map.remove(&key.replace("~1", "/"))),
                Value::Array(list) => drop(list.remove(key.parse().unwrap())),
                other => panic!("{other}"),
            }
        });
        if let Err(error) = bent.read() {
            assert!(error.to_string().contains(PROGRAM), "{pointer}: {error}");
            refusals += 1;
        }
    }
    assert!(refusals > 100, "{refusals}");
}

/// The JSON pointer of every member.
fn collect(value: &Value, at: String, pointers: &mut Vec<String>) {
    let mut child = |key: String, value: &Value| {
        let path = format!("{at}/{}", key.replace('/', "~1"));
        pointers.push(path.clone());
        collect(value, path, pointers);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| child(key.clone(), value)),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .for_each(|(index, value)| child(index.to_string(), value)),
        _ => {}
    }
}

#[test]
fn names_that_are_not_there_yet() {
    // A circle: the first call takes the last one's result.
    refused(
        |program| {
            let at = call(program, "aten.embedding.default");
            nodes(program)[at]["inputs"][1]["arg"] = json!({"as_tensor": {"name": "linear_2"}});
        },
        "`graph_module.graph.nodes[2].inputs[1]`: argument `indices` of torch.ops.aten.embedding.default \
         `linear_2` is not defined before it is used",
    );
    refused(
        |program| {
            let at = call(program, "aten.clamp.default");
            nodes(program)[at]["outputs"][0]["as_tensor"]["name"] = json!("masked_fill");
        },
        "`graph_module.graph.nodes[",
    );
    refused(
        |program| {
            program["graph_module"]["signature"]["output_specs"][0]["user_output"]["arg"]["as_tensor"]["name"] =
                json!("nobody")
        },
        "`graph_module.signature.output_specs[0]`: `nobody` is not defined",
    );
    // A member given twice.
    let mut first = String::new();
    let mut twice = program(|program| {
        first = format!(
            "\"ids\":{},",
            program["graph_module"]["graph"]["tensor_values"]["ids"]
        );
    });
    let text = String::from_utf8(twice.entry(PROGRAM).clone()).unwrap();
    let (before, after) = text.rsplit_once("\"tensor_values\":{").unwrap();
    *twice.entry(PROGRAM) = format!("{before}\"tensor_values\":{{{first}{after}").into_bytes();
    let message = twice.refused();
    assert!(message.contains("`graph_module.graph.tensor_values"), "{message}");
    assert!(message.contains("is given twice"), "{message}");
}

#[test]
fn nesting_without_end() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let mut bent = program(|_| ());
        let deep = [open.repeat(100_000), "1".into(), close.repeat(100_000)].concat();
        let text = String::from_utf8(bent.entry(PROGRAM).clone()).unwrap();
        // Nobody looks there, and passing over it takes no stack.
        let text = text.replacen('{', &format!("{{\"deep\":{deep},"), 1);
        *bent.entry(PROGRAM) = text.into_bytes();
        bent.read().unwrap();
        let mut bent = program(|_| ());
        let deep = open.repeat(100_000);
        *bent.entry(PROGRAM) = deep.into_bytes();
        bent.refused();
    }
    // Graphs in graphs.
    let message = program(|program| {
        let at = call(program, "higher_order.wrap_with_set_grad_enabled");
        let node = nodes(program)[at].clone();
        let mut inner = node;
        for _ in 0..40 {
            let mut outer = nodes(program)[at].clone();
            outer["inputs"][1]["arg"]["as_graph"]["graph"]["nodes"] = json!([inner]);
            inner = outer;
        }
        nodes(program)[at] = inner;
    })
    .refused();
    assert!(message.contains("recursion limit"), "{message}");
}

#[test]
fn what_a_package_can_not_do() {
    let output = |spec: Value| {
        move |program: &mut Value| program["graph_module"]["signature"]["output_specs"][0] = spec
    };
    let at = "`graph_module.signature.output_specs[0]`: ";
    refused(
        output(json!({"buffer_mutation": {"arg": {"name": "x"}, "buffer_name": "cache"}})),
        &format!("{at}the model changes its buffer `cache`, a package can't"),
    );
    refused(
        output(json!({"user_input_mutation": {"arg": {"name": "x"}, "user_input_name": "ids"}})),
        &format!("{at}the model changes its input `ids`"),
    );
    refused(
        output(json!({"loss_output": {"arg": {"name": "x"}}})),
        &format!("{at}the program trains the model"),
    );
    let input = |spec: Value| {
        move |program: &mut Value| program["graph_module"]["signature"]["input_specs"][0] = spec
    };
    let at = "`graph_module.signature.input_specs[0]`: ";
    refused(
        input(json!({"custom_obj": {"arg": {"name": "o", "class_fqn": "C"}, "custom_obj_name": "queue"}})),
        &format!("{at}the model uses the custom object `queue`"),
    );
    refused(
        input(json!({"parameter": {"arg": {"name": "p"}, "parameter_name": "embed.wieght"}})),
        &format!("{at}there is no tensor `embed.wieght` in the archive (there is embed.weight"),
    );
    refused(
        input(json!({"user_input": {"arg": {"as_sym_int": {"as_name": "n"}}}})),
        &format!("{at}`n` is a number"),
    );
    refused(
        |program| {
            drop(
                program["graph_module"]["signature"]["input_specs"]
                    .as_array_mut()
                    .unwrap()
                    .pop(),
            )
        },
        "`graph_module.signature.input_specs`: describes ",
    );
    refused(
        |program| program["graph_module"]["signature"]["output_specs"] = json!([]),
        "`graph_module.signature.output_specs`: the model returns no tensor",
    );
}

#[test]
fn wrappers_that_are_not_what_they_seem() {
    let wrapped = |change: fn(&mut Value)| {
        move |program: &mut Value| {
            let at = call(program, "higher_order.wrap_with_autocast");
            change(&mut nodes(program)[at]);
        }
    };
    for (change, wanted) in [
        (
            (|node| node["inputs"][2]["arg"] = json!({"as_bool": true})) as fn(&mut Value),
            "computes under torch.autocast",
        ),
        (
            |node| drop(node["inputs"].as_array_mut().unwrap().pop()),
            "arguments to a graph of",
        ),
        (
            |node| {
                let inputs = node["inputs"].as_array_mut().unwrap();
                inputs.retain(|input| input["arg"].get("as_graph").is_none());
            },
            "is given no graph",
        ),
        (|node| node["outputs"] = json!([]), "takes 0 results of 1"),
    ] {
        let message = program(wrapped(change)).refused();
        assert!(
            message.contains("`graph_module.graph.nodes[") && message.contains(wanted),
            "{message}"
        );
    }
}

#[test]
fn symbols_that_are_none() {
    let size = |text: &str| {
        let text = text.to_owned();
        move |program: &mut Value| {
            program["graph_module"]["graph"]["tensor_values"]["ids"]["sizes"][1] =
                json!({"as_expr": {"expr_str": text, "hint": {"as_int": 8}}});
        }
    };
    let at = "`graph_module.graph.tensor_values.ids.sizes[1]`: ";
    refused(size("2*s0"), &format!("{at}depends on other sizes (`2*s0`)"));
    refused(
        size("Mod(Symbol('s0'), 2)"),
        &format!("{at}depends on other sizes"),
    );
    refused(
        |program| program["range_constraints"]["s1"] = json!({"min_val": 9, "max_val": 3}),
        &format!("{at}`s1` ranges from 9 to 3"),
    );
}

#[test]
fn archives_cut_short() {
    for version in ["2.7", "2.15"] {
        let whole = std::fs::read(export(version)).unwrap();
        for len in (0..whole.len()).step_by(997).chain(whole.len() - 40..whole.len()) {
            let message = read_bytes(whole[..len].to_vec()).unwrap_err().to_string();
            assert!(message.starts_with("m.pt2"), "{message}");
        }
    }
    for end in [PROGRAM, "serialized_state_dict.pt", "serialized_constants.pt"] {
        let mut bent = program(|_| ());
        let entry = bent.entry(end);
        entry.truncate(entry.len() / 2);
        assert!(bent.refused().contains(end), "{}", bent.refused());
        let mut bent = program(|_| ());
        bent.entries.retain(|(name, _)| name != end);
        bent.refused();
    }
}

#[test]
fn weights_that_are_not_where_the_archive_says() {
    const WEIGHTS: &str = "model_weights_config.json";
    let weights = |change: &dyn Fn(&mut Value)| {
        let message = Bent::open(&export("2.15"))
            .json(WEIGHTS, |config| change(&mut config["config"]))
            .refused();
        assert!(
            message.starts_with("m.pt2, entry `2.15/data/weights/"),
            "{message}"
        );
        message
    };
    let dense = "blocks.0.dense.weight";
    for (change, wanted) in [
        (
            &(|config: &mut Value| config[dense]["tensor_meta"]["sizes"][0] = json!({"as_int": 9}))
                as &dyn Fn(&mut Value),
            "of size [9, 4] has stride [4, 1]|does not lie in its entry",
        ),
        (
            &|config| config[dense]["tensor_meta"]["storage_offset"] = json!({"as_int": 1}),
            "does not lie in its entry",
        ),
        (
            &|config| config[dense]["tensor_meta"]["storage_offset"] = json!({"as_int": -1}),
            "has no storage offset",
        ),
        (
            &|config| config[dense]["tensor_meta"]["storage_offset"] = json!({"as_int": i64::MAX}),
            "has no storage offset|does not lie",
        ),
        (
            &|config| config[dense]["tensor_meta"]["strides"] = json!([{"as_int": 0}, {"as_int": 1}]),
            "neither dense nor",
        ),
        (
            &|config| config[dense]["tensor_meta"]["strides"] = json!([{"as_int": 1}]),
            "but stride [1]",
        ),
        (
            &|config| config[dense]["tensor_meta"]["dtype"] = json!(0),
            "the element type 0",
        ),
        (
            &|config| config[dense]["use_pickle"] = json!(true),
            "saved as a pickle",
        ),
        (
            &|config| config[dense]["path_name"] = json!("../weight_0"),
            "is missing from the archive",
        ),
        (
            &|config| config[dense]["path_name"] = json!("weight_99"),
            "is missing from the archive",
        ),
        (
            &|config| drop(config[dense].as_object_mut().unwrap().remove("use_pickle")),
            "missing field `use_pickle`",
        ),
    ] {
        let message = weights(change);
        assert!(
            wanted.split('|').any(|wanted| message.contains(wanted)),
            "{message}"
        );
    }
    let huge = json!([{"as_int": 1u64 << 40}, {"as_int": 1u64 << 40}]);
    let message = Bent::open(&export("2.15"))
        .json(WEIGHTS, |config| {
            config["config"][dense]["tensor_meta"]["sizes"] = huge;
            config["config"][dense]["tensor_meta"]["strides"] =
                json!([{"as_int": 1u64 << 40}, {"as_int": 1}]);
        })
        .refused();
    assert!(message.contains("overflows"), "{message}");
}

#[test]
fn archives_of_another_kind() {
    let bent = |end: &str, bytes: &[u8]| {
        let mut bent = Bent::open(&export("2.15"));
        *bent.entry(end) = bytes.to_vec();
        bent.refused()
    };
    let message = bent("archive_version", b"1");
    assert!(
        message.contains("version of the PT2 archive that is not read; read: 0 (it says `1`)"),
        "{message}"
    );
    assert!(bent("archive_format", b"pt3").contains("is not a PT2 archive"));
    assert!(bent("byteorder", b"big").contains("big-endian"));
    let mut several = Bent::open(&export("2.15"));
    let second = several.entry("models/model.json").clone();
    several.entries.push(("2.15/models/other.json".into(), second));
    assert!(
        several.refused().contains("holds 2 programs (model, other)"),
        "{}",
        several.refused()
    );
    let mut none = Bent::open(&export("2.15"));
    none.entries.retain(|(name, _)| !name.contains("/models/"));
    assert!(none.refused().contains("holds no program"), "{}", none.refused());
    let mut two = Bent::open(&export("2.15"));
    two.entries.push(("other/archive_format".into(), b"pt2".to_vec()));
    assert!(two.refused().contains("holds two archives"), "{}", two.refused());
}

#[test]
fn shapes_that_contradict_the_calls() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.pt2");
    let convert = |name: &str, change: &dyn Fn(&mut Value), length: Option<u64>| {
        let bert = format!(
            "{}/../fixtures/families/bert/feature-extraction/{name}.pt2",
            env!("CARGO_MANIFEST_DIR")
        );
        let bent = Bent::open(bert.as_ref()).json(PROGRAM, |program| {
            change(&mut program["graph_module"]["graph"]["tensor_values"]);
        });
        std::fs::write(&path, bent.bytes()).unwrap();
        let mut request = Request::new(&path);
        request.sequence_length = length.map(Into::into);
        corer_converter::convert(&request)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    convert("torch2.7-export", &|_| (), None).unwrap();
    let width = |values: &mut Value| values["linear_4"]["sizes"][2] = json!({"as_int": 99});
    let message = convert("torch2.7-export", &width, None).unwrap_err();
    for part in [
        "m.pt2",
        "encoder.layer.0.intermediate.dense (node ",
        "aten::linear",
        "gives float32 [1, 32, 56], the export records float32 [1, 32, 99] for `linear_4`",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let dtype = |values: &mut Value| values["linear_4"]["dtype"] = json!(6);
    let message = convert("torch2.7-export", &dtype, None).unwrap_err();
    assert!(message.contains("the export records float16"), "{message}");
    // What depends on the inputs is compared for the sizes of the example only.
    let name = "torch2.7-export-dynamic";
    let tokens =
        |values: &mut Value| values["linear_4"]["sizes"][1]["as_expr"]["hint"] = json!({"as_int": 99});
    convert(name, &tokens, Some(16)).unwrap();
    convert(name, &|_| (), Some(16)).unwrap();
    let message = convert(name, &width, Some(16)).unwrap_err();
    assert!(message.contains("for `linear_4`"), "{message}");
}

#[test]
fn operators_nobody_knows_are_listed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.pt2");
    let bert = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../fixtures/families/bert/feature-extraction/torch2.7-export.pt2"
    );
    let bent = Bent::open(bert.as_ref()).json(PROGRAM, |program| {
        for node in nodes(program) {
            if node["target"] == "torch.ops.aten.gelu.default" {
                node["target"] = json!("torch.ops.mylib.smelu.default");
            }
            if node["target"] == "torch.ops.aten.tanh.default" {
                node["target"] = json!("torch.ops.higher_order.cond");
            }
        }
    });
    std::fs::write(&path, bent.bytes()).unwrap();
    let message = corer_converter::convert(&Request::new(&path))
        .unwrap_err()
        .to_string();
    for part in [
        "2 of its operators can't be converted",
        "mylib::smelu (2×): encoder.layer.0.intermediate.intermediate_act_fn (node ",
        "encoder.layer.1.intermediate.intermediate_act_fn (node ",
        "higher_order::cond (1×): pooler",
    ] {
        assert!(message.contains(part), "{message}\n{part}");
    }
}

#[test]
fn sizes_the_export_is_not_good_for() {
    let convert = |name: &str, tokens: &str| {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../fixtures/families/bert/feature-extraction"
        );
        let mut request = Request::new(format!("{folder}/{name}.pt2"));
        request.sequence_length = Some(tokens.parse().unwrap());
        corer_converter::convert(&request)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    convert("torch2.7-export", "32").unwrap();
    let message = convert("torch2.7-export", "64").unwrap_err();
    assert!(
        message.contains("--sequence-length: 64 is asked for, the model was exported for 32 alone"),
        "{message}"
    );
    convert("torch2.7-export-dynamic", "7").unwrap();
    let message = convert("torch2.7-export-dynamic", "48").unwrap_err();
    assert!(message.contains("exported for 2 to 47"), "{message}");
    // Nothing bounds the rows from above, so nothing says a range of them is fine.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.pt2");
    let bert = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../fixtures/families/bert/feature-extraction/torch2.7-export-dynamic.pt2"
    );
    let bent = Bent::open(bert.as_ref()).json(PROGRAM, |program| {
        program["range_constraints"]["s1"]["max_val"] = Value::Null;
    });
    std::fs::write(&path, bent.bytes()).unwrap();
    let mut request = Request::new(&path);
    request.sequence_length = Some("2..40".parse().unwrap());
    let message = corer_converter::convert(&request).unwrap_err().to_string();
    assert!(message.contains("nothing bounds `s1`"), "{message}");
    assert!(
        message.contains("torch.export.Dim(…, min=2, max=40)"),
        "{message}"
    );
}
