//! Runs the `corer` binary as a user does and compares exit code, stdout and stderr with recorded ones.

mod bad_input;
mod bent;
mod checkpoint;
mod convert;
mod diff;
mod explain;
mod exports;
mod families;
mod faults;
mod gate;
mod harness;
mod help;
mod inspect;
mod interrupt;
mod labels;
mod lengths;
mod libtorch;
mod numerics;
mod one_model;
mod planted;
mod publish;
mod quantize;
mod release;
#[allow(dead_code)] // the publisher's own tests have every trouble
#[path = "../../../publisher/tests/it/server.rs"]
mod server;
mod traces;
mod trust;
mod usage;
mod verify;
mod verify_inputs;
#[allow(dead_code)] // other tests change more of an archive
#[path = "../../../converter/tests/source/zip_writer.rs"]
mod zip_writer;
