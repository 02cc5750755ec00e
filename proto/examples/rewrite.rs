//! Reads a package and writes it again: `rewrite IN.mlpackage OUT.mlpackage`.
//!
//! Shows the whole of the crate's use, and lets other readers judge what the writer makes of packages it did not make.

use std::path::PathBuf;
use std::process::ExitCode;

use corer_proto::{Package, WriteOptions, check, write};

#[allow(clippy::print_stdout, clippy::print_stderr)] // an example is a program
fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [input, output] = arguments.as_slice() else {
        eprintln!("usage: rewrite IN.mlpackage OUT.mlpackage");
        return ExitCode::from(2);
    };
    let package = match Package::open(input) {
        Ok(package) => package,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(5);
        }
    };
    for fault in check(&package) {
        eprintln!("fault: {fault}");
    }
    match write(
        output,
        &package.model,
        &WriteOptions {
            overwrite: true,
            ..WriteOptions::default()
        },
    ) {
        Ok(written) => {
            println!(
                "{}  {}  {} bytes",
                written.digest,
                output.display(),
                written.bytes
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
