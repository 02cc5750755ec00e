//! Weight files: do the blobs lie where the header and the model say, each in a place of its own?

use std::collections::BTreeMap;

use super::Faults;
use crate::blob::format::RECORD_LEN;
use crate::blob::read::{BlobFile, Record};
use crate::error::ReadError;
use crate::package::Package;

pub(super) fn check(package: &Package, faults: &mut Faults) {
    for (name, file) in &package.files {
        // Records the model refers to, and those found by walking the file; the same ones in a sound file.
        let mut records: BTreeMap<u64, Record> = BTreeMap::new();
        for reference in package
            .references
            .iter()
            .filter(|reference| reference.file == *name)
        {
            // Reading has checked it.
            if let Ok(record) = file.record(reference.offset) {
                records.insert(record.offset, record);
            }
        }
        walk(file, &mut records, faults);
        for record in records.values() {
            if record.data_offset != record.offset + RECORD_LEN {
                faults.add(
                    place(file, record.offset),
                    format!(
                        "its data starts at {}, not right behind its record",
                        record.data_offset
                    ),
                );
            }
        }
        overlaps(file, &records, faults);
    }
}

fn place(file: &BlobFile, offset: u64) -> String {
    format!("{}: blob at {offset}", file.name())
}

/// Walks the file from blob to blob and compares their number with the header's.
fn walk(file: &BlobFile, records: &mut BTreeMap<u64, Record>, faults: &mut Faults) {
    let mut found = 0u64;
    for record in file.walk() {
        match record {
            Ok(record) => {
                found += 1;
                records.insert(record.offset, record);
            }
            Err(error) => {
                let reason = match error {
                    ReadError::Blob { offset, reason, .. } => format!("byte {offset}: {reason}"),
                    other => other.to_string(),
                };
                faults.add(file.name(), format!("after {found} blobs: {reason}"));
                return;
            }
        }
    }
    if found != u64::from(file.count()) {
        faults.add(
            file.name(),
            format!("its header says {} blobs, it holds {found}", file.count()),
        );
    }
}

fn overlaps(file: &BlobFile, records: &BTreeMap<u64, Record>, faults: &mut Faults) {
    let mut ranges: Vec<(u64, u64, u64)> = records
        .values()
        .flat_map(|record| {
            let own = (record.offset, record.offset + RECORD_LEN, record.offset);
            [own, (record.data_offset, record.end(), record.offset)]
        })
        .filter(|(start, end, _)| start < end)
        .collect();
    ranges.sort_unstable();
    let mut furthest: Option<(u64, u64)> = None;
    for (start, end, blob) in ranges {
        match furthest {
            Some((reach, other)) if start < reach && other != blob => {
                faults.add(place(file, blob), format!("overlaps the blob at {other}"));
            }
            Some((reach, _)) if start < reach => {
                faults.add(place(file, blob), "its data overlaps its own record");
            }
            _ => {}
        }
        if furthest.is_none_or(|(reach, _)| end > reach) {
            furthest = Some((end, blob));
        }
    }
}
