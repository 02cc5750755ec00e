//! A release as it goes: a line for each stage that is done, on terminals with the running one's bar below.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::AnsiColor;

use crate::failure::bold;

/// How a stage ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// It ran so long.
    Done(Duration),
    /// What an earlier run left is still right.
    Reused,
    /// A dry run would run it.
    Planned,
}

/// Lines on stderr.
pub(super) struct View {
    quiet: bool,
}

impl View {
    pub(super) const fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// One stage of one variant, and what came of it.
    ///
    /// # Errors
    /// When stderr can't be written.
    pub(super) fn stage(&self, stage: &str, variant: &str, outcome: Outcome, said: &str) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        let took = match outcome {
            Outcome::Done(time) => format!("{:.1} s", time.as_secs_f64()),
            Outcome::Reused => "unchanged".to_owned(),
            Outcome::Planned => "to do".to_owned(),
        };
        let green = bold(AnsiColor::Green);
        writeln!(
            anstream::stderr().lock(),
            "{}",
            format!("{green}{stage:>9}{green:#}  {variant:<12}  {took:>9}  {said}").trim_end()
        )
    }
}
