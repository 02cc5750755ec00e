//! An error on its way out: its causes, a hint, and the exit code it stands for.

use std::error::Error;
use std::fmt;
use std::io::Write;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::exit_codes::Exit;
use crate::output;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
    document_printed: bool,
}

impl Failure {
    /// A failure with an error and all its sources.
    pub(crate) fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            exit,
            error: error.into(),
            hint: None,
            document_printed: false,
        }
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says that the command's own document stands on stdout, so that none for the error may follow.
    pub(crate) fn already_on_stdout(mut self) -> Self {
        self.document_printed = true;
        self
    }

    /// The code the process should end with.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether it only says that whoever read our output went away.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self.error.as_ref());
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<std::io::Error>() {
                return io.kind() == std::io::ErrorKind::BrokenPipe;
            }
            cause = error.source();
        }
        false
    }

    /// The causes below the error, leaving out those an error above already spells out.
    fn causes(&self) -> Vec<String> {
        let mut above = self.error.to_string();
        let mut causes = Vec::new();
        let mut cause = self.error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !above.contains(&text) {
                causes.push(text.clone());
                above = text;
            }
            cause = error.source();
        }
        causes
    }

    /// Tells the user: on stderr, and with `json` as the one document on stdout too.
    pub(crate) fn report(&self, json: bool) {
        let causes = self.causes();
        let mut stderr = anstream::stderr().lock();
        let (red, cyan) = (bold(AnsiColor::Red), bold(AnsiColor::Cyan));
        // Nobody is left to tell when stderr is closed.
        let _ = writeln!(stderr, "{red}error:{red:#} {}", self.error);
        for cause in &causes {
            let _ = writeln!(stderr, "  {red}caused by:{red:#} {cause}");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(stderr, "{cyan}hint:{cyan:#} {hint}");
        }
        if json && !self.document_printed {
            let message = self.error.to_string();
            let document = Document {
                error: Message {
                    message: &message,
                    causes: &causes,
                    hint: self.hint.as_deref(),
                },
                exit_code: self.exit.code(),
            };
            let _ = output::json(&document);
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Unexpected, error)
    }
}

/// What `--json` prints instead of a result.
#[derive(Serialize)]
struct Document<'a> {
    error: Message<'a>,
    exit_code: u8,
}

#[derive(Serialize)]
struct Message<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    causes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// A bold foreground colour.
pub(crate) fn bold(color: AnsiColor) -> Style {
    Style::new().bold().fg_color(Some(color.into()))
}
