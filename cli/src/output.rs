//! stdout, which carries data and nothing else.

use std::io::{self, Write};

use serde::Serialize;

/// Prints one JSON document, indented, with a newline at its end.
///
/// # Errors
/// When stdout can't be written.
pub(crate) fn json(document: &impl Serialize) -> io::Result<()> {
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(&mut stdout, document)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
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
