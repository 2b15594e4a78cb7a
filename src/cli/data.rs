//! How files of labelled sentences are read, for every command that reads some.

use std::path::Path;

use clap::Args;
use rankfold::observe::Observer;
use rankfold::output::digest_file;
use rankfold::train::data::{Columns, Encoding, FileFormat, ReadOptions};
use serde_json::{Value, json};

/// Options of files of labelled sentences.
#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// Encoding of the data: utf-8 or latin1
    #[arg(long, value_name = "NAME", default_value = "utf-8")]
    encoding: Encoding,

    /// Format of the data, lines, tsv, csv or jsonl; what each file's name says unless given
    #[arg(long, value_name = "NAME")]
    format: Option<FileFormat>,

    /// Column or member with the label; `label` unless given
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,

    /// Column or member with the sentence; `text`, or else `sentence`, unless given
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
}

impl DataArgs {
    /// What the library takes.
    pub(crate) fn options(&self) -> ReadOptions {
        ReadOptions {
            format: self.format,
            encoding: self.encoding,
            columns: Columns { label: self.label_column.clone(), text: self.text_column.clone() },
        }
    }
}

/// What a manifest says of a file that was read: its name without directories, and its digest.
pub(super) fn record(path: &Path, observer: &dyn Observer) -> rankfold::Result<Value> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(json!({ "name": name, "sha256": digest_file(path, observer)?.1 }))
}
