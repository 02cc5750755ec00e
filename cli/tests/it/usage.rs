//! Mistakes on the command line, and how output behaves towards whoever reads it.

use std::io::Read;
use std::process::Stdio;

use crate::harness::{Scratch, assert_run};

#[test]
fn an_unknown_command_is_a_usage_error() {
    assert_run!(Scratch::new(), ["transmogrify"]);
}

#[test]
fn a_missing_argument_is_a_usage_error() {
    assert_run!(Scratch::new(), ["inspect"]);
}

#[test]
fn json_holds_for_usage_errors() {
    assert_run!(Scratch::new(), ["inspect", "--json"]);
}

#[test]
fn colour_only_when_asked_for_without_a_terminal() {
    let scratch = Scratch::new();
    let stderr = |variable: &str| {
        let mut command = scratch.command(&["inspect", "missing.mlpackage"]);
        command
            .env(variable, "1")
            .output()
            .expect("the binary starts")
            .stderr
    };
    assert!(stderr("CLICOLOR_FORCE").contains(&0x1b));
    assert!(!stderr("NO_COLOR").contains(&0x1b));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let scratch = Scratch::new();
    let mut command = scratch.command(&["completions", "bash"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut stderr)
        .expect("text");
    assert_eq!(
        (child.wait().expect("it ends").code(), stderr.as_str()),
        (Some(0), "")
    );
}
