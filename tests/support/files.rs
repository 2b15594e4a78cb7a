//! Files built byte by byte, for tests of readers.

use std::collections::BTreeMap;
use std::path::Path;

use rankfold::tensor::TensorMeta;

/// A safetensors file: the length of `json`, `json`, `data`.
pub(crate) fn file_of(json: &str, data: &[u8]) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes(), json.as_bytes(), data].concat()
}

/// A safetensors file of tensors of bytes, in the order given.
pub(crate) fn file_with(tensors: &[(&str, &[u8])]) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut data = Vec::new();
    for (name, bytes) in tensors {
        let start = data.len();
        data.extend_from_slice(bytes);
        entries.push(format!(
            r#"{name:?}:{{"dtype":"U8","shape":[{}],"data_offsets":[{start},{}]}}"#,
            bytes.len(),
            data.len()
        ));
    }
    file_of(&format!("{{{}}}", entries.join(",")), &data)
}

/// The message with which a file of that name and content is refused, without its path.
pub(crate) fn message_of_file(name: &str, content: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    let message = rankfold::format::open(&path).err().expect("the file is refused").to_string();
    let place = format!("`{}`: ", path.display());
    message.strip_prefix(&place).unwrap_or_else(|| panic!("{message} names {place}")).to_owned()
}

/// Tensors and metadata of a file that is accepted.
pub(crate) fn parts_of(content: &[u8]) -> (Vec<TensorMeta>, BTreeMap<String, String>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    std::fs::write(&path, content).unwrap();
    let reader = rankfold::format::open(&path).expect("the file is accepted");
    (reader.tensors().to_vec(), reader.metadata().clone())
}

/// Writes files below `directory`, making the folders on the way.
pub(crate) fn write_all(directory: &Path, files: &[(&str, &[u8])]) {
    for (name, content) in files {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

/// Makes a named pipe.
pub(crate) fn make_pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success(), "mkfifo makes a pipe");
}
