//! A checkpoint in a directory of its own, and what runs there leave.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use tempfile::TempDir;

use crate::support::{RANKFOLD, fixture, tree};

pub(crate) const TARGET: [&str; 2] = ["--reduction", "0.5"];

/// `rankfold ARGUMENTS`, whose streams lead nowhere.
pub(crate) fn quiet(arguments: &[&Path]) -> Command {
    let mut command = Command::new(RANKFOLD);
    command.args(arguments).env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A temporary directory with a checkpoint in it, and the name of the output beside that.
pub(crate) struct Sandbox {
    pub(crate) directory: TempDir,
}

impl Sandbox {
    /// With a copy of a fixture.
    pub(crate) fn with_fixture(name: &str) -> Self {
        let sandbox = Sandbox { directory: tempfile::tempdir().unwrap() };
        tree::copy(&fixture(name), &sandbox.source());
        sandbox
    }

    /// With a BERT that has `mebibytes` more to be copied, so that writing takes a while.
    pub(crate) fn with_ballast(mebibytes: usize) -> Self {
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

    pub(crate) fn source(&self) -> PathBuf {
        self.directory.path().join("source")
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    /// `rankfold compress` of the source, or of a file in it, to the output.
    pub(crate) fn command(&self, source: &Path) -> Command {
        let mut command = quiet(&[Path::new("compress"), source, Path::new("-o"), &self.out()]);
        command.args(TARGET);
        command
    }

    /// Starts `command` and does `act` once its temporary directory is there; gives the output of the program. A run
    /// that wins the race is repeated, after `reset`.
    pub(crate) fn disturb(&self, mut command: Command, act: impl Fn(&Child), reset: impl Fn()) -> Output {
        command.stderr(Stdio::piped());
        for _ in 0..20 {
            let mut child = command.spawn().unwrap();
            while self.temporaries().is_empty() && child.try_wait().unwrap().is_none() {
                thread::sleep(Duration::from_micros(100));
            }
            let running = child.try_wait().unwrap().is_none();
            if running {
                act(&child);
            }
            let output = child.wait_with_output().unwrap();
            if running && !self.out().exists() {
                return output;
            }
            fs::remove_dir_all(self.out()).unwrap();
            reset();
        }
        panic!("every run was done before anything happened to it");
    }

    /// Sends `signal` once the temporary directory is there; gives the exit code.
    pub(crate) fn stop_while_writing(&self, signal: Signal) -> Option<i32> {
        let send = |child: &Child| {
            // One that has just ended hears nothing, and is repeated.
            let _ = kill_process(Pid::from_child(child), signal);
        };
        self.disturb(self.command(&self.source()), send, || {}).status.code()
    }

    /// Names of what a run has begun and not finished.
    pub(crate) fn temporaries(&self) -> Vec<String> {
        let names = tree::names(self.directory.path());
        names.into_iter().filter(|name| name.starts_with(".out.rankfold-")).collect()
    }

    /// Fails unless the source is all there is, besides the names given.
    pub(crate) fn assert_holds_source_and(&self, others: &[&str]) {
        let mut expected = [others, &["source"]].concat();
        expected.sort_unstable();
        assert_eq!(tree::names(self.directory.path()), expected);
    }
}
