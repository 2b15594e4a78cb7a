//! Which of the data formats a file is in.

use std::path::Path;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};
use crate::format::has_extension;

/// A format of labelled sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// `LABEL SENTENCE`: the first word of a line is the label, what follows the sentence.
    Lines,
    /// Fields between tabs, the first line names them; quotes mean themselves, as in the files of GLUE.
    Tsv,
    /// Fields between commas after RFC 4180, the first line names them.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

impl FileFormat {
    /// Every format, by the names of flags.
    pub const ALL: [(&'static str, FileFormat); 4] = [
        ("lines", FileFormat::Lines),
        ("tsv", FileFormat::Tsv),
        ("csv", FileFormat::Csv),
        ("jsonl", FileFormat::JsonLines),
    ];

    /// The format that the name of `path` suggests; [`FileFormat::Lines`] where it suggests none.
    pub fn of(path: &Path) -> Self {
        let named = |(name, _): &(&str, FileFormat)| has_extension(path, &[name]);
        FileFormat::ALL.into_iter().find(named).map_or(FileFormat::Lines, |(_, format)| format)
    }
}

impl FromStr for FileFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        FileFormat::ALL.into_iter().find(|(own, _)| *own == name).map(|(_, format)| format).ok_or_else(|| {
            let names = FileFormat::ALL.map(|(name, _)| name);
            Error::new(ErrorKind::Request, "unknown format of data")
                .expected(names.join(" or "))
                .found(format!("`{}`", name.escape_debug()))
        })
    }
}
