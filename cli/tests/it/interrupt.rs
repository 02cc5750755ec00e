//! What is left when a conversion is interrupted: the package that stood there, and nothing unfinished.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::checkpoint::{Checkpoint, with_vocabulary};
use crate::harness::Scratch;

/// What lies in the scratch directory, sorted.
fn names(scratch: &Scratch) -> Vec<String> {
    let entries = fs::read_dir(scratch.path()).expect("scratch");
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

fn interrupted_by(signal: &str) {
    let scratch = Scratch::new();
    let checkpoint = Checkpoint::copy(&scratch, "formats/prefixed");
    let convert = ["convert", "model", "-o", "Out.mlpackage", "--force", "--quiet"];
    assert!(scratch.output(&convert).status.success());
    let before = scratch.output(&["inspect", "Out.mlpackage", "--json"]).stdout;

    // Large enough that writing it takes a while.
    with_vocabulary(&checkpoint, 4_000_000);
    let mut command = scratch.command(&convert);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let deadline = Instant::now() + Duration::from_secs(60);
    while names(&scratch).len() < 3 {
        assert!(
            Instant::now() < deadline && child.try_wait().expect("a child").is_none(),
            "nothing was begun"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let kill = format!("kill -{signal} {}", child.id());
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .expect("sh")
            .success()
    );
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        output.status.code(),
        Some(130),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(names(&scratch), ["Out.mlpackage", "model"]);
    assert_eq!(
        scratch.output(&["inspect", "Out.mlpackage", "--json"]).stdout,
        before
    );
}

#[test]
fn an_interrupt_leaves_nothing_unfinished() {
    interrupted_by("INT");
}

#[test]
fn a_request_to_terminate_leaves_nothing_unfinished() {
    interrupted_by("TERM");
}
