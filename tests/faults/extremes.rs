//! Checkpoints of many tensors or files, and tables of odd shapes and numbers, through every method.

use std::fs;
use std::path::{Path, PathBuf};

use rankfold::codec::CODECS;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

use crate::support::{assert_verifies, compress, rankfold};

/// A directory in memory, where flushing thousands of files takes no time.
fn in_memory() -> TempDir {
    let place = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    tempfile::tempdir_in(place).unwrap()
}

fn number(at: usize) -> f32 {
    ((at as u32).wrapping_mul(2_654_435_769) >> 8) as f32 / (1u32 << 24) as f32 - 0.5
}

fn singles(count: usize) -> Vec<u8> {
    (0..count).flat_map(|at| number(at).to_le_bytes()).collect()
}

#[test]
fn ten_thousand_tensors_are_converted() {
    let directory = in_memory();
    let (table, small) = (singles(300 * 16), singles(2));
    let view = |shape: &[usize], bytes| TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap();
    let mut tensors: Vec<_> = (0..10_000).map(|at| (format!("layer.{at}.bias"), view(&[2], &small))).collect();
    tensors.push(("embeddings.weight".to_owned(), view(&[300, 16], &table)));
    let source = directory.path().join("model.safetensors");
    fs::write(&source, safetensors::serialize(tensors, None).unwrap()).unwrap();
    round_trip(directory.path(), &source);
}

#[test]
fn five_thousand_shards_are_converted() {
    let directory = in_memory();
    let source = directory.path().join("source");
    fs::create_dir(&source).unwrap();
    let mut map = serde_json::Map::new();
    for shard in 0..5000 {
        let (name, shape) = if shard == 4321 {
            ("embeddings.weight".into(), vec![300, 16])
        } else {
            (format!("layer.{shard}.bias"), vec![2])
        };
        let bytes = singles(shape.iter().product());
        let file = format!("model-{:05}-of-05000.safetensors", shard + 1);
        let view = TensorView::new(Dtype::F32, shape, &bytes).unwrap();
        fs::write(source.join(&file), safetensors::serialize([(&name, view)], None).unwrap()).unwrap();
        map.insert(name, file.into());
    }
    let index = serde_json::json!({ "metadata": { "total_size": 300 * 16 * 4 + 4999 * 8 }, "weight_map": map });
    fs::write(source.join("model.safetensors.index.json"), index.to_string()).unwrap();
    round_trip(directory.path(), &source);
}

/// Compresses, verifies against the source, restores, and compares what was not touched.
fn round_trip(directory: &Path, source: &Path) {
    let (out, dense) = (directory.join("out"), directory.join("dense"));
    compress(source, &out, &["--reduction", "0.5"]).assert().code(0);
    rankfold([Path::new("verify"), &out, Path::new("--source"), source]).assert().code(0);
    rankfold([Path::new("restore"), &out, Path::new("-o"), &dense]).assert().code(0);
    assert_verifies(&dense);
    let assert = rankfold([Path::new("diff"), source, &dense, Path::new("--json")]).assert();
    let report: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert!(report.to_string().contains("embeddings.weight"));
}

/// A table of singles in a file of its own.
fn table(directory: &Path, shape: [usize; 2], value: impl Fn(usize) -> f32) -> PathBuf {
    let bytes: Vec<u8> = (0..shape[0] * shape[1]).flat_map(|at| value(at).to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap();
    let path = directory.join("table.safetensors");
    fs::write(&path, safetensors::serialize([("embeddings.weight", view)], None).unwrap()).unwrap();
    path
}

/// What happens at `shape` with every method: it is compressed and verifies, or it is refused and nothing is left.
/// Gives how many methods took it.
fn every_method(shape: [usize; 2], value: impl Fn(usize) -> f32, goal: &[&str]) -> usize {
    let taken = CODECS.iter().filter(|codec| {
        let directory = in_memory();
        let source = table(directory.path(), shape, &value);
        let out = directory.path().join("out");
        let flags = [&["--include", "embeddings.weight", "--method", codec.name()], goal].concat();
        let output = compress(&source, &out, &flags).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        let place = format!("{} at {shape:?} with {goal:?}: {message}", codec.name());
        match output.status.code() {
            Some(0) => {
                rankfold([Path::new("verify"), &out, Path::new("--source"), &source]).assert().code(0);
                true
            }
            Some(1 | 4) => {
                assert!(message.starts_with("error: "), "{place}");
                assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{place}");
                false
            }
            code => panic!("{code:?} from {place}"),
        }
    });
    taken.count()
}

#[test]
fn empty_and_thin_tables_are_compressed_or_refused_by_every_method() {
    for shape in [[0, 16], [16, 0], [0, 0], [1, 1], [1, 64], [64, 1], [2, 2]] {
        every_method(shape, number, &["--reduction", "0.5"]);
        every_method(shape, number, &["--max-error", "0.5"]);
    }
}

#[test]
fn tables_wider_than_long_are_compressed() {
    assert!(every_method([16, 300], number, &["--reduction", "0.5"]) >= 4);
}

#[test]
fn rank_d_is_refused_since_it_saves_nothing() {
    let directory = in_memory();
    let source = table(directory.path(), [300, 16], number);
    let assert = compress(&source, &directory.path().join("out"), &["--rank", "16"]).assert().code(1);
    let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(message.contains("error: ") && message.contains("15"), "the largest that saves is named: {message}");
}

#[test]
fn tables_of_odd_numbers_are_compressed_or_refused_by_every_method() {
    let goal = ["--reduction", "0.5"];
    assert!(every_method([300, 16], |_| 0.0, &goal) >= 4, "zeros");
    assert!(every_method([300, 16], |at| (at / 16) as f32 * (at % 16) as f32, &goal) >= 4, "rank one");
    every_method([300, 16], |at| number(at) * 1e-42, &goal);
    every_method([300, 16], |at| number(at) * 1e38, &goal);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let taken = every_method([300, 16], |at| if at == 777 { bad } else { number(at) }, &goal);
        assert_eq!(taken, 0, "no method takes {bad}");
    }
}
