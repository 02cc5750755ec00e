//! Elements narrower than a byte, packed and unpacked by code of this test's own, bit by bit.

mod common;

use common::{constant, model};
use corer_mil::{DataType, Opset, TensorType, Value};
use corer_proto::{Package, WriteOptions, write};
use proptest::prelude::*;

const NARROW: [DataType; 6] = [
    DataType::UInt1,
    DataType::UInt2,
    DataType::UInt3,
    DataType::UInt4,
    DataType::UInt6,
    DataType::Int4,
];

/// Element `i` of `n` bits starts at bit `i·n`, least significant bit first.
fn pack(elements: &[u8], bits: u32) -> Vec<u8> {
    let mut bytes = vec![0u8; (elements.len() * bits as usize).div_ceil(8)];
    for (index, element) in elements.iter().enumerate() {
        for bit in 0..bits as usize {
            let position = index * bits as usize + bit;
            bytes[position / 8] |= ((element >> bit) & 1) << (position % 8);
        }
    }
    bytes
}

fn unpack(bytes: &[u8], bits: u32, count: usize) -> Vec<u8> {
    (0..count)
        .map(|index| {
            (0..bits as usize).fold(0, |element, bit| {
                let position = index * bits as usize + bit;
                element | ((bytes[position / 8] >> (position % 8)) & 1) << bit
            })
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn packed_elements_survive(which in 0..NARROW.len(), raw in prop::collection::vec(any::<u8>(), 0..300)) {
        let dtype = NARROW[which];
        let bits = dtype.bits();
        let elements: Vec<u8> = raw.iter().map(|byte| byte & ((1 << bits) - 1)).collect();
        let packed = pack(&elements, bits);
        let count = elements.len() as u64;
        let ty = TensorType::new(dtype, [count]);
        prop_assert_eq!(ty.byte_len(), Some(packed.len() as u64));

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.mlpackage");
        let model = model(Opset::CoreMl8, vec![constant("w", Value::memory_weight(ty, packed))]);
        let options = WriteOptions { durable: false, ..WriteOptions::default() };
        let written = write(&path, &model, &options).unwrap();
        prop_assert_eq!(written.weights_stored, u64::from(count >= 10));

        let package = Package::open(&path).unwrap();
        let body = package.model.program.functions["main"].body().unwrap();
        let bytes = body.operations[0].const_value().unwrap().to_bytes().unwrap().unwrap();
        prop_assert_eq!(unpack(&bytes, bits, elements.len()), elements);
        if count >= 10 {
            let file = std::fs::read(path.join("Data/com.apple.CoreML/weights/weight.bin")).unwrap();
            let padding = (8 - (count * u64::from(bits)) % 8) % 8;
            prop_assert_eq!(u64::from(file[64 + 24]), padding);
        }
    }
}
