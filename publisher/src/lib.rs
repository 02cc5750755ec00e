//! From a verified package to an artifact in a registry, and back.
//!
//! A [`Bundle`] is what is published: packages, the reports that judged them, a model card, a bill of materials, and the SHA-256 of every
//! file, as one artifact in the CNCF ModelPack layout. [`publish()`] brings it to a [`Store`], which is a folder in the
//! OCI image layout ([`Layout`]) or a registry ([`Registry`]), and moves the tag last. [`pull()`] brings it back, hashing everything again.
//!
//! A bundle is bound to the verdict: the digest in the report must be that of the very bytes published. With a key,
//! statements about it are signed and attached ([`trust`]), and [`pull()`] can require them.

mod artifact;
mod blob;
mod bom;
pub mod bundle;
mod card;
pub mod digest;
pub mod error;
mod examine;
pub mod layout;
pub mod oci;
pub mod progress;
mod promote;
mod publish;
mod published;
mod pull;
pub mod reference;
mod registry;
pub mod report;
mod store;
pub mod trust;

pub use bundle::{Bundle, BundleRequest, Bundled};
pub use digest::Digest;
pub use error::{ArtifactError, Fault, PublishError};
pub use examine::{Examined, examine};
pub use layout::Layout;
pub use progress::{NoProgress, Progress};
pub use promote::{PROMOTION, Promoted, promote, restore};
pub use publish::{Published, publish};
pub use published::published_reports;
pub use pull::{Pulled, pull};
pub use reference::{Location, Reference, Version};
pub use registry::Registry;
pub use store::{Content, Store};
