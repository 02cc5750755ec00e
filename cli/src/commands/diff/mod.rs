//! `corer diff`: two packages, operation by operation and weight by weight.

mod operations;
mod weights;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anstyle::AnsiColor;
use corer_proto::{Description, Feature, Package};
use serde::Serialize;

use crate::exit_codes::{self, Exit};
use crate::failure::{Failure, bold};
use crate::output;

use operations::OperationDifference;
use weights::{Outcome, WeightDifference};

/// Compare two packages
///
/// Says what differs: specification, inputs, outputs and metadata, operations (matched by the names of their results),
/// and weights (decompressed where they are compressed), with the largest difference and PSNR of each.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, after_long_help = format!("{AFTER_HELP}\n\n{}", exit_codes::HELP))]
pub(crate) struct Arguments {
    /// The first .mlpackage directory
    first: PathBuf,

    /// The second one
    second: PathBuf,

    /// Exit with 4 when the packages differ in more than how equal numbers are stored
    #[arg(long)]
    exit_code: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  corer diff MiniLM.mlpackage MiniLM-int8.mlpackage
  corer diff yesterday/MiniLM.mlpackage MiniLM.mlpackage --exit-code --json";

/// Compares and says what differs.
///
/// # Errors
/// When a package can't be read, or they differ and that was asked about.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (first, second) = (open(&arguments.first)?, open(&arguments.second)?);
    let mut document = Document::of(&first, &second)?;
    let exit = if document.same || !arguments.exit_code {
        Exit::Done
    } else {
        Exit::Gate
    };
    document.exit_code = exit.code();
    if arguments.json {
        output::json(&document)?;
    } else {
        output::text(|out| document.write(out))?;
    }
    match exit {
        Exit::Done => Ok(exit),
        _ => Err(Failure::new(exit, "the packages differ").already_on_stdout()),
    }
}

fn open(path: &Path) -> Result<Package, Failure> {
    Package::open(path).map_err(|error| Failure::new(Exit::Package, error))
}

/// What differs.
#[derive(Serialize)]
struct Document {
    first: Side,
    second: Side,
    /// Whether both compute the same from the same numbers, however those are stored.
    same: bool,
    /// Specification, features, metadata, functions.
    description: Vec<String>,
    operations: Vec<OperationDifference>,
    /// Weights whose bytes are the same.
    weights_same: usize,
    /// All others.
    weights: Vec<WeightDifference>,
    exit_code: u8,
}

#[derive(Serialize)]
struct Side {
    package: String,
    digest: String,
    bytes: u64,
}

impl Side {
    fn of(package: &Package) -> Result<Self, Failure> {
        let read = |error| Failure::new(Exit::Package, error);
        Ok(Self {
            package: package.path.display().to_string(),
            digest: package.digest().map_err(read)?,
            bytes: package.bytes().map_err(read)?,
        })
    }
}

impl Document {
    fn of(first: &Package, second: &Package) -> Result<Self, Failure> {
        let (a, b) = (&first.model, &second.model);
        let mut description = Vec::new();
        if a.specification_version != b.specification_version {
            description.push(format!(
                "specification version {} → {}",
                a.specification_version, b.specification_version
            ));
        }
        operations::pairs(
            &described(&a.description),
            &described(&b.description),
            |name, change| {
                description.push(format!("{name}: {change}"));
            },
        );
        let (functions, operations) = operations::differences(&a.program, &b.program);
        description.extend(functions);
        let weights = weights::differences(&a.program, &b.program)
            .map_err(|error| Failure::new(Exit::Package, error))?;
        let all = weights.len();
        let weights: Vec<_> = weights
            .into_iter()
            .filter(|weight| weight.outcome != Outcome::SameBytes)
            .collect();
        let numbers = weights.iter().all(|weight| weight.outcome == Outcome::SameValues);
        Ok(Self {
            first: Side::of(first)?,
            second: Side::of(second)?,
            same: description.is_empty() && operations.is_empty() && numbers,
            weights_same: all - weights.len(),
            description,
            operations,
            weights,
            exit_code: 0,
        })
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = bold(AnsiColor::Green);
        for (sign, side) in [("−", &self.first), ("+", &self.second)] {
            writeln!(
                out,
                "{sign} {head}{}{head:#}  {}  {}",
                side.package,
                output::bytes(side.bytes),
                side.digest
            )?;
        }
        if self.first.digest == self.second.digest {
            return writeln!(out, "the same files");
        }
        if !self.description.is_empty() {
            writeln!(out, "\ndescription")?;
        }
        for line in &self.description {
            writeln!(out, "  {line}")?;
        }
        if !self.operations.is_empty() {
            writeln!(out, "\noperations")?;
        }
        for operation in &self.operations {
            let sign = match operation.outcome {
                "added" => "+",
                "removed" => "−",
                _ => "~",
            };
            writeln!(
                out,
                "  {sign} {} {} ({})",
                operation.op, operation.name, operation.function
            )?;
            for change in &operation.changes {
                writeln!(out, "      {change}")?;
            }
        }
        writeln!(
            out,
            "\nweights: {} the same, {} not",
            self.weights_same,
            self.weights.len()
        )?;
        self.weights.iter().try_for_each(|weight| line(out, weight))?;
        let said = if self.same {
            "equal but for how numbers are stored"
        } else {
            "the packages differ"
        };
        writeln!(out, "\n{said}")
    }
}

fn line(out: &mut dyn Write, weight: &WeightDifference) -> io::Result<()> {
    let sign = match weight.outcome {
        Outcome::Added => "+",
        Outcome::Removed => "−",
        _ => "~",
    };
    write!(out, "  {sign} {} ({})", weight.name, weight.function)?;
    let stored = [&weight.first, &weight.second];
    let shown: Vec<_> = stored
        .into_iter()
        .flatten()
        .map(|stored| {
            format!(
                "{} {:?}, {}",
                stored.form,
                stored.shape,
                output::bytes(stored.bytes)
            )
        })
        .collect();
    write!(out, ": {}", shown.join(" → "))?;
    match (weight.outcome, weight.max_abs, weight.psnr) {
        (Outcome::SameValues, ..) => writeln!(out, "; equal numbers"),
        (_, Some(most), Some(psnr)) => writeln!(out, "; PSNR {psnr:.2} dB, at most {most:.2e} apart"),
        (_, Some(most), None) => writeln!(out, "; at most {most:.2e} apart"),
        _ => writeln!(out),
    }
}

/// What a caller sees, by name.
fn described(description: &Description) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut features = |prefix: &str, kind: &str, features: &[Feature]| {
        for feature in features {
            let optional = if feature.optional { " optional" } else { "" };
            found.insert(
                format!("{prefix}{kind} `{}`", feature.name),
                format!("{:?}{optional}", feature.ty),
            );
        }
    };
    features("", "input", &description.inputs);
    features("", "output", &description.outputs);
    features("", "state", &description.states);
    for function in &description.functions {
        let prefix = format!("function `{}` ", function.name);
        features(&prefix, "input", &function.inputs);
        features(&prefix, "output", &function.outputs);
        features(&prefix, "state", &function.states);
    }
    let metadata = &description.metadata;
    for (key, value) in [
        ("author", Some(&metadata.author)),
        ("licence", Some(&metadata.license)),
        ("description", Some(&metadata.short_description)),
        ("version", Some(&metadata.version)),
        ("default function", description.default_function.as_ref()),
        ("predicted feature", description.predicted_feature.as_ref()),
        (
            "predicted probabilities",
            description.predicted_probabilities.as_ref(),
        ),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            found.insert(key.to_owned(), format!("{value:?}"));
        }
    }
    let entries = metadata.user_defined.iter();
    found.extend(entries.map(|(key, value)| (format!("metadata `{key}`"), format!("{value:?}"))));
    found
}
