//! Sources that change while they are read: an error, never a crash and never a manifest that lies.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Child;

use crate::sandbox::Sandbox;
use crate::support::tree;

/// Something that happens to a file.
type Change = fn(&Path);

const CHANGES: [(&str, Change); 6] = [
    ("cut off", |path| File::options().write(true).open(path).unwrap().set_len(5000).unwrap()),
    ("emptied", |path| File::options().write(true).open(path).unwrap().set_len(0).unwrap()),
    ("made longer", |path| File::options().append(true).open(path).unwrap().write_all(&[7; 100]).unwrap()),
    ("written to", |path| {
        let mut file = File::options().write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len();
        for place in (4096..length).step_by(64 << 10) {
            file.seek(SeekFrom::Start(place)).unwrap();
            file.write_all(&[0xff; 4096][..4096.min((length - place) as usize)]).unwrap();
        }
    }),
    ("replaced", |path| {
        let beside = path.with_extension("new");
        fs::write(&beside, b"something else").unwrap();
        fs::rename(beside, path).unwrap();
    }),
    ("removed", |path| fs::remove_file(path).unwrap()),
];

/// Runs with the source file changed in every way while they write; `source` is what is passed.
fn disturb(sandbox: &Sandbox, file: &Path, source: &Path) {
    let content = fs::read(file).unwrap();
    for (name, change) in CHANGES {
        let reset = || fs::write(file, &content).unwrap();
        let output = sandbox.disturb(sandbox.command(source), |_: &Child| change(file), reset);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {:?}: {message}", output.status);
        assert!(message.starts_with("error: ") && !message.contains("panicked"), "{name}: {message}");
        assert_eq!(sandbox.temporaries(), [""; 0], "{name}");
        reset();
    }
}

#[test]
fn a_checkpoint_that_changes_while_it_is_read_is_an_error() {
    let sandbox = Sandbox::with_ballast(16);
    disturb(&sandbox, &sandbox.source().join("model.safetensors"), &sandbox.source());
    sandbox.assert_holds_source_and(&[]);
}

#[test]
fn the_configuration_that_changes_is_an_error() {
    let sandbox = Sandbox::with_ballast(16);
    let file = sandbox.source().join("config.json");
    let reset = || tree::copy(&crate::support::fixture("bert-encoder"), &sandbox.source());
    let change = |_: &Child| fs::write(&file, "{}").unwrap();
    // The ballast is gone after a reset, so there is one try; it is large enough to be still written.
    let output = sandbox.disturb(sandbox.command(&sandbox.source()), change, reset);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("config.json`: the file changed while it was read"), "{message}");
}

/// Word vectors as text, which is decoded as it is read, and the same table as an array.
fn table(rows: usize, columns: usize) -> (Vec<u8>, Vec<u8>) {
    let number = |at: usize| ((at as u32).wrapping_mul(2_654_435_769) >> 8) as f32 / (1u32 << 24) as f32 - 0.5;
    let mut text = Vec::new();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let mut array = [b"\x93NUMPY\x01\0".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
    for row in 0..rows {
        write!(text, "word{row}").unwrap();
        for column in 0..columns {
            let value = number(row * columns + column);
            write!(text, " {value:.4}").unwrap();
            array.extend(value.to_le_bytes());
        }
        text.push(b'\n');
    }
    (text, array)
}

#[test]
fn files_of_other_formats_that_change_while_they_are_read_are_errors() {
    let (text, array) = table(40_000, 48);
    for (name, content) in [("vectors.txt", &text), ("table.npy", &array)] {
        let sandbox = Sandbox { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(sandbox.source()).unwrap();
        let file: PathBuf = sandbox.source().join(name);
        fs::write(&file, content).unwrap();
        disturb(&sandbox, &file, &file);
        sandbox.assert_holds_source_and(&[]);
    }
}
