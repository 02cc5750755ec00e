//! How much a package may ask of the machine that reads it.

/// Largest `Manifest.json`, in bytes; coremltools writes some 600.
pub(crate) const MANIFEST_BYTES: u64 = 1 << 20;

/// Largest `model.mlmodel`, in bytes. Weights lie elsewhere; what remains is structure and small constants, a few
/// megabytes for the largest models seen.
pub(crate) const MODEL_BYTES: u64 = 128 << 20;

/// Most messages and map entries a `model.mlmodel` may hold. A message of two bytes becomes a structure of some
/// hundred when decoded, so the file's size alone bounds memory badly.
pub(crate) const MODEL_MESSAGES: u64 = 8 << 20;

/// Largest rank of a tensor; Core ML itself stops at 5, constants of iOS 18 palettization have rank + 2.
pub(crate) const RANK: usize = 32;
