//! The floor of a conversion: read a checkpoint, round its f32 values to f16, hash the source, write the result, fsync.
//!
//!     corer-floor MODEL_DIR OUT [--no-fsync]
//!
//! Nothing else is done: no graph, no names, no layout. Two threads, as fast as this program's author knew how: one hashes,
//! one rounds and writes; each reads the file for itself in pieces that stay in the cache. Whatever a converter takes beyond
//! this is its own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use half::f16;
use half::slice::HalfFloatSliceExt;
use sha2::{Digest, Sha256};

/// Small enough to be rounded and written out of the second-level cache.
const PIECE: usize = 512 << 10;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let durable = !arguments.iter().any(|a| a == "--no-fsync");
    arguments.retain(|a| a != "--no-fsync");
    let [model, out] = arguments.as_slice() else {
        eprintln!("usage: corer-floor MODEL_DIR OUT [--no-fsync]");
        return ExitCode::from(2);
    };
    match run(Path::new(model), Path::new(out), durable) {
        Ok(digest) => {
            println!("{digest}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("corer-floor: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The checkpoint's weight files in name order.
fn weight_files(model: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(model)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    files.retain(|p| p.extension().is_some_and(|e| e == "safetensors"));
    files.sort();
    Ok(files)
}

fn run(model: &Path, out: &Path, durable: bool) -> io::Result<String> {
    let files = weight_files(model)?;
    std::thread::scope(|scope| {
        let hasher = scope.spawn(|| hash(&files));
        write(&files, out, durable)?;
        hasher.join().expect("the hashing thread does not panic")
    })
}

fn hash(files: &[PathBuf]) -> io::Result<String> {
    let mut sha = Sha256::new();
    let mut piece = vec![0; PIECE];
    for path in files {
        let mut file = File::open(path)?;
        loop {
            let n = file.read(&mut piece)?;
            if n == 0 {
                break;
            }
            sha.update(&piece[..n]);
        }
    }
    Ok(sha.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// Takes the data of a safetensors file as f32 throughout, which the benchmark's checkpoints are.
fn write(files: &[PathBuf], out: &Path, durable: bool) -> io::Result<()> {
    let mut output = File::create(out)?;
    let mut wide = vec![0f32; PIECE / 4];
    let mut narrow = vec![f16::ZERO; PIECE / 4];
    for path in files {
        let file = File::open(path)?;
        let mut length = [0; 8];
        file.read_exact_at(&mut length, 0)?;
        let end = file.metadata()?.len();
        let mut at = u64::from_le_bytes(length).saturating_add(8);
        while at < end {
            let bytes = usize::try_from((end - at).min(PIECE as u64)).expect("a piece fits usize") & !3;
            if bytes == 0 {
                break;
            }
            let wide = &mut wide[..bytes / 4];
            let narrow = &mut narrow[..bytes / 4];
            file.read_exact_at(bytemuck::cast_slice_mut(wide), at)?;
            narrow.convert_from_f32_slice(wide);
            output.write_all(bytemuck::cast_slice(narrow))?;
            at += bytes as u64;
        }
    }
    if durable {
        output.sync_all()?;
    }
    Ok(())
}
