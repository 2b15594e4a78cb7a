//! An experiment for people to read: the same blocks as Markdown and as a page with charts.

mod blocks;
mod charts;
mod html;
mod markdown;

use std::path::Path;

use super::Experiment;
use crate::error::{Error, ErrorKind, Result};
use crate::output::{Replace, StagedDirectory, write_file};

pub use html::html;
pub use markdown::markdown;

/// Makes the directory `out`: `report.json`, `report.md`, `report.html`, and every run in `runs.jsonl`. It appears when
/// it is complete.
///
/// # Errors
/// [`ErrorKind::Output`] where it exists; [`ErrorKind::Io`]; where a chart cannot be drawn.
pub fn write(experiment: &Experiment, out: &Path) -> Result<()> {
    let staged = StagedDirectory::create(out, Replace::Never)?;
    let no_json =
        |error: serde_json::Error| Error::new(ErrorKind::Unsupported, "the report is no JSON").caused_by(error);
    // Through `Value`, whose objects sort their keys.
    let report = serde_json::to_value(experiment).map_err(no_json)?;
    let mut json = serde_json::to_string_pretty(&report).map_err(no_json)?;
    json.push('\n');
    let mut runs = String::new();
    for entry in &experiment.entries {
        runs.push_str(&serde_json::to_string(entry).map_err(no_json)?);
        runs.push('\n');
    }
    let files = [
        ("report.json", json),
        ("report.md", markdown(experiment)),
        ("report.html", html(experiment)?),
        ("runs.jsonl", runs),
    ];
    for (name, content) in files {
        write_file(&staged.path().join(name), content.as_bytes())?;
    }
    staged.publish()
}
