//! OCI documents: descriptors, manifests, the index of a layout, and ModelPack's configuration.
//!
//! Formats: the OCI image specification 1.1 (`manifest.md`, `image-layout.md`, `descriptor.md`) and the CNCF model
//! specification (`docs/spec.md`, `docs/config.md`, `schema/config-schema.json`). Fields are written in the order they
//! have here and maps are ordered, so that equal documents are equal bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;

/// Media type of an image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// ModelPack's artifact type.
pub const MODEL_ARTIFACT: &str = "application/vnd.cncf.model.manifest.v1+json";
/// ModelPack's configuration.
pub const MODEL_CONFIG: &str = "application/vnd.cncf.model.config.v1+json";
/// A layer that is one file of weights, as it is.
pub const WEIGHT_LAYER: &str = "application/vnd.cncf.model.weight.v1.raw";
/// A layer that is one file of configuration, as it is.
pub const WEIGHT_CONFIG_LAYER: &str = "application/vnd.cncf.model.weight.config.v1.raw";
/// A layer that is one file of documentation, as it is.
pub const DOC_LAYER: &str = "application/vnd.cncf.model.doc.v1.raw";

/// Annotation of a layer: the file's path, ModelPack's key.
pub const FILE_PATH: &str = "org.cncf.model.filepath";
/// Annotation of a layer: the file's path, the key other clients of artifacts know.
pub const TITLE: &str = "org.opencontainers.image.title";
/// Annotation in a layout's index: the tag.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation of a manifest: the version given by the publisher.
pub const VERSION: &str = "org.opencontainers.image.version";
/// Annotation of a manifest: what the artifact is.
pub const DESCRIPTION: &str = "org.opencontainers.image.description";
/// Annotation of a manifest: SPDX expression, or whatever the package says.
pub const LICENSES: &str = "org.opencontainers.image.licenses";
/// Beginning of an annotation of a manifest: a package's digest; the package's name follows.
pub const PACKAGE_DIGEST: &str = "corer.package-digest.";
/// Annotation of a manifest: `passed`, or `unverified` when publishing was forced.
pub const VERDICT: &str = "corer.verdict";
/// Annotation of a manifest that was forced: why the packages count as unverified.
pub const UNVERIFIED: &str = "corer.unverified";
/// Annotation of a manifest: the version of corer that published it.
pub const CORER_VERSION: &str = "corer.version";
/// A configuration that says nothing: `{}`.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Annotation of an attached bundle: what its statement says, so that it need not be read to know.
pub const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";
/// Annotation of an attached bundle: `dsse-envelope`.
pub const BUNDLE_CONTENT: &str = "dev.sigstore.bundle.content";

/// Largest document read, in bytes: what registries accept at least (distribution specification).
pub const DOCUMENT_BYTES: u64 = 4 << 20;

/// A blob: what it is, its digest and its length.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Kind of artifact, where it is a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Whatever else is said of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields of others, kept as they are.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

impl Descriptor {
    /// The descriptor of bytes in memory.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// A descriptor without annotations.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            artifact_type: None,
            annotations: BTreeMap::new(),
            rest: BTreeMap::new(),
        }
    }
}

/// An image manifest.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`MANIFEST`].
    #[serde(default = "manifest_type")]
    pub media_type: String,
    /// [`MODEL_ARTIFACT`] for models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The files.
    pub layers: Vec<Descriptor>,
    /// The manifest this one is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// What is said of the whole.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

fn manifest_type() -> String {
    MANIFEST.to_owned()
}

/// A layout's `index.json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// [`INDEX`], if said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What the layout holds; tags are annotations.
    pub manifests: Vec<Descriptor>,
    /// Fields of others, kept as they are.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

impl Index {
    /// Adds a manifest to a list of referrers, unless it is there. Says whether it was not.
    pub(crate) fn refer(&mut self, manifest: &Descriptor) -> bool {
        if self.manifests.iter().any(|other| other.digest == manifest.digest) {
            return false;
        }
        self.manifests.push(manifest.clone());
        true
    }
}

/// The tag under which registries without a referrers API list what is attached to a manifest (distribution
/// specification, "Referrers Tag Schema").
pub fn referrers_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// Whether a tag lists referrers.
pub(crate) fn is_referrers_tag(tag: &str) -> bool {
    tag.strip_prefix("sha256-")
        .is_some_and(|hex| format!("sha256:{hex}").parse::<Digest>().is_ok())
}

impl Default for Index {
    fn default() -> Self {
        Self {
            schema_version: 2,
            media_type: Some(INDEX.to_owned()),
            manifests: Vec::new(),
            rest: BTreeMap::new(),
        }
    }
}

/// ModelPack's configuration. Its schema allows no further keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ModelConfig {
    /// What the model is.
    pub descriptor: ModelDescriptor,
    /// How it is stored.
    pub config: ModelFormat,
    /// Which layers it is made of.
    pub modelfs: ModelFs,
}

/// What a model is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ModelDescriptor {
    /// Its name.
    pub name: String,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// One sentence about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who made it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// What may be done with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub licenses: Vec<String>,
}

/// How a model is stored.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ModelFormat {
    /// `transformer`.
    pub architecture: &'static str,
    /// `coreml`.
    pub format: &'static str,
    /// Of its arithmetic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// Of its weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// What goes in and comes out.
    pub capabilities: Capabilities,
}

/// What a model takes and gives.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// `text`.
    pub input_types: Vec<&'static str>,
    /// `embedding`, `text` or `other`.
    pub output_types: Vec<&'static str>,
}

/// The layers' digests, uncompressed: the layers are files as they are, so these are the blobs' own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelFs {
    /// `layers`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// In the manifest's order.
    pub diff_ids: Vec<Digest>,
}

/// A document's bytes.
///
/// # Panics
/// Never: these types have string keys and no numbers JSON can't write.
pub(crate) fn json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(document).expect("documents of strings, lists and integers have a JSON form")
}
