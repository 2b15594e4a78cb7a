//! Every command takes every format: inspect, compress, verify, restore, compare, convert, on one file of each. And what
//! every reader promises.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::support::{assert_verifies, compress, fixture, rankfold};
use rankfold::checkpoint::Checkpoint;
use rankfold::format::FORMATS;

/// A GGUF of one table of halves.
fn gguf() -> Vec<u8> {
    let name = "token_embd.weight";
    let mut out = [b"GGUF", &3u32.to_le_bytes()[..], &1u64.to_le_bytes(), &0u64.to_le_bytes()].concat();
    out.extend([&(name.len() as u64).to_le_bytes(), name.as_bytes(), &2u32.to_le_bytes()].concat());
    out.extend([64u64, 200].iter().flat_map(|extent| extent.to_le_bytes()));
    out.extend([&1u32.to_le_bytes()[..], &0u64.to_le_bytes()].concat());
    out.resize(out.len().next_multiple_of(32), 0);
    let half = |at: usize| half::f16::from_f32((at * 7919 % 251) as f32 / 100.0 - 1.0);
    out.extend((0..200 * 64).flat_map(|at| half(at).to_le_bytes()));
    out
}

fn glove() -> Vec<u8> {
    let line = |row: usize| {
        let numbers: Vec<_> = (0..32).map(|column| format!("{}", (row * 31 + column * 17) % 23)).collect();
        format!("w{row} {}\n", numbers.join(" "))
    };
    (0..200).flat_map(|row| line(row).into_bytes()).collect()
}

/// A file of each format with the flags by which a table of it is taken.
fn cases(directory: &Path) -> Vec<(&'static str, PathBuf, Vec<&'static str>)> {
    let written = |name: &str, content: &[u8]| {
        let path = directory.join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let low_rank = vec!["--reduction", "0.5"];
    let any = ["--include", "*"];
    vec![
        ("safetensors", fixture("bert-tied"), low_rank.clone()),
        ("pytorch", fixture("pytorch"), low_rank.clone()),
        ("npz", fixture("numpy/arrays.npz"), [&["--rank", "2", "--include", "table"][..]].concat()),
        ("npy", fixture("numpy/table.npy"), [&["--rank", "2"][..], &any].concat()),
        ("word-vectors", written("glove.txt", &glove()), vec!["--rank", "5"]),
        ("gguf", written("model.gguf", &gguf()), vec!["--method", "ggml", "--type", "q5_1"]),
        ("onnx", fixture("onnx/gemm.onnx"), low_rank),
    ]
}

#[test]
fn every_command_takes_every_format() {
    let directory = tempfile::tempdir().unwrap();
    let cases = cases(directory.path());
    for format in FORMATS {
        let case = cases.iter().find(|(name, ..)| *name == format.name());
        let (name, path, flags) = case.unwrap_or_else(|| panic!("no case for {}", format.name()));
        let [out, dense, plain] = ["out", "dense", "plain"].map(|kind| directory.path().join(format!("{name}-{kind}")));
        rankfold([Path::new("inspect"), path]).assert().code(0);
        compress(path, &out, flags).assert().code(0);
        assert_verifies(&out);
        rankfold([Path::new("verify"), &out, Path::new("--source"), path]).assert().code(0);
        rankfold([Path::new("inspect"), &out]).assert().code(0);
        rankfold([Path::new("restore"), &out, Path::new("-o"), &dense]).assert().code(0);
        assert_verifies(&dense);
        rankfold([Path::new("convert"), path, &plain]).assert().code(0);
        assert_verifies(&plain);
        rankfold([Path::new("verify"), &plain, Path::new("--source"), path]).assert().code(0);
        let table = flags.iter().position(|flag| *flag == "--include").map(|at| ["--table", flags[at + 1]]);
        let mut compare = rankfold([Path::new("compare"), path]);
        compare.args(table.iter().flatten()).args(["--bits-per-parameter", "8", "--sample", "20"]).assert().code(0);
    }
}

#[test]
fn every_reader_says_which_tensors_are_mapped_and_streams_what_it_gives_whole() {
    let directory = tempfile::tempdir().unwrap();
    let mut mapped = [0, 0];
    for (name, path, _) in cases(directory.path()) {
        let checkpoint = Checkpoint::open(&path).unwrap();
        for (id, meta) in checkpoint.tensors() {
            let reader = checkpoint.shards()[id.shard].reader();
            let whole = reader.bytes(id.index).unwrap();
            // What is not mapped must never be taken whole where a tensor may be larger than memory.
            assert_eq!(matches!(whole, Cow::Borrowed(_)), reader.is_mapped(id.index), "{name}: `{}`", meta.name);
            mapped[usize::from(reader.is_mapped(id.index))] += 1;
            let mut streamed = Vec::new();
            let mut take = |piece: &[u8]| {
                streamed.extend_from_slice(piece);
                Ok(())
            };
            reader.stream(id.index, &mut take).unwrap();
            assert!(streamed == *whole && Some(whole.len() as u64) == meta.bytes(), "{name}: `{}`", meta.name);
        }
    }
    assert!(mapped[0] >= 1 && mapped[1] > 50, "{mapped:?}");
}
