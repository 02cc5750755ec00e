//! Who says what of an artifact, and whether that can be believed without believing the registry.
//!
//! Three statements, each in an in-toto payload signed with a P-256 key ([`key`], [`dsse`]):
//!
//! - the *signature* ([`model_signing`]) names every file of the unpacked tree with its SHA-256, so that whoever has
//!   the files needs no registry to check them;
//! - the *parity* verdict and the build's *provenance* ([`attest`]) name the digest of the artifact's manifest.
//!
//! They are attached to the artifact as referrers ([`attachment`]): small artifacts whose `subject` it is. [`check`]
//! holds what is attached against the keys one trusts.

pub mod attachment;
pub mod attest;
pub mod check;
pub mod dsse;
pub mod key;
pub mod model_signing;
pub(crate) mod statement;

pub use attachment::Attachment;
pub use check::{Evidence, Policy, Requirement};
pub use key::{SigningKey, VerifyingKey};
