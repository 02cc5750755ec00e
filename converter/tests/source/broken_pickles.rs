//! Archives and pickles that lie: each is refused with what is wrong and where, none is believed.

use std::path::Path;

use corer_converter::source::pickle::{Pickle, PickleErrorKind};
use corer_converter::source::zip::Archive;
use corer_converter::source::{LazyTensor, SourceError, SourceFile, torch};

use crate::pickle_writer::{self as write, Tensor};
use crate::zip_writer::Zip;

const FLOATS: [u8; 24] = [0; 24];

fn by_torch(name: &str) -> Vec<u8> {
    let folder = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/source/written_by_torch"
    ));
    std::fs::read(folder.join(name)).unwrap()
}

fn read(bytes: Vec<u8>) -> Result<torch::StateDict, SourceError> {
    torch::read(&SourceFile::memory("m.bin", bytes))
}

fn refused(bytes: Vec<u8>, wanted: &str) {
    let message = read(bytes).unwrap_err().to_string();
    assert!(message.contains(wanted), "`{message}` does not say `{wanted}`");
}

/// An archive as torch.save lays it out, of one pickle and storage `0`.
fn archive(pickle: &[u8]) -> Zip {
    Zip::of(&[
        ("m/data.pkl", pickle),
        ("m/byteorder", b"little"),
        ("m/data/0", &FLOATS),
        ("m/version", b"3\n"),
    ])
}

fn state_dict(tensor: &Tensor) -> Vec<u8> {
    archive(&write::pickle(&write::dict(&[(
        write::text("w"),
        tensor.write(),
    )])))
    .bytes
}

#[test]
fn the_archive_the_tests_bend_is_read_when_straight() {
    let found = read(state_dict(&Tensor::default())).unwrap();
    assert_eq!(found.tensors[0].shape(), [2, 3]);
    assert_eq!(
        LazyTensor::new(found.tensors[0].clone()).read_f32().unwrap(),
        [0.0; 6]
    );
}

#[test]
fn tensors_that_do_not_lie_in_their_storage() {
    let base = Tensor::default;
    let ints = write::ints;
    for (tensor, wanted) in [
        (
            Tensor { offset: 1, ..base() },
            "entry `m/data.pkl`, byte 156: tensor `w` of 24 bytes does not lie in its storage of 24",
        ),
        (
            Tensor {
                class: ("torch", "ByteStorage"),
                elements: 24,
                size: ints(&[25]),
                stride: ints(&[1]),
                ..base()
            },
            "tensor `w` of 25 bytes does not lie in its storage of 24",
        ),
        (Tensor { offset: -1, ..base() }, "does not lie in its storage"),
        (
            Tensor {
                offset: i64::MAX,
                ..base()
            },
            "does not lie in its storage",
        ),
        (
            Tensor {
                size: ints(&[3, 3]),
                ..base()
            },
            "tensor `w` of 36 bytes does not lie in its storage of 24",
        ),
        (
            Tensor {
                elements: 7,
                ..base()
            },
            "claims 7 elements, but entry `m/data/0` has 24 bytes",
        ),
        (
            Tensor {
                elements: -6,
                ..base()
            },
            "is not (\"storage\", class, key, location, elements)",
        ),
        (
            Tensor {
                elements: i64::MAX,
                ..base()
            },
            "claims 9223372036854775807 elements",
        ),
        (
            Tensor {
                class: ("torch", "DoubleStorage"),
                ..base()
            },
            "claims 6 elements",
        ),
        (
            Tensor {
                class: ("torch.storage", "UntypedStorage"),
                elements: 24,
                ..base()
            },
            "has no known element type",
        ),
        (
            Tensor {
                class: ("torch", "float32"),
                ..base()
            },
            "has `torch.float32` for a class",
        ),
        (
            Tensor { key: "1", ..base() },
            "entry `m/data/1`: is missing from the archive",
        ),
        (
            Tensor {
                key: "../../etc/passwd",
                ..base()
            },
            "is missing from the archive",
        ),
        (
            Tensor {
                size: ints(&[6]),
                ..base()
            },
            "has size [6] but stride [3, 1]",
        ),
        (
            Tensor {
                stride: ints(&[6, 2]),
                ..base()
            },
            "neither dense nor a transpose",
        ),
        (
            Tensor {
                stride: ints(&[0, 1]),
                ..base()
            },
            "neither dense nor a transpose",
        ),
        (
            Tensor {
                size: ints(&[2, -3]),
                ..base()
            },
            "has a size that is not a tuple of lengths",
        ),
        (
            Tensor {
                size: write::text("2"),
                ..base()
            },
            "has a size that is not a tuple of lengths",
        ),
        (
            Tensor {
                stride: write::int(1),
                ..base()
            },
            "has a stride that is not a tuple of lengths",
        ),
        (
            Tensor {
                size: ints(&[i64::MAX, 4]),
                stride: ints(&[4, 1]),
                ..base()
            },
            "of size [9223372036854775807, 4] overflows",
        ),
        (
            Tensor {
                rebuild: "_rebuild_tensor_v3",
                ..base()
            },
            "has no known element type",
        ),
    ] {
        refused(state_dict(&tensor), wanted);
    }
}

#[test]
fn pickles_that_are_not_state_dicts() {
    let tensor = || Tensor::default().write();
    let of = |value: &[u8]| archive(&write::pickle(value)).bytes;
    let rebuild = write::global("torch._utils", "_rebuild_tensor_v2");
    let parameter = write::global("torch._utils", "_rebuild_parameter");
    let named = |value: Vec<u8>| write::dict(&[(write::text("w"), value)]);
    for (bytes, wanted) in [
        (of(b"N"), "the pickle holds None, not a state dict"),
        (of(b"]"), "the pickle holds a list, not a state dict"),
        (of(&tensor()), "the pickle holds an object, not a state dict"),
        (of(b"}"), "the state dict is empty"),
        (
            of(&write::dict(&[(write::int(1), tensor())])),
            "a name in the state dict is an int, not a str",
        ),
        (
            of(&named(write::dict(&[(write::text("v"), tensor())]))),
            "there are no tensors at the top level, only w",
        ),
        (
            of(&named(write::call(&rebuild, b")"))),
            "tensor `w` is rebuilt from too few arguments",
        ),
        (
            of(&named(write::call(&rebuild, &write::ints(&[1, 2, 3, 4, 5, 6])))),
            "the storage of `w` is not a persistent id",
        ),
        (
            of(&named(write::call(&parameter, b")"))),
            "parameter `w` has no tensor",
        ),
        (
            archive(&[&write::pickle(&named(tensor()))[..], b"more"].concat()).bytes,
            "there is more after the pickle's end",
        ),
    ] {
        refused(bytes, wanted);
    }
}

#[test]
fn what_torch_writes_but_weights_are_not() {
    for (name, wanted) in [
        (
            "legacy.bin",
            "is in torch.save's format from before PyTorch 1.6; load it in PyTorch and save it again",
        ),
        (
            "training.bin",
            "there are no tensors at the top level, only epoch, state_dict; a training checkpoint?",
        ),
        ("list.bin", "the pickle holds a list, not a state dict"),
        (
            "module.bin",
            "entry `module/data.pkl`, byte 2: the pickle wants to import `torch.nn.modules.linear.Linear`",
        ),
        (
            "sparse.bin",
            "the pickle wants to import `torch._utils._rebuild_sparse_tensor`",
        ),
        ("script.bin", "is a TorchScript archive, not a state dict"),
        (
            "expanded.bin",
            "of size [2, 3, 4] has stride [0, 4, 1], which is neither dense nor a transpose",
        ),
        (
            "big_endian.bin",
            "entry `kinds/byteorder`: tensors are big-endian",
        ),
        (
            "deflated.bin",
            "is compressed (method 8), PyTorch stores tensors as they are",
        ),
    ] {
        refused(by_torch(name), wanted);
    }
}

#[test]
fn a_pickle_that_wants_to_run_something_is_refused_by_name_and_place() {
    match read(by_torch("spiteful.bin")).unwrap_err() {
        SourceError::ForbiddenGlobal { global, place, .. } => {
            assert_eq!(global, "posix.system");
            assert!(
                place
                    .to_string()
                    .starts_with(", entry `spiteful/data.pkl`, byte "),
                "{place}"
            );
        }
        other => panic!("{other}"),
    }
    assert!(!Path::new("/tmp/corer-ran-a-pickle").exists());
    // However it is spelt, and though it stands where nothing would call it.
    let by_stack = |module, name| [write::text(module), write::text(name), b"\x93".to_vec()].concat();
    for (value, name) in [
        (write::global("os", "system"), "os.system"),
        (write::global("builtins", "eval"), "builtins.eval"),
        (by_stack("builtins", "exec"), "builtins.exec"),
        (by_stack("torch", "load"), "torch.load"),
        (
            write::global("torch.storage", "_load_from_bytes"),
            "torch.storage._load_from_bytes",
        ),
        (
            write::global("collections", "OrderedDict.fromkeys"),
            "collections.OrderedDict.fromkeys",
        ),
        (
            write::global("torch", "FloatStorage.__reduce__"),
            "torch.FloatStorage.__reduce__",
        ),
        (write::global("", ""), "."),
    ] {
        let items = [
            (write::text("w"), Tensor::default().write()),
            (write::text("x"), value),
        ];
        match read(archive(&write::pickle(&write::dict(&items))).bytes).unwrap_err() {
            SourceError::ForbiddenGlobal { global, .. } => assert_eq!(global, name),
            other => panic!("{other}"),
        }
    }
}

fn kind(bytes: &[u8]) -> (u64, PickleErrorKind) {
    let error = Pickle::read(bytes, &|_, _| true).unwrap_err();
    (error.offset, error.kind)
}

#[test]
fn machines_that_trip() {
    let invalid = |text: &str| PickleErrorKind::Invalid(text.into());
    for (bytes, offset, wanted) in [
        (&b""[..], 0, PickleErrorKind::CutOff),
        (b"(dp0\n.", 0, PickleErrorKind::Protocol),
        (b"\x80\x01N.", 0, PickleErrorKind::Protocol),
        (b"\x80\x06N.", 0, PickleErrorKind::Protocol),
        (b"\x80\x02\x80\x02N.", 2, invalid("PROTO again in the middle")),
        (b"\x80\x02N", 3, PickleErrorKind::CutOff),
        (b"\x80\x02X\xff\xff\xff\xff.", 2, PickleErrorKind::CutOff),
        (
            b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
            2,
            PickleErrorKind::CutOff,
        ),
        (b"\x80\x02\x8b\xff\xff\xff\xff.", 2, PickleErrorKind::CutOff),
        (b"\x80\x04\x95\xff\0\0\0\0\0\0\0N.", 2, PickleErrorKind::CutOff),
        (b"\x80\x02X\x01\0\0\0\xff.", 2, invalid("text that is not UTF-8")),
        (b"\x80\x02cos\nsystem", 2, PickleErrorKind::CutOff),
        (b"\x80\x02c\xff\n\n.", 2, invalid("a name that is not UTF-8")),
        (b"\x80\x02\xff.", 2, PickleErrorKind::UnknownOpcode(0xff)),
        (b"\x80\x02I1\n.", 2, PickleErrorKind::ForbiddenOpcode("INT")),
        (
            b"\x80\x02(ios\nsystem\n.",
            3,
            PickleErrorKind::ForbiddenOpcode("INST"),
        ),
        (
            b"\x80\x02(cos\nsystem\no.",
            14,
            PickleErrorKind::ForbiddenOpcode("OBJ"),
        ),
        (b"\x80\x02\x82\x01.", 2, PickleErrorKind::ForbiddenOpcode("EXT1")),
        (
            b"\x80\x05\x97.",
            2,
            PickleErrorKind::ForbiddenOpcode("NEXT_BUFFER"),
        ),
        (b"\x80\x02.", 2, invalid("the pickle does not end with one value")),
        (
            b"\x80\x02NN.",
            4,
            invalid("the pickle does not end with one value"),
        ),
        (
            b"\x80\x02N(.",
            4,
            invalid("the pickle does not end with one value"),
        ),
        (b"\x80\x02N(0.", 5, PickleErrorKind::CutOff),
        (b"\x80\x020.", 2, invalid("the stack is empty")),
        (b"\x80\x02N(R.", 4, invalid("the stack is empty")),
        (b"\x80\x02N\x86.", 3, invalid("the stack is empty")),
        // What lies below a mark is out of reach.
        (b"\x80\x02NN(\x86.", 5, invalid("the stack is empty")),
        (b"\x80\x02]N(a.", 5, invalid("the stack is empty")),
        (b"\x80\x02t.", 2, invalid("there is no MARK")),
        (b"\x80\x02N(Nu.", 5, invalid("a key without a value")),
        (
            b"\x80\x02N(NNu.",
            6,
            invalid("SETITEM on something that is not a dict"),
        ),
        (
            b"\x80\x02NNa.",
            4,
            invalid("APPEND to something that is not a list"),
        ),
        (
            b"\x80\x04](N\x90.",
            5,
            invalid("ADDITEMS on something that is not a set"),
        ),
        (
            b"\x80\x02N)R.",
            4,
            invalid("a call of something that is not a global"),
        ),
        (
            b"\x80\x02ca\nb\nNR.",
            8,
            invalid("a call with arguments that are not a tuple"),
        ),
        (
            b"\x80\x02ca\nb\n)R)R.",
            10,
            invalid("a call of something that is not a global"),
        ),
        (
            b"\x80\x04ca\nb\n)N\x92.",
            9,
            invalid("keyword arguments that are not a dict"),
        ),
        (
            b"\x80\x02]Nb.",
            4,
            invalid("BUILD on something that takes no state"),
        ),
        (
            b"\x80\x02ca\nb\n)RNbNb.",
            12,
            invalid("BUILD on something that takes no state"),
        ),
        (
            b"\x80\x04NN\x93.",
            4,
            invalid("STACK_GLOBAL names that are not text"),
        ),
        (b"\x80\x02h\x07.", 2, invalid("memo 7 is empty")),
        (b"\x80\x02q\x07.", 2, invalid("the stack is empty")),
    ] {
        if bytes == b"\x80\x02N(0." {
            // POP takes the mark, as Python's machine lets it; None is left.
            assert!(Pickle::read(bytes, &|_, _| true).is_ok());
            continue;
        }
        assert_eq!(kind(bytes), (offset, wanted), "{bytes:?}");
    }
}

#[test]
fn pickles_too_large_to_be_weights() {
    let limit = |what: &str, bytes: &[u8]| match kind(bytes).1 {
        PickleErrorKind::TooLarge { what: found, .. } => assert_eq!(found, what),
        other => panic!("{other}"),
    };
    limit(
        "bytes",
        &[b"\x80\x02"[..].to_vec(), vec![b'N'; 20 << 20]].concat(),
    );
    limit(
        "values",
        &[b"\x80\x02"[..].to_vec(), vec![b'N'; 3 << 20]].concat(),
    );
    limit(
        "memo entries",
        &[b"\x80\x04N"[..].to_vec(), vec![0x94; 3 << 20]].concat(),
    );
    limit(
        "bytes in a name",
        &[b"\x80\x02c"[..].to_vec(), vec![b'a'; 4000]].concat(),
    );
}

#[test]
fn depth_and_cycles_need_no_stack() {
    // A million tuples, each in the next; a list in itself; a dict that is its own key.
    let deep = [b"\x80\x02)"[..].to_vec(), vec![0x85; 1 << 20], b".".to_vec()].concat();
    Pickle::read(&deep, &|_, _| false).unwrap();
    let cyclic = Pickle::read(b"\x80\x02]q\x00h\x00a.", &|_, _| false).unwrap();
    assert_eq!(cyclic.sequence(cyclic.root()), Some(&[cyclic.root()][..]));
    Pickle::read(b"\x80\x02}q\x00h\x00h\x00s.", &|_, _| false).unwrap();
    // As a state dict they are refused like any other value.
    refused(archive(&deep).bytes, "the pickle holds a tuple, not a state dict");
    refused(
        archive(b"\x80\x02}q\x00h\x00h\x00s.").bytes,
        "a name in the state dict is a dict",
    );
}

#[test]
fn archives_whose_records_contradict_each_other() {
    let zip = || {
        archive(&write::pickle(&write::dict(&[(
            write::text("w"),
            Tensor::default().write(),
        )])))
    };
    let (local, central, end) = (zip().local, zip().central, zip().end);
    let wide = |value: u32| value.to_le_bytes();
    // Entry 2 holds the floats; fields by their places in APPNOTE 4.3.7, 4.3.12 and 4.3.16.
    for (at, new, wanted) in [
        (end, &b"XX"[..], "is not a complete zip archive"),
        (end + 4, &[1, 0], "is one part of an archive split over several"),
        (
            end + 8,
            &[3, 0, 3, 0],
            "the archive's directory holds more than its entries",
        ),
        (
            end + 8,
            &[0xff, 0xff, 0xff, 0xff],
            "65535 entries don't fit the archive's directory",
        ),
        (end + 12, &wide(1), "does not end where the end record starts"),
        (
            end + 16,
            &wide(u32::MAX),
            "does not end where the end record starts",
        ),
        (end + 20, &[9, 0], "is not a complete zip archive"),
        (central[2], b"XX", "lacks its signature"),
        (
            central[2] + 8,
            &[1, 0],
            "has another compression or encryption in its own header",
        ),
        (
            central[2] + 10,
            &[8, 0],
            "has another compression or encryption in its own header",
        ),
        (
            central[2] + 16,
            &wide(0x1234),
            "has another checksum in its own header",
        ),
        (
            central[2] + 20,
            &wide(23),
            "is stored as it is, yet claims 24 bytes in 23",
        ),
        (central[2] + 24, &wide(u32::MAX), "its zip64 field is cut off"),
        (
            central[2] + 28,
            &[0xff, 0xff],
            "the archive's directory is cut off",
        ),
        (
            central[2] + 42,
            &wide(u32::MAX - 1),
            "does not lie before the archive's directory",
        ),
        (central[2] + 42, &wide(0), "has another name in its own header"),
        (
            central[2] + 42,
            &wide(1),
            "has no header where the directory says",
        ),
        (
            central[2] + 34,
            &[1, 0],
            "lies in another part of a split archive",
        ),
        (central[2] + 46, b"x", "has another name in its own header"),
        (local[2], b"XX", "has no header where the directory says"),
        (local[2] + 18, &wide(5), "has other sizes in its own header"),
        (
            local[2] + 26,
            &[0xff, 0xff],
            "does not lie before the archive's directory",
        ),
        (local[2] + 30, b"x", "has another name in its own header"),
    ] {
        refused(zip().patch(at, new).bytes, wanted);
    }
    // Sizes that claim more than the file has, in both headers alike.
    let bomb = zip()
        .patch(central[2] + 20, &wide(1 << 31))
        .patch(central[2] + 24, &wide(1 << 31));
    refused(
        bomb.patch(local[2] + 18, &wide(1 << 31)).bytes,
        "does not lie before the archive's directory",
    );
    // Encrypted in both headers alike.
    let locked = zip().patch(central[2] + 8, &[1, 0]).patch(local[2] + 6, &[1, 0]);
    refused(locked.bytes, "entry `m/data/0`: is encrypted");
    // Deflated in both, claiming to be much more than it is.
    let deflated = zip().patch(central[2] + 10, &[8, 0]).patch(local[2] + 8, &[8, 0]);
    let deflated = deflated
        .patch(central[2] + 24, &wide(u32::MAX - 1))
        .patch(local[2] + 22, &wide(u32::MAX - 1));
    refused(deflated.bytes, "entry `m/data/0`: is compressed (method 8)");
}

#[test]
fn archives_with_names_that_lead_out() {
    for name in [
        "/etc/passwd",
        "../x",
        "m/../../x",
        "m/..",
        "C:x",
        "m\\x",
        "m/\0",
        "m/\n",
        "",
    ] {
        let bytes = Zip::of(&[("m/data.pkl", b"\x80\x02}."), (name, b"")]).bytes;
        refused(bytes, "has a name that leads out of the archive");
    }
    let twice = Zip::of(&[("m/data.pkl", b"\x80\x02}."), ("m/x", b"1"), ("m/x", b"2")]).bytes;
    refused(twice, "entry `m/x` is listed twice in the archive's directory");
    let zip = Zip::of(&[("m/xx", b"12"), ("m/data.pkl", b"\x80\x02}.")]);
    let at = zip.central[1] + 46 - 4;
    refused(zip.patch(at, &[0; 4]).bytes, "has another name in its own header");
    refused(
        Zip::of(&[("data.pkl", b"\x80\x02}.")]).bytes,
        "is a zip archive without data.pkl",
    );
    let two = Zip::of(&[("a/data.pkl", b"\x80\x02}."), ("b/data.pkl", b"\x80\x02}.")]).bytes;
    refused(two, "holds two pickles, `a/data.pkl` and `b/data.pkl`");
}

#[test]
fn entries_that_share_bytes() {
    // The second entry's whole record lies within the first one's data.
    let inner = Zip::of(&[("m/y", b"12")]);
    let record = &inner.bytes[..inner.central[0]];
    let zip = Zip::of(&[("m/x", record), ("m/y", b"12")]);
    let at = (zip.local[0] + 30 + 3) as u32;
    let offset = zip.central[1] + 42;
    refused(
        zip.patch(offset, &at.to_le_bytes()).bytes,
        "entries `m/x` and `m/y` share bytes",
    );
}

#[test]
fn zip64_records_that_lie() {
    let bytes = by_torch("kinds.bin");
    let locator = bytes.len() - 42;
    let record = locator - 56;
    assert_eq!(
        (&bytes[locator..][..4], &bytes[record..][..4]),
        (&b"PK\x06\x07"[..], &b"PK\x06\x06"[..])
    );
    for (at, new, wanted) in [
        (
            locator + 8,
            u64::MAX.to_le_bytes(),
            "the zip64 end record does not lie before its locator",
        ),
        (
            locator + 8,
            0u64.to_le_bytes(),
            "there is no zip64 end record where its locator points",
        ),
        (
            record + 4,
            u64::MAX.to_le_bytes(),
            "the zip64 end record does not reach to its locator",
        ),
        (
            record + 24,
            u64::MAX.to_le_bytes(),
            "the archive's two end records contradict each other",
        ),
        (
            record + 40,
            1u64.to_le_bytes(),
            "the archive's two end records contradict each other",
        ),
        (
            record + 48,
            1u64.to_le_bytes(),
            "the archive's two end records contradict each other",
        ),
    ] {
        let mut bytes = bytes.clone();
        bytes[at..at + 8].copy_from_slice(&new);
        refused(bytes, wanted);
    }
}

#[test]
fn damaged_pickles_do_not_match_their_checksum() {
    let mut bytes = by_torch("kinds.bin");
    let at = bytes.windows(4).position(|window| window == b"bf16").unwrap();
    bytes[at] = b'q';
    refused(
        bytes,
        "entry `kinds/data.pkl`: does not match its checksum; the file is damaged",
    );
}

/// Every prefix of a real file, and every single byte changed in its pickle and records: errors or tensors within the
/// file, never a panic.
#[test]
fn real_archives_cut_or_bent_anywhere() {
    let whole = by_torch("no_checksums.bin");
    for len in 0..whole.len() {
        assert!(read(whole[..len].to_vec()).is_err(), "{len}");
    }
    let data = Archive::open(SourceFile::memory("m.bin", whole.clone())).unwrap();
    let storages = data
        .entries()
        .filter(|(name, _)| name.contains("/data/"))
        .map(|(_, entry)| entry.range.clone());
    let (first, last) = storages.fold((usize::MAX, 0), |(first, last), range| {
        (first.min(range.start as usize), last.max(range.end as usize))
    });
    for at in (0..first).chain(last..whole.len()) {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let Ok(found) = read(bytes) else { continue };
            for tensor in found.tensors {
                assert!(tensor.offset() + tensor.count() * tensor.dtype().size() <= whole.len() as u64);
            }
        }
    }
}
