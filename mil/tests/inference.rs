//! The op table's inference against coremltools' own, for two thousand calls recorded in `coremltools_inference.json`.

use std::collections::BTreeMap;

use corer_mil::ops::{self, Arg, Call};
use corer_mil::text::parse;
use corer_mil::{Dim, Opset, TensorType, Value, ValueType};
use serde_json::Value as Json;

const RECORD: &str = include_str!("coremltools_inference.json");

/// Cases, by how they start and what they contain, in which the table means to differ. Each is held to differ: an
/// entry that no case needs fails the test.
const MEANT: &[(&str, &str)] = &[
    // coremltools takes an equation of the other rank; its letters then name no axes.
    (
        r#"einsum ios15 {"equation":{"dtype":"string","shape":[],"values":["chw,whu->chu"]}"#,
        "fp16",
    ),
    (
        r#"einsum ios16 {"equation":{"dtype":"string","shape":[],"values":["chw,whu->chu"]}"#,
        "fp16",
    ),
    (
        r#"einsum ios17 {"equation":{"dtype":"string","shape":[],"values":["chw,whu->chu"]}"#,
        "fp16",
    ),
    (
        r#"einsum ios18 {"equation":{"dtype":"string","shape":[],"values":["chw,whu->chu"]}"#,
        "fp16",
    ),
    (
        r#"einsum ios16 {"equation":{"dtype":"string","shape":[],"values":["nchw,nwhu->nchu"]}"#,
        "[3,4,5]",
    ),
    // It compares symbols; a package does not say which unknown sizes are the same, so they may be.
    (
        r#"einsum ios16 {"equation":{"dtype":"string","shape":[],"values":["nchw,nwhu->nchu"]}"#,
        r#"[2,3,"?",5]"#,
    ),
    // It takes a mask of more axes than the scores have.
    ("scaled_dot_product_attention ios18", "[1,2,4,5,6]"),
    // Its default for `axes` is a Python range, which its own type check then refuses.
    (r#"layer_norm ios16 {"x":{"dtype":"fp16","shape":[2,3,4]}}"#, ""),
    // With an unknown size in `x` it takes the zeros of `shape` for sizes, against its own documentation.
    (
        r#"reshape ios16 {"shape":{"dtype":"int32","shape":[3],"values":[0,0,-1]}"#,
        "?",
    ),
    (
        r#"reshape ios16 {"shape":{"dtype":"int32","shape":[2],"values":[0,12]}"#,
        "?",
    ),
];

fn tensor(json: &Json) -> TensorType {
    let dtype = json["dtype"].as_str().expect("a dtype");
    let dtype = if dtype == "str" { "string" } else { dtype };
    let dims = json["shape"]
        .as_array()
        .expect("a shape")
        .iter()
        .map(|size| size.as_u64().map_or(Dim::FRESH, Dim::Known));
    TensorType {
        dtype: dtype.parse().expect("a known dtype"),
        shape: dims.collect(),
    }
}

fn constant(json: &Json) -> Option<Value> {
    let values: Vec<String> = json
        .get("values")?
        .as_array()?
        .iter()
        .map(Json::to_string)
        .collect();
    let ty = tensor(json);
    let text = match ty.rank() {
        0 => format!("program(1.0) [v = {ty}({})] {{}}", values[0]),
        _ => format!("program(1.0) [v = {ty}([{}])] {{}}", values.join(", ")),
    };
    Some(
        parse(&text, &[])
            .unwrap_or_else(|error| panic!("{error} in {text}"))
            .attributes
            .remove("v")
            .expect("v"),
    )
}

/// What the table says to a call.
fn infer(case: &Json) -> Result<Vec<ValueType>, String> {
    let op = case["op"].as_str().expect("an op");
    let opset: Opset = case["opset"]
        .as_str()
        .expect("an opset")
        .parse::<corer_mil::Target>()
        .expect("a target")
        .opset();
    let row = ops::lookup(op, opset).ok_or("not in this opset")?;
    let mut bound: BTreeMap<&str, Vec<(ValueType, Option<Value>)>> = BTreeMap::new();
    for (name, arg) in case["args"].as_object().expect("args") {
        let args = arg
            .as_array()
            .map_or_else(|| vec![arg], |args| args.iter().collect());
        bound.insert(
            name,
            args.into_iter()
                .map(|arg| (tensor(arg).into(), constant(arg)))
                .collect(),
        );
    }
    let args = bound
        .iter()
        .map(|(name, args)| {
            let args = args
                .iter()
                .map(|(ty, value)| value.as_ref().map_or(Arg::computed(ty), Arg::constant));
            (*name, args.collect())
        })
        .collect();
    let call = Call {
        op,
        opset,
        args,
        declared: Vec::new(),
    };
    row.check_arguments(&call)?;
    (row.infer)(&call)
}

/// Whether two result types agree: sizes we both know are equal, and neither knows what the other can't.
fn agree(ours: &ValueType, theirs: &TensorType) -> bool {
    ours.as_tensor().is_some_and(|ours| ours.compatible(theirs))
}

#[test]
fn calls_infer_as_coremltools_infers_them() {
    let cases: Vec<Json> = serde_json::from_str(RECORD).expect("the record is JSON");
    assert!(cases.len() > 2000);
    let mut report = Vec::new();
    let mut unneeded = MEANT.to_vec();
    for case in &cases {
        let ours = infer(case);
        let theirs = case["result"]
            .as_array()
            .map(|types| types.iter().map(tensor).collect::<Vec<_>>());
        let same = match (&ours, &theirs) {
            (Err(_), None) => true,
            (Ok(ours), Some(theirs)) => {
                ours.len() == theirs.len()
                    && ours.iter().zip(theirs).all(|(ours, theirs)| agree(ours, theirs))
            }
            _ => false,
        };
        if same {
            continue;
        }
        let line = format!(
            "{} {} {}",
            case["op"].as_str().expect("op"),
            case["opset"].as_str().expect("opset"),
            case["args"]
        );
        let meant = MEANT
            .iter()
            .find(|(start, part)| line.starts_with(start) && line.contains(part));
        if let Some(meant) = meant {
            unneeded.retain(|other| other != meant);
            continue;
        }
        report.push(format!(
            "{line}\n    we say {ours:?}\n    coremltools {}",
            case["result"]
        ));
    }
    assert!(
        report.is_empty(),
        "{} of {} differ\n{}",
        report.len(),
        cases.len(),
        report.join("\n")
    );
    assert!(
        unneeded.is_empty(),
        "no case differs in the ways meant: {unneeded:?}"
    );
}
