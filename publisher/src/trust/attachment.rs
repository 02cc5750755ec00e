//! Signed statements as artifacts of their own, whose subject is the artifact they speak of.

use std::collections::BTreeMap;

use super::attest;
use super::dsse::{self, BUNDLE};
use super::key::SigningKey;
use super::model_signing;
use super::statement::Statement;
use crate::bundle::{self, Bundle};
use crate::digest::Digest;
use crate::oci::{self, DOCUMENT_BYTES, Descriptor, Manifest};
use crate::store::Content;

/// Media type of a statement without a signature.
pub(crate) const UNSIGNED: &str = "application/vnd.in-toto+json";

/// A statement on its way to a store.
#[derive(Clone, PartialEq, Debug)]
pub struct Attachment {
    /// The manifest's descriptor.
    pub manifest: Descriptor,
    /// The manifest.
    pub manifest_bytes: Vec<u8>,
    /// What the manifest names.
    pub blobs: Vec<(Descriptor, Content)>,
}

impl Attachment {
    /// Signs all there is to say of a bundle: its files, the verdict if it was judged, how it was built. `builder` is
    /// the URI of whoever ran the build.
    pub fn sign(bundle: &Bundle, key: &SigningKey, builder: &str) -> Vec<Self> {
        let tree = model_signing::tree_of_layers(bundle.layers.iter().map(|(layer, _)| layer));
        let name = bundle::title(&bundle.packages);
        let mut statements = vec![model_signing::statement(&name, &tree)];
        statements.extend(attest::parity(bundle));
        statements.push(attest::provenance(bundle, builder));
        statements
            .iter()
            .map(|statement| Self::of(statement, &bundle.manifest, Some(key)))
            .collect()
    }

    /// Attaches a statement to a manifest, signed if there is a key.
    pub(crate) fn of(statement: &Statement, subject: &Descriptor, key: Option<&SigningKey>) -> Self {
        let statement_bytes = oci::json(statement);
        let (kind, content) = match key {
            Some(key) => (BUNDLE, dsse::seal(&statement_bytes, key)),
            None => (UNSIGNED, statement_bytes),
        };
        let config = (Descriptor::of(oci::EMPTY, b"{}"), Content::Bytes(b"{}".to_vec()));
        let layer = Descriptor::of(kind, &content);
        let mut annotations: BTreeMap<_, _> =
            [(oci::PREDICATE_TYPE.to_owned(), statement.predicate_type.clone())].into();
        if key.is_some() {
            annotations.insert(oci::BUNDLE_CONTENT.to_owned(), "dsse-envelope".to_owned());
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: oci::MANIFEST.to_owned(),
            artifact_type: Some(kind.to_owned()),
            config: config.0.clone(),
            layers: vec![layer.clone()],
            subject: Some(Descriptor::new(
                &subject.media_type,
                subject.digest.clone(),
                subject.size,
            )),
            annotations,
        };
        let manifest_bytes = oci::json(&manifest);
        let mut descriptor = Descriptor::of(oci::MANIFEST, &manifest_bytes);
        descriptor.artifact_type = manifest.artifact_type;
        descriptor.annotations = manifest.annotations;
        Self {
            manifest: descriptor,
            manifest_bytes,
            blobs: vec![config, (layer, Content::Bytes(content))],
        }
    }

    /// What a manifest attached to `subject` carries: a bundle, or a statement that nobody signed.
    ///
    /// # Errors
    /// Why it is no such attachment.
    pub(crate) fn layer_of<'m>(manifest: &'m Manifest, subject: &Digest) -> Result<&'m Descriptor, String> {
        if manifest.subject.as_ref().map(|subject| &subject.digest) != Some(subject) {
            return Err("is attached to another artifact".into());
        }
        match &manifest.layers[..] {
            [layer] if layer.size > DOCUMENT_BYTES => Err(format!("has {} bytes", layer.size)),
            [layer] if [BUNDLE, UNSIGNED].contains(&layer.media_type.as_str()) => Ok(layer),
            _ => Err("does not carry one statement".into()),
        }
    }
}
