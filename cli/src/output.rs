//! stdout, which carries data and nothing else.

use std::io::{self, Write};

use serde::Serialize;

/// Prints one JSON document, indented, with a newline at its end.
///
/// # Errors
/// When stdout can't be written.
pub(crate) fn json(document: &impl Serialize) -> io::Result<()> {
    let text = json_text(document)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// One JSON document as text, indented, with a newline at its end.
///
/// # Errors
/// When the document has no JSON form.
pub(crate) fn json_text(document: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
}

/// Prints text, buffered, styled only for terminals.
///
/// # Errors
/// When stdout can't be written.
pub(crate) fn text(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let stdout = anstream::AutoStream::auto(io::stdout()).lock();
    let mut stdout = io::BufWriter::new(stdout);
    write(&mut stdout)?;
    stdout.flush()
}

/// Bytes as people read them: `1.4 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}
