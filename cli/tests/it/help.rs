//! The help texts, which are the reference of the command line.

use crate::harness::{Scratch, assert_run};

#[test]
fn help() {
    assert_run!(Scratch::new(), ["--help"]);
}

#[test]
fn help_convert() {
    assert_run!(Scratch::new(), ["convert", "--help"]);
}

#[test]
fn help_quantize() {
    assert_run!(Scratch::new(), ["quantize", "--help"]);
}

#[test]
fn help_inspect() {
    assert_run!(Scratch::new(), ["inspect", "--help"]);
}

#[test]
fn help_explain() {
    assert_run!(Scratch::new(), ["explain", "--help"]);
}

#[test]
fn help_verify() {
    assert_run!(Scratch::new(), ["verify", "--help"]);
}

#[test]
fn help_publish() {
    assert_run!(Scratch::new(), ["publish", "--help"]);
}

#[test]
fn help_pull() {
    assert_run!(Scratch::new(), ["pull", "--help"]);
}

#[test]
fn help_promote() {
    assert_run!(Scratch::new(), ["promote", "--help"]);
}

#[test]
fn help_verify_artifact() {
    assert_run!(Scratch::new(), ["verify-artifact", "--help"]);
}

#[test]
fn help_release() {
    assert_run!(Scratch::new(), ["release", "--help"]);
}

#[test]
fn help_trace() {
    assert_run!(Scratch::new(), ["trace", "--help"]);
}

#[test]
fn help_init() {
    assert_run!(Scratch::new(), ["init", "--help"]);
}

#[test]
fn help_completions() {
    assert_run!(Scratch::new(), ["completions", "--help"]);
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = Scratch::new().output(&["completions", shell]);
        let script = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success() && output.stderr.is_empty(), "{shell}");
        for command in [
            "convert",
            "quantize",
            "inspect",
            "verify",
            "trace",
            "publish",
            "pull",
            "verify-artifact",
            "promote",
            "release",
            "init",
            "completions",
        ] {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
}
