//! Checkpoints PyTorch, transformers and sentence-transformers wrote, against other readers of them.

use std::path::Path;
use std::process::Command;

use corer_converter::source::{
    Checkpoint, DenseActivation, LazyTensor, PoolingMode, SentenceStep, Source, SourceFile, StoredType,
    TensorSet, torch,
};

use crate::fixture;

/// Checks every tensor of a safetensors file against the safetensors crate; returns how many there were.
fn agrees_with_the_crate(tensors: &TensorSet, file: &Path) -> usize {
    let bytes = std::fs::read(file).unwrap();
    let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (name, view) in theirs.tensors() {
        let slice = tensors.get(&name).unwrap();
        let shape: Vec<u64> = view.shape().iter().map(|size| *size as u64).collect();
        assert_eq!(slice.shape(), shape, "{name}");
        let wanted: Vec<f32> = match slice.dtype() {
            StoredType::F32 => view
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            StoredType::F16 => view
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|b| half::f16::from_le_bytes(*b).to_f32())
                .collect(),
            StoredType::BF16 => view
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|b| half::bf16::from_le_bytes(*b).to_f32())
                .collect(),
            other => panic!("{other}"),
        };
        assert_eq!(
            LazyTensor::new(slice.clone()).read_f32().unwrap(),
            wanted,
            "{name}"
        );
    }
    theirs.len()
}

#[test]
fn safetensors_whole_and_in_shards() {
    for name in [
        "feature-extraction",
        "fill-mask",
        "formats/f16",
        "formats/bf16",
        "formats/prefixed",
    ] {
        let folder = fixture(name);
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let count = agrees_with_the_crate(&checkpoint.tensors, &folder.join("model.safetensors"));
        assert_eq!(checkpoint.tensors.len(), count);
        assert!(checkpoint.sentence.is_none());
        assert_eq!(checkpoint.config["model_type"], "bert");
    }
    let folder = fixture("formats/sharded");
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let shards = (1..=3).map(|shard| folder.join(format!("model-0000{shard}-of-00003.safetensors")));
    let counts: usize = shards
        .map(|shard| agrees_with_the_crate(&checkpoint.tensors, &shard))
        .sum();
    assert_eq!(checkpoint.tensors.len(), counts);
}

/// `formats/pickle` and `formats/sharded` hold the same network, one as torch.save wrote it.
#[test]
fn pickles_hold_what_safetensors_hold() {
    let pickled = Checkpoint::open(&fixture("formats/pickle")).unwrap();
    let safe = Checkpoint::open(&fixture("formats/sharded")).unwrap();
    for slice in safe.tensors.iter() {
        let other = pickled.tensors.get(slice.name()).unwrap();
        assert_eq!(other.shape(), slice.shape());
        let read =
            |slice: &corer_converter::source::TensorSlice| LazyTensor::new(slice.clone()).read_f32().unwrap();
        assert_eq!(read(other), read(slice), "{}", slice.name());
    }
    let extra: Vec<&str> = pickled
        .tensors
        .names()
        .filter(|name| safe.tensors.get(name).is_none())
        .collect();
    assert_eq!(extra, ["embeddings.position_ids"]);
    assert_eq!(pickled.tensors.get(extra[0]).unwrap().dtype(), StoredType::I64);
}

#[test]
fn tied_tensors_share_their_storage() {
    let checkpoint = Checkpoint::open(&fixture("formats/pickle-tied")).unwrap();
    let at = |name: &str| checkpoint.tensors.get(name).unwrap().offset();
    assert_eq!(
        at("bert.embeddings.word_embeddings.weight"),
        at("cls.predictions.decoder.weight")
    );
}

/// Every kind of tensor torch.save writes, in every protocol it offers.
#[test]
fn tensors_of_every_kind() {
    let folder = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/source/written_by_torch"
    ));
    let grid: Vec<f32> = (0..12).map(|value| value as f32 - 5.5).collect();
    let transposed: Vec<f32> = (0..12).map(|at| grid[at % 3 * 4 + at / 3]).collect();
    for name in [
        "kinds.bin",
        "kinds_protocol_4.bin",
        "kinds_protocol_5.bin",
        "no_checksums.bin",
        "rezipped.bin",
    ] {
        let found = torch::read(&SourceFile::open(&folder.join(name)).unwrap()).unwrap();
        assert!(found.others.is_empty());
        let get = |name: &str| found.tensors.iter().find(|slice| slice.name() == name).unwrap();
        for (name, dtype, shape, values) in [
            ("f32", StoredType::F32, &[3, 4][..], &grid[..]),
            ("f16", StoredType::F16, &[3, 4], &grid),
            ("bf16", StoredType::BF16, &[3, 4], &grid),
            ("f64", StoredType::F64, &[3, 4], &grid),
            ("transposed", StoredType::F32, &[4, 3], &transposed),
            ("transposed_half", StoredType::F16, &[4, 3], &transposed),
            ("second_row", StoredType::F32, &[4], &grid[4..8]),
            ("last_rows", StoredType::F32, &[2, 4], &grid[4..]),
            ("parameter", StoredType::F32, &[3, 4], &grid),
            ("frozen", StoredType::F32, &[3, 4], &grid),
            ("scalar", StoredType::F32, &[], &[2.5]),
            ("empty", StoredType::F32, &[0, 7], &[]),
            ("one_row", StoredType::F32, &[1, 4], &[0.0, 1.0, 2.0, 3.0]),
        ] {
            let slice = get(name);
            assert_eq!((slice.dtype(), slice.shape()), (dtype, shape), "{name}");
            assert_eq!(
                LazyTensor::new(slice.clone()).read_f32().unwrap(),
                values,
                "{name}"
            );
        }
        // A transpose on disk can be picked from and turned back like any other matrix.
        let lazy = || LazyTensor::new(get("transposed").clone());
        assert_eq!(lazy().transpose().unwrap().read_f32().unwrap(), grid);
        assert_eq!(
            lazy().select_rows(vec![2].into()).unwrap().read_f32().unwrap(),
            [-3.5, 0.5, 4.5]
        );
        for (name, dtype, count) in [
            ("i64", StoredType::I64, 3),
            ("i32", StoredType::I32, 3),
            ("i16", StoredType::I16, 3),
            ("i8", StoredType::I8, 3),
            ("u8", StoredType::U8, 3),
            ("u16", StoredType::U16, 3),
            ("boolean", StoredType::Bool, 2),
            ("f8", StoredType::F8E4M3, 2),
        ] {
            assert_eq!((get(name).dtype(), get(name).count()), (dtype, count), "{name}");
        }
    }
    let found = torch::read(&SourceFile::open(&folder.join("with_a_number.bin")).unwrap()).unwrap();
    assert_eq!((found.tensors.len(), found.others), (1, vec!["epoch".to_owned()]));
}

#[test]
fn sentence_transformers_directories() {
    let open = |name: &str| Checkpoint::open(&fixture(name)).unwrap().sentence.unwrap();
    let mean = open("sentence-mean");
    assert_eq!(
        (mean.pooling.modes, mean.pooling.dimension),
        (vec![PoolingMode::Mean], 64)
    );
    assert!(matches!(mean.steps[..], [SentenceStep::Normalize]));
    assert_eq!(mean.max_seq_length, Some(64));

    let max = open("sentence-max");
    assert_eq!(max.pooling.modes, [PoolingMode::Max]);
    assert!(max.steps.is_empty());

    let dense = open("sentence-cls-dense");
    assert_eq!(dense.pooling.modes, [PoolingMode::Cls]);
    let [SentenceStep::Dense(module), SentenceStep::Normalize] = &dense.steps[..] else {
        panic!("{:?}", dense.steps)
    };
    assert_eq!((module.in_features, module.out_features), (32, 24));
    assert_eq!(
        (module.activation, module.folder.as_str()),
        (DenseActivation::Tanh, "2_Dense")
    );
    assert_eq!(module.weight.shape(), [24, 32]);
    assert_eq!(module.bias.as_ref().unwrap().shape(), [24]);
}

/// The digest is what `sha256sum` says, whole or listed.
#[test]
fn digests_are_those_sha256sum_prints() {
    let sum = |folder: &Path, files: &[&str]| {
        let output = Command::new("sha256sum")
            .args(files)
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(output.status.success());
        output.stdout
    };
    let folder = fixture("feature-extraction");
    let source = Source::open(&folder).unwrap();
    let mut seen = 0;
    let digest = source.digest(&mut |bytes| seen += bytes).unwrap();
    assert_eq!(seen, source.digest_bytes());
    let line = String::from_utf8(sum(&folder, &["model.safetensors"])).unwrap();
    assert_eq!(digest.summary(), line.split(' ').next().unwrap());
    assert_eq!(digest.configuration[0].name, "config.json");
    assert_eq!(source.spawn_digest(|_| ()).unwrap().join().unwrap(), digest);

    let folder = fixture("sentence-cls-dense");
    let digest = Source::open(&folder).unwrap().digest(&mut |_| ()).unwrap();
    let names: Vec<&str> = digest.weights.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["2_Dense/model.safetensors", "model.safetensors"]);
    let names: Vec<&str> = digest
        .configuration
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    let wanted = [
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "config.json",
        "modules.json",
        "sentence_bert_config.json",
    ];
    assert_eq!(names, wanted);
    // sha256sum 2_Dense/model.safetensors model.safetensors | sha256sum
    let listing = tempfile::tempdir().unwrap();
    std::fs::write(
        listing.path().join("l"),
        sum(&folder, &["2_Dense/model.safetensors", "model.safetensors"]),
    )
    .unwrap();
    let line = String::from_utf8(sum(listing.path(), &["l"])).unwrap();
    assert_eq!(digest.summary(), line.split(' ').next().unwrap());
}
