//! Archives: no panic, every entry within the file and apart from the others.

#![no_main]

use corer_converter::source::zip::Archive;
use corer_converter::source::{SourceFile, torch};
use libfuzzer_sys::fuzz_target;

fn seeds() -> Vec<Vec<u8>> {
    corer_fuzz::files("converter/tests/source/written_by_torch", ".bin")
}

fuzz_target!(
    init: corer_fuzz::write_seeds(seeds),
    |data: &[u8]| {
        let file = SourceFile::memory("m.bin", data.to_vec());
        let Ok(archive) = Archive::open(file.clone()) else { return };
        let mut ranges: Vec<_> = archive.entries().map(|(_, entry)| (entry.range.start, entry.range.end)).collect();
        ranges.sort_unstable();
        for (start, end) in &ranges {
            assert!(start <= end && *end <= data.len() as u64);
        }
        assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        for (name, _) in archive.entries() {
            assert!(!name.starts_with('/') && !name.split('/').any(|part| part == ".."));
            let _ = archive.read(name, 1 << 20);
        }
        let _ = torch::read(&file);
    }
);
