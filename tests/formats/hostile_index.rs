//! Indices that lie: each is refused with a message that says where, what was expected and what was found.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::files::{file_with, write_all};
use rankfold::ErrorKind;
use rankfold::checkpoint::Checkpoint;
use tempfile::TempDir;

const INDEX: &str = "model.safetensors.index.json";

/// A directory with shards `1.safetensors` (tensors `a`, `b`) and `2.safetensors` (tensor `c`), and an index.
fn checkpoint(index: &[u8]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let shards = [file_with(&[("a", &[1; 8]), ("b", &[2])]), file_with(&[("c", &[3; 3])])];
    write_all(directory.path(), &[("1.safetensors", &shards[0]), ("2.safetensors", &shards[1]), (INDEX, index)]);
    directory
}

/// An index with that weight map.
fn index(weight_map: &str) -> Vec<u8> {
    format!("{{\"metadata\":{{\"total_size\":12}},\"weight_map\":{{{weight_map}}}}}").into_bytes()
}

const TRUE_MAP: &str = r#""a":"1.safetensors","b":"1.safetensors","c":"2.safetensors""#;

/// The message with which the directory is refused, without the path of the index.
fn message(directory: &Path) -> String {
    let error = Checkpoint::open(directory).err().expect("the index is refused");
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    let message = error.to_string();
    let place = format!("`{}`: ", directory.join(INDEX).display());
    message.strip_prefix(&place).unwrap_or_else(|| panic!("{message} names {place}")).to_owned()
}

fn refusal(content: &[u8]) -> String {
    message(checkpoint(content).path())
}

#[test]
fn a_true_index_is_accepted_without_a_warning() {
    let directory = checkpoint(&index(TRUE_MAP));
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    assert_eq!(checkpoint.warnings(), [""; 0]);
    assert_eq!(checkpoint.index().unwrap().metadata()["total_size"], 12);
    assert_eq!(checkpoint.index().unwrap().weight_map()["c"], Path::new("2.safetensors"));
}

#[test]
fn an_index_that_is_not_json_is_refused() {
    assert_eq!(refusal(b"{\n\"a\" 1}"), "index is not JSON: found expected `:` at line 2 column 5");
}

#[test]
fn an_index_that_is_not_utf8_is_refused() {
    assert_eq!(refusal(b"{\"\xff\":1}"), "index is not UTF-8: found an invalid sequence at byte 2");
}

#[test]
fn an_index_that_is_no_object_is_refused() {
    let text = refusal(b"[1]");
    assert!(text.starts_with("index is not a JSON object: found invalid type: sequence"), "{text}");
}

#[test]
fn an_index_without_a_weight_map_is_refused() {
    assert_eq!(refusal(b"{\"metadata\":{}}"), "index has no `weight_map`");
}

#[test]
fn a_weight_map_that_is_no_object_is_refused() {
    let expected =
        "`weight_map` of the index is of the wrong type: expected an object from tensors to shards, found `[\"a\"]`";
    assert_eq!(refusal(b"{\"weight_map\":[\"a\"]}"), expected);
}

#[test]
fn an_empty_weight_map_is_refused() {
    assert_eq!(refusal(&index("")), "`weight_map` of the index is empty");
}

#[test]
fn members_that_occur_twice_are_refused() {
    assert_eq!(refusal(b"{\"weight_map\":{},\"weight_map\":{}}"), "`weight_map` occurs twice in the index");
    let map = format!("{TRUE_MAP},\"a\":\"2.safetensors\"");
    assert_eq!(refusal(&index(&map)), "tensor `a`: tensor occurs twice in the index");
}

#[test]
fn metadata_that_are_no_object_are_refused() {
    let text = refusal(b"{\"weight_map\":{\"a\":\"1.safetensors\"},\"metadata\":[7]}");
    assert_eq!(text, "`metadata` of the index is of the wrong type: expected an object, found `[7]`");
}

#[test]
fn a_shard_that_is_no_string_is_refused() {
    let expected = "tensor `a`: shard in the index is of the wrong type: expected the name of a file, found `1`";
    assert_eq!(refusal(&index(r#""a":1"#)), expected);
}

#[test]
fn an_entry_that_leaves_the_directory_is_refused() {
    for shard in ["/etc/passwd", "../1.safetensors", "x/../../1.safetensors", "..", ".", "", "./1.safetensors", "x/"] {
        let expected = format!(
            "tensor `a`: index names a shard outside its directory: expected a plain relative path, found `\"{shard}\"`"
        );
        assert_eq!(refusal(&index(&format!("\"a\":\"{shard}\""))), expected);
    }
}

#[test]
fn an_entry_with_a_null_character_is_refused() {
    let text = refusal(&index(r#""a":"1\u0000.safetensors""#));
    assert!(text.starts_with("tensor `a`: index names a shard outside its directory"), "{text}");
}

#[test]
fn an_entry_that_leaves_the_directory_through_a_linked_folder_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    write_all(outside.path(), &[("1.safetensors", &file_with(&[("a", &[1])]))]);
    let directory = checkpoint(&index(r#""a":"linked/1.safetensors""#));
    symlink(outside.path(), directory.path().join("linked")).unwrap();
    let path = directory.path().join(INDEX);
    let text = Checkpoint::open(&path).err().expect("the shard is refused").to_string();
    let expected = "index names a shard outside its directory: expected a file below the directory of the index, \
                    found `linked/1.safetensors`, whose folder is a link out of it";
    assert_eq!(text, format!("`{}`: {expected}", path.display()));
}

#[test]
fn missing_shards_are_listed() {
    let map = format!(r#"{TRUE_MAP},"d":"3.safetensors","e":"x/4.safetensors""#);
    let expected = "index names shards that are missing: expected every shard beside the index, \
                    found no `3.safetensors`, `x/4.safetensors`";
    assert_eq!(refusal(&index(&map)), expected);
}

#[test]
fn a_tensor_that_no_shard_has_is_refused() {
    let map = format!(r#"{TRUE_MAP},"d":"1.safetensors""#);
    let expected =
        "tensor `d`: tensor is not where the index says: expected it in `1.safetensors`, found it in no shard";
    assert_eq!(refusal(&index(&map)), expected);
}

#[test]
fn a_tensor_in_another_shard_is_refused() {
    let map = r#""a":"2.safetensors","b":"1.safetensors","c":"2.safetensors""#;
    let expected = "tensor `a`: tensor is not where the index says: expected it in `2.safetensors`, \
                    found it in `1.safetensors`";
    assert_eq!(refusal(&index(map)), expected);
}

#[test]
fn two_tensors_of_one_name_in_two_shards_are_refused() {
    let directory = checkpoint(&index(TRUE_MAP));
    write_all(directory.path(), &[("2.safetensors", &file_with(&[("c", &[3; 3]), ("a", &[1; 8])]))]);
    let error = Checkpoint::open(directory.path()).err().expect("the name is refused");
    let expected = format!(
        "`{}`: tensor `a`: tensor is in two shards: expected one tensor of each name, found another in `1.safetensors`",
        directory.path().join("2.safetensors").display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_shard_whose_header_lies_is_named() {
    let directory = checkpoint(&index(TRUE_MAP));
    write_all(directory.path(), &[("2.safetensors", &[0; 3])]);
    let text = Checkpoint::open(directory.path()).err().expect("the shard is refused").to_string();
    assert!(text.contains("2.safetensors`: file is too short for a header"), "{text}");
}

#[test]
fn a_tensor_that_the_index_lacks_is_kept_with_a_warning() {
    let directory = checkpoint(&index(r#""a":"1.safetensors","c":"2.safetensors""#));
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    assert_eq!(checkpoint.bytes(checkpoint.find("b").unwrap()).unwrap()[..], [2]);
    let expected = "`model.safetensors.index.json`: index lacks tensors of its shards: `b`";
    assert_eq!(checkpoint.warnings(), [expected]);
}

#[test]
fn a_wrong_total_is_a_warning() {
    let text = String::from_utf8(index(TRUE_MAP)).unwrap();
    for (stated, wrong) in [("12", false), ("12.0", false), ("13", true), ("-1", true), ("\"12\"", true)] {
        let directory = checkpoint(text.replace("\"total_size\":12", &format!("\"total_size\":{stated}")).as_bytes());
        let warnings = Checkpoint::open(directory.path()).unwrap().warnings().to_vec();
        let expected = format!("`{INDEX}`: `total_size` of the index is wrong: expected 12, found {stated}");
        assert_eq!(warnings, if wrong { vec![expected] } else { vec![] }, "{stated}");
    }
}

#[test]
fn an_index_above_the_cap_is_refused() {
    let directory = checkpoint(b"");
    let file = std::fs::File::create(directory.path().join(INDEX)).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    let text = Checkpoint::open(directory.path()).err().expect("the index is refused").to_string();
    assert!(text.ends_with("file is too long: expected at most 67108864 bytes, found more"), "{text}");
}
