//! The model card: what an artifact holds, how it was judged, and what is not known.
//!
//! Nothing in it depends on the clock or on the machine it is written on, but what the reports say.

use std::fmt::Write;

use corer_mil::Opset;
use corer_proto::{Feature, FeatureType, Flexibility};
use serde_json::Value;

use crate::bundle::{Bundled, title};
use crate::report::{Bucket, Output, Report};

/// Writes the card, in Markdown.
pub(crate) fn write(packages: &[Bundled], version: &str) -> String {
    let mut card = String::new();
    // Writing to a string does not fail.
    let _ = sections(&mut card, packages, version);
    card
}

fn sections(card: &mut String, packages: &[Bundled], version: &str) -> std::fmt::Result {
    let metadata = &packages[0].model.description.metadata;
    writeln!(card, "# {} {}\n", plain(&title(packages)), plain(version))?;
    if !metadata.short_description.is_empty() {
        writeln!(card, "{}\n", plain(&metadata.short_description))?;
    }
    verdict(card, packages)?;
    writeln!(card, "## Packages\n")?;
    writeln!(
        card,
        "| package | size | precision | weights | runs on | digest |"
    )?;
    writeln!(card, "|---|---:|---|---|---|---|")?;
    for package in packages {
        writeln!(
            card,
            "| {} | {} | {} | {} | {} | `{}` |",
            plain(&package.name),
            size(package.bytes),
            package.precision().map_or("not judged".into(), plain),
            package.metadata("corer.weights").map_or("dense".into(), plain),
            system(package.model.specification_version),
            package.digest,
        )?;
    }
    writeln!(card)?;
    interface(card, packages)?;
    parity(card, packages)?;
    limits(card, packages)?;
    origin(card, packages)?;
    check(card)
}

fn verdict(card: &mut String, packages: &[Bundled]) -> std::fmt::Result {
    let mut objections = packages
        .iter()
        .filter(|package| package.objection.is_some())
        .peekable();
    if objections.peek().is_none() {
        return writeln!(
            card,
            "Every package here passed its verification: the reports beside them judge these very bytes.\n"
        );
    }
    writeln!(card, "**Not verified.** Publishing was forced.\n")?;
    for package in objections {
        let reason = package.objection.as_deref().unwrap_or_default();
        writeln!(card, "- {}: {}", plain(&package.name), plain(reason))?;
    }
    writeln!(card)
}

fn interface(card: &mut String, packages: &[Bundled]) -> std::fmt::Result {
    writeln!(card, "## Inputs and outputs\n")?;
    for package in packages {
        let description = &package.model.description;
        let mut functions: Vec<(&str, &[Feature], &[Feature])> = description
            .functions
            .iter()
            .map(|function| (&*function.name, &*function.inputs, &*function.outputs))
            .collect();
        if functions.is_empty() {
            functions.push(("main", &description.inputs, &description.outputs));
        }
        for (name, inputs, outputs) in functions {
            writeln!(card, "{}, function `{}`:\n", plain(&package.name), code(name))?;
            for (label, features) in [("takes", inputs), ("gives", outputs)] {
                for feature in features {
                    writeln!(
                        card,
                        "- {label} `{}`: {}",
                        code(&feature.name),
                        plain(&kind(&feature.ty))
                    )?;
                }
            }
            writeln!(card)?;
        }
    }
    Ok(())
}

fn parity(card: &mut String, packages: &[Bundled]) -> std::fmt::Result {
    let judged: Vec<_> = packages
        .iter()
        .filter_map(|package| Some((package, &package.report.as_ref()?.report)))
        .collect();
    if judged.is_empty() {
        return Ok(());
    }
    writeln!(card, "## Parity with the source\n")?;
    writeln!(
        card,
        "| package | function | rows × tokens | output | PSNR | lowest cosine | largest error | equal decisions |"
    )?;
    writeln!(card, "|---|---|---:|---|---:|---:|---:|---:|")?;
    for (package, report) in &judged {
        for bucket in &report.buckets {
            for output in &bucket.outputs {
                row(card, package, bucket, output)?;
            }
        }
    }
    writeln!(card)?;
    for (package, report) in &judged {
        judged_how(card, package, report)?;
    }
    writeln!(card)
}

fn row(card: &mut String, package: &Bundled, bucket: &Bucket, output: &Output) -> std::fmt::Result {
    let decibels = match &output.psnr {
        Value::Number(number) => format!("{:.2} dB", number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) if text == "inf" => "exact".into(),
        _ => "none".into(),
    };
    let cosine = output
        .cosine
        .as_ref()
        .map_or("-".into(), |cosine| format!("{:.8}", cosine.min));
    let error = output
        .max_abs
        .as_f64()
        .map_or("none".into(), |error| format!("{error:.2e}"));
    let decisions = output
        .top1
        .as_ref()
        .map_or("-".into(), |top1| match top1.undecided {
            0 => format!("{} of {}", top1.agree, top1.total),
            near => format!("{} of {}, {near} near ties", top1.agree, top1.total),
        });
    writeln!(
        card,
        "| {} | {} | {} × {} | {} | {decibels} | {cosine} | {error} | {decisions} |",
        plain(&package.name),
        plain(&bucket.function),
        bucket.batch,
        bucket.length,
        plain(&output.package),
    )
}

fn judged_how(card: &mut String, package: &Bundled, report: &Report) -> std::fmt::Result {
    write!(
        card,
        "- {}: judged by {}, executed {} by {}",
        plain(&package.name),
        plain(&report.reference.kind),
        plain(&report.execution.arithmetic),
        plain(&report.execution.engine),
    )?;
    if let Some(bucket) = report.buckets.first() {
        let inputs = &bucket.inputs;
        write!(
            card,
            ", on {} rows ({} tokens) from {}",
            inputs.rows,
            inputs.tokens,
            plain(&inputs.origin)
        )?;
        let limits: Vec<_> = bucket
            .thresholds
            .iter()
            .filter(|(_, limit)| limit.is_number())
            .map(|(name, limit)| format!("{} {limit}", plain(&name.replace('_', " "))))
            .collect();
        write!(card, "; limits: {}", limits.join(", "))?;
    }
    writeln!(card, ".")
}

fn limits(card: &mut String, packages: &[Bundled]) -> std::fmt::Result {
    writeln!(card, "## Limits\n")?;
    writeln!(
        card,
        "- Takes the sizes listed above and no others; longer texts must be cut."
    )?;
    writeln!(
        card,
        "- Latency, energy and placement on Apple hardware: not measured here."
    )?;
    writeln!(
        card,
        "- Parity says that a package computes what its source does, not that the source is right."
    )?;
    for package in packages {
        let buckets = package.report.iter().flat_map(|report| &report.report.buckets);
        let cut: u64 = buckets.map(|bucket| bucket.inputs.truncated).sum();
        if cut > 0 {
            writeln!(
                card,
                "- {}: {cut} of the texts it was judged on were cut to fit.",
                plain(&package.name)
            )?;
        }
    }
    writeln!(card)
}

fn origin(card: &mut String, packages: &[Bundled]) -> std::fmt::Result {
    writeln!(card, "## Origin\n")?;
    let metadata = &packages[0].model.description.metadata;
    for (label, value) in [("author", &metadata.author), ("licence", &metadata.license)] {
        let value = if value.is_empty() {
            "not stated by the source".into()
        } else {
            plain(value)
        };
        writeln!(card, "- {label}: {value}")?;
    }
    for package in packages {
        for (key, value) in &package.model.description.metadata.user_defined {
            writeln!(
                card,
                "- {}, {}: `{}`",
                plain(&package.name),
                plain(key),
                code(value)
            )?;
        }
        let files = package
            .report
            .iter()
            .flat_map(|report| &report.report.reference.files);
        for file in files {
            writeln!(
                card,
                "- {} was judged against {}: `{}`",
                plain(&package.name),
                plain(&file.name),
                code(&file.sha256)
            )?;
        }
    }
    writeln!(card)
}

fn check(card: &mut String) -> std::fmt::Result {
    writeln!(card, "## Check it\n")?;
    writeln!(
        card,
        "`sha256sum -c SHA256SUMS` checks every file. A package's digest is taken over its files, each in"
    )?;
    writeln!(card, "pieces of 1 MiB; in the package's directory:\n")?;
    writeln!(card, "```sh")?;
    writeln!(
        card,
        "find . -type f | sed 's|^\\./||' | LC_ALL=C sort | while read -r f; do"
    )?;
    writeln!(
        card,
        "  h=$(split -b 1M --filter='sha256sum | cut -c1-64 | xxd -r -p' \"$f\" | sha256sum | cut -c1-64)"
    )?;
    writeln!(card, "  printf '%s  %s\\n' \"$h\" \"$f\"")?;
    writeln!(card, "done | sha256sum")?;
    writeln!(card, "```")
}

fn system(specification_version: i32) -> String {
    let opset = Opset::ALL
        .into_iter()
        .find(|opset| opset.specification_version() == specification_version);
    opset.map_or_else(
        || format!("specification version {specification_version}"),
        |opset| format!("{} and newer", opset.target()),
    )
}

/// A feature's type in words: `fp16 1 × 128`.
pub(crate) fn kind(ty: &FeatureType) -> String {
    let sizes = |shape: &[u64]| shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ");
    match ty {
        FeatureType::MultiArray {
            dtype,
            shape,
            flexibility,
            ..
        } => {
            let shape = match flexibility {
                Flexibility::Fixed => sizes(shape),
                Flexibility::Enumerated(shapes) => {
                    let shapes: Vec<_> = shapes.iter().map(|shape| sizes(shape)).collect();
                    format!("one of {}", shapes.join(", "))
                }
                Flexibility::Range(ranges) => {
                    let range = |(least, most): &(u64, Option<u64>)| match most {
                        Some(most) if most == least => least.to_string(),
                        Some(most) => format!("{least} to {most}"),
                        None => format!("{least} and more"),
                    };
                    ranges.iter().map(range).collect::<Vec<_>>().join(" × ")
                }
            };
            format!("{} {shape}", dtype.data_type().name())
                .trim_end()
                .to_owned()
        }
        FeatureType::Image { width, height, .. } => format!("image {width} × {height}"),
        FeatureType::String => "a string".into(),
        FeatureType::Int64 => "an integer".into(),
        FeatureType::Double => "a number".into(),
        FeatureType::Dictionary { .. } => "numbers by label".into(),
        FeatureType::Sequence { .. } => "a sequence".into(),
        FeatureType::State { .. } => "a state".into(),
        FeatureType::Other(kind) => kind.clone(),
    }
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Text of others as text: no markup, no line breaks.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '!' | '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Text of others between backticks.
fn code(text: &str) -> String {
    let replace = |c: char| if c.is_control() || c == '`' { ' ' } else { c };
    text.chars().map(replace).collect()
}

#[cfg(test)]
mod tests {
    use super::{code, plain, size};

    #[test]
    fn text_of_others_can_not_write_markup() {
        let hostile = "x | y\n# Verified <script> [a](b) `c`";
        assert_eq!(
            plain(hostile),
            "x \\| y \\# Verified \\<script\\> \\[a\\](b) \\`c\\`"
        );
        assert_eq!(code("a`b\nc"), "a b c");
    }

    #[test]
    fn sizes_as_people_read_them() {
        assert_eq!(
            [size(17), size(1536), size(90 << 20)],
            ["17 B", "1.5 KiB", "90.0 MiB"]
        );
    }
}
