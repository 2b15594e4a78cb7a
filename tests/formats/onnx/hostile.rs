//! Models that lie: every one is refused with an error, or read as what it is; none panics.

use std::fs;
use std::os::unix::fs::symlink;

use rankfold::checkpoint::Checkpoint;
use rankfold::format;

use super::*;
use crate::support::files::message_of_file;
use crate::support::protobuf::{nested, number, varint};

/// A model with a graph of these fields.
fn model_of(graph: &[Vec<u8>]) -> Vec<u8> {
    [number(1, 8), nested(7, graph.concat()), nested(8, number(2, 17))].concat()
}

/// An initializer [4, 2] of singles with these fields in place of its elements.
fn initializer(name: &str, stored: &[u8]) -> Vec<u8> {
    nested(5, [number(1, 4), number(1, 2), number(2, 1), nested(8, name), stored.to_vec()].concat())
}

fn message(graph: &[Vec<u8>]) -> String {
    message_of_file("model.onnx", &model_of(graph))
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    let sandbox = tempfile::tempdir().unwrap();
    let path = sandbox.path().join("model.onnx");
    for name in ["transpose.onnx", "if_capture.onnx", "half.onnx"] {
        let whole = fs::read(model(name)).unwrap();
        for length in (0..whole.len()).filter(|length| length % 7 == 0 || *length < 600) {
            fs::write(&path, &whole[..length]).unwrap();
            // Behind the graph, fields may be missing without a trace; the graph itself may not.
            if let Ok(reader) = format::open(&path) {
                assert!(length + 64 > whole.len(), "{name}: {length} bytes give {:?}", reader.tensors());
            }
        }
    }
}

#[test]
fn no_change_of_a_byte_makes_it_panic() {
    let sandbox = tempfile::tempdir().unwrap();
    let path = sandbox.path().join("model.onnx");
    for name in ["transpose.onnx", "folded.onnx", "half.onnx", "loop_capture.onnx"] {
        let whole = fs::read(model(name)).unwrap();
        let (start, end) = (200.min(whole.len()), whole.len() - 300);
        for at in (0..start + 300).chain(end..whole.len()) {
            for value in [0x00, 0x80, 0xff, whole[at] ^ 1] {
                let mut changed = whole.clone();
                changed[at] = value;
                fs::write(&path, &changed).unwrap();
                let Ok(checkpoint) = Checkpoint::open(&path) else { continue };
                let _ = checkpoint.candidates();
                for (id, _) in checkpoint.tensors() {
                    let _ = checkpoint.digest(id);
                }
            }
        }
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    let raw = |bytes: usize| nested(9, vec![0; bytes]);
    assert!(message(&[initializer("a", &raw(31))]).contains("expected 32 bytes for F32 [4, 2], found 31"));
    assert!(message(&[initializer("a", &nested(4, [0; 28]))]).contains("found 28"));
    assert!(message(&[initializer("a", &[])]).contains("several pieces"), "no elements at all");
    let negative = nested(5, [number(1, u64::MAX), number(2, 1), nested(8, "a")].concat());
    assert!(message(&[negative]).contains("an extent of a shape is negative: found -1"));
    let huge = nested(5, [number(1, 1 << 40), number(1, 1 << 40), number(2, 1), nested(8, "a")].concat());
    assert!(message(&[huge]).contains("shape overflows"));
    let many = nested(5, [number(1, 1).repeat(65), number(2, 1), nested(8, "a")].concat());
    assert!(message(&[many]).contains("too many dimensions"));
    let few = nested(5, [number(1, 3), number(2, 10), nested(8, "a"), nested(5, [1, 2])].concat());
    assert!(message(&[few]).contains("expected 3 for F16 [3], found 2"));
    let longer = [number(1, 8), varint(7 << 3 | 2), varint(u64::MAX >> 1)].concat();
    assert!(message_of_file("model.onnx", &longer).contains("field 7 ends beyond the message around it"));
    let twice = [initializer("a", &raw(32)), initializer("a", &raw(32))];
    assert!(message(&twice).contains("two initializers of one name"));
    let nameless = initializer("", &raw(32));
    assert!(message(&[nameless]).contains("an initializer has no name"));
    let bad = nested(1, nested(1, [0xff, 0xfe]));
    assert!(message(&[bad]).contains("not UTF-8"));
    assert!(message_of_file("model.onnx", b"").contains("not a model"));
    let two = [number(1, 8), nested(7, []), nested(7, [])].concat();
    assert!(message_of_file("model.onnx", &two).contains("two graphs"));
}

#[test]
fn bodies_in_bodies_end_somewhere() {
    let mut graph = Vec::new();
    for _ in 0..100_000 / 50 {
        graph =
            nested(1, [nested(4, "If"), nested(5, [nested(1, "then_branch"), nested(6, &graph)].concat())].concat());
    }
    assert!(message(&[graph]).contains("graphs are nested too deeply: expected at most 32"));
}

#[test]
fn a_graph_that_goes_in_circles_has_an_end() {
    let node =
        |op: &str, input: &str, output: &str| nested(1, [nested(1, input), nested(2, output), nested(4, op)].concat());
    let gather = nested(1, [nested(1, "emb"), nested(1, "a"), nested(2, "rows"), nested(4, "Gather")].concat());
    let graph = [gather, node("Cast", "b", "a"), node("Cast", "a", "b"), initializer("emb", &nested(9, [0; 32]))];
    let sandbox = tempfile::tempdir().unwrap();
    let path = sandbox.path().join("model.onnx");
    fs::write(&path, model_of(&graph)).unwrap();
    let reader = format::open(&path).unwrap();
    assert!(reader.uses().is_empty(), "no input of the graph says which rows");
    // A node that eats what it gives.
    fs::write(&path, model_of(&[node("Cast", "a", "a"), initializer("emb", &nested(9, [0; 32]))])).unwrap();
    assert!(Checkpoint::open(&path).unwrap().candidates().is_ok());
}

fn external(entries: &[(&str, &str)]) -> Vec<u8> {
    let entries = entries.iter().map(|(key, value)| nested(13, [nested(1, key), nested(2, value)].concat()));
    [entries.collect::<Vec<_>>().concat(), number(14, 1)].concat()
}

#[test]
fn external_data_stay_in_the_directory_of_the_model() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path().join("model");
    fs::create_dir(&folder).unwrap();
    fs::write(sandbox.path().join("secret"), [0; 32]).unwrap();
    fs::write(folder.join("short"), [0; 16]).unwrap();
    symlink(sandbox.path(), folder.join("away")).unwrap();
    let path = folder.join("model.onnx");
    let message = |entries: &[(&str, &str)]| {
        fs::write(&path, model_of(&[initializer("a", &external(entries))])).unwrap();
        format::open(&path).err().expect("the model is refused").to_string()
    };
    let absolute = sandbox.path().join("secret");
    for location in ["../secret", "", "/etc/hostname", ".", "a/../../secret", absolute.to_str().unwrap(), "away/secret"]
    {
        let found = message(&[("location", location)]);
        assert!(found.contains("external data lie outside the directory of the model"), "{location}: {found}");
    }
    assert!(message(&[("location", "missing")]).contains("cannot open"));
    assert!(message(&[("location", "short")]).contains("expected 32 bytes for F32 [4, 2], found 16"));
    let beyond = [("location", "short"), ("offset", "8"), ("length", "32")];
    assert!(message(&beyond).contains("external data end beyond their file"));
    let wraps = [("location", "short"), ("offset", "18446744073709551615"), ("length", "32")];
    assert!(message(&wraps).contains("external data end beyond their file"));
    assert!(message(&[("location", "short"), ("offset", "-1")]).contains("`offset` of external data is no length"));
}

#[test]
fn names_of_an_output_in_a_source_are_refused() {
    let value = |field: u64, name: &str| nested(field, [nested(1, name), nested(2, nested(1, number(1, 7)))].concat());
    let gather = |name: &str| {
        let names = [nested(1, "emb"), nested(1, "ids"), nested(2, name), nested(4, "Gather")];
        nested(1, names.concat())
    };
    let big =
        nested(5, [number(1, 64), number(1, 2), number(2, 1), nested(8, "emb"), nested(9, vec![0; 512])].concat());
    let sandbox = tempfile::tempdir().unwrap();
    let path = sandbox.path().join("model.onnx");
    let out = |graph: &[Vec<u8>]| {
        fs::write(&path, model_of(graph)).unwrap();
        let target = sandbox.path().join("out");
        let result = compress(&path, &target, &["--method", "cast", "--reduction", "0.5"]).assert().code(1);
        String::from_utf8_lossy(&result.get_output().stderr).into_owned()
    };
    let message = out(&[gather("rankfold/rows/x"), big.clone(), value(11, "ids")]);
    assert!(message.contains("the graph has names that outputs of this program have"), "{message}");
    let message = out(&[gather("rows"), big.clone(), value(11, "ids"), value(11, "emb")]);
    assert!(message.contains("the table is an input of the graph too"), "{message}");
    let message = out(&[gather("rows"), big.clone(), value(11, "ids"), value(12, "emb")]);
    assert!(message.contains("the table is an output of the graph"), "{message}");
    let old =
        [number(1, 3), nested(7, [gather("rows"), big, value(11, "ids")].concat()), nested(8, number(2, 6))].concat();
    fs::write(&path, old).unwrap();
    let message = refusal(&path, &["--method", "cast", "--reduction", "0.5"], 1);
    assert!(message.contains("expected operator set 7 or later, found 6"), "{message}");
}
