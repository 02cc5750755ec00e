//! Core ML package files: manifest, model, weight blobs.
