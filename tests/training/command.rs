//! `train` and `retrain` as commands: runs that are killed, what is kept of them, and what compressed classifiers become.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{RANKFOLD, assert_verifies, compress, fixture, rankfold, tree};
use rankfold::codec::CODECS;
use serde_json::Value;

/// `rankfold COMMAND... --train --dev -o OUT FLAGS` on the sentences of the fixtures.
fn arguments(command: &[&Path], out: &Path, flags: &[&str]) -> Vec<OsString> {
    let sentences = fixture("sentences");
    let mut arguments: Vec<OsString> = command.iter().map(OsString::from).collect();
    arguments.extend(["--train".into(), sentences.join("train.txt").into()]);
    arguments.extend(["--dev".into(), sentences.join("dev.tsv").into(), "-o".into(), out.into()]);
    arguments.extend(flags.iter().map(OsString::from));
    arguments
}

const RATE: [&str; 4] = ["--schedule", "constant", "--max-lr", "0.01"];

/// A trained classifier with a table of 50 words and 24 columns.
fn trained(directory: &Path) -> PathBuf {
    let model = directory.join("model");
    let flags = [&["--arch", "dan", "--width", "24"][..], &RATE].concat();
    rankfold(arguments(&[Path::new("train")], &model, &flags)).assert().code(0);
    model
}

fn kept(out: &Path) -> PathBuf {
    out.with_file_name(format!("{}.training", out.file_name().unwrap().to_str().unwrap()))
}

/// Starts the command, and kills it once some epochs are done and some of that is kept.
fn kill(arguments: &[OsString], out: &Path, log: &Path) {
    let mut child = Command::new(RANKFOLD).args(arguments).stdout(Stdio::null()).spawn().unwrap();
    let epochs = || std::fs::read_to_string(log).map_or(0, |text| text.lines().count());
    while !(epochs() >= 5 && kept(out).exists()) {
        assert!(child.try_wait().unwrap().is_none(), "the training ended before it could be killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(!out.exists(), "nothing is there before all of it is");
}

/// What a command makes when it is killed on the way and given again is what it makes at once, log included.
fn goes_on_after_a_kill(directory: &Path, command: &[&Path], flags: &[&str]) {
    let paths = |name: &str| (directory.join(name), directory.join(format!("{name}.jsonl")));
    let of = |out: &Path, log: &Path| {
        let mut arguments = arguments(command, out, flags);
        arguments.extend(["--log".into(), log.into()]);
        arguments
    };
    let (out, log) = paths("killed");
    kill(&of(&out, &log), &out, &log);
    rankfold(of(&out, &log)).assert().code(0);
    assert!(!kept(&out).exists());
    let (whole, whole_log) = paths("whole");
    rankfold(of(&whole, &whole_log)).assert().code(0);
    assert_eq!(tree::read(&out), tree::read(&whole));
    assert_eq!(std::fs::read_to_string(log).unwrap(), std::fs::read_to_string(whole_log).unwrap());
    assert_verifies(&out);
}

#[test]
fn a_training_that_was_killed_goes_on_to_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--arch", "dan", "--width", "24", "--epochs", "300", "--max-lr", "0.003"];
    goes_on_after_a_kill(directory.path(), &[Path::new("train")], &flags);
}

#[test]
fn a_retraining_that_was_killed_goes_on_to_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let model = trained(directory.path());
    // Codes of the whole table, found anew in each epoch; and an optimizer that remembers.
    let codes = ["--method", "product", "--code-bits", "4", "--reduction", "0.6"];
    for (number, flags) in [&["--reduction", "0.8"][..], &codes].iter().enumerate() {
        let folder = directory.path().join(number.to_string());
        std::fs::create_dir(&folder).unwrap();
        let small = folder.join("small");
        compress(&model, &small, flags).assert().code(0);
        let flags = ["--epochs", "150", "--optimizer", "momentum", "--schedule", "cosine-restarts", "--max-lr", "0.05"];
        goes_on_after_a_kill(&folder, &[Path::new("retrain"), &small], &flags);
    }
}

#[test]
fn what_is_kept_of_another_training_is_refused_and_so_is_what_is_no_training() {
    let directory = tempfile::tempdir().unwrap();
    let (out, log) = (directory.path().join("out"), directory.path().join("log"));
    let of = |seed: &str| {
        let flags =
            ["--arch", "dan", "--width", "24", "--epochs", "300", "--seed", seed, "--log", log.to_str().unwrap()];
        arguments(&[Path::new("train")], &out, &flags)
    };
    kill(&of("1"), &out, &log);
    let refused = |seed: &str, message: &str| {
        let output = rankfold(of(seed)).assert().code(1).get_output().clone();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(message), "{error}");
        assert!(!out.exists());
    };
    refused("2", "another training was kept here");
    let bytes = std::fs::read(kept(&out)).unwrap();
    for end in [0, 7, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(kept(&out), &bytes[..end]).unwrap();
        refused("1", "out.training");
    }
    // A safetensors file without a history.
    std::fs::write(kept(&out), b"\x02\0\0\0\0\0\0\0{}").unwrap();
    refused("1", "not a training that was kept");
    // A history with more updates than there are.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let at = text.find("\\\"updates\\\":").expect("the updates of an epoch") + "\\\"updates\\\":".len();
    let mut other = bytes.clone();
    other[at] = b'9';
    std::fs::write(kept(&out), &other).unwrap();
    refused("1", "out.training");
}

#[test]
fn a_table_of_any_method_is_trained_and_stored_as_it_was_and_names_its_parent() {
    let directory = tempfile::tempdir().unwrap();
    let model = trained(directory.path());
    let mut done = Vec::new();
    for codec in CODECS {
        let name = codec.name();
        let (small, out) = (directory.path().join(format!("{name}-small")), directory.path().join(name));
        let target = match name {
            "cast" => &["--bits", "16"][..],
            // 256 centroids take more bytes than a table of so few rows.
            "product" => &["--reduction", "0.6", "--code-bits", "4"],
            _ => &["--reduction", "0.6"],
        };
        let compressed = rankfold(["compress".as_ref(), model.as_os_str(), "-o".as_ref(), small.as_os_str()])
            .args(["--method", name])
            .args(target)
            .output()
            .unwrap();
        if !compressed.status.success() {
            continue;
        }
        let flags = [&["--epochs", "3"][..], &RATE].concat();
        let output = rankfold(arguments(&[Path::new("retrain"), &small], &out, &flags)).output().unwrap();
        if !output.status.success() {
            // Codes that are sized by the numbers may come out of another size.
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(error.contains("the method would store another part than is there"), "{name}: {error}");
            assert!(!out.exists());
            continue;
        }
        rankfold(["verify".as_ref(), out.as_os_str(), "--source".as_ref(), small.as_os_str()]).assert().code(0);
        let chain = ["verify".as_ref(), out.as_os_str(), "--chain".as_ref(), small.as_os_str(), "--chain".as_ref()];
        let chain = rankfold(chain).arg(&model).arg("--json").assert().code(0).get_output().stdout.clone();
        let chain: Value = serde_json::from_slice(&chain).unwrap();
        let steps: Vec<_> =
            chain["chain"].as_array().unwrap().iter().map(|link| link["step"].as_str().unwrap()).collect();
        assert_eq!(steps, ["train", "compress", "retrain"], "{name}");
        assert_eq!(tree::names(&small), tree::names(&out), "{name}");
        done.push(name);
    }
    for name in ["low-rank", "low-rank-fixed", "fixed-point", "product", "cast"] {
        assert!(done.contains(&name), "{name} is among {done:?}");
    }
}

#[test]
fn retraining_wins_back_what_compression_cost_and_the_network_may_be_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let model = trained(directory.path());
    let small = directory.path().join("small");
    compress(&model, &small, &["--rank", "1"]).assert().code(0);
    let accuracy = |model: &Path| {
        let data = fixture("sentences").join("dev.tsv");
        let json =
            rankfold(["evaluate".as_ref(), model.as_os_str(), "--json".as_ref(), "--data".as_ref(), data.as_os_str()])
                .assert()
                .code(0)
                .get_output()
                .stdout
                .clone();
        serde_json::from_slice::<Value>(&json).unwrap()["scores"]["accuracy"].as_f64().unwrap()
    };
    for (name, more) in [("all", &[][..]), ("embedding", &["--embedding-only"][..])] {
        let out = directory.path().join(name);
        let flags = [&RATE[..], more].concat();
        rankfold(arguments(&[Path::new("retrain"), &small], &out, &flags)).assert().code(0);
        assert!(accuracy(&out) >= accuracy(&small), "{name}");
        let network = |model: &Path| {
            crate::support::weights::read(model)[&(PathBuf::new(), "classifier.weight".to_owned())].clone()
        };
        assert!(name == "all" || network(&out) == network(&small));
    }
}
