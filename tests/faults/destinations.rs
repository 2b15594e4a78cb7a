//! What may be at the output already, and where it may not be.

use std::fs;
use std::path::Path;

use crate::sandbox::{Sandbox, TARGET};
use crate::support::{compress, rankfold, tree};

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
