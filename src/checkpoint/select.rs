//! Which of the files of a directory are its weights.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::paths;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{FORMATS, has_extension, limits};

/// Name that Hugging Face gives the weights of a model, without extension.
const STEM: &str = "model";

/// What an index appends to the name of the file that it stands for.
const INDEX: &str = ".index.json";

/// Lists the modules of a sentence-transformers model.
const MODULES: &str = "modules.json";

/// Endings of names under which other programs store weights.
const OTHER_WEIGHTS: &[&str] = &[
    "bin",
    "ckpt",
    "ggml",
    "gguf",
    "h5",
    "mlmodel",
    "msgpack",
    "npy",
    "npz",
    "onnx",
    "onnx_data",
    "ot",
    "pb",
    "pdparams",
    "pt",
    "pth",
    "tflite",
];

/// Whether the ending of its name says that a file holds weights, of a format that can be read or of another.
pub fn is_weights(path: &Path) -> bool {
    has_extension(path, OTHER_WEIGHTS) || FORMATS.iter().any(|format| has_extension(path, format.extensions()))
}

/// The weights of a checkpoint, by a path relative to its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Weights {
    /// One file of tensors.
    File(PathBuf),
    /// An index of shards.
    Index(PathBuf),
}

impl Weights {
    /// What a file is that the user named.
    pub(super) fn of_file(path: PathBuf) -> Self {
        if path.as_os_str().as_encoded_bytes().ends_with(INDEX.as_bytes()) {
            Weights::Index(path)
        } else {
            Weights::File(path)
        }
    }

    /// The path of the file or of the index.
    pub(super) fn path(&self) -> &Path {
        match self {
            Weights::File(path) | Weights::Index(path) => path,
        }
    }
}

/// The weights among `files`, the sorted relative paths below `root`.
///
/// # Errors
/// [`ErrorKind::Selection`] where there are none or several; [`ErrorKind::Malformed`] where `modules.json` is not
/// what it should be.
pub(super) fn in_directory(root: &Path, files: &[PathBuf]) -> Result<Weights> {
    if let Some(weights) = in_folder(root, files, Path::new(""))? {
        return Ok(weights);
    }
    if files.binary_search(&PathBuf::from(MODULES)).is_ok() {
        for folder in module_folders(&root.join(MODULES))? {
            if let Some(weights) = in_folder(root, files, &folder)? {
                return Ok(weights);
            }
        }
    }
    let extensions: Vec<_> = extensions().map(|extension| format!("`*.{extension}`")).collect();
    let error = Error::new(ErrorKind::Selection, "no weights in the directory")
        .at(root)
        .expected(format!("{} or its index", extensions.join(" or ")));
    let others: Vec<_> = files.iter().filter(|file| is_weights(file)).collect();
    Err(if others.is_empty() {
        error
    } else {
        error
            .found(paths::list(others.into_iter(), |path| paths::quote(path)))
            .hint("pass the file or the folder that is meant")
    })
}

fn extensions() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().flat_map(|format| format.extensions()).copied()
}

/// The weights that stand directly in `folder`, if there are any.
fn in_folder(root: &Path, files: &[PathBuf], folder: &Path) -> Result<Option<Weights>> {
    for extension in extensions() {
        let file = folder.join(format!("{STEM}.{extension}"));
        if files.binary_search(&file).is_ok() {
            return Ok(Some(Weights::File(file)));
        }
        let index = folder.join(format!("{STEM}.{extension}{INDEX}"));
        if files.binary_search(&index).is_ok() {
            return Ok(Some(Weights::Index(index)));
        }
        for ending in [format!(".{extension}{INDEX}"), format!(".{extension}")] {
            let is_here = |file: &&PathBuf| {
                let name = file.file_name().unwrap_or_default().as_encoded_bytes();
                file.parent() == Some(folder) && name.ends_with(ending.as_bytes())
            };
            let found: Vec<_> = files.iter().filter(is_here).collect();
            match found[..] {
                [] => {}
                [file] => return Ok(Some(Weights::of_file(file.clone()))),
                _ => {
                    return Err(Error::new(ErrorKind::Selection, "several weight files in the directory")
                        .at(root.components().chain(folder.components()).collect::<PathBuf>())
                        .expected(format!("one, or one called `{STEM}{ending}`"))
                        .found(paths::list(found.into_iter(), |path| paths::quote(path)))
                        .hint("pass the file that is meant"));
                }
            }
        }
    }
    Ok(None)
}

/// The folders of the modules of a sentence-transformers model, in their order.
fn module_folders(path: &Path) -> Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct Module {
        path: String,
    }

    let bytes = limits::read(path, limits::MAX_JSON)?;
    let modules: Vec<Module> = serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(ErrorKind::Malformed, "not a list of modules").at(path).found(error.to_string()).caused_by(error)
    })?;
    // A module without a folder has its files in the root, which was looked at.
    let named = modules.into_iter().filter(|module| !module.path.is_empty());
    named
        .map(|module| {
            paths::plain(&module.path).ok_or_else(|| {
                Error::new(ErrorKind::Malformed, "path of a module leaves the directory")
                    .at(path)
                    .expected("a plain relative path")
                    .found(format!("`{}`", module.path.escape_debug()))
            })
        })
        .collect()
}
