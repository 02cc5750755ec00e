//! `corer inspect`: what a package holds, and whether it is sound.

mod check;
mod operation;
mod summary;

use std::path::PathBuf;

use corer_proto::Package;

use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::output;

use operation::OperationView;
pub(super) use operation::shown as literal;
use summary::Summary;

/// Show what a package holds, check it, or print its program
///
/// Opens any ML Program package, whoever wrote it.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The .mlpackage directory
    package: PathBuf,

    /// Look for everything wrong with the package; exit 5 when something is
    #[arg(long)]
    check: bool,

    /// Show one operation, by its name or the name of one of its outputs
    #[arg(long, value_name = "NAME", conflicts_with_all = ["check", "listing", "text"])]
    op: Option<String>,

    /// Print the program, one line per computing operation, with constants where they are used
    #[arg(long, conflicts_with_all = ["check", "text", "json"])]
    listing: bool,

    /// Print the program as MIL text, everything written out but the weights
    #[arg(long, conflicts_with_all = ["check", "json"])]
    text: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  corer inspect MiniLM.mlpackage
  corer inspect MiniLM.mlpackage --check
  corer inspect MiniLM.mlpackage --op last_hidden_state
  corer inspect MiniLM.mlpackage --json | jq .functions[].operations
  corer inspect MiniLM.mlpackage --listing | less
  corer inspect A.mlpackage --text > a.mil";

/// Opens the package and shows what was asked for.
///
/// # Errors
/// When the package can't be opened, has faults (with `--check`), or stdout can't be written.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let package = open(&arguments.package)?;
    if arguments.check {
        check::run(&package, arguments.json)
    } else if let Some(name) = &arguments.op {
        show_operation(&package, name, arguments.json)
    } else if arguments.text {
        let text = corer_mil::text::print(&package.model.program);
        output::text(|out| write!(out, "{text}"))?;
        Ok(Exit::Done)
    } else if arguments.listing {
        let text = corer_mil::text::print_listing(&package.model.program);
        output::text(|out| write!(out, "{text}"))?;
        Ok(Exit::Done)
    } else {
        let digest = package
            .digest()
            .map_err(|error| Failure::new(Exit::Package, error))?;
        let summary = Summary::of(&package, digest);
        if arguments.json {
            output::json(&summary)?;
        } else {
            output::text(|out| summary.write(out))?;
        }
        Ok(Exit::Done)
    }
}

/// Opens a package for any command.
///
/// # Errors
/// Exit 5 with the reader's reason.
pub(crate) fn open(path: &std::path::Path) -> Result<Package, Failure> {
    Package::open(path).map_err(|error| Failure::new(Exit::Package, error))
}

fn show_operation(package: &Package, name: &str, json: bool) -> Result<Exit, Failure> {
    let found = OperationView::find(&package.model.program, name);
    if found.is_empty() {
        let near = operation::names_near(&package.model.program, name);
        let failure = Failure::new(
            Exit::Usage,
            format!("{}: no operation is called `{name}`", package.path.display()),
        );
        return Err(match near.as_slice() {
            [] => failure.hint("list all operations with `corer inspect PACKAGE --text`"),
            near => failure.hint(format!("there is {}", near.join(", "))),
        });
    }
    if json {
        output::json(&found)?;
    } else {
        output::text(|out| found.iter().try_for_each(|operation| operation.write(out)))?;
    }
    Ok(Exit::Done)
}
