//! Exit codes: what scripts and CI rely on. A code is never given another meaning.

/// How a run of `corer` ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// The work is done.
    Done = 0,
    /// Something failed that no other code stands for: the disk, memory, a bug.
    Unexpected = 1,
    /// The command line asks for something impossible, or the output exists already.
    Usage = 2,
    /// The source can't be read, or holds something that is not supported.
    Source = 3,
    /// The package is below a threshold.
    Gate = 4,
    /// The package is missing or invalid.
    Package = 5,
    /// The registry refuses, lacks what was asked for, or can't be reached.
    Registry = 6,
    /// What was required of an artifact is not attached to it, or not signed by a trusted key.
    Trust = 7,
    /// Interrupted from outside; nothing is left half written.
    Interrupted = 130,
}

impl Exit {
    /// The number the process ends with.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table the long help ends with.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  unexpected failure (disk, memory, a bug)
  2  usage: impossible arguments, or the output exists (see --force)
  3  source unreadable or unsupported
  4  gate failed: the package is below a threshold
  5  package missing or invalid
  6  registry refused or unreachable
  7  not trusted: a required signature or statement is missing or does not verify
  130  interrupted; nothing is left half written";
