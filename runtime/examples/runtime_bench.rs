//! Times a package on this machine.
//!
//! ```text
//! runtime_bench PACKAGE [--function main] [--arithmetic f32|as-written] [--threads N] [--iterations N] [--operations]
//! ```
//!
//! With `--iterations` it prints the times as JSON. Without, it prints a line that starts with `ready`, then runs once for
//! every line on standard input and prints the seconds, so that programs can take turns (`benches/take_turns.py`).
//! `--operations` lists what the time goes to. Inputs are zeros and ones; the time does not depend on them.
#![allow(clippy::print_stdout)] // a program

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use corer_mil::{DataType, Dim, NamedType};
use corer_proto::Package;
use corer_runtime::{Arithmetic, Engine, Executable, Options, Tensor, TensorData};

struct Arguments {
    package: PathBuf,
    function: String,
    options: Options,
    iterations: Option<usize>,
    operations: bool,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut package = None;
    let mut function = "main".to_owned();
    let mut options = Options::new(Arithmetic::F32);
    let (mut iterations, mut operations) = (None, false);
    let mut rest = std::env::args().skip(1);
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--function" => function = value()?,
            "--arithmetic" => {
                options.arithmetic = match value()?.as_str() {
                    "f32" => Arithmetic::F32,
                    "as-written" => Arithmetic::AsWritten,
                    other => return Err(format!("arithmetic `{other}` is not f32 or as-written").into()),
                }
            }
            "--threads" => options.threads = Some(value()?.parse()?),
            "--iterations" => iterations = Some(value()?.parse()?),
            "--operations" => operations = true,
            path => package = Some(PathBuf::from(path)),
        }
    }
    Ok(Arguments {
        package: package.ok_or("which package?")?,
        function,
        options,
        iterations,
        operations,
    })
}

/// Ones for a mask, zeros for everything else.
fn input(declared: &NamedType) -> Result<Tensor, Box<dyn Error>> {
    let ty = declared.ty.as_tensor().ok_or("an input that is no tensor")?;
    let sizes = ty.shape.iter().map(|dim| match dim {
        Dim::Known(size) => usize::try_from(*size).map_err(|_| "too large an input"),
        Dim::Symbol(_) => Err("flexible inputs are not timed"),
    });
    let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
    let count = sizes.iter().product();
    let one = declared.name.contains("mask");
    let data = match ty.dtype {
        DataType::Int32 => TensorData::I32(vec![i32::from(one); count]),
        DataType::Fp16 | DataType::Fp32 => TensorData::F32(vec![if one { 1.0 } else { 0.5 }; count]),
        other => return Err(format!("an input of type {other}").into()),
    };
    Ok(Tensor::new(sizes, data)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let start = Instant::now();
    let package = Package::open(&arguments.package)?;
    let opened = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let executable = Executable::compile(&package.model.program, &arguments.function, &arguments.options)?;
    let compiled = start.elapsed().as_secs_f64();
    let inputs = executable
        .inputs()
        .iter()
        .map(|declared| Ok((declared.name.clone(), input(declared)?)))
        .collect::<Result<BTreeMap<_, _>, Box<dyn Error>>>()?;
    let once = || -> Result<f64, Box<dyn Error>> {
        let start = Instant::now();
        std::hint::black_box(executable.run(&inputs)?);
        Ok(start.elapsed().as_secs_f64())
    };
    if arguments.operations {
        for (what, count, seconds) in executable.profile(&inputs, arguments.iterations.unwrap_or(20))? {
            println!("{:10.3} ms {count:5} {what}", seconds * 1e3);
        }
        return Ok(());
    }
    let Some(iterations) = arguments.iterations else {
        println!("ready {} compiled in {compiled:.2} s", executable.describe());
        for line in std::io::stdin().lock().lines() {
            line?;
            println!("{}", once()?);
            std::io::stdout().flush()?;
        }
        return Ok(());
    };
    for _ in 0..3 {
        once()?; // not counted
    }
    let mut times = (0..iterations.max(1))
        .map(|_| once())
        .collect::<Result<Vec<_>, _>>()?;
    times.sort_by(f64::total_cmp);
    let report = serde_json::json!({
        "package": arguments.package,
        "engine": executable.describe().to_string(),
        "iterations": times.len(),
        "median_ms": times[times.len() / 2] * 1e3,
        "min_ms": times[0] * 1e3,
        "max_ms": times[times.len() - 1] * 1e3,
        "open_ms": opened * 1e3,
        "compile_ms": compiled * 1e3,
    });
    println!("{report}");
    Ok(())
}
