//! What is wrong with a package beyond what reading refuses.
//!
//! Reading refuses what can't be understood. What is looked for here can be understood but contradicts itself, and
//! much of it passes Apple's own reader on a desk only to fail on a device.

mod blobs;
mod description;
mod features;

use std::fmt;

use crate::package::Package;

/// One fault of a package.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fault {
    /// Where: file, function and operation, or feature.
    pub place: String,
    /// What.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Everything wrong with a package, in a stable order; an empty list means nothing was found.
pub fn check(package: &Package) -> Vec<Fault> {
    let mut faults = Faults::default();
    manifest(package, &mut faults);
    blobs::check(package, &mut faults);
    description::check(&package.model, &mut faults);
    program(package, &mut faults);
    faults.0
}

/// Faults gathered so far.
#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.0.push(Fault {
            place: place.into(),
            message: message.into(),
        });
    }
}

/// The program against the op table.
fn program(package: &Package, faults: &mut Faults) {
    for fault in corer_mil::check(&package.model.program) {
        let mut place = Vec::new();
        if !fault.function.is_empty() {
            place.push(format!("function `{}`", fault.function));
        }
        place.extend(fault.operation.map(|operation| operation.to_string()));
        place.extend(fault.value.map(|value| format!("`{value}`")));
        if place.is_empty() {
            place.push("program".into());
        }
        faults.add(place.join(", "), fault.message);
    }
}

/// The manifest against the files.
fn manifest(package: &Package, faults: &mut Faults) {
    let data = package.path.join(crate::manifest::DATA);
    for (id, entry) in &package.entries {
        let place = format!("{} entry {id}", crate::manifest::FILE_NAME);
        // Version control drops the empty weights directory of a model without weights.
        let dispensable = entry.name == "weights" && package.blobs.is_empty();
        if !dispensable && !data.join(&entry.path).exists() {
            faults.add(&place, format!("its path `{}` does not exist", entry.path));
        }
        if entry.author.is_empty() || entry.name.is_empty() {
            faults.add(&place, "author and name must not be empty");
        }
    }
    let mut names: Vec<_> = package
        .entries
        .values()
        .map(|entry| (&entry.author, &entry.name))
        .collect();
    names.sort();
    for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
        let place = crate::manifest::FILE_NAME;
        faults.add(
            place,
            format!("two entries are called `{}` by author `{}`", pair[0].1, pair[0].0),
        );
    }
}
