//! Runs the `corer` binary as a user does and compares exit code, stdout and stderr with recorded ones.

mod checkpoint;
mod convert;
mod exports;
mod families;
mod harness;
mod help;
mod inspect;
mod interrupt;
mod lengths;
mod publish;
mod quantize;
mod release;
mod traces;
mod usage;
mod verify;
