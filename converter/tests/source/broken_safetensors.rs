//! Headers that lie about the file, each held against the safetensors crate's own verdict.

use corer_converter::source::{SourceFile, safetensors};
use proptest::prelude::*;

/// A file of a header and so many data bytes.
fn file(header: &str, data: usize) -> Vec<u8> {
    [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &vec![0; data],
    ]
    .concat()
}

fn refused(bytes: Vec<u8>, wanted: &str) {
    assert!(
        ::safetensors::SafeTensors::deserialize(&bytes).is_err(),
        "the reference reads it: {wanted}"
    );
    let message = safetensors::read(&SourceFile::memory("m.safetensors", bytes))
        .unwrap_err()
        .to_string();
    assert!(message.contains(wanted), "`{message}` does not say `{wanted}`");
}

#[test]
fn files_that_are_cut_off_or_something_else() {
    refused(Vec::new(), "0 bytes are too few for a safetensors file");
    refused(vec![1; 7], "7 bytes are too few");
    refused(
        u64::MAX.to_le_bytes().to_vec(),
        "byte 0: the header claims 18446744073709551615 bytes, 0 are left",
    );
    let mut huge = file("{}", 0);
    huge[..8].copy_from_slice(&100_000_001u64.to_le_bytes());
    refused(huge, "the header claims 100000001 bytes");
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 90868376\n";
    refused(
        pointer.to_vec(),
        "(this is a Git LFS pointer: run `git lfs pull`)",
    );
    refused(
        b"<!DOCTYPE html><html></html>".to_vec(),
        "cut off or not a safetensors file",
    );
}

#[test]
fn headers_that_are_not_the_json_they_should_be() {
    for (header, wanted) in [
        ("", "byte 8: the header is not valid"),
        ("[]", "the header is not valid"),
        (
            "{\n  \"a\": 1}",
            "byte 17: the header is not valid: tensor `a`: invalid type",
        ),
        (
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}",
            "missing field `data_offsets`",
        ),
        (
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}",
            "tensor `a`: invalid value",
        ),
        (
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}",
            "tensor `a`",
        ),
        (
            "{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}",
            "element type `F33` is not known",
        ),
        ("{} x", "byte 11: the header is not valid: trailing characters"),
    ] {
        refused(file(header, 4), wanted);
    }
    let mut latin = file("{\"__metadata__\":{\"a\":\"?\"}}", 0);
    let at = latin.iter().position(|byte| *byte == b'?').unwrap();
    latin[at] = 0xe9;
    refused(latin, "byte 30: the header is not valid: it is not UTF-8");
    refused(file("{\"__metadata__\":{\"a\":1}}", 0), "the header is not valid");
    // Nested deeper than the stack is.
    refused(
        file(&format!("{{\"a\":{}", "[".repeat(1 << 20)), 0),
        "the header is not valid",
    );
}

fn tensors(list: &[(&str, &str, &str, u64, u64)]) -> String {
    let entries: Vec<String> = list
        .iter()
        .map(|(name, dtype, shape, begin, end)| {
            format!("\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{begin},{end}]}}")
        })
        .collect();
    format!("{{{}}}", entries.join(","))
}

#[test]
fn tensors_that_do_not_lie_side_by_side_in_the_file() {
    for (list, data, wanted) in [
        (
            &[("a", "F32", "[2]", 0, 8), ("b", "F32", "[2]", 4, 12)][..],
            12,
            "tensor `b`: its data_offsets 4..12 overlap the tensor before it, which ends at 8",
        ),
        (
            &[("a", "F32", "[2]", 0, 8), ("b", "F32", "[2]", 12, 20)],
            20,
            "tensor `b`: its data_offsets 12..20 leave a gap at 8",
        ),
        (
            &[("a", "F32", "[2]", 4, 12)],
            12,
            "tensor `a`: its data_offsets 4..12 leave a gap at 0",
        ),
        (
            &[("a", "F32", "[2]", 0, 8)],
            7,
            "0..8 reach beyond the file's 7 data bytes; the file is cut off",
        ),
        (
            &[("a", "F32", "[2]", 0, 8)],
            9,
            "1 bytes after the last tensor belong to none",
        ),
        (
            &[("a", "F32", "[2]", 8, 0)],
            8,
            "its data ends at 0, before it begins at 8",
        ),
        (
            &[("a", "F32", "[3]", 0, 8)],
            8,
            "F32 of shape [3] takes 12 bytes, its data_offsets 0..8 give 8",
        ),
        (
            &[("a", "F32", "[2]", 0, u64::MAX)],
            8,
            "reach beyond the file's 8 data bytes",
        ),
        (
            &[("a", "F64", "[4611686018427387904]", 0, 0)],
            0,
            "the size of shape [4611686018427387904] overflows",
        ),
        (
            &[("a", "F32", "[4294967296,4294967296]", 0, 0)],
            0,
            "the size of shape",
        ),
    ] {
        refused(file(&tensors(list), data), wanted);
    }
}

/// The reference lets the last of two equal names win when the offsets allow it; here that is an error of its own.
#[test]
fn names_given_twice() {
    let header = tensors(&[("a", "F32", "[1]", 0, 4), ("a", "F32", "[1]", 0, 4)]);
    let bytes = file(&header, 4);
    assert!(::safetensors::SafeTensors::deserialize(&bytes).is_ok());
    let message = safetensors::read(&SourceFile::memory("m", bytes))
        .unwrap_err()
        .to_string();
    assert!(message.contains("`a` is given twice"), "{message}");
}

fn dtype() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "C64", "F33",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// On files near the edge, the verdict and the tensors are the reference's.
    #[test]
    fn read_as_the_reference_reads(
        list in prop::collection::vec((dtype(), prop::collection::vec(0u64..4, 0..4), 0u64..2, 0u64..2), 0..5),
        data in 0usize..2,
        reverse in any::<bool>(),
    ) {
        let (mut at, mut entries) = (0, Vec::new());
        for (index, (dtype, shape, gap, extra)) in list.iter().enumerate() {
            let size = match *dtype { "F32" => 4, "F16" | "BF16" => 2, "I64" | "C64" => 8, _ => 1 };
            let bytes = shape.iter().product::<u64>() * size;
            // Mostly right; a gap or a wrong length now and then.
            let (gap, extra) = (gap * u64::from(index == 3), extra * u64::from(index == 2));
            entries.push((format!("t{index}"), *dtype, format!("{shape:?}"), at + gap, at + gap + bytes + extra));
            at += gap + bytes + extra;
        }
        if reverse {
            entries.reverse();
        }
        let list: Vec<_> = entries.iter().map(|(n, d, s, b, e)| (n.as_str(), *d, s.as_str(), *b, *e)).collect();
        let bytes = file(&tensors(&list), at as usize + data);
        let ours = safetensors::read(&SourceFile::memory("m", bytes.clone()));
        match (ours, ::safetensors::SafeTensors::deserialize(&bytes)) {
            (Ok(ours), Ok(theirs)) => {
                prop_assert_eq!(ours.len(), theirs.len());
                for slice in ours {
                    let view = theirs.tensor(slice.name()).unwrap();
                    let shape: Vec<u64> = view.shape().iter().map(|size| *size as u64).collect();
                    prop_assert_eq!(slice.shape(), &shape[..]);
                    prop_assert_eq!(slice.dtype().name(), format!("{:?}", view.dtype()));
                    let offset = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
                    prop_assert_eq!(slice.offset(), offset as u64);
                }
            }
            (Err(_), Err(_)) => {}
            (ours, theirs) => prop_assert!(false, "{ours:?} here, {theirs:?} there"),
        }
    }

    /// Bytes changed anywhere in a header: no panic, and no tensor outside the file.
    #[test]
    fn bent_headers(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let list = [("a.weight", "F32", "[2,3]", 0, 24), ("b", "F16", "[4]", 24, 32), ("c", "I64", "[]", 32, 40)];
        let mut bytes = file(&tensors(&list), 40);
        let len = bytes.len() - 40;
        for (at, byte) in changes {
            bytes[at.index(len)] = byte;
        }
        let total = bytes.len() as u64;
        if let Ok(found) = safetensors::read(&SourceFile::memory("m", bytes)) {
            for slice in found {
                prop_assert!(slice.offset() + slice.count() * slice.dtype().size() <= total);
            }
        }
    }
}
