//! Files of labelled sentences.

use std::path::Path;

use csv::{ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use super::{Encoding, Example, FileFormat};
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;

/// Bytes of the longest data file that is read; it is held in memory.
const MAX_BYTES: u64 = 4 << 30;

/// Characters of a value that an error quotes.
const QUOTED: usize = 60;

/// How a data file is to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The format; that which the file's name suggests unless given.
    pub format: Option<FileFormat>,
    /// What the bytes stand for.
    pub encoding: Encoding,
    /// The columns (CSV, TSV) or members (JSON lines) that matter.
    pub columns: Columns,
}

/// Names of the column with the label and of that with the sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// `label` unless given.
    pub label: Option<String>,
    /// `text`, or where there is none `sentence`, unless given.
    pub text: Option<String>,
}

impl Columns {
    fn label(&self) -> Vec<&str> {
        self.label.as_deref().map_or_else(|| vec!["label"], |name| vec![name])
    }

    fn text(&self) -> Vec<&str> {
        self.text.as_deref().map_or_else(|| vec!["text", "sentence"], |name| vec![name])
    }
}

/// The examples of a file, in its order. Blank lines are left out; a label without a sentence is an example whose text
/// is empty. Labels are without white space around them.
///
/// # Errors
/// [`ErrorKind::Io`] where the file cannot be read; [`ErrorKind::Malformed`], with the line, where its bytes are not
/// in the encoding, where a record has no label, and where a column is missing; the same where there is no example.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Vec<Example>> {
    let bytes = limits::read(path, MAX_BYTES)?;
    let parse = || {
        let text = options.encoding.decode(bytes)?;
        let examples = match options.format.unwrap_or_else(|| FileFormat::of(path)) {
            FileFormat::Lines => lines(&text)?,
            FileFormat::Tsv => table(&text, ReaderBuilder::new().delimiter(b'\t').quoting(false), &options.columns)?,
            FileFormat::Csv => table(&text, &mut ReaderBuilder::new(), &options.columns)?,
            FileFormat::JsonLines => json_lines(&text, &options.columns)?,
        };
        match examples.is_empty() {
            true => Err(malformed("the file has no example")),
            false => Ok(examples),
        }
    };
    parse().map_err(|error: Error| error.at(path))
}

fn malformed(summary: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, summary)
}

fn quote(text: &str) -> String {
    let cut: String = text.chars().take(QUOTED).collect();
    format!("`{}`", cut.escape_debug())
}

fn example(line: u64, label: &str, text: &str) -> Result<Example> {
    match label.trim() {
        "" => Err(malformed(format!("line {line} has no label")).found(quote(text))),
        label => Ok(Example { label: label.to_owned(), text: text.trim().to_owned() }),
    }
}

/// Lines with something on them, numbered from one.
fn numbered(text: &str) -> impl Iterator<Item = (u64, &str)> {
    (1..).zip(text.lines()).map(|(number, line)| (number, line.trim())).filter(|(_, line)| !line.is_empty())
}

fn lines(text: &str) -> Result<Vec<Example>> {
    let split = |line: &str| match line.split_once(char::is_whitespace) {
        Some((label, text)) => (label.to_owned(), text.trim().to_owned()),
        None => (line.to_owned(), String::new()),
    };
    let examples = numbered(text).map(|(_, line)| split(line)).map(|(label, text)| Example { label, text });
    Ok(examples.collect())
}

fn table(text: &str, builder: &mut ReaderBuilder, columns: &Columns) -> Result<Vec<Example>> {
    let mut reader = builder.from_reader(text.as_bytes());
    let header = reader.headers().map_err(unreadable)?.clone();
    let (label, sentence) = (position(&header, &columns.label())?, position(&header, &columns.text())?);
    let mut examples = Vec::new();
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        let line = record.position().map_or(0, csv::Position::line);
        let field = |column: usize| record.get(column).unwrap_or_default();
        examples.push(example(line, field(label), field(sentence))?);
    }
    Ok(examples)
}

/// The place of the first of `names` in the header, upper and lower case alike.
fn position(header: &StringRecord, names: &[&str]) -> Result<usize> {
    let find = |name: &&str| header.iter().position(|own| own.trim().eq_ignore_ascii_case(name));
    names.iter().find_map(find).ok_or_else(|| {
        let own: Vec<_> = header.iter().map(quote).collect();
        missing("the first line names no such column", names).found(own.join(", "))
    })
}

fn missing(summary: impl Into<String>, names: &[&str]) -> Error {
    let names: Vec<_> = names.iter().map(|name| quote(name)).collect();
    malformed(summary)
        .expected(names.join(" or "))
        .hint("name the columns with `--label-column NAME` and `--text-column NAME`")
}

fn unreadable(error: csv::Error) -> Error {
    let line = |position: &Option<csv::Position>| position.as_ref().map_or(0, csv::Position::line);
    let error = match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            malformed(format!("line {} has another number of fields than the first", line(pos)))
                .expected(expected_len.to_string())
                .found(len.to_string())
        }
        _ => malformed("the table cannot be read").caused_by(error),
    };
    error.hint("quotes, and line ends in fields, have to be as RFC 4180 says")
}

fn json_lines(text: &str, columns: &Columns) -> Result<Vec<Example>> {
    let one = |(line, text): (u64, &str)| {
        let object: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
            malformed(format!("line {line} is not a JSON object")).found(quote(text)).caused_by(error)
        })?;
        let member = |names: &[&str]| {
            let value = names.iter().find_map(|name| object.get(*name));
            value.ok_or_else(|| missing(format!("line {line} has no such member"), names))
        };
        let label = match member(&columns.label())? {
            Value::String(label) => label.clone(),
            label @ (Value::Number(_) | Value::Bool(_)) => label.to_string(),
            other => {
                return Err(malformed(format!("line {line} has a label that is none"))
                    .expected("a string, a number or a truth value")
                    .found(quote(&other.to_string())));
            }
        };
        let Value::String(text) = member(&columns.text())? else {
            return Err(malformed(format!("line {line} has a sentence that is no string")));
        };
        example(line, &label, text)
    };
    numbered(text).map(one).collect()
}
