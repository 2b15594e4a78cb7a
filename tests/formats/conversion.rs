//! `rankfold convert`, and the NumPy files that it reads and writes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::files::{file_of, message_of_file};
use crate::support::{assert_verifies, fixture, python, rankfold, tree, weights};
use serde_json::Value;

/// `rankfold convert SOURCE OUT FLAGS`, which must end with `code`; gives standard error.
fn convert(source: &Path, out: &Path, flags: &[&str], code: i32) -> String {
    let mut command = rankfold([Path::new("convert"), source, out]);
    let assert = command.args(flags).assert().code(code);
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

fn verify_against(out: &Path, source: &Path, code: i32) {
    rankfold([Path::new("verify"), out, Path::new("--source"), source]).assert().code(code);
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn write(directory: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// A safetensors file of vectors of singles.
fn singles(tensors: &[(&str, &[f32])]) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        entries.push(format!(
            r#"{name:?}:{{"dtype":"F32","shape":[{}],"data_offsets":[{start},{}]}}"#,
            values.len(),
            data.len()
        ));
    }
    file_of(&format!("{{{}}}", entries.join(",")), &data)
}

/// A .npy file of this version, with this header.
fn npy(version: u8, literal: &str, data: &[u8]) -> Vec<u8> {
    let length = (literal.len() as u32).to_le_bytes();
    let length = if version == 1 { &length[..2] } else { &length[..] };
    [b"\x93NUMPY", &[version, 0][..], length, literal.as_bytes(), data].concat()
}

#[test]
fn pickles_become_safetensors_with_tied_storages_once_and_named() {
    let sandbox = tempfile::tempdir().unwrap();
    let (new, old) = (sandbox.path().join("new"), sandbox.path().join("old"));
    convert(&fixture("pytorch"), &new, &[], 0);
    convert(&fixture("pytorch-legacy"), &old, &["--threads", "1"], 0);
    assert_eq!(tree::names(&new), ["SHA256SUMS", "config.json", "model.safetensors", "rankfold.json"]);
    assert_eq!(
        std::fs::read(new.join("model.safetensors")).unwrap(),
        std::fs::read(old.join("model.safetensors")).unwrap()
    );
    let manifest = json(new.join("rankfold.json"));
    let word_table = "bert.embeddings.word_embeddings.weight";
    assert_eq!(manifest["stored_once"]["cls.predictions.decoder.weight"], word_table);
    assert_eq!(manifest["operation"], "convert");
    let tensors = weights::read(&new);
    assert!(!tensors.contains_key(&(PathBuf::new(), "cls.predictions.decoder.weight".into())));
    assert_verifies(&new);
    verify_against(&new, &fixture("pytorch"), 0);
    verify_against(&new, &fixture("bert-encoder"), 3);
}

#[test]
fn compressed_pickles_are_restored_as_safetensors() {
    let sandbox = tempfile::tempdir().unwrap();
    let [out, dense, plain] = ["out", "dense", "plain"].map(|name| sandbox.path().join(name));
    crate::support::compress(&fixture("pytorch"), &out, &["--reduction", "0.5"]).assert().code(0);
    verify_against(&out, &fixture("pytorch"), 0);
    rankfold([Path::new("restore"), &out, Path::new("-o"), &dense]).assert().code(0);
    convert(&fixture("pytorch"), &plain, &[], 0);
    let (dense, plain) = (weights::read(&dense), weights::read(&plain));
    assert!(dense.len() > plain.len(), "tied tensors are written again");
    for (name, tensor) in &plain {
        assert_eq!(dense[name] == *tensor, !name.1.contains("word_embeddings"), "`{}`", name.1);
    }
}

#[test]
fn tensors_survive_the_way_through_numpy_formats() {
    let sandbox = tempfile::tempdir().unwrap();
    let source = fixture("bert-untied").join("model.safetensors");
    let expected = weights::read(&source);
    for format in ["npz", "npy"] {
        let [there, back] = ["there", "back"].map(|name| sandbox.path().join(format!("{format}-{name}")));
        convert(&source, &there, &["--to", format], 0);
        verify_against(&there, &source, 0);
        convert(&there, &back, &["--force"], 0);
        let found = weights::read(&back);
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().all(|(name, tensor)| expected[name] == *tensor));
    }
}

#[test]
fn shards_follow_the_rules_of_hugging_face() {
    let sandbox = tempfile::tempdir().unwrap();
    let content = singles(&[("a", &[1.0; 10]), ("b", &[2.0; 40]), ("c", &[3.0; 10]), ("d", &[4.0; 6])]);
    let source = write(sandbox.path(), "model.safetensors", &content);
    let out = sandbox.path().join("out");
    convert(&source, &out, &["--max-shard-size", "80B"], 0);
    // As huggingface_hub divides them: `b` is above the limit and alone, before the shard that was begun earlier ends.
    let index = json(out.join("model.safetensors.index.json"));
    assert_eq!(index["metadata"]["total_size"], 264);
    let shard = |name: &str| index["weight_map"][name].as_str().unwrap().to_owned();
    assert_eq!(shard("b"), "model-00001-of-00003.safetensors");
    assert_eq!([shard("a"), shard("c")], ["model-00002-of-00003.safetensors"; 2].map(String::from));
    assert_eq!(shard("d"), "model-00003-of-00003.safetensors");
    verify_against(&out, &source, 0);
    let one = sandbox.path().join("one");
    convert(&out, &one, &["--max-shard-size", "5GB"], 0);
    assert!(one.join("model.safetensors").exists() && !one.join("model.safetensors.index.json").exists());
}

#[test]
fn casts_report_their_error_and_may_not_overflow() {
    let sandbox = tempfile::tempdir().unwrap();
    let source =
        write(sandbox.path(), "model.safetensors", &singles(&[("a", &[3.0, 4.0 + 1.0 / 256.0]), ("b", &[1e6, 2.0])]));
    let [half, over, brain] = ["half", "over", "brain"].map(|name| sandbox.path().join(name));
    let message = convert(&source, &half, &["--dtype", "f16"], 1);
    assert!(
        message.contains("tensor `b`") && message.contains("1e6 as element 0") && message.contains("--allow-overflow"),
        "{message}"
    );
    assert!(!half.exists());
    convert(&source, &over, &["--dtype", "f16", "--allow-overflow"], 0);
    assert_eq!(json(over.join("rankfold.json"))["conversions"][1]["overflowed"], 1);
    verify_against(&over, &source, 0);
    convert(&source, &brain, &["--dtype", "bf16"], 0);
    let errors = json(brain.join("rankfold.json"))["conversions"][0]["errors"].clone();
    assert_eq!(errors["max_absolute"], 1.0 / 256.0);
    verify_against(&brain, &source, 0);
    let gated = sandbox.path().join("gated");
    convert(&source, &gated, &["--dtype", "bf16", "--max-error", "1e-9"], 4);
    convert(&source, &gated, &["--max-size", "10B"], 4);
    assert!(!gated.exists());
}

#[test]
fn tensors_are_chosen_and_renamed() {
    let sandbox = tempfile::tempdir().unwrap();
    let source =
        write(sandbox.path(), "model.safetensors", &singles(&[("x.a", &[1.0]), ("x.b", &[2.0]), ("y", &[3.0])]));
    let out = sandbox.path().join("out");
    convert(&source, &out, &["--tensors", "x.*", "--rename", "x.*=*", "--rename", "a=z"], 1);
    convert(&source, &out, &["--tensors", "x.*", "--rename", "x.a=z", "--rename", "x.*=*"], 0);
    let names: Vec<_> = weights::read(&out).into_keys().map(|(_, name)| name).collect();
    assert_eq!(names, ["b", "z"]);
    assert_eq!(json(out.join("rankfold.json"))["left_out"], serde_json::json!(["y"]));
    verify_against(&out, &source, 0);
    let none = sandbox.path().join("none");
    assert!(convert(&source, &none, &["--tensors", "w*"], 1).contains("glob of `--tensors` names no tensor"));
    assert!(convert(&source, &none, &["--rename", "y=x.a"], 1).contains("two tensors would get one name"));
    assert!(convert(&source, &none, &["--rename", "y*=z"], 2).contains("not a renaming"));
    assert!(!none.exists());
}

#[test]
fn dtypes_that_numpy_lacks_are_refused() {
    let sandbox = tempfile::tempdir().unwrap();
    let out = sandbox.path().join("out");
    let message = convert(&fixture("llama-bf16-sharded"), &out, &["--to", "npz"], 1);
    assert!(message.contains("NumPy has no such dtype") && message.contains("--dtype f32"), "{message}");
    convert(&fixture("llama-bf16-sharded"), &out, &["--to", "npz", "--dtype", "f32"], 0);
    assert!(out.join("model.npz").exists());
}

#[test]
fn arrays_of_every_order_and_byte_order_are_read() {
    let values: Vec<u8> = (0..6).flat_map(|value: i16| value.to_be_bytes()).collect();
    let content = npy(2, "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n", &values);
    let sandbox = tempfile::tempdir().unwrap();
    let reader = rankfold::format::open(&write(sandbox.path(), "array.npy", &content)).unwrap();
    assert_eq!(reader.tensors()[0].name, "array");
    let expected: Vec<u8> = [0i16, 2, 4, 1, 3, 5].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(*reader.bytes(0).unwrap(), *expected);
}

#[test]
fn headers_of_arrays_that_lie_are_refused() {
    let refusal = |content: &[u8]| message_of_file("a.npy", content);
    let header = |literal: &str| refusal(&npy(1, literal, &[0; 8]));
    assert!(
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }")
            .contains("expected 12 bytes for [3] of F32, found 8")
    );
    assert!(
        header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")
            .contains("arrays of this type are no tensors")
    );
    assert!(header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }").contains("arrays of records"));
    assert!(header("{'descr': '<f4', 'shape': (2,), }").contains("has no `fortran_order`"));
    assert!(header("{'descr': '<f4', 'descr': '<f4', 'shape': (2,), }").contains("`descr` occurs twice"));
    assert!(header("__import__('os')").contains("is not what NumPy writes"));
    let huge = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({0}, {0}), }}", u64::MAX);
    assert!(header(&huge).contains("shape overflows"));
    let beyond = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}0,), }}", u64::MAX);
    assert!(header(&beyond).contains("a whole number from 0"));
}

#[test]
fn an_array_header_of_a_gigabyte_is_refused_unread() {
    let content = [b"\x93NUMPY\x02\0".as_slice(), &(1u32 << 30).to_le_bytes(), b"{'descr'"].concat();
    let message = message_of_file("a.npy", &content);
    assert_eq!(message, "header of the array is too long: expected at most 1048576 bytes, found 1073741824");
}

#[test]
fn numpy_files_cut_off_anywhere_are_refused() {
    for name in ["table.npy", "arrays.npz"] {
        let whole = std::fs::read(fixture("numpy").join(name)).unwrap();
        for length in (0..whole.len()).step_by(29).chain([whole.len() - 1]) {
            assert!(!message_of_file(name, &whole[..length]).is_empty());
        }
    }
}

/// Versions 2 and 3, which NumPy takes for long headers and for names that are not Latin; and what is no tensor.
#[test]
fn numpy_writes_nothing_that_is_misread() {
    let sandbox = tempfile::tempdir().unwrap();
    let program = "import numpy as np\n\
                   a = np.asfortranarray(np.arange(12, dtype='>f4').reshape(3, 4))\n\
                   for v in (1, 2, 3): np.lib.format.write_array(open(f'v{v}.npy', 'wb'), a, version=(v, 0))\n\
                   np.savez_compressed('compressed.npz', a=a)\n\
                   np.save('names.npy', np.zeros(2, [('a', '<f4'), ('b', '<f4')]))\n\
                   np.save('text.npy', np.array(['a']))\n\
                   np.save('objects.npy', np.array([{}], dtype=object))\n\
                   np.save('long.npy', np.zeros(2, dtype='<c16'))";
    let output = Command::new(python()).args(["-c", program]).current_dir(sandbox.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for version in 1..=3u8 {
        let path = sandbox.path().join(format!("v{version}.npy"));
        assert_eq!(std::fs::read(&path).unwrap()[6], version);
        let reader = rankfold::format::open(&path).unwrap();
        let expected: Vec<u8> = (0..12u8).flat_map(|value| f32::from(value).to_le_bytes()).collect();
        assert_eq!(*reader.bytes(0).unwrap(), *expected, "version {version}");
    }
    for (name, expected) in [
        ("compressed.npz", "entry of the archive is compressed"),
        ("names.npy", "arrays of records are no tensors"),
        ("text.npy", "arrays of this type are no tensors"),
        ("objects.npy", "arrays of this type are no tensors"),
        ("long.npy", "arrays of this type are no tensors"),
    ] {
        let error = rankfold::format::open(&sandbox.path().join(name)).err().expect(name).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// NumPy reads what is written, and what NumPy writes is read.
#[test]
fn numpy_agrees_on_both_formats() {
    let sandbox = tempfile::tempdir().unwrap();
    let run = |program: &str| {
        let output = Command::new(python()).args(["-c", program]).current_dir(sandbox.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run("import numpy as np\n\
         t = {f'{o}{c}': np.asfortranarray(np.arange(12).reshape(3, 4)).astype(o + c) if o == '>' else np.arange(12).astype(o + c)\n     \
              for o in '<>' for c in ('f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', '?')}\n\
         np.savez('in.npz', scalar=np.float32(2), empty=np.zeros((0, 3)), **t)");
    for format in ["npz", "safetensors"] {
        convert(&sandbox.path().join("in.npz"), &sandbox.path().join(format), &["--to", format], 0);
    }
    run("import numpy as np, safetensors.numpy as st\n\
         a, b, c = np.load('in.npz'), np.load('npz/in.npz'), st.load_file('safetensors/in.safetensors')\n\
         assert set(a) == set(b) == set(c) and len(a) == 26\n\
         for k in a: assert np.array_equal(a[k], b[k]) and np.array_equal(a[k], c[k]) and a[k].shape == b[k].shape, k");
    assert!(sandbox.path().join("npz/in.npz").exists());
}
