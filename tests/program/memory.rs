//! Tables larger than the memory that the program is given.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{RANKFOLD, assert_verifies};
use serde_json::Value;

/// What moves bytes may take beyond the files that it maps.
const BOUND: usize = 64 << 20;

/// What the matrix products of the eigendecomposition reserve, untouched for the most part, for each of two threads: twice
/// the last cache, which `faer` takes for 32 MiB at least.
fn reserved() -> usize {
    let size = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index3/size").unwrap_or_default();
    let kib = size.trim().strip_suffix('K').and_then(|kib| kib.parse::<usize>().ok()).unwrap_or_default();
    2 * 2 * (kib << 10).max(32 << 20)
}

/// Runs rankfold with `arguments`, which may reserve no more than `limit` bytes that can be written to (`RLIMIT_DATA`:
/// heap and stacks of threads; mapped files do not count). Fails unless it is done, or where anonymous memory was seen
/// to be more than `bound` bytes.
fn within(bound: usize, limit: usize, arguments: &[&str]) {
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -d \"$0\" && exec \"$@\"", &(limit >> 10).to_string(), RANKFOLD, "--threads", "2"])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
        peak = peak.max(kib.unwrap_or_default() << 10);
        std::thread::sleep(Duration::from_millis(3));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(0 < peak && peak <= bound, "{arguments:?}: {peak} bytes of anonymous memory");
}

/// A file of `head`, then a hole of `hole` bytes, which takes no room on the disk.
fn sparse(path: PathBuf, head: &[u8], hole: usize) -> PathBuf {
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(head).unwrap();
    file.set_len((head.len() + hole) as u64).unwrap();
    path
}

/// A safetensors file of a table [rows, columns] of singles that is zero but for `spikes` of its rows.
fn table(path: PathBuf, rows: usize, columns: usize, spikes: usize) -> PathBuf {
    let bytes = 4 * rows * columns;
    let json =
        format!(r#"{{"embedding.weight":{{"dtype":"F32","shape":[{rows},{columns}],"data_offsets":[0,{bytes}]}}}}"#);
    let head = [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat();
    let start = head.len() as u64;
    let path = sparse(path, &head, bytes);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let mut state = 7u32;
    for spike in 0..spikes {
        let row: Vec<u8> = (0..columns)
            .flat_map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((state >> 8) as f32 / (1 << 23) as f32 - 1.0).to_le_bytes()
            })
            .collect();
        let place = start + (4 * columns * (spike * (rows / spikes))) as u64;
        file.write_all_at(&row, place).unwrap();
    }
    path
}

fn manifest(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("rankfold.json")).unwrap()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn conversions_of_files_larger_than_the_memory_allowed_succeed() {
    let sandbox = tempfile::tempdir().unwrap();
    let place = |name: &str| sandbox.path().join(name);
    let (rows, columns) = (360_000usize, 64usize);
    let bytes = 4 * rows * columns;
    assert!(bytes > BOUND + (16 << 20));
    let npy = |order: &str| {
        let literal = format!("{{'descr': '<f4', 'fortran_order': {order}, 'shape': ({rows}, {columns}), }}\n");
        [b"\x93NUMPY\x01\0", &(literal.len() as u16).to_le_bytes()[..], literal.as_bytes()].concat()
    };
    let gguf = {
        let header = [b"GGUF", &3u32.to_le_bytes()[..], &1u64.to_le_bytes(), &0u64.to_le_bytes()].concat();
        let extents = [2u32.to_le_bytes().as_slice(), &64u64.to_le_bytes(), &(4 * rows as u64).to_le_bytes()].concat();
        let kind = [8u32.to_le_bytes().as_slice(), &0u64.to_le_bytes()].concat();
        let mut whole = [header, 1u64.to_le_bytes().to_vec(), b"t".to_vec(), extents, kind].concat();
        whole.resize(whole.len().next_multiple_of(32), 0);
        whole
    };
    let words: Vec<u8> = (0..rows).flat_map(|row| [format!("w{row} ").as_bytes(), &[0; 256]].concat()).collect();
    let vectors = place("vectors.bin");
    std::fs::write(&vectors, [format!("{rows} {columns}\n").as_bytes(), &words].concat()).unwrap();
    drop(words);
    let cases: [(PathBuf, &[&str]); 6] = [
        (table(place("model.safetensors"), rows, columns, 100), &["--to", "npz"]),
        (table(place("half.safetensors"), rows, columns, 100), &["--dtype", "bf16"]),
        (sparse(place("rows.npy"), &npy("False"), bytes), &[]),
        (sparse(place("columns.npy"), &npy("True"), bytes), &[]),
        (sparse(place("model.gguf"), &gguf, 4 * rows * 68), &["--dtype", "f16"]),
        (vectors, &["--to", "glove-text"]),
    ];
    for (source, flags) in cases {
        let out = place("out");
        within(BOUND, BOUND, &[&["convert", text(&source), text(&out)][..], flags].concat());
        within(BOUND, BOUND, &["verify", text(&out), "--source", text(&source)]);
        std::fs::remove_dir_all(&out).unwrap();
        std::fs::remove_file(&source).unwrap();
    }
}

#[test]
fn a_table_larger_than_the_memory_allowed_is_factorized_to_the_optimum() {
    let sandbox = tempfile::tempdir().unwrap();
    let [source, out] = ["model.safetensors", "out"].map(|name| sandbox.path().join(name));
    let (columns, spikes) = (256, 40);
    let bound = 3 * 8 * columns * columns + BOUND;
    // The table is a tenth larger than all that may be reserved.
    let rows = (bound + reserved()) / (4 * columns) * 11 / 10;
    let source = table(source, rows, columns, spikes);
    // As many rows as the rank: nothing is lost.
    within(bound, bound + reserved(), &["compress", text(&source), "-o", text(&out), "--rank", &spikes.to_string()]);
    let error = manifest(&out)["tables"][0]["errors"]["relative_frobenius"].as_f64().unwrap();
    assert!(error < 1e-6, "{error}");
    within(BOUND, BOUND, &["verify", text(&out), "--source", text(&source)]);
    assert_verifies(&out);
}

#[test]
fn a_table_of_few_and_very_long_rows_takes_no_matrix_of_its_columns() {
    let sandbox = tempfile::tempdir().unwrap();
    let [source, out] = ["model.safetensors", "out"].map(|name| sandbox.path().join(name));
    let (rows, columns) = (48, 16_384);
    let source = table(source, rows, columns, rows);
    // One d x d matrix of doubles would be 2 GiB.
    within(
        BOUND,
        BOUND + reserved(),
        &["compress", text(&source), "-o", text(&out), "--rank", "47", "--include", "embedding.weight"],
    );
    let error = manifest(&out)["tables"][0]["errors"]["relative_frobenius"].as_f64().unwrap();
    assert!(error > 0.0 && error < (1.0f64 / 48.0).sqrt(), "one of 48 nearly equal singular values is lost: {error}");
    within(BOUND, BOUND, &["verify", text(&out), "--source", text(&source)]);
}
