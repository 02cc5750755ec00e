//! Runs the `corer` binary as a user does and compares exit code, stdout and stderr with recorded ones.

mod harness;
mod help;
mod usage;
