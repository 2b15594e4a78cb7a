//! Which of the files of a directory are its weights.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::paths;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{FORMATS, Format, has_extension, limits};

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
    /// Files of tensors: one, or several of a format that holds one tensor in each.
    Files(Vec<PathBuf>),
    /// An index of shards.
    Index(PathBuf),
}

impl Weights {
    /// What a file is that the user named.
    pub(super) fn of_file(path: PathBuf) -> Self {
        if path.as_os_str().as_encoded_bytes().ends_with(INDEX.as_bytes()) {
            Weights::Index(path)
        } else {
            Weights::Files(vec![path])
        }
    }

    /// The path of the first file or of the index.
    pub(super) fn path(&self) -> &Path {
        match self {
            Weights::Files(paths) => paths.first().map_or(Path::new(""), PathBuf::as_path),
            Weights::Index(path) => path,
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
    if let Some(file) = by_content(root, files)? {
        return Ok(Weights::Files(vec![file]));
    }
    let extensions: Vec<_> = endings().map(|(_, extension)| format!("`*.{extension}`")).collect();
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

/// Every format with each of its extensions.
fn endings() -> impl Iterator<Item = (&'static dyn Format, &'static str)> {
    FORMATS.iter().flat_map(|&format| format.extensions().iter().map(move |&extension| (format, extension)))
}

/// The weights that stand directly in `folder`, if there are any.
fn in_folder(root: &Path, files: &[PathBuf], folder: &Path) -> Result<Option<Weights>> {
    let is_there = |path: &PathBuf| files.binary_search(path).is_ok();
    for (format, extension) in endings() {
        for stem in format.stems() {
            let file = folder.join(format!("{stem}.{extension}"));
            if is_there(&file) {
                return Ok(Some(Weights::Files(vec![file])));
            }
            let index = folder.join(format!("{stem}.{extension}{INDEX}"));
            if is_there(&index) {
                return Ok(Some(Weights::Index(index)));
            }
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
                _ if format.holds_one_tensor() && !ending.ends_with(INDEX) => {
                    return Ok(Some(Weights::Files(found.into_iter().cloned().collect())));
                }
                _ => {
                    return Err(Error::new(ErrorKind::Selection, "several weight files in the directory")
                        .at(root.components().chain(folder.components()).collect::<PathBuf>())
                        .expected(format!("one, or one called `{}{ending}`", format.stems().first().unwrap_or(&"")))
                        .found(paths::list(found.into_iter(), |path| paths::quote(path)))
                        .hint("pass the file that is meant"));
                }
            }
        }
    }
    Ok(None)
}

/// The one file directly in the directory that a format knows by its content, for directories whose names tell nothing:
/// GloVe's text ends in `.txt`, as vocabularies do.
fn by_content(root: &Path, files: &[PathBuf]) -> Result<Option<PathBuf>> {
    let is_known = |file: &&PathBuf| {
        let known = |(head, size): (Vec<u8>, u64)| FORMATS.iter().any(|format| format.recognizes(&head, size));
        file.parent() == Some(Path::new("")) && !is_weights(file) && limits::probe(&root.join(file)).is_ok_and(known)
    };
    match files.iter().filter(is_known).collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [file] => Ok(Some(file.clone())),
        ref found => Err(Error::new(ErrorKind::Selection, "several files in the directory could be its weights")
            .at(root)
            .expected("one")
            .found(paths::list(found.iter().copied(), |path| paths::quote(path)))
            .hint("pass the file that is meant")),
    }
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
