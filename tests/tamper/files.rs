//! Files removed, added, renamed, exchanged, or turned into something else.

use std::fs;

use rankfold::manifest::Change::{Changed, Extra, Missing};

use crate::Output;
use crate::support::files::make_pipe;

#[test]
fn a_file_that_is_removed_or_renamed_is_named() {
    let output = Output::new();
    for name in output.files() {
        let (here, there) = (output.file(&name), output.file("renamed"));
        fs::rename(&here, &there).unwrap();
        let expected = [("rankfold.json", Missing)];
        match name.as_str() {
            // Without it nothing else says what should be there.
            "rankfold.json" => output.assert_files(&expected),
            "SHA256SUMS" => output.assert_files(&[("SHA256SUMS", Missing), ("renamed", Extra)]),
            name => {
                let mut expected = [(name, Missing), ("renamed", Extra)];
                expected.sort();
                output.assert_files(&expected);
            }
        }
        fs::rename(&there, &here).unwrap();
    }
    assert_eq!(output.differences(), []);
}

#[test]
fn a_file_that_is_added_is_named() {
    let output = Output::new();
    for name in ["new", ".hidden", "folder/new", "other/new", "pytorch_model.bin", "rankfold.json.bak", "sha256sums"] {
        fs::create_dir_all(output.file(name).parent().unwrap()).unwrap();
        fs::write(output.file(name), "").unwrap();
        output.assert_files(&[(name, Extra)]);
        fs::remove_file(output.file(name)).unwrap();
    }
}

#[test]
fn files_that_are_exchanged_are_both_named() {
    let output = Output::new();
    let files = output.files();
    let mut pairs = 0;
    for (at, first) in files.iter().enumerate() {
        for second in &files[at + 1..] {
            let (one, other) = (fs::read(output.file(first)).unwrap(), fs::read(output.file(second)).unwrap());
            fs::write(output.file(first), &other).unwrap();
            fs::write(output.file(second), &one).unwrap();
            // Without a manifest that can be read there is nothing to hold the other file against.
            let records = ["rankfold.json"].into_iter().find(|record| [first, second].contains(&&(*record).to_owned()));
            for name in records.map_or(vec![first.as_str(), second], |record| vec![record]) {
                assert!(output.is_found(name), "`{name}` of `{first}` and `{second}`");
            }
            fs::write(output.file(first), one).unwrap();
            fs::write(output.file(second), other).unwrap();
            pairs += 1;
        }
    }
    // Of one size, so that only the content tells.
    assert_eq!(fs::metadata(output.file("merges.txt")).unwrap().len(), 3);
    assert_eq!(fs::metadata(output.file("folder/merges.txt")).unwrap().len(), 3);
    eprintln!("{pairs} pairs of files exchanged, 0 missed");
}

#[test]
fn a_file_that_becomes_something_else_is_named() {
    let output = Output::new();
    for name in ["config.json", "merges.txt", "model.safetensors"] {
        let content = fs::read(output.file(name)).unwrap();
        fs::remove_file(output.file(name)).unwrap();
        fs::create_dir(output.file(name)).unwrap();
        assert!(output.is_found(name), "a folder in place of `{name}`");
        fs::remove_dir(output.file(name)).unwrap();
        make_pipe(&output.file(name));
        assert!(output.is_found(name), "a pipe in place of `{name}`");
        fs::remove_file(output.file(name)).unwrap();
        fs::write(output.file(name), content).unwrap();
    }
    fs::remove_dir_all(output.file("folder")).unwrap();
    fs::write(output.file("folder"), "").unwrap();
    output.assert_files(&[("folder", Extra), ("folder/merges.txt", Missing)]);
    let output = Output::new();
    fs::write(output.file("SHA256SUMS"), vec![b'x'; 1 << 20]).unwrap();
    assert!(output.differences().iter().all(|one| one.name == "SHA256SUMS" && one.change == Changed));
}
