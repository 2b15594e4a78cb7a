//! `config.json`: the architecture of a model.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;

/// Name of the file.
pub(super) const NAME: &str = "config.json";

/// A `config.json`, as it stands and parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    path: PathBuf,
    text: String,
    value: Value,
}

impl Config {
    /// Reads `path`, which is relative to `root`.
    pub(super) fn read(root: &Path, path: &Path) -> Result<Self> {
        let bytes = limits::read(&root.join(path), limits::MAX_JSON)?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(ErrorKind::Malformed, "not JSON").at(root.join(path)).found(error.to_string()).caused_by(error)
        })?;
        if !value.is_object() {
            return Err(Error::new(ErrorKind::Malformed, "not a configuration")
                .at(root.join(path))
                .expected("a JSON object")
                .found("another value"));
        }
        let text = String::from_utf8(bytes)
            .map_err(|error| Error::new(ErrorKind::Malformed, "not UTF-8").at(root.join(path)).caused_by(error))?;
        Ok(Config { path: path.to_owned(), text, value })
    }

    /// Path relative to the root of the checkpoint.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, byte for byte.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its content, which is an object.
    pub fn value(&self) -> &Value {
        &self.value
    }
}
