//! The documents of `docs/commands` and the README's session, run as they stand.
//!
//! Each document runs in a copy of `fixtures/` of its own, its commands one after another. After a wanted change of
//! output, `TRYCMD=overwrite cargo test --test program cli` writes what the commands print now into the documents; exit codes
//! are written too, so look at the difference.

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use crate::support::{RANKFOLD, fixture, minilm, tree};
use trycmd::TestCases;

/// Programs besides rankfold that the documents use.
const TOOLS: [&str; 6] = ["cp", "env", "ls", "rm", "sha256sum", "truncate"];

/// A temporary directory in which trycmd finds documents with a sandbox each.
struct Stage {
    directory: tempfile::TempDir,
    documents: Vec<(PathBuf, PathBuf)>,
}

impl Stage {
    fn new() -> Self {
        Stage { directory: tempfile::tempdir().unwrap(), documents: Vec::new() }
    }

    /// Copies a document here; gives the directory that its commands will start in (a copy of).
    fn add(&mut self, document: &str) -> PathBuf {
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
        let staged = self.directory.path().join(original.file_name().unwrap());
        fs::copy(&original, &staged).unwrap();
        let input = staged.with_extension("in");
        fs::create_dir(&input).unwrap();
        // A folder of expected files, even an empty one, makes trycmd run all commands in one writable copy.
        fs::create_dir(staged.with_extension("out")).unwrap();
        self.documents.push((original, staged));
        input
    }

    /// Runs the documents; with `TRYCMD=overwrite` brings the new text back to where they came from.
    fn run(self) {
        let cases = TestCases::new();
        cases.register_bin("rankfold", Path::new(RANKFOLD)).env("NO_COLOR", "1").env("LC_ALL", "C");
        cases.register_bins(TOOLS.map(|tool| (tool, find(tool))));
        for (_, staged) in &self.documents {
            cases.case(staged);
        }
        let result = catch_unwind(AssertUnwindSafe(|| cases.run()));
        if env::var_os("TRYCMD").is_some_and(|mode| mode == "overwrite") {
            for (original, staged) in &self.documents {
                fs::write(original, elide(&fs::read_to_string(staged).unwrap())).unwrap();
            }
        }
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    }
}

/// Puts `[..]`, which stands for anything, where processors may differ: for digests of what was computed, and for the
/// digits of a fraction beyond the sixth.
fn elide(document: &str) -> String {
    let mut text = String::new();
    for line in document.split_inclusive('\n') {
        let mut word = String::new();
        for character in line.chars() {
            if character.is_ascii_alphanumeric() || character == '.' {
                word.push(character);
            } else {
                text.push_str(&if line.starts_with("$ ") { std::mem::take(&mut word) } else { shorten(&word) });
                word.clear();
                text.push(character);
            }
        }
        text.push_str(&word);
    }
    text
}

/// The part of a word that is the same everywhere, with `[..]` for the rest.
fn shorten(word: &str) -> String {
    if word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return "[..]".to_owned();
    }
    match word.split_once('.') {
        Some((whole, fraction)) if fraction.len() > 6 && word.parse::<f64>().is_ok() => {
            let exponent = fraction.find('e').map_or("", |position| &fraction[position..]);
            format!("{whole}.{}[..]{exponent}", &fraction[..6])
        }
        _ => word.to_owned(),
    }
}

/// The path of a program: trycmd would skip a command that it cannot find.
fn find(tool: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(tool)).find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| panic!("`{tool}` is not on PATH"))
}

#[test]
fn every_command_does_what_its_document_says() {
    let mut stage = Stage::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands");
    for name in tree::names(&folder) {
        let input = stage.add(&format!("docs/commands/{name}"));
        tree::copy(&fixture(""), &input.join("fixtures"));
    }
    stage.run();
}

#[test]
fn elision_spares_commands_names_and_short_fractions() {
    let digest = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
    let text =
        format!("$ verify --digest {digest}\nsha256 {digest}\nfile.safetensors 0.1234567, 0.123456 1.23456789e10\n");
    let expected =
        format!("$ verify --digest {digest}\nsha256 [..]\nfile.safetensors 0.123456[..], 0.123456 1.234567[..]e10\n");
    assert_eq!(elide(&text), expected);
}

#[test]
fn every_command_of_the_documents_is_one_that_can_be_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands");
    for name in tree::names(&folder) {
        let text = fs::read_to_string(folder.join(&name)).unwrap();
        for command in text.lines().filter_map(|line| line.strip_prefix("$ ")) {
            let program = command.split_whitespace().next().unwrap_or_default();
            assert!(program == "rankfold" || TOOLS.contains(&program), "{name}: `{command}`");
        }
    }
}

#[test]
fn real_session_of_the_readme_is_what_the_program_prints() {
    let mut stage = Stage::new();
    let input = stage.add("README.md");
    std::os::unix::fs::symlink(minilm(), input.join("all-MiniLM-L6-v2")).unwrap();
    stage.run();
}
