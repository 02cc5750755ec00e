//! Archives: no panic, every entry within the file and apart from the others, and, in those the zip crate finds
//! consistent, where it finds it.

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
        // It refuses more than we do: fields neither of us reads data by, such as times and foreign extra fields.
        let Ok(mut theirs) = zip::ZipArchive::new(std::io::Cursor::new(data)) else { return };
        if theirs.validate_header_consistency().is_err() {
            return;
        }
        assert_eq!(archive.entries().count(), theirs.len());
        for (name, entry) in archive.entries() {
            let index = theirs.index_for_name(name).expect("the zip crate lists it");
            let other = theirs.by_index_raw(index).expect("the zip crate finds it");
            assert_eq!(other.data_start(), Some(entry.range.start));
            assert_eq!(other.compressed_size(), entry.range.end - entry.range.start);
            assert_eq!((other.size(), other.crc32()), (entry.size, entry.crc32));
        }
    }
);
