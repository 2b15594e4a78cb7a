//! Tables at the edges of what numbers can hold, through the real binary.

use std::path::{Path, PathBuf};

use crate::support::{compress, rankfold};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// A directory with one file that holds one table.
struct Sandbox(tempfile::TempDir);

impl Sandbox {
    fn new(dtype: Dtype, shape: [usize; 2], bytes: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let view = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
        let file = safetensors::serialize([("embeddings.weight", view)], None).unwrap();
        std::fs::write(directory.path().join("table.safetensors"), file).unwrap();
        Sandbox(directory)
    }

    fn singles(shape: [usize; 2], value: impl Fn(usize, usize) -> f32) -> Self {
        let entries = (0..shape[0]).flat_map(|row| (0..shape[1]).map(move |column| (row, column)));
        let bytes: Vec<u8> = entries.flat_map(|(row, column)| value(row, column).to_le_bytes()).collect();
        Sandbox::new(Dtype::F32, shape, &bytes)
    }

    fn table(&self) -> PathBuf {
        self.0.path().join("table.safetensors")
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    /// The message of a compression that fails and leaves nothing.
    fn refused(&self, flags: &[&str]) -> String {
        let assert = compress(&self.table(), &self.out(), flags).assert().code(1);
        assert!(!self.out().exists());
        assert_eq!(std::fs::read_dir(self.0.path()).unwrap().count(), 1, "nothing but the table is there");
        String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
    }

    /// Compresses, checks the result against the source, and gives the relative error.
    fn error_of(&self, flags: &[&str]) -> f64 {
        compress(&self.table(), &self.out(), flags).assert().code(0);
        rankfold([Path::new("verify"), &self.out(), Path::new("--source"), &self.table()]).assert().code(0);
        let manifest = std::fs::read(self.out().join("rankfold.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        manifest["tables"][0]["errors"]["relative_frobenius"].as_f64().unwrap()
    }
}

/// Entries without structure between -1 and 1.
fn noise(row: usize, column: usize) -> f32 {
    let hash = (row as u32 * 31 + column as u32 + 1).wrapping_mul(2_654_435_769);
    (hash ^ hash >> 15).wrapping_mul(2_246_822_519) as i32 as f32 / i32::MAX as f32
}

#[test]
fn a_table_of_zeros_has_no_error() {
    assert_eq!(Sandbox::singles([500, 16], |_, _| 0.0).error_of(&["--rank", "4"]), 0.0);
}

#[test]
fn a_table_of_rank_one_has_no_error_at_any_rank() {
    for rank in ["1", "5"] {
        let error =
            Sandbox::singles([500, 16], |row, column| row as f32 * (column as f32 - 7.5)).error_of(&["--rank", rank]);
        assert!(error < 1e-6, "rank {rank}: {error}");
    }
}

#[test]
fn the_scale_of_a_table_does_not_change_its_relative_error() {
    let usual = Sandbox::singles([500, 16], noise).error_of(&["--rank", "4"]);
    for scale in [1e-30, 1e18, 1e30] {
        for split in ["balanced", "left", "right"] {
            let error = Sandbox::singles([500, 16], |row, column| noise(row, column) * scale)
                .error_of(&["--rank", "4", "--split", split]);
            assert!((error / usual - 1.0).abs() < 1e-5, "{scale} {split}: {error} against {usual}");
        }
    }
}

#[test]
fn a_table_of_subnormal_numbers_is_what_the_manifest_says() {
    for split in ["balanced", "left", "right"] {
        let error = Sandbox::singles([500, 16], |row, column| noise(row, column) * 1e-42)
            .error_of(&["--rank", "4", "--split", split]);
        assert!(error < 1.0, "{split}: {error}");
    }
}

#[test]
fn doubles_beyond_the_range_of_singles_are_kept_as_doubles() {
    let bytes: Vec<u8> =
        (0..500 * 16).flat_map(|index| (f64::from(noise(index / 16, index % 16)) * 1e100).to_le_bytes()).collect();
    let sandbox = Sandbox::new(Dtype::F64, [500, 16], &bytes);
    assert!(sandbox.refused(&["--rank", "4", "--dtype", "f32"]).contains("leaves the range of its dtype"));
    assert!(sandbox.error_of(&["--rank", "4"]) < 1.0);
}

#[test]
fn a_factor_that_overflows_halves_is_refused_with_what_to_do() {
    let message = Sandbox::singles([500, 16], |row, column| noise(row, column) * 1e12)
        .refused(&["--rank", "4", "--dtype", "f16"]);
    assert!(message.contains("tensor `embeddings.weight`") && message.contains("--dtype bf16"), "{message}");
}

#[test]
fn a_table_that_would_decode_to_infinities_is_refused_by_every_method_that_could() {
    let near_the_end = |row, column| noise(row, column).signum() * f32::MAX;
    for (method, size) in [("low-rank", "--rank"), ("low-rank-fixed", "--rank"), ("transform", "--reduction")] {
        let value = if size == "--rank" { "8" } else { "0.4" };
        let error = Sandbox::singles([500, 16], near_the_end).refused(&["--method", method, size, value]);
        assert!(error.contains("beyond the range"), "{method}: {error}");
    }
    // Levels that are no further out than the numbers of the table are numbers.
    let flags = ["--method", "cast", "--dtype", "bf16", "--reduction", "0.5"];
    Sandbox::singles([500, 16], |row, column| 0.99 * near_the_end(row, column)).error_of(&flags);
}

#[test]
fn a_weight_that_is_not_finite_is_named_with_the_first_row() {
    for (value, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let bad = |row: usize, column: usize| match (row, column) {
            (123, 4) => value,
            (450, 1) => f32::NAN,
            _ => noise(row, column),
        };
        for flags in [["--rank", "4"], ["--energy", "0.5"], ["--target-size", "90%"]] {
            let message = Sandbox::singles([500, 16], bad).refused(&flags);
            assert!(message.contains("row 123, column 4") && message.contains(word), "{message}");
        }
    }
}

#[test]
fn an_instruction_set_without_a_name_known_here_is_refused() {
    let sandbox = Sandbox::singles([40, 30], noise);
    let mut command = compress(&sandbox.table(), &sandbox.out(), &["--rank", "3"]);
    let assert = command.env("RANKFOLD_MAX_CPU_ISA", "sse9").assert().code(1);
    let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(
        message.contains("RANKFOLD_MAX_CPU_ISA") && message.contains("`avx2`") && message.contains("`sse9`"),
        "{message}"
    );
    assert!(!sandbox.out().exists());
}
