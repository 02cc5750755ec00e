//! TorchScript archives (`.pt`, `.pth` of `torch.jit.trace(…).save`) as ATen programs.
//!
//! The code of a trace is Python of a small kind: classes whose methods call other modules and ATen functions, in
//! order. It is parsed (`parse`), and every call of a module is replaced by what its method does
//! (`inline`), until one list of ATen calls is left. Nothing runs; code that chooses (`if`, `for`, `while`) is not a
//! trace's and is refused by name.

mod inline;
mod lex;
mod parse;
mod syntax;

use super::aten::Program;
use crate::source::{Place, ScriptArchive, SourceError};

/// Reads an archive's `forward` as one program.
///
/// # Errors
/// When the archive's code is not TorchScript, or does what a trace does not.
pub fn read(archive: &ScriptArchive) -> Result<Program, SourceError> {
    inline::program(archive)
}

/// Whether a text is TorchScript code, as far as its grammar goes.
///
/// # Errors
/// What is not, and where.
pub fn check_syntax(text: &str) -> Result<(), SourceError> {
    parse::parse(text).map(drop).map_err(|error| {
        let place = Place::Text {
            entry: "(text)".into(),
            line: error.span.line,
            column: error.span.column,
        };
        SourceError::malformed(std::path::Path::new("(memory)"), place, error.reason)
    })
}
