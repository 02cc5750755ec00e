//! The signature over a tree of files, in the form of OpenSSF Model Signing 1.0 (`sigstore/model-transparency`,
//! `docs/model_signing_format.md`): an in-toto statement that lists every file with its SHA-256.
//!
//! Its own tool checks it, too: `model_signing verify key DIR --signature model.sig --public_key public.pem`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::statement::{Statement, shown};
use crate::bundle::gather;
use crate::digest::Digest;
use crate::error::PublishError;
use crate::oci;

/// The predicate's type.
pub const PREDICATE: &str = "https://model_signing/signature/v1.0";

/// How many differences are spelled out.
const MOST_SAID: usize = 5;

/// A tree: paths with `/` between their parts, and what each file holds.
pub type Tree = BTreeMap<String, Digest>;

#[derive(Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Serialization {
    method: String,
    #[serde(default)]
    hash_type: String,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

/// What a signature over a tree says.
pub(crate) fn statement(name: &str, tree: &Tree) -> Statement {
    let resources: Vec<_> = tree
        .iter()
        .map(|(name, digest)| json!({ "name": name, "algorithm": "sha256", "digest": digest.hex() }))
        .collect();
    let predicate = json!({
        "serialization": {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": false,
            "ignore_paths": [],
        },
        "resources": resources,
    });
    let root = root(tree.values().map(Digest::hex));
    Statement::about(name, &root, PREDICATE, predicate)
}

/// SHA-256 over the files' digests (32 bytes each), in the order given.
fn root<'a>(digests: impl Iterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for digest in digests {
        hash.update(bytes(digest));
    }
    Digest::finish(hash).hex().to_owned()
}

/// The bytes that hexadecimal digits stand for; none for anything else.
fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// Whether a statement that was signed is about exactly this tree.
pub(crate) fn check(statement: &Statement, tree: &Tree) -> Result<(), String> {
    let signed = tree_of(statement)?;
    let mut differences = Vec::new();
    for (path, digest) in &signed {
        match tree.get(path) {
            None => differences.push(format!("`{}` is missing", shown(path))),
            Some(found) if found != digest => differences.push(format!("`{}` differs", shown(path))),
            Some(_) => {}
        }
    }
    for path in tree.keys().filter(|path| !signed.contains_key(*path)) {
        differences.push(format!("`{}` is not signed", shown(path)));
    }
    if differences.is_empty() {
        return Ok(());
    }
    let more = differences.len().saturating_sub(MOST_SAID);
    differences.truncate(MOST_SAID);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Err(format!(
        "these are not the files signed: {}{more}",
        differences.join(", ")
    ))
}

/// The tree that a statement lists.
fn tree_of(statement: &Statement) -> Result<Tree, String> {
    if statement.predicate_type != PREDICATE {
        return Err(format!(
            "its statement is a {}, not a model's signature",
            shown(&statement.predicate_type)
        ));
    }
    let predicate: Predicate = serde::Deserialize::deserialize(&statement.predicate)
        .map_err(|error| format!("its statement lists no files: {error}"))?;
    let Serialization { method, hash_type } = &predicate.serialization;
    if method != "files" || hash_type != "sha256" {
        return Err(format!(
            "files were hashed by {} with {}; corer checks `files` with `sha256`",
            shown(method),
            shown(hash_type)
        ));
    }
    let mut tree = Tree::new();
    for resource in &predicate.resources {
        let digest = format!("sha256:{}", resource.digest).parse::<Digest>();
        let Some(digest) = digest.ok().filter(|_| resource.algorithm == "sha256") else {
            return Err(format!("`{}` has no SHA-256 in it", shown(&resource.name)));
        };
        if tree.insert(resource.name.clone(), digest).is_some() {
            return Err(format!("`{}` is in it twice", shown(&resource.name)));
        }
    }
    let listed = root(
        predicate
            .resources
            .iter()
            .map(|resource| resource.digest.as_str()),
    );
    let [subject] = &statement.subject[..] else {
        return Err("its statement is not about one model".into());
    };
    if subject.digest.get("sha256") != Some(&listed) {
        return Err("its statement's digest is not that of the files it lists".into());
    }
    Ok(tree)
}

/// The tree of an artifact's layers.
pub(crate) fn tree_of_layers<'a>(layers: impl Iterator<Item = &'a oci::Descriptor>) -> Tree {
    layers
        .filter_map(|layer| {
            let names = [oci::FILE_PATH, oci::TITLE];
            let path = names.into_iter().find_map(|key| layer.annotations.get(key))?;
            Some((path.clone(), layer.digest.clone()))
        })
        .collect()
}

/// Reads and hashes the files of a directory; `except` is one to leave out.
///
/// # Errors
/// When a file can't be read, or is neither a file nor a directory, such as a link.
pub(crate) fn tree_of_directory(directory: &Path, except: &Path) -> Result<Tree, PublishError> {
    let mut found = Vec::new();
    gather(directory, "", 0, &mut found)?;
    let same = |path: &Path| path.canonicalize().ok();
    let except = same(except);
    found
        .into_iter()
        .filter(|(_, path)| except.is_none() || same(path) != except)
        .map(|(name, path)| {
            let digest = Digest::of_file(&path).map_err(PublishError::io(&path, "can't be read"))?;
            Ok((name, digest))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Tree, check, statement, tree_of};
    use crate::digest::Digest;
    use crate::trust::dsse;
    use crate::trust::key::VerifyingKey;
    use crate::trust::statement::Statement;

    fn tree() -> Tree {
        ["a.txt", "sub/b", "sub/deep/c"]
            .map(|name| (name.to_owned(), Digest::of(name.as_bytes())))
            .into()
    }

    #[test]
    fn exactly_the_files_signed() {
        let said = statement("model", &tree());
        assert_eq!(check(&said, &tree()), Ok(()));
        let mut extra = tree();
        extra.insert("sub/x".into(), Digest::of(b""));
        let mut changed = tree();
        changed.insert("sub/b".into(), Digest::of(b""));
        let mut missing = tree();
        missing.remove("a.txt");
        for (other, reason) in [
            (extra, "`sub/x` is not signed"),
            (changed, "`sub/b` differs"),
            (missing, "`a.txt` is missing"),
        ] {
            let error = check(&said, &other).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
        let error = check(&said, &Tree::new()).expect_err("nothing there");
        assert!(error.contains("`a.txt` is missing"), "{error}");
    }

    #[test]
    fn statements_that_contradict_themselves_are_refused() {
        type Spoil = fn(&mut Statement);
        let spoil: [(&str, Spoil); 7] = [
            ("not that of the files", |said| {
                said.predicate["resources"].as_array_mut().expect("a list").pop();
            }),
            ("is in it twice", |said| {
                let first = said.predicate["resources"][0].clone();
                said.predicate["resources"]
                    .as_array_mut()
                    .expect("a list")
                    .push(first);
            }),
            ("no SHA-256", |said| {
                said.predicate["resources"][0]["digest"] = "ab".into()
            }),
            ("no SHA-256", |said| {
                said.predicate["resources"][0]["algorithm"] = "blake3".into()
            }),
            ("not about one model", |said| said.subject.clear()),
            ("not a model's signature", |said| {
                said.predicate_type = "other".into()
            }),
            ("hashed by shards", |said| {
                said.predicate["serialization"] = json!({ "method": "shards", "hash_type": "sha256" });
            }),
        ];
        for (reason, change) in spoil {
            let mut said = statement("model", &tree());
            change(&mut said);
            let error = check(&said, &tree()).expect_err(reason);
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }

    /// A signature that `model_signing sign key` 1.1.1 wrote over `a.txt` ("a\n"), `sub/b` ("b\n") and an empty file.
    #[test]
    fn what_the_reference_implementation_signed() {
        let bundle = include_bytes!("../../tests/keys/model_signing.sig");
        let key = include_str!("../../tests/keys/public.pem");
        let keys = [VerifyingKey::parse(key, "public.pem").expect("a key")];
        let opened = dsse::open(bundle, &keys).expect("signed by it");
        let said = Statement::parse(&opened.payload).expect("a statement");
        let tree: Tree = [("a.txt", &b"a\n"[..]), ("sub/b", b"b\n"), ("sub/deep/empty", b"")]
            .map(|(name, bytes)| (name.to_owned(), Digest::of(bytes)))
            .into();
        assert_eq!(tree_of(&said).expect("a tree"), tree);
    }
}
