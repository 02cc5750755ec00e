//! One run of the binary as text: exit code, stdout, stderr, with the paths of this machine replaced.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A scratch directory to run in; it goes away with the value.
pub(crate) struct Scratch {
    directory: tempfile::TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a scratch directory"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `corer` with arguments, in the scratch directory, without what the caller's terminal would change.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_corer"));
        command
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null());
        for variable in [
            "CLICOLOR",
            "CLICOLOR_FORCE",
            "NO_COLOR",
            "COLUMNS",
            "TERM",
            "RUST_BACKTRACE",
        ] {
            command.env_remove(variable);
        }
        command
    }

    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary starts")
    }

    /// The run as it is recorded.
    pub(crate) fn transcript(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let text = |bytes: &[u8]| self.without_paths(&String::from_utf8_lossy(bytes));
        let code = output.status.code().expect("an exit code, not a signal");
        format!(
            "exit: {code}\n----- stdout -----\n{}----- stderr -----\n{}",
            text(&output.stdout),
            text(&output.stderr)
        )
    }

    fn without_paths(&self, text: &str) -> String {
        let scratch = self.path().to_string_lossy().into_owned();
        let text = text
            .replace(&scratch, "[SCRATCH]")
            .replace(&*fixtures().to_string_lossy(), "[FIXTURES]");
        without_digests(&text)
    }
}

/// The folder of committed models.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("cli/ lies in the workspace")
        .join("fixtures")
}

/// The path of a model in `fixtures/bert-tiny`.
pub(crate) fn fixture(name: &str) -> String {
    fixtures().join("bert-tiny").join(name).display().to_string()
}

/// A copy of a package that coremltools wrote (in `conformance/`) as `Model.mlpackage` in a scratch directory.
pub(crate) fn foreign(name: &str) -> Scratch {
    let scratch = Scratch::new();
    let package = fixtures()
        .with_file_name("conformance")
        .join(format!("{name}.mlpackage"));
    copy_directory(&package, &scratch.path().join("Model.mlpackage"));
    scratch
}

/// Copies a directory and what is in it.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a committed directory") {
        let entry = entry.expect("a committed file");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a file or a directory").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// SHA-256 digests replaced: they change with every improvement, and a test of their own pins them.
fn without_digests(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c: char| !c.is_ascii_hexdigit()) {
        match piece.get(..64) {
            Some(digest) if piece.len() <= 65 && digest.bytes().all(|b| b.is_ascii_hexdigit()) => {
                result.push_str("[SHA-256]");
                result.push_str(&piece[64..]);
            }
            _ => result.push_str(piece),
        }
    }
    result
}

/// Sizes replaced, for packages that corer wrote: they change with every improvement.
pub(crate) fn without_sizes(transcript: &str) -> String {
    let keys = [
        "\"bytes\": ",
        "\"weight_bytes\": ",
        "\"weights_stored\": ",
        "  size ",
    ];
    let line = |line: &str| {
        let indent = &line[..line.len() - line.trim_start_matches(' ').len()];
        match keys
            .iter()
            .find(|key| line.trim_start().starts_with(key.trim_start()))
        {
            Some(key) => format!("{indent}{} [SIZE]\n", key.trim()),
            None => format!("{line}\n"),
        }
    };
    transcript.lines().map(line).collect()
}

/// Compares a run with its record.
macro_rules! assert_run {
    ($scratch:expr, $arguments:expr) => {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false, description => format!("corer {}", $arguments.join(" ")) }, {
            insta::assert_snapshot!($scratch.transcript(&$arguments));
        })
    };
}
pub(crate) use assert_run;

/// Compares a run that wrote a package with its record.
macro_rules! assert_conversion {
    ($scratch:expr, $arguments:expr) => {
        insta::with_settings!({
            omit_expression => true,
            prepend_module_to_snapshot => false,
            description => format!("corer {}", $arguments.join(" ")),
        }, {
            insta::assert_snapshot!(crate::harness::without_sizes(&$scratch.transcript(&$arguments)));
        })
    };
}
pub(crate) use assert_conversion;
