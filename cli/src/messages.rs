//! Messages on stderr that are no errors.

use std::io::{self, Write};

use anstyle::AnsiColor;

use crate::failure::bold;

/// Tells the user things, unless they asked for quiet.
pub(crate) struct Messages {
    quiet: bool,
}

impl Messages {
    /// Messages on stderr; none when `quiet`.
    pub(crate) const fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// Something worth knowing that stops nothing.
    ///
    /// # Errors
    /// When stderr can't be written.
    pub(crate) fn note(&self, text: &str) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        let cyan = bold(AnsiColor::Cyan);
        writeln!(anstream::stderr().lock(), "{cyan}note:{cyan:#} {text}")
    }
}
