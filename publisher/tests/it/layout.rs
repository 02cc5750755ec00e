//! A folder as a registry: content-addressed, whole or not at all, the same bytes every time.

use std::cell::Cell;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use corer_publisher::oci::Descriptor;
use corer_publisher::trust::Policy;
use corer_publisher::{
    ArtifactError, Content, Digest, Fault, Layout, NoProgress, Progress, PublishError, Store, Version,
    publish, pull,
};

use crate::harness::{ONE_FUNCTION, Scratch, assemble, bundle, tree};

fn tag(name: &str) -> Version {
    Version::Tag(name.to_owned())
}

#[test]
fn what_is_pulled_is_what_was_published() {
    let scratch = Scratch::new();
    let bundle = bundle(&scratch);
    let layout = Layout::create(&scratch.path("layout")).expect("a layout");
    let published = publish(&bundle, &[], &layout, &["1.0"], &NoProgress).expect("published");
    assert_eq!((published.blobs_sent, published.blobs_present), (8, 0));
    drop(layout);
    for (name, bytes) in tree(&scratch.path("layout/blobs/sha256")) {
        assert_eq!(Digest::of(&bytes).hex(), name);
    }
    let layout = Layout::open(&scratch.path("layout")).expect("a layout");
    let pulled = pull(
        &layout,
        &tag("1.0"),
        &scratch.path("out"),
        &Policy::default(),
        &NoProgress,
    )
    .expect("pulled");
    assert!(pulled.passed);
    assert_eq!(pulled.digest, bundle.manifest.digest);
    assert_eq!(
        tree(&scratch.path("out/X.mlpackage")),
        tree(&scratch.path("X.mlpackage"))
    );
    let by_digest = Version::Digest(pulled.digest);
    pull(
        &layout,
        &by_digest,
        &scratch.path("again"),
        &Policy::default(),
        &NoProgress,
    )
    .expect("pulled");
    assert_eq!(tree(&scratch.path("again")), tree(&scratch.path("out")));
}

#[test]
fn equal_bundles_are_equal_bytes() {
    let layouts = [Scratch::new(), Scratch::new()].map(|scratch| {
        let layout = Layout::create(&scratch.path("layout")).expect("a layout");
        publish(&bundle(&scratch), &[], &layout, &["1.0"], &NoProgress).expect("published");
        tree(&scratch.path("layout"))
    });
    assert_eq!(layouts[0], layouts[1]);
}

#[test]
fn what_is_there_is_not_written_again() {
    let scratch = Scratch::new();
    let bundle = bundle(&scratch);
    let layout = Layout::create(&scratch.path("layout")).expect("a layout");
    publish(&bundle, &[], &layout, &["1.0"], &NoProgress).expect("published");
    let inodes = || {
        let files = tree(&scratch.path("layout")).into_keys();
        let inode = |name: String| {
            fs::metadata(scratch.path("layout").join(name))
                .expect("a file")
                .ino()
        };
        files.map(inode).collect::<Vec<_>>()
    };
    let before = inodes();
    let again = publish(&bundle, &[], &layout, &["1.0"], &NoProgress).expect("published");
    assert_eq!(
        (again.blobs_sent, again.bytes_sent, again.tags_moved),
        (0, 0, vec![])
    );
    assert_eq!(inodes(), before);
    let other = publish(&bundle, &[], &layout, &["latest"], &NoProgress).expect("published");
    assert_eq!(
        (other.blobs_sent, other.tags_moved),
        (0, vec!["latest".to_owned()])
    );
}

#[test]
fn a_tag_moves_and_the_others_stay() {
    let scratch = Scratch::new();
    let first = bundle(&scratch);
    let layout = Layout::create(&scratch.path("layout")).expect("a layout");
    publish(&first, &[], &layout, &["1.0", "latest"], &NoProgress).expect("published");
    let second = assemble(&[scratch.package(ONE_FUNCTION, "Y.mlpackage")], &[], true).expect("a bundle");
    publish(&second, &[], &layout, &["latest"], &NoProgress).expect("published");
    let digest = |name: &str| layout.manifest(&tag(name)).expect("a manifest").0.digest;
    assert_eq!(digest("1.0"), first.manifest.digest);
    assert_eq!(digest("latest"), second.manifest.digest);
}

#[test]
fn a_tampered_blob_is_refused_and_nothing_is_left() {
    let scratch = Scratch::new();
    let bundle = bundle(&scratch);
    let layout = Layout::create(&scratch.path("layout")).expect("a layout");
    publish(&bundle, &[], &layout, &["1.0"], &NoProgress).expect("published");
    let blobs = scratch.path("layout/blobs/sha256");
    let all = bundle.layers.iter().map(|(layer, _)| layer);
    for blob in all.chain([&bundle.config.0, &bundle.manifest]) {
        let path = blobs.join(blob.digest.hex());
        let good = fs::read(&path).expect("a blob");
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for spoiled in [
            flipped,
            good[..good.len() - 1].to_vec(),
            [&good[..], b"x"].concat(),
        ] {
            fs::write(&path, spoiled).expect("written");
            let result = pull(
                &layout,
                &tag("1.0"),
                &scratch.path("out"),
                &Policy::default(),
                &NoProgress,
            );
            let Err(PublishError::Artifact {
                source: ArtifactError::Mismatch { .. },
                ..
            }) = result
            else {
                panic!("{}: {result:?}", blob.media_type);
            };
        }
        fs::remove_file(&path).expect("removed");
        let result = pull(
            &layout,
            &tag("1.0"),
            &scratch.path("out"),
            &Policy::default(),
            &NoProgress,
        );
        assert!(matches!(result, Err(PublishError::Artifact { .. })), "{result:?}");
        fs::write(&path, &good).expect("written");
    }
    let mut names: Vec<_> = fs::read_dir(scratch.path(""))
        .expect("scratch")
        .map(|e| e.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["X.mlpackage", "layout", "report.json"]);
    // Publishing anew repairs it.
    let path = blobs.join(bundle.layers[3].0.digest.hex());
    fs::write(&path, b"spoiled").expect("written");
    let repaired = publish(&bundle, &[], &layout, &["1.0"], &NoProgress).expect("published");
    assert_eq!(repaired.blobs_sent, 1);
    pull(
        &layout,
        &tag("1.0"),
        &scratch.path("out"),
        &Policy::default(),
        &NoProgress,
    )
    .expect("pulled");
}

/// A store that fails when it has taken so many blobs.
struct Failing<'a> {
    layout: &'a Layout,
    left: Cell<usize>,
}

impl Store for Failing<'_> {
    fn place(&self) -> String {
        self.layout.place()
    }

    fn holds(&self, blob: &Descriptor, progress: &dyn Progress) -> Result<bool, PublishError> {
        self.layout.holds(blob, progress)
    }

    fn put(&self, blob: &Descriptor, content: &Content, progress: &dyn Progress) -> Result<(), PublishError> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(PublishError::Registry {
                place: self.place(),
                reason: "gone".into(),
                fault: Fault::Passing(None),
            });
        };
        self.left.set(left);
        self.layout.put(blob, content, progress)
    }

    fn tag(&self, manifest: &Descriptor, bytes: &[u8], tag: &str) -> Result<bool, PublishError> {
        self.layout.tag(manifest, bytes, tag)
    }

    fn manifest(&self, version: &Version) -> Result<(Descriptor, Vec<u8>), PublishError> {
        self.layout.manifest(version)
    }

    fn attach(&self, manifest: &Descriptor, bytes: &[u8], subject: &Digest) -> Result<bool, PublishError> {
        self.layout.attach(manifest, bytes, subject)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, PublishError> {
        self.layout.referrers(subject)
    }

    fn read(&self, blob: &Descriptor) -> Result<Box<dyn Read + '_>, PublishError> {
        self.layout.read(blob)
    }
}

#[test]
fn a_publication_cut_short_tags_nothing_and_the_next_sends_the_rest() {
    for kept in 0..8 {
        let scratch = Scratch::new();
        let bundle = bundle(&scratch);
        let layout = Layout::create(&scratch.path("layout")).expect("a layout");
        let store = Failing {
            layout: &layout,
            left: Cell::new(kept),
        };
        assert!(publish(&bundle, &[], &store, &["1.0"], &NoProgress).is_err());
        assert!(matches!(
            layout.manifest(&tag("1.0")),
            Err(PublishError::Registry { .. })
        ));
        let rest = publish(&bundle, &[], &layout, &["1.0"], &NoProgress).expect("published");
        assert_eq!((rest.blobs_sent, rest.blobs_present), (8 - kept, kept));
    }
}

#[test]
fn a_file_that_changes_while_it_is_published_is_not_published() {
    let scratch = Scratch::new();
    let bundle = bundle(&scratch);
    fs::write(scratch.path("X.mlpackage/Manifest.json"), b"{}").expect("written");
    let layout = Layout::create(&scratch.path("layout")).expect("a layout");
    let result = publish(&bundle, &[], &layout, &["1.0"], &NoProgress);
    assert!(matches!(result, Err(PublishError::Changed { .. })), "{result:?}");
    assert!(layout.manifest(&tag("1.0")).is_err());
}

#[test]
fn what_killed_writers_left_is_cleared_away() {
    let scratch = Scratch::new();
    let blobs = scratch.path("layout/blobs/sha256");
    fs::create_dir_all(&blobs).expect("directories");
    for left in [
        blobs.join(".corer-unfinished-abc"),
        scratch.path("layout/.corer-unfinished-def"),
    ] {
        fs::write(left, b"half").expect("written");
    }
    let layout = Layout::create(&scratch.path("layout")).expect("a layout");
    publish(&bundle(&scratch), &[], &layout, &["1.0"], &NoProgress).expect("published");
    let unfinished = |name: &String| name.contains("unfinished");
    assert!(!tree(&scratch.path("layout")).keys().any(unfinished));
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("photos")).expect("a directory");
    fs::write(scratch.path("photos/cat.jpg"), b"cat").expect("written");
    let result = Layout::create(&scratch.path("photos"));
    assert!(matches!(result, Err(PublishError::Registry { .. })), "{result:?}");
    assert_eq!(tree(&scratch.path("photos")).len(), 1);
}
