//! Whatever happens, the final name is absent or complete, and nothing else stays behind.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use support::{RANKFOLD, assert_verifies, compress, fixture, rankfold, tree};
use tempfile::TempDir;

const TARGET: [&str; 2] = ["--reduction", "0.5"];

/// A temporary directory with a checkpoint in it, and the name of the output beside that.
struct Sandbox {
    directory: TempDir,
}

impl Sandbox {
    /// With a copy of a fixture.
    fn with_fixture(name: &str) -> Self {
        let sandbox = Sandbox { directory: tempfile::tempdir().unwrap() };
        tree::copy(&fixture(name), &sandbox.source());
        sandbox
    }

    /// With a BERT that has `mebibytes` more to be copied, so that writing takes a while.
    fn with_ballast(mebibytes: usize) -> Self {
        let sandbox = Sandbox::with_fixture("bert-encoder");
        let file = sandbox.source().join("model.safetensors");
        let content = fs::read(&file).unwrap();
        let ballast: Vec<u8> = (0..mebibytes << 20).map(|position| (position % 251) as u8).collect();
        let mut tensors = safetensors::SafeTensors::deserialize(&content).unwrap().tensors();
        let view = TensorView::new(Dtype::U8, vec![ballast.len()], &ballast).unwrap();
        tensors.push(("ballast".to_owned(), view));
        fs::write(&file, serialize(tensors, None).unwrap()).unwrap();
        sandbox
    }

    fn source(&self) -> PathBuf {
        self.directory.path().join("source")
    }

    fn out(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    /// Starts a compression and does not wait for it.
    fn spawn(&self) -> Child {
        let mut command = Command::new(RANKFOLD);
        command.arg("compress").arg(self.source()).arg("-o").arg(self.out()).args(TARGET);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Names of what a run has begun and not finished.
    fn temporaries(&self) -> Vec<String> {
        let names = tree::names(self.directory.path());
        names.into_iter().filter(|name| name.starts_with(".out.rankfold-")).collect()
    }

    /// Fails unless the source is all there is, besides the names given.
    fn assert_holds_source_and(&self, others: &[&str]) {
        let mut expected = [others, &["source"]].concat();
        expected.sort_unstable();
        assert_eq!(tree::names(self.directory.path()), expected);
    }
}

/// Numbers in [0, 1) that are the same in every run (Knuth's MMIX generator).
fn fractions(count: usize) -> impl Iterator<Item = f64> {
    let step =
        |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    std::iter::successors(Some(2019), step).skip(1).take(count).map(|state| (state >> 11) as f64 / (1u64 << 53) as f64)
}

#[test]
fn a_kill_at_any_moment_leaves_the_output_absent_or_complete() {
    let sandbox = Sandbox::with_ballast(16);
    let start = Instant::now();
    assert!(sandbox.spawn().wait().unwrap().success());
    let whole_run = start.elapsed();
    fs::remove_dir_all(sandbox.out()).unwrap();

    for fraction in fractions(12) {
        let mut child = sandbox.spawn();
        thread::sleep(whole_run.mul_f64(fraction));
        child.kill().unwrap();
        child.wait().unwrap();
        if sandbox.out().exists() {
            assert_verifies(&sandbox.out());
            fs::remove_dir_all(sandbox.out()).unwrap();
        }
    }
}

#[test]
fn the_run_after_a_kill_succeeds_and_removes_what_the_killed_one_left() {
    let sandbox = Sandbox::with_ballast(16);
    stop_while_writing(&sandbox, Signal::KILL);
    assert_ne!(sandbox.temporaries(), [""; 0], "a killed run cannot clean up");
    compress(&sandbox.source(), &sandbox.out(), &TARGET).assert().code(0);
    assert_verifies(&sandbox.out());
    sandbox.assert_holds_source_and(&["out"]);
}

#[test]
fn an_interrupt_exits_with_130_and_leaves_nothing() {
    let sandbox = Sandbox::with_ballast(16);
    assert_eq!(stop_while_writing(&sandbox, Signal::INT), Some(130));
    sandbox.assert_holds_source_and(&[]);
}

/// Sends `signal` once the temporary directory is there; gives the exit code. A run that wins the race is repeated.
fn stop_while_writing(sandbox: &Sandbox, signal: Signal) -> Option<i32> {
    for _ in 0..20 {
        let mut child = sandbox.spawn();
        while sandbox.temporaries().is_empty() && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_micros(200));
        }
        if child.try_wait().unwrap().is_none() {
            kill_process(Pid::from_child(&child), signal).unwrap();
        }
        let status = child.wait().unwrap();
        if !sandbox.out().exists() {
            return status.code();
        }
        fs::remove_dir_all(sandbox.out()).unwrap();
    }
    panic!("every run was done before the signal came");
}

#[test]
fn a_full_disk_gives_an_error_and_no_output() {
    let sandbox = Sandbox::with_ballast(16);
    // A limit on the size of files stands in for a full disk: `write` fails once 4 MiB are in the file.
    let output = Command::new("bash")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 4096; exec "$0" compress "$1" -o "$2" --reduction 0.5"#, RANKFOLD])
        .args([sandbox.source(), sandbox.out()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("error: "), "{message}");
    assert!(message.contains("cannot write"), "{message}");
    sandbox.assert_holds_source_and(&[]);
}

#[test]
fn an_existing_output_is_refused_and_stays_as_it_is() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    fs::create_dir(sandbox.out()).unwrap();
    fs::write(sandbox.out().join("precious"), "kept").unwrap();
    let assert = compress(&sandbox.source(), &sandbox.out(), &TARGET).assert().code(1);
    let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(message.contains("--force"), "the hint names the flag: {message}");
    assert_eq!(tree::names(&sandbox.out()), ["precious"]);
    sandbox.assert_holds_source_and(&["out"]);
}

#[test]
fn force_replaces_an_output_by_exactly_what_a_fresh_run_gives() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    let fresh = sandbox.directory.path().join("fresh");
    compress(&sandbox.source(), &fresh, &TARGET).assert().code(0);
    compress(&sandbox.source(), &sandbox.out(), &["--rank", "3"]).assert().code(0);
    compress(&sandbox.source(), &sandbox.out(), &TARGET).arg("--force").assert().code(0);
    tree::assert_same(&sandbox.out(), &fresh);
    sandbox.assert_holds_source_and(&["out", "fresh"]);
}

#[test]
fn force_keeps_the_old_output_where_the_new_one_fails() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    compress(&sandbox.source(), &sandbox.out(), &TARGET).assert().code(0);
    let before = tree::read(&sandbox.out());
    let weights = sandbox.source().join("model.safetensors");
    let content = fs::read(&weights).unwrap();
    fs::write(&weights, &content[..content.len() - 1]).unwrap();
    compress(&sandbox.source(), &sandbox.out(), &TARGET).arg("--force").assert().code(1);
    assert!(tree::read(&sandbox.out()) == before, "the old output is untouched");
    sandbox.assert_holds_source_and(&["out"]);
}

#[test]
fn an_output_equal_to_its_source_is_refused_even_with_force() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    assert_refused_without_a_trace(&sandbox, &sandbox.source());
}

#[test]
fn an_output_inside_its_source_is_refused_even_with_force() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    assert_refused_without_a_trace(&sandbox, &sandbox.source().join("out"));
}

#[test]
fn an_output_that_holds_its_source_is_refused_even_with_force() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    assert_refused_without_a_trace(&sandbox, sandbox.directory.path());
}

#[test]
fn an_output_that_is_its_source_by_another_name_is_refused_even_with_force() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    let link = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(sandbox.source(), link.path().join("link")).unwrap();
    assert_refused_without_a_trace(&sandbox, &link.path().join("link"));
}

fn assert_refused_without_a_trace(sandbox: &Sandbox, out: &Path) {
    let before = tree::read(&sandbox.source());
    compress(&sandbox.source(), out, &TARGET).arg("--force").assert().code(1);
    assert!(tree::read(&sandbox.source()) == before, "the source is untouched");
    sandbox.assert_holds_source_and(&[]);
}

#[test]
fn an_output_in_a_folder_that_is_not_there_is_refused() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    let assert = compress(&sandbox.source(), &sandbox.out().join("below"), &TARGET).assert().code(1);
    let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(message.contains(&*sandbox.out().to_string_lossy()), "the error names the folder: {message}");
    sandbox.assert_holds_source_and(&[]);
}

#[test]
fn restore_refuses_an_existing_destination_without_force() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    let dense = sandbox.directory.path().join("dense");
    compress(&sandbox.source(), &sandbox.out(), &TARGET).assert().code(0);
    fs::create_dir(&dense).unwrap();
    rankfold([Path::new("restore"), &sandbox.out(), Path::new("-o"), &dense]).assert().code(1);
    assert_eq!(tree::names(&dense), [""; 0]);
    rankfold([Path::new("restore"), &sandbox.out(), Path::new("-o"), &dense, Path::new("--force")]).assert().code(0);
    assert!(dense.join("model.safetensors").is_file());
    sandbox.assert_holds_source_and(&["dense", "out"]);
}

#[test]
fn a_dry_run_writes_nothing() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    compress(&sandbox.source(), &sandbox.out(), &TARGET).arg("--dry-run").assert().code(0);
    sandbox.assert_holds_source_and(&[]);
}
