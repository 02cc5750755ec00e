//! A verification report read back: as much of it as publishing and the model card need.
//!
//! The report is what `corer verify --report` and `corer release` write. Only what is known to mean a passed
//! verification of a whole package counts as one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::error::PublishError;

/// The version of the report's form this module knows.
const SCHEMA: u32 = 3;

/// Largest report read, in bytes.
pub(crate) const MOST_BYTES: u64 = 64 << 20;

/// The report's name inside a report directory.
const FILE_NAME: &str = "report.json";

/// A report, and the bytes it was read from.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredReport {
    /// The file.
    pub path: PathBuf,
    /// Its bytes, which are what gets published.
    pub bytes: Vec<u8>,
    /// What they say.
    pub report: Report,
}

/// What a report says.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[allow(missing_docs)] // as in the report's own documentation
pub struct Report {
    pub schema: u32,
    pub corer: String,
    pub verdict: Verdict,
    pub package: JudgedPackage,
    pub reference: Reference,
    pub execution: Execution,
    pub buckets: Vec<Bucket>,
    #[serde(default)]
    pub not_judged: Vec<NotJudged>,
}

/// Whether something passed.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Verdict {
    pub passed: bool,
    #[serde(default)]
    pub reasons: Vec<Reason>,
}

/// A limit that was not kept.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Reason {
    #[serde(default)]
    pub bucket: Option<String>,
    #[serde(default)]
    pub output: Option<String>,
    pub measure: String,
    pub found: String,
    pub limit: String,
}

/// The judged package.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct JudgedPackage {
    pub digest: String,
}

/// What it was judged by.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Reference {
    pub kind: String,
    #[serde(default)]
    pub task: Option<String>,
    #[serde(default)]
    pub files: Vec<ReferenceFile>,
}

/// A file of the reference.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct ReferenceFile {
    pub name: String,
    pub sha256: String,
}

/// Where and how the package was executed.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Execution {
    pub engine: String,
    pub arithmetic: String,
}

/// One function at one size.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Bucket {
    pub name: String,
    pub function: String,
    pub batch: u64,
    pub length: u64,
    pub verdict: Verdict,
    pub precision: String,
    pub inputs: Inputs,
    pub outputs: Vec<Output>,
    pub thresholds: BTreeMap<String, Value>,
}

/// What a bucket was fed.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Inputs {
    pub origin: String,
    pub rows: u64,
    pub tokens: u64,
    #[serde(default)]
    pub truncated: u64,
}

/// One output against the reference's. Figures stay as they were written.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Output {
    pub package: String,
    pub psnr: Value,
    pub max_abs: Value,
    #[serde(default)]
    pub cosine: Option<Cosine>,
    #[serde(default)]
    pub top1: Option<Agreement>,
}

/// Cosines between both sides' vectors.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Cosine {
    pub min: f64,
}

/// Equal decisions.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Agreement {
    pub agree: u64,
    pub total: u64,
    #[serde(default)]
    pub undecided: u64,
}

/// A bucket nobody judged.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct NotJudged {
    pub name: String,
    pub reason: String,
}

impl StoredReport {
    /// Reads a report from a file, or from `report.json` in a directory.
    ///
    /// # Errors
    /// When it can't be read or is no report.
    pub fn read(path: &Path) -> Result<Self, PublishError> {
        let path = if path.is_dir() {
            path.join(FILE_NAME)
        } else {
            path.to_owned()
        };
        let fail = |reason: String| PublishError::Report {
            path: path.clone(),
            reason,
        };
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(|error| fail(error.to_string()))?;
        file.take(MOST_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| fail(error.to_string()))?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(fail(format!(
                "is larger than a report ever is ({MOST_BYTES} bytes)"
            )));
        }
        let report = Report::parse(&bytes).map_err(fail)?;
        Ok(Self { path, bytes, report })
    }
}

impl StoredReport {
    /// The report as others may see it: of paths on this machine only the last part, and of the texts it was judged on
    /// only their row numbers, unless they are to be there.
    pub fn public(&self, include_texts: bool) -> Vec<u8> {
        // It was read before, so it is JSON.
        let Ok(mut document) = serde_json::from_slice::<Value>(&self.bytes) else {
            return self.bytes.clone();
        };
        for path in ["/package/path", "/reference/path"] {
            if let Some(value) = document.pointer_mut(path) {
                shorten(value);
            }
        }
        for bucket in document["buckets"].as_array_mut().into_iter().flatten() {
            if let Some(origin) = bucket.pointer_mut("/inputs/origin") {
                shorten(origin);
            }
        }
        if !include_texts {
            without_texts(&mut document);
        }
        format!("{document:#}\n").into_bytes()
    }
}

/// A path's last part.
fn shorten(value: &mut Value) {
    if let Some(name) = value.as_str().and_then(|path| Path::new(path).file_name()) {
        *value = name.to_string_lossy().into();
    }
}

/// Empties every `text`: excerpts of what a package was judged on.
fn without_texts(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match name.as_str() {
                    "text" => *member = Value::Null,
                    _ => without_texts(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_texts),
        _ => {}
    }
}

impl Report {
    /// Reads a report from its JSON form.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Versioned {
            schema: u32,
        }
        let no_report = |error: serde_json::Error| format!("is no report of `corer verify`: {error}");
        let Versioned { schema } = serde_json::from_slice(bytes).map_err(no_report)?;
        if schema != SCHEMA {
            return Err(format!(
                "is a report in form {schema}, this corer knows form {SCHEMA}; verify the package again"
            ));
        }
        serde_json::from_slice(bytes).map_err(no_report)
    }

    /// Why this report does not say that the whole package passed as it stands; `functions` are the package's.
    pub fn objection(&self, functions: &[String]) -> Option<String> {
        if !self.verdict.passed {
            let reasons: Vec<_> = self.verdict.reasons.iter().map(ToString::to_string).collect();
            return Some(match &reasons[..] {
                [] => "its report says that it failed".into(),
                reasons => format!("its report says that it failed: {}", reasons.join("; ")),
            });
        }
        if let Some(bucket) = self.buckets.iter().find(|bucket| !bucket.verdict.passed) {
            return Some(format!("its report says that `{}` failed", bucket.name));
        }
        if let Some(bucket) = self.not_judged.first() {
            return Some(format!(
                "its report is partial: `{}` was not judged: {}",
                bucket.name, bucket.reason
            ));
        }
        let judged: BTreeSet<_> = self
            .buckets
            .iter()
            .map(|bucket| bucket.function.as_str())
            .collect();
        if judged.is_empty() {
            return Some("its report judges nothing".into());
        }
        if let Some(missing) = functions.iter().find(|name| !judged.contains(name.as_str())) {
            return Some(format!(
                "its report is partial: function `{missing}` was not judged"
            ));
        }
        if self.buckets.iter().any(|bucket| bucket.outputs.is_empty()) {
            return Some("its report is partial: no output was compared".into());
        }
        if self.execution.arithmetic != "as-written" {
            return Some(format!(
                "its report is partial: it was executed in {}, not as written",
                self.execution.arithmetic
            ));
        }
        None
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for place in [&self.bucket, &self.output].into_iter().flatten() {
            write!(f, "{place}: ")?;
        }
        write!(f, "{} {}, asked for {}", self.measure, self.found, self.limit)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Report, StoredReport};

    fn good() -> Value {
        json!({
            "schema": 3, "corer": "0.1.0",
            "verdict": { "passed": true, "reasons": [] },
            "package": { "digest": "00" },
            "reference": { "kind": "recording" },
            "execution": { "engine": "cpu", "arithmetic": "as-written" },
            "buckets": [{
                "name": "main", "function": "main", "batch": 1, "length": 64, "verdict": { "passed": true, "reasons": [] },
                "precision": "fp16", "inputs": { "origin": "texts", "rows": 1, "tokens": 3 },
                "outputs": [{ "package": "logits", "psnr": "inf", "max_abs": 0.0 }],
                "thresholds": {},
            }],
            "not_judged": [],
        })
    }

    fn objection(change: impl FnOnce(&mut Value)) -> Option<String> {
        let mut document = good();
        change(&mut document);
        let report = Report::parse(document.to_string().as_bytes()).expect("a report");
        report.objection(&["main".to_owned()])
    }

    #[test]
    fn only_a_whole_passed_report_has_no_objection() {
        assert_eq!(objection(|_| {}), None);
        type Spoil = fn(&mut Value);
        let spoil: [(&str, Spoil); 7] = [
            ("it failed", |report| report["verdict"]["passed"] = false.into()),
            ("`main` failed", |report| {
                report["buckets"][0]["verdict"]["passed"] = false.into();
            }),
            ("was not judged: why", |report| {
                report["not_judged"] = json!([{ "name": "other", "reason": "why" }]);
            }),
            ("judges nothing", |report| report["buckets"] = json!([])),
            ("function `main` was not judged", |report| {
                report["buckets"][0]["function"] = "other".into();
            }),
            ("no output was compared", |report| {
                report["buckets"][0]["outputs"] = json!([])
            }),
            ("executed in f32", |report| {
                report["execution"]["arithmetic"] = "f32".into()
            }),
        ];
        for (reason, change) in spoil {
            let found = objection(change).unwrap_or_default();
            assert!(found.contains(reason), "{reason}: {found}");
        }
    }

    #[test]
    fn what_others_see_has_neither_paths_nor_texts() {
        let mut document = good();
        document["package"]["path"] = "/home/somebody/secret/Model.mlpackage".into();
        document["reference"]["path"] = "/home/somebody/secret/model".into();
        document["buckets"][0]["inputs"]["origin"] = "/home/somebody/secret/texts.txt".into();
        document["buckets"][0]["outputs"][0]["worst"] = json!({ "row": 3, "text": "a secret" });
        let bytes = document.to_string().into_bytes();
        let stored = StoredReport {
            path: "report.json".into(),
            report: Report::parse(&bytes).expect("a report"),
            bytes,
        };
        let public = stored.public(false);
        let read: Value = serde_json::from_slice(&public).expect("JSON");
        assert!(!String::from_utf8_lossy(&public).contains("secret"), "{read:#}");
        assert_eq!(read["package"]["path"], "Model.mlpackage");
        assert_eq!(
            read["buckets"][0]["outputs"][0]["worst"],
            json!({ "row": 3, "text": null })
        );
        Report::parse(&public).expect("still a report");
        let with_texts = String::from_utf8(stored.public(true)).expect("text");
        assert!(with_texts.contains("a secret") && !with_texts.contains("somebody"));
    }

    #[test]
    fn another_form_is_refused() {
        let mut report = good();
        report["schema"] = 2.into();
        let error = Report::parse(report.to_string().as_bytes()).expect_err("another form");
        assert!(error.contains("form 2"), "{error}");
        assert!(Report::parse(b"{}").is_err());
    }
}
