//! What the weight files of an output are called.

use std::path::{Path, PathBuf};

/// What PyTorch models call their weights, and what models in other formats do.
const PYTORCH: &str = "pytorch_model";
const MODEL: &str = "model";
const INDEX: &str = ".index.json";

/// The name of a weight file of the source in a format whose files end in `extension`: `pytorch_model` becomes
/// `model`, as Hugging Face names weights that are not pickles, and the extension changes.
pub(super) fn weights(path: &Path, extension: &str) -> PathBuf {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let own = path.extension().is_some_and(|own| own == extension);
    match stem.strip_prefix(PYTORCH) {
        _ if own => path.to_path_buf(),
        Some(rest) => path.with_file_name(format!("{MODEL}{rest}.{extension}")),
        None => path.with_file_name(format!("{stem}.{extension}")),
    }
}

/// The name of the index of a source in safetensors.
pub(super) fn index(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match name.strip_suffix(INDEX) {
        Some(stands_for) => {
            let mut renamed = weights(&path.with_file_name(stands_for), "safetensors").into_os_string();
            renamed.push(INDEX);
            renamed.into()
        }
        None => path.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_hugging_face() {
        for (before, after) in [
            ("pytorch_model.bin", "model.safetensors"),
            ("a/pytorch_model-00001-of-00002.bin", "a/model-00001-of-00002.safetensors"),
            ("model.ckpt", "model.safetensors"),
            ("glove.6B.npy", "glove.6B.safetensors"),
            ("pytorch_model.safetensors", "pytorch_model.safetensors"),
        ] {
            assert_eq!(weights(Path::new(before), "safetensors"), Path::new(after));
        }
        assert_eq!(index(Path::new("pytorch_model.bin.index.json")), Path::new("model.safetensors.index.json"));
        assert_eq!(index(Path::new("odd.safetensors.index.json")), Path::new("odd.safetensors.index.json"));
    }
}
