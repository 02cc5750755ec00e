//! Pickles inside a sound archive: no panic, and every tensor within its file.

#![no_main]

use corer_converter::source::{LazyTensor, SourceFile, torch};
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)] // its tests bend more of it
#[path = "../../converter/tests/source/zip_writer.rs"]
mod zip_writer;

fn seeds() -> Vec<Vec<u8>> {
    let archives = corer_fuzz::files("converter/tests/source/written_by_torch", ".bin");
    let pickle = |archive: &Vec<u8>| {
        let at = archive
            .windows(2)
            .position(|bytes| matches!(bytes, [0x80, 2..=5]))?;
        let len = archive[at..]
            .windows(4)
            .position(|bytes| bytes == b"PK\x07\x08" || bytes == b"PK\x03\x04")?;
        Some(archive[at..at + len].to_vec())
    };
    archives.iter().filter_map(pickle).collect()
}

fuzz_target!(
    init: corer_fuzz::write_seeds(seeds),
    |data: &[u8]| {
        // Storages of the sizes the seeds name.
        let zip = zip_writer::Zip::of(&[
            ("m/data.pkl", data),
            ("m/byteorder", b"little"),
            ("m/data/0", &[0; 48]),
            ("m/data/1", &[0; 24]),
            ("m/data/2", &[0; 24]),
            ("m/data/3", &[0; 96]),
            ("m/data/4", &[0; 4]),
            ("m/data/5", &[]),
        ]);
        let len = zip.bytes.len() as u64;
        let Ok(found) = torch::read(&SourceFile::memory("m.bin", zip.bytes)) else { return };
        for slice in found.tensors {
            assert!(slice.offset() + slice.count() * slice.dtype().size() <= len);
            if slice.dtype().is_real() {
                let lazy = LazyTensor::new(slice);
                let count = lazy.count();
                // All storages are zero, so every value is there and finite.
                assert_eq!(lazy.read_f32().map(|values| values.len() as u64).expect("zeros"), count);
            }
        }
    }
);
