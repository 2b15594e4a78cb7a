//! The one error type: where, what was expected, what was found, and what to do next.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

/// Result of every fallible function of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, coarse enough for a caller to branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused to read or write.
    Io,
    /// The content of a file contradicts its format.
    Malformed,
    /// The input is valid but is something that this program does not handle.
    Unsupported,
    /// No tensor, or more than one reading, fits the request.
    Selection,
    /// The request contradicts itself or the input (a rank that saves nothing, a size that is too small).
    Request,
    /// A weight is NaN or infinite, or a result left the range of its dtype.
    NonFinite,
    /// A bound that the caller set (`--max-error`, `--max-size`) was not met.
    Gate,
    /// The destination exists, or cannot hold the result.
    Output,
    /// The caller asked to stop.
    Interrupted,
}

/// An error with its place (path, tensor), its two sides (expected, found), a hint and a cause.
///
/// `Display` is one lower-case phrase; the hint is kept apart so that a command line can print it on
/// its own line.
#[derive(Debug)]
pub struct Error(Box<Fields>);

#[derive(Debug)]
struct Fields {
    kind: ErrorKind,
    summary: String,
    path: Option<PathBuf>,
    tensor: Option<String>,
    expected: Option<String>,
    found: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `summary` is a lower-case phrase without a full stop.
    pub fn new(kind: ErrorKind, summary: impl Into<String>) -> Self {
        Error(Box::new(Fields {
            kind,
            summary: summary.into(),
            path: None,
            tensor: None,
            expected: None,
            found: None,
            hint: None,
            source: None,
        }))
    }

    /// A refusal by the operating system while doing `action` ("cannot open", "cannot write") on `path`.
    pub fn io(action: &str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Error::new(ErrorKind::Io, action).at(path).caused_by(source)
    }

    /// The stop that the caller asked for.
    pub fn interrupted() -> Self {
        Error::new(ErrorKind::Interrupted, "interrupted")
    }

    /// Names the file or directory.
    #[must_use]
    pub fn at(mut self, path: impl AsRef<Path>) -> Self {
        self.0.path = Some(path.as_ref().to_path_buf());
        self
    }

    /// Names the tensor.
    #[must_use]
    pub fn tensor(mut self, name: impl Into<String>) -> Self {
        self.0.tensor = Some(name.into());
        self
    }

    /// Says what would have been right.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.0.expected = Some(expected.into());
        self
    }

    /// Says what was there instead.
    #[must_use]
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.0.found = Some(found.into());
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the underlying error.
    #[must_use]
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The next step for the user, where there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = &self.0;
        if let Some(path) = &fields.path {
            write!(out, "`{}`: ", path.display().to_string().escape_debug())?;
        }
        if let Some(tensor) = &fields.tensor {
            write!(out, "tensor `{}`: ", tensor.escape_debug())?;
        }
        out.write_str(&fields.summary)?;
        match (&fields.expected, &fields.found) {
            (Some(expected), Some(found)) => write!(out, ": expected {expected}, found {found}"),
            (Some(expected), None) => write!(out, ": expected {expected}"),
            (None, Some(found)) => write!(out, ": found {found}"),
            (None, None) => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
