//! What a path opens: a file, an index, a directory of Hugging Face or of sentence-transformers.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::files::{file_with, make_pipe, write_all};
use rankfold::ErrorKind;
use rankfold::checkpoint::{Checkpoint, is_weights};
use tempfile::TempDir;

/// A directory of those files, where `*.safetensors` hold one tensor that is called as the file.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let bytes = if name.ends_with(".safetensors") { file_with(&[(name, &[1, 2])]) } else { (*content).into() };
        write_all(directory.path(), &[(name, &bytes)]);
    }
    directory
}

fn open(directory: &TempDir) -> Checkpoint {
    Checkpoint::open(directory.path()).unwrap_or_else(|error| panic!("{error}"))
}

/// The message with which the directory is refused, without its own path.
fn message(directory: &TempDir) -> String {
    let error = Checkpoint::open(directory.path()).err().expect("the directory is refused");
    error.to_string().replace(&directory.path().display().to_string(), "ROOT")
}

fn shards(checkpoint: &Checkpoint) -> Vec<&Path> {
    checkpoint.shards().iter().map(|shard| shard.path()).collect()
}

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

#[test]
fn a_file_is_opened_alone() {
    let directory = directory(&[("model.safetensors", ""), ("config.json", "{}"), ("vocab.txt", "")]);
    let checkpoint = Checkpoint::open(&directory.path().join("model.safetensors")).unwrap();
    assert_eq!(checkpoint.root(), directory.path());
    assert_eq!(shards(&checkpoint), [Path::new("model.safetensors")]);
    assert!(checkpoint.config().is_none() && checkpoint.index().is_none());
    assert_eq!(checkpoint.companions(), paths(&[]));
    assert_eq!(checkpoint.files().collect::<Vec<_>>(), [Path::new("model.safetensors")]);
}

#[test]
fn an_index_is_opened_with_its_shards_and_nothing_else() {
    let map = r#"{"weight_map":{"b.safetensors":"b.safetensors","a.safetensors":"a.safetensors"}}"#;
    let files =
        [("x.safetensors.index.json", map), ("a.safetensors", ""), ("b.safetensors", ""), ("config.json", "{}")];
    let directory = directory(&files);
    let checkpoint = Checkpoint::open(&directory.path().join("x.safetensors.index.json")).unwrap();
    assert_eq!(shards(&checkpoint), [Path::new("a.safetensors"), Path::new("b.safetensors")]);
    assert_eq!(checkpoint.index().unwrap().path(), Path::new("x.safetensors.index.json"));
    assert!(checkpoint.config().is_none());
    assert_eq!(checkpoint.companions(), paths(&[]));
    assert_eq!(checkpoint.files().count(), 3);
}

#[test]
fn tensors_are_found_by_name_and_listed_shard_by_shard() {
    let directory =
        directory(&[("model.safetensors.index.json", r#"{"weight_map":{"z":"a.bin","y":"a.bin","x":"b.bin"}}"#)]);
    write_all(directory.path(), &[("b.bin", &file_with(&[("x", &[9])]))]);
    write_all(directory.path(), &[("a.bin", &file_with(&[("z", &[1]), ("y", &[2, 3])]))]);
    let checkpoint = open(&directory);
    let names: Vec<_> = checkpoint.tensors().map(|(_, meta)| meta.name.as_str()).collect();
    assert_eq!(names, ["z", "y", "x"]);
    for (id, meta) in checkpoint.tensors() {
        assert_eq!(checkpoint.find(&meta.name), Some(id));
        assert_eq!(checkpoint.meta(id), meta);
    }
    assert_eq!(checkpoint.bytes(checkpoint.find("y").unwrap()).unwrap()[..], [2, 3]);
    assert_eq!(checkpoint.find("w"), None);
}

#[test]
fn a_directory_gives_weights_configuration_and_companions() {
    let directory = directory(&[
        ("model.safetensors", ""),
        ("config.json", "{ \"vocab_size\": 3 }\n"),
        ("vocab.txt", "a"),
        ("1_Pooling/config.json", "not JSON"),
        ("2_Dense/model.safetensors", ""),
        ("pytorch_model.bin", ""),
        ("model.safetensors.index.json", "not JSON"),
    ]);
    let checkpoint = open(&directory);
    assert_eq!(shards(&checkpoint), [Path::new("model.safetensors")]);
    let config = checkpoint.config().unwrap();
    assert_eq!(config.path(), Path::new("config.json"));
    assert_eq!(config.text().as_bytes(), b"{ \"vocab_size\": 3 }\n");
    assert_eq!(config.value()["vocab_size"], 3);
    let expected = paths(&[
        "1_Pooling/config.json",
        "2_Dense/model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "vocab.txt",
    ]);
    assert_eq!(checkpoint.companions(), expected);
    assert_eq!(checkpoint.files().count(), 7);
}

#[test]
fn weights_are_chosen_in_the_documented_order() {
    let index = |shard: &str| format!("{{\"weight_map\":{{\"{shard}\":\"{shard}\"}}}}");
    let (a, b) = (index("a.safetensors"), index("b.safetensors"));
    let mut files = vec![
        ("model.safetensors", ""),
        ("model.safetensors.index.json", a.as_str()),
        ("model.fp16.safetensors.index.json", b.as_str()),
        ("a.safetensors", ""),
        ("b.safetensors", ""),
    ];
    assert_eq!(shards(&open(&directory(&files))), [Path::new("model.safetensors")]);
    files.remove(0);
    assert_eq!(shards(&open(&directory(&files))), [Path::new("a.safetensors")]);
    files.remove(0);
    assert_eq!(shards(&open(&directory(&files))), [Path::new("b.safetensors")]);
    files.drain(..2);
    assert_eq!(shards(&open(&directory(&files))), [Path::new("b.safetensors")]);
}

#[test]
fn several_weight_files_are_listed_and_one_has_to_be_passed() {
    let files = directory(&[("b.safetensors", ""), ("a.safetensors", "")]);
    let error = Checkpoint::open(files.path()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Selection);
    assert_eq!(error.hint_text(), Some("pass the file that is meant"));
    let expected = "`ROOT`: several weight files in the directory: expected one, or one called \
                    `model.safetensors`, found `a.safetensors`, `b.safetensors`";
    assert_eq!(message(&files), expected);
}

#[test]
fn a_directory_without_weights_is_refused_with_what_else_it_holds() {
    let empty = directory(&[("config.json", "{}")]);
    let endings = rankfold::format::FORMATS.iter().flat_map(|format| format.extensions());
    let endings: Vec<_> = endings.map(|ending| format!("`*.{ending}`")).collect();
    let refusal = format!("`ROOT`: no weights in the directory: expected {} or its index", endings.join(" or "));
    assert_eq!(message(&empty), refusal);
    let other = directory(&[("tf_model.h5", ""), ("onnx/model.onnx", "")]);
    assert_eq!(message(&other), format!("{refusal}, found `onnx/model.onnx`, `tf_model.h5`"));
}

#[test]
fn the_first_module_with_weights_is_taken_with_its_configuration() {
    let modules = r#"[{"idx":0,"name":"0","path":"","type":"x"},{"path":"1_Pooling"},{"path":"2_T"},{"path":"0_S"}]"#;
    let directory = directory(&[
        ("modules.json", modules),
        ("config.json", "{\"root\":true}"),
        ("0_S/model.safetensors", ""),
        ("1_Pooling/config.json", "{}"),
        ("2_T/config.json", "{\"model_type\":\"bert\"}"),
        ("2_T/model.safetensors", ""),
    ]);
    let checkpoint = open(&directory);
    assert_eq!(shards(&checkpoint), [Path::new("2_T/model.safetensors")]);
    assert_eq!(checkpoint.config().unwrap().path(), Path::new("2_T/config.json"));
    let expected = paths(&["0_S/model.safetensors", "1_Pooling/config.json", "config.json", "modules.json"]);
    assert_eq!(checkpoint.companions(), expected);
}

#[test]
fn an_index_in_a_module_names_shards_beside_it() {
    let directory = directory(&[
        ("modules.json", r#"[{"path":"0_T"}]"#),
        ("0_T/model.safetensors.index.json", r#"{"weight_map":{"0_T/a.safetensors":"a.safetensors"}}"#),
        ("0_T/a.safetensors", ""),
    ]);
    let checkpoint = open(&directory);
    assert_eq!(shards(&checkpoint), [Path::new("0_T/a.safetensors")]);
    assert_eq!(checkpoint.index().unwrap().path(), Path::new("0_T/model.safetensors.index.json"));
}

#[test]
fn modules_that_lie_are_refused() {
    let text = message(&directory(&[("modules.json", "[{]")]));
    assert!(
        text.starts_with("`ROOT/modules.json`: not a list of modules: found") && text.contains("column 3"),
        "{text}"
    );
    let text = message(&directory(&[("modules.json", r#"[{"path":"../x"}]"#)]));
    let expected =
        "`ROOT/modules.json`: path of a module leaves the directory: expected a plain relative path, found `../x`";
    assert_eq!(text, expected);
}

#[test]
fn a_configuration_that_is_not_json_is_refused_with_line_and_column() {
    let text = message(&directory(&[("model.safetensors", ""), ("config.json", "{\n  \"a\": nil }")]));
    assert_eq!(text, "`ROOT/config.json`: not JSON: found expected ident at line 2 column 9");
    let text = message(&directory(&[("model.safetensors", ""), ("config.json", "[]")]));
    assert_eq!(text, "`ROOT/config.json`: not a configuration: expected a JSON object, found another value");
}

#[test]
fn a_configuration_above_the_cap_is_refused() {
    let directory = directory(&[("model.safetensors", "")]);
    std::fs::File::create(directory.path().join("config.json")).unwrap().set_len((64 << 20) + 1).unwrap();
    let text = message(&directory);
    assert_eq!(text, "`ROOT/config.json`: file is too long: expected at most 67108864 bytes, found more");
}

#[test]
fn links_to_files_are_followed_as_in_a_hugging_face_cache() {
    let blobs = directory(&[("0123.safetensors", ""), ("4567", "{}")]);
    let snapshot = tempfile::tempdir().unwrap();
    symlink(blobs.path().join("0123.safetensors"), snapshot.path().join("model.safetensors")).unwrap();
    symlink(blobs.path().join("4567"), snapshot.path().join("config.json")).unwrap();
    symlink(blobs.path().join("4567"), snapshot.path().join("tokenizer.json")).unwrap();
    let checkpoint = open(&snapshot);
    assert!(checkpoint.find("0123.safetensors").is_some());
    assert_eq!(checkpoint.config().unwrap().text().as_bytes(), b"{}");
    assert_eq!(checkpoint.companions(), paths(&["tokenizer.json"]));
}

#[test]
fn shards_may_be_links_out_of_the_directory() {
    let blobs = directory(&[("a.safetensors", "")]);
    let map = r#"{"weight_map":{"a.safetensors":"1.safetensors"}}"#;
    let snapshot = directory(&[("model.safetensors.index.json", map)]);
    symlink(blobs.path().join("a.safetensors"), snapshot.path().join("1.safetensors")).unwrap();
    assert!(open(&snapshot).find("a.safetensors").is_some());
}

#[test]
fn links_to_directories_are_followed_inside_only() {
    let outside = directory(&[("secret", "")]);
    let inside = directory(&[("model.safetensors", ""), ("a/file", "")]);
    symlink("a", inside.path().join("b")).unwrap();
    assert_eq!(open(&inside).companions(), paths(&["a/file", "b/file"]));
    symlink(outside.path(), inside.path().join("c")).unwrap();
    assert_eq!(message(&inside), "`ROOT/c`: symbolic link to a directory outside the checkpoint");
}

#[test]
fn links_that_make_a_loop_are_refused() {
    let files = directory(&[("model.safetensors", ""), ("a/file", "")]);
    symlink("..", files.path().join("a/up")).unwrap();
    assert_eq!(message(&files), "`ROOT/a/up`: symbolic link makes a loop");
}

#[test]
fn links_that_lead_nowhere_are_refused() {
    let files = directory(&[("model.safetensors", "")]);
    symlink("gone", files.path().join("link")).unwrap();
    assert_eq!(message(&files), "`ROOT/link`: cannot follow the link");
}

#[test]
fn pipes_and_sockets_are_refused() {
    let files = directory(&[("model.safetensors", "")]);
    make_pipe(&files.path().join("pipe"));
    let expected = "cannot be part of a checkpoint: expected a file or a directory, found";
    assert_eq!(message(&files), format!("`ROOT/pipe`: {expected} a pipe"));
    std::fs::remove_file(files.path().join("pipe")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(files.path().join("socket")).unwrap();
    assert_eq!(message(&files), format!("`ROOT/socket`: {expected} a socket"));
}

#[test]
fn names_with_newlines_and_names_that_are_not_utf8_are_kept() {
    use std::os::unix::ffi::OsStrExt;
    let files = directory(&[("model.safetensors", ""), ("a\nb", "")]);
    let odd = Path::new(std::ffi::OsStr::from_bytes(b"\xff"));
    std::fs::write(files.path().join(odd), "").unwrap();
    assert_eq!(open(&files).companions(), [PathBuf::from("a\nb"), odd.to_owned()]);
}

#[test]
fn directories_that_are_too_deep_are_refused() {
    let deep = |levels: usize| format!("{}file", "d/".repeat(levels));
    let fine = directory(&[("model.safetensors", ""), (&deep(32), "")]);
    assert_eq!(open(&fine).companions(), paths(&[&deep(32)]));
    let text = message(&directory(&[("model.safetensors", ""), (&deep(33), "")]));
    assert!(text.ends_with("too many levels of directories: expected at most 32"), "{text}");
}

#[test]
fn companions_are_sorted_whatever_the_order_they_were_made_in() {
    let names = ["z", "a/b", "m", "a/a", "a.txt", "B"];
    let files = |names: Vec<&str>| {
        let mut files: Vec<_> = names.into_iter().map(|name| (name, "")).collect();
        files.push(("model.safetensors", ""));
        open(&directory(&files)).companions().to_vec()
    };
    let sorted = files(names.to_vec());
    assert_eq!(sorted, files(names.iter().rev().copied().collect()));
    assert!(sorted.is_sorted());
}

#[test]
fn a_path_that_does_not_exist_is_named() {
    let error = Checkpoint::open(Path::new("no/such/path")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(error.to_string(), "`no/such/path`: cannot open");
}

#[test]
fn weights_are_told_by_their_ending() {
    for name in ["model.safetensors", "x/pytorch_model.bin", "MODEL.ONNX", "w.gguf", "a.b.pt"] {
        assert!(is_weights(Path::new(name)), "{name}");
    }
    for name in ["config.json", "vocab.txt", "model.safetensors.index.json", "bin", ".bin"] {
        assert!(!is_weights(Path::new(name)), "{name}");
    }
}
