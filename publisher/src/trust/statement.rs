//! in-toto statements (`in-toto/attestation`, `spec/v1`): what is said, of which digests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;

/// The statement's form.
pub(crate) const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// A statement.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Statement {
    #[serde(rename = "_type")]
    pub(crate) form: String,
    pub(crate) subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    pub(crate) predicate_type: String,
    #[serde(default)]
    pub(crate) predicate: Value,
}

/// What a statement is about.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Subject {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) digest: BTreeMap<String, String>,
}

impl Statement {
    /// A statement about one thing with a SHA-256, given as 64 digits.
    pub(crate) fn about(name: &str, sha256: &str, predicate_type: &str, predicate: Value) -> Self {
        Self {
            form: STATEMENT.to_owned(),
            subject: vec![Subject {
                name: name.to_owned(),
                digest: [("sha256".to_owned(), sha256.to_owned())].into(),
            }],
            predicate_type: predicate_type.to_owned(),
            predicate,
        }
    }

    /// Reads a statement.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, String> {
        let statement: Self = serde_json::from_slice(payload)
            .map_err(|error| format!("its payload is no statement: {error}"))?;
        if statement.form != STATEMENT {
            return Err(format!(
                "its payload is a {}, not a {STATEMENT}",
                shown(&statement.form)
            ));
        }
        Ok(statement)
    }

    /// Whether one of its subjects has this digest.
    pub(crate) fn is_about(&self, digest: &Digest) -> bool {
        self.subject.iter().any(|subject| {
            subject
                .digest
                .get("sha256")
                .is_some_and(|hex| hex == digest.hex())
        })
    }
}

/// Text of others, short and harmless.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}
