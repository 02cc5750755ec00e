//! Weight files behind a sound model: no panic, and every weight that is found can be read whole.

#![no_main]

use std::sync::LazyLock;

use corer_fuzz::Parts;
use corer_mil::Data;
use corer_proto::decode_model;
use libfuzzer_sys::fuzz_target;

static SOUND: LazyLock<Parts> = LazyLock::new(corer_fuzz::blobs);

fuzz_target!(
    init: corer_fuzz::write_seeds(|| vec![SOUND.weights.clone()]),
    |data: &[u8]| {
        let Ok(model) = decode_model(&SOUND.model, data) else { return };
        for function in model.program.functions.values() {
            for operation in function.body().map(|block| &block.operations[..]).unwrap_or_default() {
                let Some(value) = operation.const_value() else { continue };
                if let Data::Weight(source) = &value.data {
                    assert!(source.byte_len() <= data.len() as u64);
                    let bytes = source.to_vec().expect("it lies in memory");
                    assert_eq!(bytes.len() as u64, source.byte_len());
                }
            }
        }
    }
);
