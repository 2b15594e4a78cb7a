//! The tensors of a checkpoint as values, read by the reference implementation of the format.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use super::tree;

/// A tensor as it is stored.
#[derive(Clone, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// Every tensor below `path`, by the folder of its file and its name; shards of one folder come together.
pub(crate) fn read(path: &Path) -> BTreeMap<(PathBuf, String), Tensor> {
    let mut tensors = BTreeMap::new();
    for (file, content) in tree::read(path) {
        let full = if file.as_os_str().is_empty() { path } else { file.as_path() };
        if full.extension().is_none_or(|extension| extension != "safetensors") {
            continue;
        }
        let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
        for (name, view) in SafeTensors::deserialize(&content).unwrap().tensors() {
            let tensor = Tensor { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.data().to_vec() };
            let earlier = tensors.insert((folder.clone(), name.clone()), tensor);
            assert!(earlier.is_none(), "`{name}` is stored by two shards of `{}`", folder.display());
        }
    }
    tensors
}
