//! Names and places: newlines, blanks, Unicode, long paths, links.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::sandbox::{Sandbox, TARGET};
use crate::support::{assert_verifies, compress, rankfold, tree};

const ODD: [&str; 7] = ["a b", "line\nbreak", "tab\t", "ŝtelo-模型-🦀", "back\\slash", "-dash", "\"quote'"];

#[test]
fn names_with_blanks_line_breaks_and_unicode_are_kept() {
    for name in ODD {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join(format!("root {name}"));
        let (source, out, dense) = (root.join(name), root.join(format!("{name}.out")), root.join("dense"));
        tree::copy(&crate::support::fixture("bert-tied"), &source);
        for odd in ODD {
            fs::create_dir_all(source.join(format!("folder {odd}"))).unwrap();
            fs::write(source.join(format!("folder {odd}")).join(odd), odd).unwrap();
        }
        compress(&source, &out, &TARGET).assert().code(0);
        rankfold([Path::new("verify"), &out, Path::new("--source"), &source]).assert().code(0);
        let mut check = std::process::Command::new("sha256sum");
        let check = check.args(["--quiet", "--check", "SHA256SUMS"]).current_dir(&out).output().unwrap();
        assert!(check.status.success(), "{name}: {}", String::from_utf8_lossy(&check.stderr));
        rankfold([Path::new("restore"), &out, Path::new("-o"), &dense]).assert().code(0);
        assert_verifies(&dense);
        for odd in ODD {
            assert_eq!(fs::read_to_string(dense.join(format!("folder {odd}")).join(odd)).unwrap(), odd);
        }
    }
}

#[test]
fn a_path_of_four_thousand_characters_is_a_path() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    let mut deep = sandbox.directory.path().to_path_buf();
    while deep.as_os_str().len() < 3800 {
        deep.push("d".repeat(180));
    }
    fs::create_dir_all(&deep).unwrap();
    let out = deep.join("o".repeat(3999 - deep.as_os_str().len()));
    assert_eq!(out.as_os_str().len(), 4000);
    compress(&sandbox.source(), &out, &TARGET).assert().code(0);
    assert_verifies(&out);
    let dense = deep.join("dense");
    rankfold([Path::new("restore"), &out, Path::new("-o"), &dense]).assert().code(0);
    assert_verifies(&dense);
    assert_eq!(tree::names(&deep).len(), 2, "no temporary is left");
}

#[test]
fn a_path_that_the_system_finds_too_long_is_an_error() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    let long = sandbox.directory.path().join("n".repeat(256));
    let assert = compress(&sandbox.source(), &long, &TARGET).assert().code(1);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("File name too long"));
    sandbox.assert_holds_source_and(&[]);
    // The longest name that can be: the temporary one is shorter.
    compress(&sandbox.source(), &sandbox.directory.path().join("n".repeat(255)), &TARGET).assert().code(0);
}

#[test]
fn links_to_sources_are_followed_and_what_is_written_are_files() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    let blobs = sandbox.directory.path().join("blobs");
    let linked = sandbox.directory.path().join("linked");
    tree::copy(&sandbox.source(), &blobs);
    fs::create_dir(&linked).unwrap();
    for name in tree::names(&blobs) {
        symlink(blobs.join(&name), linked.join(&name)).unwrap();
    }
    symlink(&linked, sandbox.directory.path().join("link")).unwrap();
    compress(&sandbox.directory.path().join("link"), &sandbox.out(), &TARGET).assert().code(0);
    assert_verifies(&sandbox.out());
    for name in tree::names(&sandbox.out()) {
        assert!(fs::symlink_metadata(sandbox.out().join(&name)).unwrap().is_file(), "`{name}` is a file");
    }
    assert!(tree::read(&blobs) == tree::read(&sandbox.source()), "what links lead to is untouched");
}

#[test]
fn an_output_that_is_a_link_is_never_followed_or_replaced() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    let target = sandbox.directory.path().join("target");
    fs::create_dir(&target).unwrap();
    for (place, flags) in [(target.clone(), &[][..]), (target, &["--force"]), ("nowhere".into(), &["--force"])] {
        symlink(&place, sandbox.out()).unwrap();
        compress(&sandbox.source(), &sandbox.out(), &TARGET).args(flags).assert().code(1);
        assert_eq!(fs::read_link(sandbox.out()).unwrap(), place);
        fs::remove_file(sandbox.out()).unwrap();
    }
    sandbox.assert_holds_source_and(&["target"]);
}

#[test]
fn a_link_on_the_way_to_the_output_is_followed() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    fs::create_dir(sandbox.directory.path().join("real")).unwrap();
    symlink("real", sandbox.directory.path().join("link")).unwrap();
    compress(&sandbox.source(), &sandbox.directory.path().join("link/out"), &TARGET).assert().code(0);
    assert_verifies(&sandbox.directory.path().join("real/out"));
}

#[test]
fn a_file_whose_name_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::with_fixture("bert-tied");
    fs::write(sandbox.source().join(std::ffi::OsStr::from_bytes(b"bad\xff")), "").unwrap();
    let assert = compress(&sandbox.source(), &sandbox.out(), &TARGET).assert().code(1);
    let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(message.contains("cannot stand in a manifest") && message.contains("hint: rename"), "{message}");
    sandbox.assert_holds_source_and(&[]);
}
