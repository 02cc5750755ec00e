//! Judges a written package against its source.
