//! A package appears whole or not at all, and nothing but a package is ever replaced.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Pattern, constant, files, model};
use corer_mil::{DataType, Opset, TensorType, Value, WeightError, WeightSource};
use corer_proto::{Model, Package, WriteError, WriteOptions, package_digest, write};

fn overwrite() -> WriteOptions<'static> {
    WriteOptions {
        overwrite: true,
        ..WriteOptions::default()
    }
}

/// A model with `mebibytes` of weights that depend on `seed`.
fn weighty(mebibytes: u64, seed: u64) -> Model {
    let weights = (0..mebibytes).map(|index| {
        let ty = TensorType::new(DataType::UInt8, [1u64 << 20]);
        let source = Arc::new(Pattern {
            len: 1 << 20,
            seed: seed * 1000 + index,
        });
        constant(&format!("w{index}"), Value::weight(ty, source))
    });
    model(Opset::CoreMl6, weights.collect())
}

fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_existing_package_stays_unless_told_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    write(&path, &weighty(1, 1), &WriteOptions::default()).unwrap();
    let before = files(&path);
    let error = write(&path, &weighty(1, 2), &WriteOptions::default()).unwrap_err();
    assert!(matches!(error, WriteError::Exists { .. }), "{error}");
    assert!(files(&path) == before);
    write(&path, &weighty(1, 2), &overwrite()).unwrap();
    assert!(files(&path) != before);
    assert_eq!(entries(directory.path()), ["m.mlpackage"]);
}

#[test]
fn nothing_but_a_package_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("project")).unwrap();
    fs::write(at("project/thesis.tex"), "years of work").unwrap();
    fs::create_dir(at("web")).unwrap();
    fs::write(at("web/Manifest.json"), r#"{"name": "a web page's manifest"}"#).unwrap();
    fs::write(at("file"), "text").unwrap();
    write(&at("real"), &weighty(1, 1), &WriteOptions::default()).unwrap();
    symlink(at("real"), at("link")).unwrap();
    let before = files(directory.path());
    for name in ["project", "web", "file", "link"] {
        let error = write(&at(name), &weighty(1, 2), &overwrite()).unwrap_err();
        assert!(matches!(error, WriteError::NotAPackage { .. }), "{name}: {error}");
    }
    assert!(files(directory.path()) == before);
    assert_eq!(
        entries(directory.path()),
        ["file", "link", "project", "real", "web"]
    );
}

#[test]
fn paths_that_name_nothing_are_refused() {
    for path in ["", "/", ".."] {
        let error = write(Path::new(path), &weighty(0, 1), &WriteOptions::default()).unwrap_err();
        assert!(matches!(error, WriteError::BadPath { .. }), "{path}: {error}");
    }
    let directory = tempfile::tempdir().unwrap();
    let error = write(
        &directory.path().join("no/m.mlpackage"),
        &weighty(0, 1),
        &WriteOptions::default(),
    );
    assert!(matches!(error, Err(WriteError::Io { .. })), "{error:?}");
}

/// Fails, or panics, once past its first half.
#[derive(Debug)]
struct Broken {
    panics: bool,
}

impl WeightSource for Broken {
    fn byte_len(&self) -> u64 {
        8 << 20
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), WeightError> {
        out.fill(1);
        if offset < 4 << 20 {
            return Ok(());
        }
        assert!(!self.panics, "as asked");
        Err(WeightError {
            place: "tensor `t`".into(),
            reason: format!("value at {offset} overflows"),
        })
    }
}

#[test]
fn a_weight_that_fails_leaves_the_old_package_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    write(&path, &weighty(1, 1), &WriteOptions::default()).unwrap();
    let before = files(&path);
    let broken = |panics| {
        let ty = TensorType::new(DataType::UInt8, [8u64 << 20]);
        model(
            Opset::CoreMl6,
            vec![constant("w", Value::weight(ty, Arc::new(Broken { panics })))],
        )
    };
    // Whichever thread fails first in time, the first in the file is named.
    for threads in [1, 2, 5] {
        let options = WriteOptions {
            threads: Some(threads),
            ..overwrite()
        };
        let error = write(&path, &broken(false), &options).unwrap_err();
        assert_eq!(
            error.to_string(),
            "function `main`, operation `w` (const), attribute `val`: tensor `t`: value at 5242752 overflows"
                .replace("5242752", &(5 * 1048576 - 128).to_string()),
        );
    }
    let panicked = std::panic::catch_unwind(|| write(&path, &broken(true), &overwrite()));
    assert!(panicked.is_err());
    assert!(files(&path) == before);
    assert_eq!(entries(directory.path()), ["m.mlpackage"]);
}

#[test]
fn what_a_dead_writer_left_is_cleared_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in [
        ".m.mlpackage.tmp-123",
        ".m.mlpackage.tmp-123-4",
        ".m.mlpackage.tmp-7",
        ".m.mlpackage.tmp-notes",
    ] {
        fs::create_dir_all(at(name).join("Data")).unwrap();
    }
    fs::create_dir(at(".n.mlpackage.tmp-123")).unwrap();
    // One is still being written: its writer holds the lock.
    let live = fs::File::open(at(".m.mlpackage.tmp-7")).unwrap();
    live.lock().unwrap();
    write(&at("m.mlpackage"), &weighty(0, 1), &WriteOptions::default()).unwrap();
    let expected = [
        ".m.mlpackage.tmp-7",
        ".m.mlpackage.tmp-notes",
        ".n.mlpackage.tmp-123",
        "m.mlpackage",
    ];
    assert_eq!(entries(directory.path()), expected);
}

#[test]
fn writers_to_the_same_target_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    let digests: Vec<String> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4u64)
            .map(|seed| {
                let path = &path;
                scope.spawn(move || {
                    let written: Vec<String> = (0..5)
                        .map(|_| write(path, &weighty(2, seed), &overwrite()).unwrap().digest)
                        .collect();
                    written
                })
            })
            .collect();
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect()
    });
    assert!(digests.contains(&package_digest(&path).unwrap()));
    write(&path, &weighty(1, 9), &overwrite()).unwrap();
    assert_eq!(entries(directory.path()), ["m.mlpackage"]);
}

const TARGET: &str = "CORER_TEST_TARGET";
const MEBIBYTES: &str = "CORER_TEST_MEBIBYTES";

/// Not a test of its own: what [`child`] runs in a process that may be killed.
#[test]
fn in_a_child() {
    let Some(target) = std::env::var_os(TARGET).map(PathBuf::from) else {
        return;
    };
    let mebibytes = std::env::var(MEBIBYTES).unwrap().parse().unwrap();
    let once = std::env::var_os("CORER_TEST_ONCE").is_some();
    for round in 0.. {
        match write(&target, &weighty(mebibytes, round % 2), &overwrite()) {
            Ok(_) if once => return,
            Ok(_) => {}
            Err(error) => {
                fs::write(target.with_extension("error"), format!("{error}\n{error:?}")).unwrap();
                return;
            }
        }
    }
}

fn child(wrapper: &[&str], target: &Path, mebibytes: u64) -> Command {
    let test = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(&test),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(&test);
            command
        }
    };
    command
        .args(["--exact", "in_a_child", "--quiet"])
        .env(TARGET, target)
        .env(MEBIBYTES, mebibytes.to_string())
        .stdout(std::process::Stdio::null());
    command
}

/// Kills the child should a check fail while it runs.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_package_or_the_new() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    let mebibytes = 6;
    let whole: Vec<String> = (0..2)
        .map(|seed| {
            write(&path, &weighty(mebibytes, seed), &overwrite())
                .unwrap()
                .digest
        })
        .collect();
    // How long a child takes to be in the midst of its second write, on this machine and at its present load.
    let begun = Instant::now();
    let status = child(&[], &path, mebibytes)
        .env("CORER_TEST_ONCE", "1")
        .status()
        .unwrap();
    assert!(status.success());
    let once = begun.elapsed();
    let mut interrupted = 0;
    for attempt in 0..40u32 {
        let mut running = Killed(child(&[], &path, mebibytes).spawn().unwrap());
        // Spread over two writes, in steps that don't repeat.
        std::thread::sleep(
            once * 2 * ((attempt * 17) % 40) / 40 + Duration::from_micros(u64::from(attempt) * 37),
        );
        running.0.kill().unwrap();
        assert_eq!(running.0.wait().unwrap().signal(), Some(9));
        let digest = package_digest(&path).unwrap();
        assert!(
            whole.contains(&digest),
            "attempt {attempt}: neither the old package nor the new"
        );
        Package::open(&path).unwrap();
        if entries(directory.path()).len() > 1 {
            interrupted += 1;
        }
    }
    assert!(interrupted > 0, "none of 40 kills met a write in progress");
    write(&path, &weighty(1, 1), &overwrite()).unwrap();
    assert_eq!(entries(directory.path()), ["m.mlpackage"]);
}

#[test]
fn a_full_disk_is_said_and_leaves_the_old_package() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    write(&path, &weighty(1, 1), &WriteOptions::default()).unwrap();
    let before = files(&path);
    // A file size limit of 2 MiB stands for the full disk; its signal is ignored, so that writing fails instead.
    let wrapper = ["bash", "-c", r#"trap "" XFSZ; ulimit -f 2048; exec "$@""#, "bash"];
    let status = child(&wrapper, &path, 3).status().unwrap();
    assert!(status.success());
    let error = fs::read_to_string(path.with_extension("error")).unwrap();
    assert!(error.contains("no room for 3145984 bytes"), "{error}");
    assert!(error.contains("NoSpace"), "{error}");
    fs::remove_file(path.with_extension("error")).unwrap();
    assert!(files(&path) == before);
    assert_eq!(entries(directory.path()), ["m.mlpackage"]);
}
