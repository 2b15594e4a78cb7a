//! Kills and signals.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use rustix::process::Signal;

use crate::sandbox::{Sandbox, TARGET, quiet};
use crate::support::{assert_verifies, compress, tree};

/// Kills spread over a conversion.
const KILLS: u32 = 200;
/// Kills spread over a run of another command.
const FEWER_KILLS: u32 = 30;
/// Kills after which a run is left to finish.
const PERIOD: u32 = 20;

/// Kills runs of `command` at `kills` points from their start to their end; calls `check` after each, and lets every
/// `PERIOD`th be followed by a whole run.
fn kill_everywhere(sandbox: &Sandbox, kills: u32, command: impl Fn() -> Command, check: impl Fn()) {
    let mut whole_run = None;
    let mut unfinished = 0;
    for kill in 0..kills {
        if kill % PERIOD == 0 {
            // How long a run takes is measured now and again: other programs may have come or gone.
            let start = Instant::now();
            assert!(command().status().unwrap().success(), "after kill {kill}");
            whole_run = Some(start.elapsed());
            assert_eq!(sandbox.temporaries(), [""; 0], "a run removes what killed ones left");
            assert_verifies(&sandbox.out());
            check();
        }
        let mut child = command().spawn().unwrap();
        thread::sleep(whole_run.unwrap().mul_f64(f64::from(kill * 7 % kills) / f64::from(kills)));
        child.kill().unwrap();
        child.wait().unwrap();
        let left = sandbox.temporaries().len();
        assert!(left <= 1, "only what the last run left may be there: {left}");
        unfinished += left;
        check();
    }
    eprintln!("{kills} kills, {unfinished} while the output was being written");
}

/// Fails where there is an output that does not verify, and removes it.
fn check_and_remove(out: &Path) {
    if out.exists() {
        assert_verifies(out);
        fs::remove_dir_all(out).unwrap();
    }
}

#[test]
fn a_kill_at_any_moment_leaves_the_output_absent_or_complete_and_the_next_run_cleans_up() {
    let sandbox = Sandbox::with_ballast(4);
    let command = || sandbox.command(&sandbox.source());
    kill_everywhere(&sandbox, KILLS, command, || check_and_remove(&sandbox.out()));
    compress(&sandbox.source(), &sandbox.out(), &TARGET).assert().code(0);
    sandbox.assert_holds_source_and(&["out"]);
}

#[test]
fn a_kill_at_any_moment_of_another_command_that_writes_leaves_its_output_absent_or_complete() {
    let sandbox = Sandbox::with_ballast(4);
    let small = sandbox.directory.path().join("small");
    compress(&sandbox.source(), &small, &TARGET).assert().code(0);
    let (source, out) = (sandbox.source(), sandbox.out());
    let convert = [Path::new("convert"), &source, &out, Path::new("--to"), Path::new("npz")];
    let restore = [Path::new("restore"), &small, Path::new("-o"), &out];
    for arguments in [&convert[..], &restore] {
        kill_everywhere(&sandbox, FEWER_KILLS, || quiet(arguments), || check_and_remove(&out));
        assert!(quiet(arguments).status().unwrap().success());
        sandbox.assert_holds_source_and(&["out", "small"]);
        check_and_remove(&out);
    }
}

#[cfg(feature = "train")]
#[test]
fn a_kill_at_any_moment_of_a_retraining_leaves_its_output_absent_or_complete_and_the_next_run_ends_it() {
    let sandbox = Sandbox::with_fixture("sentences");
    let place = |name: &str| sandbox.directory.path().join(name);
    let (model, small, out) = (place("model"), place("small"), sandbox.out());
    let (train, dev) = (sandbox.source().join("train.txt"), sandbox.source().join("dev.tsv"));
    let sentences = [Path::new("--train"), &train, Path::new("--dev"), &dev, Path::new("--epochs"), Path::new("30")];
    let training = ["train", "--arch", "dan", "--width", "24", "-o"].map(Path::new);
    let trained = [&training[..], &[model.as_path()], &sentences].concat();
    assert!(quiet(&trained).status().unwrap().success());
    compress(&model, &small, &["--reduction", "0.8"]).assert().code(0);
    let retrain = [&[Path::new("retrain"), &small, Path::new("-o"), &out][..], &sentences].concat();
    kill_everywhere(&sandbox, FEWER_KILLS, || quiet(&retrain), || check_and_remove(&out));
    assert!(quiet(&retrain).status().unwrap().success());
    sandbox.assert_holds_source_and(&["model", "out", "small"]);
    assert_verifies(&out);
}

#[test]
fn a_kill_at_any_moment_of_a_replacement_leaves_the_old_output_or_the_new_one() {
    let sandbox = Sandbox::with_ballast(4);
    let other = sandbox.directory.path().join("other");
    compress(&sandbox.source(), &other, &["--rank", "3"]).assert().code(0);
    compress(&sandbox.source(), &sandbox.out(), &TARGET).assert().code(0);
    let manifest = |path: &Path| fs::read(path.join("rankfold.json")).unwrap();
    let (old, new) = (manifest(&other), manifest(&sandbox.out()));
    let command = || {
        let mut command = sandbox.command(&sandbox.source());
        command.arg("--force");
        command
    };
    kill_everywhere(&sandbox, KILLS, command, || {
        let found = manifest(&sandbox.out());
        assert!(found == old || found == new);
        assert_verifies(&sandbox.out());
        if found == new {
            fs::remove_dir_all(sandbox.out()).unwrap();
            tree::copy(&other, &sandbox.out());
        }
    });
}

#[test]
fn the_run_after_a_kill_succeeds_and_removes_what_the_killed_one_left() {
    let sandbox = Sandbox::with_ballast(16);
    sandbox.stop_while_writing(Signal::KILL);
    assert_ne!(sandbox.temporaries(), [""; 0], "a killed run cannot clean up");
    compress(&sandbox.source(), &sandbox.out(), &TARGET).assert().code(0);
    assert_verifies(&sandbox.out());
    sandbox.assert_holds_source_and(&["out"]);
}

#[test]
fn a_signal_exits_with_its_own_code_and_leaves_nothing() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let sandbox = Sandbox::with_ballast(16);
        assert_eq!(sandbox.stop_while_writing(signal), Some(code));
        sandbox.assert_holds_source_and(&[]);
    }
}

#[test]
fn what_another_program_left_under_a_similar_name_is_not_removed() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    let kept = [".out.rankfold-backup", ".out.rankfold-", ".out.rankfold-12x", ".out2.rankfold-12"];
    for name in kept {
        fs::create_dir(sandbox.directory.path().join(name)).unwrap();
    }
    fs::write(sandbox.directory.path().join(".out.rankfold-77"), "a file").unwrap();
    compress(&sandbox.source(), &sandbox.out(), &TARGET).assert().code(0);
    sandbox.assert_holds_source_and(&[&kept[..], &[".out.rankfold-77", "out"]].concat());
}

#[test]
fn runs_at_one_output_do_not_disturb_each_other() {
    for flags in [&[][..], &["--force"]] {
        let sandbox = Sandbox::with_fixture("bert-tied");
        for _ in 0..5 {
            let spawn = |_| sandbox.command(&sandbox.source()).args(flags).spawn().unwrap();
            let children: Vec<_> = (0..4).map(spawn).collect();
            let codes = children.into_iter().map(|mut child| child.wait().unwrap().code().unwrap());
            let codes: Vec<_> = codes.collect();
            assert!(codes.contains(&0) && codes.iter().all(|code| [0, 1].contains(code)), "{codes:?}");
            if !flags.is_empty() {
                assert_eq!(codes, [0; 4], "each replaces what the others made");
            }
            assert_verifies(&sandbox.out());
            sandbox.assert_holds_source_and(&["out"]);
            fs::remove_dir_all(sandbox.out()).unwrap();
        }
    }
}
