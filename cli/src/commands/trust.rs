//! What `publish`, `pull` and `verify-artifact` share: keys, and what is required to be signed by them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corer_publisher::Bundle;
use corer_publisher::trust::{Attachment, Evidence, Policy, Requirement, SigningKey, VerifyingKey};

use super::publish::failure;
use crate::failure::Failure;

/// Holds the private key, as a path or as PEM text, so that a pipeline's secret never becomes an argument.
const SIGN_KEY: &str = "CORER_SIGN_KEY";
/// Who runs the build, where nobody says.
const LOCAL_BUILDER: &str = "urn:corer:builder:unspecified";

/// The flag that names a key.
#[derive(clap::Args)]
pub(crate) struct SignKey {
    /// Sign with this P-256 key, a PEM file, and attach: the files, the verdict, the provenance, a promotion's record;
    /// CORER_SIGN_KEY holds a file's name or the PEM text itself
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
}

impl SignKey {
    /// The key, if one was given: by the flag, by a manifest (`named`), or by the environment.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn key(&self, named: Option<&Path>) -> Result<Option<SigningKey>, Failure> {
        signing_key(self.sign_key.as_deref().or(named))
    }
}

/// Flags of what publishes: with a key, the files, the verdict and the provenance are signed and attached.
#[derive(clap::Args)]
pub(crate) struct Signing {
    #[command(flatten)]
    key: SignKey,

    /// A URI for whoever runs this build, for the provenance
    #[arg(long, value_name = "URI", env = "CORER_BUILDER_ID", default_value = LOCAL_BUILDER)]
    builder_id: String,
}

impl Signing {
    /// As [`SignKey::key`].
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn key(&self, named: Option<&Path>) -> Result<Option<SigningKey>, Failure> {
        self.key.key(named)
    }

    /// Signs what there is to say of a bundle.
    pub(crate) fn sign(&self, bundle: &Bundle, key: Option<&SigningKey>) -> Vec<Attachment> {
        key.map_or_else(Vec::new, |key| Attachment::sign(bundle, key, &self.builder_id))
    }
}

/// How to come by keys, for the helps.
pub(crate) const KEYS: &str = "\
Keys are P-256, in PEM files:
  openssl ecparam -name prime256v1 -genkey -noout -out key.pem
  openssl ec -in key.pem -pubout -out public.pem";

/// The key of a file, or of the environment.
fn signing_key(file: Option<&Path>) -> Result<Option<SigningKey>, Failure> {
    if let Some(file) = file {
        return SigningKey::read(file).map(Some).map_err(failure);
    }
    let Some(text) = std::env::var(SIGN_KEY).ok().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let key = if text.contains("-----BEGIN") {
        SigningKey::parse(&text, SIGN_KEY)
    } else {
        SigningKey::read(Path::new(&text))
    };
    key.map(Some).map_err(failure)
}

/// Flags of what trusts.
#[derive(clap::Args)]
pub(crate) struct Trusting {
    /// Public key that is trusted, a PEM file; repeatable
    #[arg(long = "key", id = "keys", value_name = "FILE")]
    keys: Vec<PathBuf>,

    /// What must be attached, signed by a trusted key: signature (over exactly these files), parity (the verdict, and
    /// it passed), provenance (how it was built); separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "keys")]
    require: Vec<Requirement>,
}

/// Keys, and what is required.
pub(crate) struct Trust {
    keys: Vec<VerifyingKey>,
    required: Vec<Requirement>,
}

impl Trusting {
    /// Reads the keys. With a key and no requirement, `usual` is required.
    ///
    /// # Errors
    /// When a key is none.
    pub(crate) fn trust(&self, usual: &[Requirement]) -> Result<Trust, Failure> {
        let keys = self
            .keys
            .iter()
            .map(|path| VerifyingKey::read(path).map_err(failure));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let required = match (&self.require[..], &keys[..]) {
            ([], []) => Vec::new(),
            ([], _) => usual.to_vec(),
            (required, _) => required.to_vec(),
        };
        Ok(Trust { keys, required })
    }
}

impl Trust {
    /// Requires something more.
    pub(crate) fn require(&mut self, requirement: Requirement) {
        if !self.required.contains(&requirement) {
            self.required.push(requirement);
        }
    }

    /// The keys trusted.
    pub(crate) fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// As the library takes it.
    pub(crate) fn policy(&self) -> Policy<'_> {
        Policy {
            keys: &self.keys,
            required: &self.required,
        }
    }

    /// What is proven, by which key.
    pub(crate) fn proven<'e>(&self, evidence: &'e Evidence) -> BTreeMap<&'static str, &'e str> {
        Requirement::ALL
            .into_iter()
            .filter_map(|requirement| Some((requirement.name(), evidence.proof(requirement)?.key.as_str())))
            .collect()
    }
}
