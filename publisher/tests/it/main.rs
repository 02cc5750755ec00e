//! Bundles of packages that coremltools wrote, published to a folder or a registry, spoiled in every way, and
//! pulled back.

mod bundle;
mod harness;
mod hostile;
mod layout;
mod registry;
mod server;
