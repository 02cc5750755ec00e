//! `corer explain`: where each operation of a package will run, and why.

mod advice;
mod view;

use std::path::PathBuf;

use corer_placement::page::{Heading, page};
use corer_placement::{Chip, Explanation, Os, Recommendation};
use serde::Serialize;

use super::inspect;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::output;
use crate::report_directory;

/// Predict where each operation of a package will run, and say why
///
/// A prediction from published rules, made without the device: for the units CPU and Neural Engine, on one chip and
/// system. First what can't run on the Neural Engine at all, then what the published cost model does with the rest, the
/// least time each chip needs, and what to change. Every statement names its rule and how well that is known. Only
/// MLComputePlan or Instruments on the device itself settles where an operation runs.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The .mlpackage directory
    package: PathBuf,

    /// The chip: a14 to a18, m1 to m6
    #[arg(long, value_name = "CHIP", default_value = corer_placement::chip::DEFAULT_CHIP, value_parser = chip)]
    chip: &'static Chip,

    /// The system by iOS's number (15 to 18, 26, 27), or as macos12 to macos15
    #[arg(long, value_name = "OS", default_value = "26")]
    os: Os,

    /// Say which compute units to ask for, from the prediction or from --measured
    #[arg(long)]
    recommend: bool,

    /// Median latencies in milliseconds, as JSON: {"main": {"cpuOnly": 11.2, "cpuAndNeuralEngine": 2.8}}
    #[arg(long, value_name = "FILE", requires = "recommend")]
    measured: Option<PathBuf>,

    /// Also write explanation.html, one page with every operation, and explanation.json into this directory
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,

    /// List every operation instead of stretches that end on the same unit
    #[arg(long, conflicts_with = "json")]
    all: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  corer explain MiniLM.mlpackage
  corer explain MiniLM.mlpackage --chip m1 --os macos14
  corer explain MiniLM.mlpackage --recommend
  corer explain MiniLM.mlpackage --report placement
  corer explain MiniLM.mlpackage --all | less
  corer explain MiniLM.mlpackage --json | jq '.functions[].units'";

fn chip(id: &str) -> Result<&'static Chip, String> {
    Chip::find(id).ok_or_else(|| {
        let known: Vec<_> = Chip::all().iter().map(|chip| chip.id.as_str()).collect();
        format!("nothing is known of that chip, only of {}", known.join(", "))
    })
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    package: &'a str,
    #[serde(flatten)]
    explanation: &'a Explanation,
    /// One for each function, with `--recommend`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recommendations: &'a Vec<Advice>,
}

/// A recommendation for one function.
#[derive(Serialize)]
struct Advice {
    function: String,
    #[serde(flatten)]
    recommendation: Recommendation,
}

/// Opens the package and predicts.
///
/// # Errors
/// When the package can't be opened, the system is too old for it, the measurements are none, or stdout can't be
/// written.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let package = inspect::open(&arguments.package)?;
    let explanation = corer_placement::explain(&package.model, arguments.chip, arguments.os)
        .map_err(|error| Failure::new(Exit::Usage, error).hint("choose another system with --os"))?;
    let recommendations = if arguments.recommend {
        advice::advise(&explanation, arguments.chip, arguments.measured.as_deref())?
    } else {
        Vec::new()
    };
    let path = package.path.display().to_string();
    let document = Document {
        package: &path,
        explanation: &explanation,
        recommendations: &recommendations,
    };
    if let Some(directory) = &arguments.report {
        let advice = recommendations.iter();
        let advice: Vec<_> = advice
            .map(|advice| (advice.function.as_str(), &advice.recommendation))
            .collect();
        let heading = Heading {
            title: &path,
            chip: arguments.chip,
            advice: &advice,
        };
        let files = [
            ("explanation.html", page(&explanation, heading)),
            ("explanation.json", output::json_text(&document)?),
        ];
        report_directory::write(directory, &files)?;
    }
    if arguments.json {
        output::json(&document)?;
    } else {
        let view = view::View {
            path: &path,
            chip: arguments.chip,
            explanation: &explanation,
            recommendations: &recommendations,
            all: arguments.all,
        };
        output::text(|out| view.write(out))?;
    }
    Ok(Exit::Done)
}
