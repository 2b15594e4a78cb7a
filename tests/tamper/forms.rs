//! Outputs of every form: graphs, block types, archives, arrays, word vectors.

use std::fs;
use std::path::Path;

use rankfold::format::WRITERS;

use crate::Output;
use crate::support::gguf::model;
use crate::support::{compress, fixture, rankfold};

/// Changed bytes of each file; smaller files are changed everywhere.
const CHANGES: usize = 150;

/// Changes bytes of every file all over it, removes it, and adds a file; gives how many changes there were.
fn tamper(what: &str, output: &Output) -> usize {
    let mut count = 0;
    for name in output.files() {
        let content = fs::read(output.file(&name)).unwrap();
        for place in (0..content.len()).step_by((content.len() / CHANGES).max(1)) {
            let mut changed = content.clone();
            changed[place] ^= 1 << (place % 8);
            fs::write(output.file(&name), changed).unwrap();
            assert!(output.is_found(&name), "{what}: byte {place} of `{name}`");
            count += 1;
        }
        fs::write(output.file(&name), &content[..content.len() - 1]).unwrap();
        assert!(output.is_found(&name), "{what}: `{name}` cut off");
        fs::remove_file(output.file(&name)).unwrap();
        assert!(output.is_found(&name), "{what}: `{name}` removed");
        fs::write(output.file(&name), content).unwrap();
        fs::write(output.file("added"), "").unwrap();
        assert!(output.is_found("added"), "{what}");
        fs::remove_file(output.file("added")).unwrap();
        count += 3;
    }
    assert_eq!(output.differences(), []);
    count
}

#[test]
fn changes_of_converted_files_of_every_format_are_found() {
    let vectors = fs::read(fixture("word-vectors/vectors.safetensors")).unwrap();
    for format in WRITERS {
        let output = Output::of("vectors.safetensors", &vectors, |source, out| {
            let convert = [Path::new("convert"), source, out, Path::new("--to"), Path::new(format.name())];
            rankfold(convert).assert().code(0);
        });
        eprintln!("{}: {} changes, 0 missed", format.name(), tamper(format.name(), &output));
    }
}

#[test]
fn changes_of_compressed_graphs_are_found() {
    for name in ["transpose.onnx", "half.onnx"] {
        let graph = fs::read(fixture("onnx").join(name)).unwrap();
        let output = Output::of(name, &graph, |source, out| {
            compress(source, out, &["--reduction", "0.5"]).assert().code(0);
        });
        eprintln!("{name}: {} changes, 0 missed", tamper(name, &output));
    }
}

#[test]
fn changes_of_compressed_block_types_are_found() {
    let table: Vec<u8> = (0..50 * 64u32).flat_map(|at| ((at * 37 % 101) as f32 - 50.0).to_le_bytes()).collect();
    let output = Output::of("model.gguf", &model(0, &table, 50, 32, true), |source, out| {
        let flags = ["--method", "ggml", "--type", "q8_0", "--include", "token_embd.weight"];
        compress(source, out, &flags).assert().code(0);
    });
    eprintln!("gguf: {} changes, 0 missed", tamper("gguf", &output));
}

#[test]
fn changes_of_carried_parts_are_found() {
    let vectors = fs::read(fixture("word-vectors/vectors.safetensors")).unwrap();
    let output = Output::of("vectors.safetensors", &vectors, |source, out| {
        compress(source, out, &["--reduction", "0.5"]).assert().code(0);
    });
    eprintln!("word vectors: {} changes, 0 missed", tamper("word vectors", &output));
}
