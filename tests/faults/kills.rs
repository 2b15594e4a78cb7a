//! Kills and signals.

use std::fs;
use std::thread;
use std::time::Instant;

use rustix::process::Signal;

use crate::sandbox::{Sandbox, TARGET};
use crate::support::{assert_verifies, compress, tree};

/// Kills spread over a conversion.
const KILLS: u32 = 200;
/// Kills after which a run is left to finish.
const PERIOD: u32 = 20;

/// Kills runs at `KILLS` points from their start to their end; calls `check` after each, and lets every `PERIOD`th be
/// followed by a whole run.
fn kill_everywhere(sandbox: &Sandbox, flags: &[&str], check: impl Fn()) {
    let mut whole_run = None;
    let mut unfinished = 0;
    for kill in 0..KILLS {
        if kill % PERIOD == 0 {
            // How long a run takes is measured now and again: other programs may have come or gone.
            let start = Instant::now();
            assert!(sandbox.command(&sandbox.source()).args(flags).status().unwrap().success(), "after kill {kill}");
            whole_run = Some(start.elapsed());
            assert_eq!(sandbox.temporaries(), [""; 0], "a run removes what killed ones left");
            assert_verifies(&sandbox.out());
            check();
        }
        let mut child = sandbox.command(&sandbox.source()).args(flags).spawn().unwrap();
        thread::sleep(whole_run.unwrap().mul_f64(f64::from(kill * 7 % KILLS) / f64::from(KILLS)));
        child.kill().unwrap();
        child.wait().unwrap();
        let left = sandbox.temporaries().len();
        assert!(left <= 1, "only what the last run left may be there: {left}");
        unfinished += left;
        check();
    }
    eprintln!("{KILLS} kills, {unfinished} while the output was being written");
}

#[test]
fn a_kill_at_any_moment_leaves_the_output_absent_or_complete_and_the_next_run_cleans_up() {
    let sandbox = Sandbox::with_ballast(4);
    kill_everywhere(&sandbox, &[], || {
        if sandbox.out().exists() {
            assert_verifies(&sandbox.out());
            fs::remove_dir_all(sandbox.out()).unwrap();
        }
    });
    compress(&sandbox.source(), &sandbox.out(), &TARGET).assert().code(0);
    sandbox.assert_holds_source_and(&["out"]);
}

#[test]
fn a_kill_at_any_moment_of_a_replacement_leaves_the_old_output_or_the_new_one() {
    let sandbox = Sandbox::with_ballast(4);
    let other = sandbox.directory.path().join("other");
    compress(&sandbox.source(), &other, &["--rank", "3"]).assert().code(0);
    compress(&sandbox.source(), &sandbox.out(), &TARGET).assert().code(0);
    let manifest = |path: &std::path::Path| fs::read(path.join("rankfold.json")).unwrap();
    let (old, new) = (manifest(&other), manifest(&sandbox.out()));
    kill_everywhere(&sandbox, &["--force"], || {
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
