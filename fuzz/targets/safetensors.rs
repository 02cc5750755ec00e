//! Safetensors headers: no panic, no tensor outside the file, and whatever the safetensors crate reads is read alike.

#![no_main]

use corer_converter::source::{SourceFile, safetensors};
use libfuzzer_sys::fuzz_target;

/// What is refused here on purpose though the crate reads it: equal names, element types without a use in weights.
const REFUSED: [&str; 2] = ["is given twice", "is not known"];

fn seeds() -> Vec<Vec<u8>> {
    // Headers are what is read; the data behind them only has to be there.
    let mut seeds = corer_fuzz::files("fixtures/bert-tiny/formats", "model.safetensors");
    seeds.push(b"\x02\0\0\0\0\0\0\0{}".to_vec());
    let header = br#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"I64","shape":[],"data_offsets":[8,16]}}"#;
    seeds.push([&(header.len() as u64).to_le_bytes()[..], header, &[0; 16]].concat());
    seeds
}

fuzz_target!(
    init: corer_fuzz::write_seeds(seeds),
    |data: &[u8]| {
        let ours = safetensors::read(&SourceFile::memory("m", data.to_vec()));
        if let Ok(slices) = &ours {
            for slice in slices {
                let bytes = slice.count() * slice.dtype().size();
                assert!(slice.offset() + bytes <= data.len() as u64);
            }
        }
        let Ok(theirs) = ::safetensors::SafeTensors::deserialize(data) else { return };
        match ours {
            Err(error) => {
                let message = error.to_string();
                assert!(REFUSED.iter().any(|reason| message.contains(reason)), "only here: {message}");
            }
            Ok(slices) => {
                assert_eq!(slices.len(), theirs.len());
                for slice in slices {
                    let view = theirs.tensor(slice.name()).expect("both name it");
                    let offset = view.data().as_ptr() as usize - data.as_ptr() as usize;
                    assert_eq!(slice.offset(), offset as u64);
                    assert!(view.shape().iter().map(|size| *size as u64).eq(slice.shape().iter().copied()));
                }
            }
        }
    }
);
