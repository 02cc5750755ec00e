//! PyTorch's C++ library, where a build has it: checkpoints traced to TorchScript, traced modules run as a reference.
//!
//! Everything here is behind the feature `libtorch`, which needs libtorch 2.13 (see `conformance/libtorch.sh` for one way
//! to get it): `LIBTORCH` names its directory when building, and the loader must find its libraries when running.
//! Without the feature the same functions say that, and nothing of tch is compiled.
//!
//! [`trace()`] writes what the checkpoint frontend reads, before any pass, in PyTorch's operations. [`LibtorchReference`]
//! is the only thing in corer that runs a model file.

mod error;
mod reference;
mod trace;

#[cfg(feature = "libtorch")]
mod module;

pub use error::LibtorchError;
pub use reference::LibtorchReference;
pub use trace::{TraceRequest, Traced, trace};

/// Whether this build has libtorch.
pub const BUILT_IN: bool = cfg!(feature = "libtorch");
