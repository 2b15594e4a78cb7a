//! How fast tensors are copied from one file to another, digests included, against `cp`.
//!
//! `cargo bench --bench copy [-- MIB [DIRECTORY]]` makes a file of MIB mebibytes (1024) in DIRECTORY (the system's
//! for temporary files), copies it in turns with `cp` and `sync` and with this library, which flushes too, and
//! prints the least seconds of each and their ratio. The order changes from round to round, since page cache that
//! a virtual machine has to ask its host for makes whoever comes first slow.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rankfold::format::safetensors::{Layout, Writer};
use rankfold::tensor::{Dtype, TensorMeta};

const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let mebibytes: usize = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(parent)?;
    let [source, by_cp, by_us] = ["source", "cp", "rankfold"].map(|name| directory.path().join(name));
    make(&source, mebibytes)?;

    let mut seconds = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for turn in 0..seconds.len() {
            let kind = (round + turn) % seconds.len();
            for path in [&by_cp, &by_us] {
                let _ = std::fs::remove_file(path);
            }
            Command::new("sync").status()?;
            let start = Instant::now();
            match kind {
                0 => run("cp", &[&source, &by_cp])?,
                1 => {
                    run("cp", &[&source, &by_cp])?;
                    run("sync", &[&by_cp])?;
                }
                _ => copy(&source, &by_us)?,
            }
            seconds[kind].push(start.elapsed().as_secs_f64());
        }
    }
    let [cp, cp_sync, own] = seconds.map(least);
    println!("{mebibytes} MiB: cp {cp:.3} s, cp and sync {cp_sync:.3} s, rankfold with digests and flush {own:.3} s");
    println!("speed relative to cp and sync: {:.2}; to cp alone: {:.2}", cp_sync / own, cp / own);
    Ok(())
}

fn least(seconds: Vec<f64>) -> f64 {
    seconds.into_iter().fold(f64::INFINITY, f64::min)
}

fn run(program: &str, paths: &[&Path]) -> Result<(), Box<dyn std::error::Error>> {
    let status = Command::new(program).args(paths).status()?;
    if status.success() { Ok(()) } else { Err(format!("{program} fails").into()) }
}

/// A file of 32 equal tensors of bytes that do not compress.
fn make(path: &Path, mebibytes: usize) -> Result<(), Box<dyn std::error::Error>> {
    let length = (mebibytes << 20) / 32;
    let metas: Vec<_> = (0..32)
        .map(|index| TensorMeta { name: format!("tensor.{index}"), dtype: Dtype::U8, shape: vec![length] })
        .collect();
    let mut writer = Writer::create(path, Layout::new(&metas, &BTreeMap::new())?)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = vec![0; length];
    for index in 0..metas.len() {
        for word in bytes.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
        }
        writer.write(index, &bytes)?;
    }
    writer.finish()?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let reader = rankfold::format::open(from)?;
    let mut writer = Writer::create(to, Layout::new(reader.tensors(), reader.metadata())?)?;
    for index in 0..reader.tensors().len() {
        writer.write(index, &reader.bytes(index)?)?;
    }
    writer.finish()?;
    Ok(())
}
