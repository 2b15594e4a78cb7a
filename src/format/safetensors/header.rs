//! Parsing and checking of a header: every lie is refused before a tensor's bytes are looked at.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::value::RawValue;

use super::{METADATA, PREFIX};
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;
use crate::json::{self, Members};
use crate::tensor::{Dtype, TensorMeta};

/// What the header of a file says, after all of it was checked against the file.
#[derive(Debug)]
pub(super) struct Header {
    /// The tensors in the order of their data; empty ones at the same place by name.
    pub(super) tensors: Vec<TensorMeta>,
    /// Where in the file each tensor's bytes are.
    pub(super) ranges: Vec<Range<usize>>,
    /// The strings under `__metadata__`.
    pub(super) metadata: BTreeMap<String, String>,
}

/// A tensor and its `data_offsets`.
struct Entry {
    meta: TensorMeta,
    offsets: Range<u64>,
}

fn malformed(summary: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, summary)
}

impl Header {
    /// Parses the header at the start of `file` and checks that its tensors cover the rest without gap or overlap.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for each of the ways in which a header can lie; the path is for the caller to add.
    pub(super) fn parse(file: &[u8]) -> Result<Self> {
        let (text, data) = split(file)?;
        let members = Members::parse(text, "header")?;
        if let Some(name) = members.duplicate() {
            return Err(malformed("name occurs twice in the header").tensor(name));
        }
        let mut metadata = BTreeMap::new();
        let mut entries = Vec::with_capacity(members.0.len());
        for (name, value) in members.0 {
            if name == METADATA {
                metadata = strings(value)?;
            } else {
                entries.push(Entry::parse(name, value)?);
            }
        }
        entries.sort_by(|a, b| {
            let key = |entry: &Entry| (entry.offsets.start, entry.offsets.end);
            key(a).cmp(&key(b)).then_with(|| a.meta.name.cmp(&b.meta.name))
        });
        cover(&entries, data.len() as u64)?;
        let start = file.len().saturating_sub(data.len());
        // The offsets were checked against the length of `data`, which is a `usize` and ends with the file.
        let place = |offset: u64| start.saturating_add(offset as usize);
        let ranges = entries.iter().map(|entry| {
            let Range { start: begin, end } = entry.offsets;
            place(begin)..place(end)
        });
        Ok(Header {
            ranges: ranges.collect(),
            tensors: entries.into_iter().map(|entry| entry.meta).collect(),
            metadata,
        })
    }
}

/// Splits a file into the text of its header and its data.
fn split(file: &[u8]) -> Result<(&str, &[u8])> {
    let Some((length, rest)) = file.split_first_chunk::<PREFIX>() else {
        return Err(malformed("file is too short for a header")
            .expected(format!("at least {PREFIX} bytes"))
            .found(format!("{} bytes", file.len())));
    };
    let length = u64::from_le_bytes(*length);
    let fault = |summary: &str, expected: String| malformed(summary).expected(expected).found(format!("{length}"));
    if length == 0 {
        return Err(fault("header is empty", "a length of at least 2 bytes".to_owned()));
    }
    if length > limits::MAX_HEADER {
        return Err(fault("header is too long", format!("at most {} bytes", limits::MAX_HEADER)));
    }
    let Some((header, data)) = rest.split_at_checked(length as usize) else {
        return Err(fault("header ends beyond the file", format!("a length of at most {} bytes", rest.len())));
    };
    if let Some(first) = header.first().filter(|first| **first != b'{') {
        return Err(malformed("header does not begin with `{`")
            .expected("a JSON object")
            .found(format!("`{}`", first.escape_ascii())));
    }
    let text = std::str::from_utf8(header).map_err(|error| {
        malformed("header is not UTF-8")
            .found(format!("an invalid sequence at byte {} of the header", error.valid_up_to()))
            .caused_by(error)
    })?;
    Ok((text, data))
}

/// The strings under `__metadata__`.
fn strings(value: &RawValue) -> Result<BTreeMap<String, String>> {
    const EXPECTED: &str = "an object of strings";
    if !value.get().starts_with('{') {
        return Err(malformed("`__metadata__` is of the wrong type").expected(EXPECTED).found(json::quote(value)));
    }
    let members = Members::parse(value.get(), METADATA)?;
    let is_array = |name| members.get(name).is_some_and(|value| value.get().starts_with('['));
    if is_array("shape") && is_array("data_offsets") {
        return Err(malformed("name is reserved for metadata").tensor(METADATA).expected(EXPECTED).found("a tensor"));
    }
    if let Some(name) = members.duplicate() {
        return Err(malformed(format!("key `{}` occurs twice in `__metadata__`", name.escape_debug())));
    }
    let strings = members.0.into_iter().map(|(name, value)| match json::string(value) {
        Some(string) => Ok((name, string)),
        None => Err(malformed(format!("value of `{}` in `__metadata__` is of the wrong type", name.escape_debug()))
            .expected("a string")
            .found(json::quote(value))),
    });
    strings.collect()
}

impl Entry {
    /// Reads one member of the header.
    fn parse(name: String, value: &RawValue) -> Result<Self> {
        match fields(value) {
            Ok((dtype, shape, offsets)) => {
                let meta = TensorMeta { name, dtype, shape };
                match check_length(&meta, &offsets) {
                    Ok(()) => Ok(Entry { meta, offsets }),
                    Err(error) => Err(error.tensor(meta.name)),
                }
            }
            Err(error) => Err(error.tensor(name)),
        }
    }
}

/// The three fields of a tensor, each of the right type.
fn fields(value: &RawValue) -> Result<(Dtype, Vec<usize>, Range<u64>)> {
    const FIELDS: [&str; 3] = ["dtype", "shape", "data_offsets"];
    let wrong = |field: &str, expected: &str, value| {
        malformed(format!("`{field}` is of the wrong type")).expected(expected).found(json::quote(value))
    };
    if !value.get().starts_with('{') {
        return Err(malformed("entry is of the wrong type").expected("an object").found(json::quote(value)));
    }
    let members = Members::parse(value.get(), "entry")?;
    if let Some((field, _)) = members.0.iter().find(|(field, _)| !FIELDS.contains(&field.as_str())) {
        return Err(malformed("unknown field")
            .expected("only `dtype`, `shape` and `data_offsets`")
            .found(format!("`{}`", field.escape_debug())));
    }
    if let Some(field) = members.duplicate() {
        return Err(malformed(format!("field `{field}` occurs twice")));
    }
    let field = |name: &str| members.get(name).ok_or_else(|| malformed(format!("field `{name}` is missing")));
    let [dtype_value, shape_value, offsets_value] = [field(FIELDS[0])?, field(FIELDS[1])?, field(FIELDS[2])?];

    let dtype = json::string(dtype_value).ok_or_else(|| wrong("dtype", "a string", dtype_value))?;
    let dtype = Dtype::ALL.iter().copied().find(|known| known.name() == dtype).ok_or_else(|| {
        let known: Vec<_> = Dtype::ALL.iter().map(|dtype| dtype.name()).collect();
        malformed("unknown dtype").expected(format!("one of {}", known.join(", "))).found(json::quote(dtype_value))
    })?;

    // Elements are looked at as text first, so that a long array does not grow sixteenfold in memory.
    if shape_value.get().bytes().filter(|&byte| byte == b',').count() >= limits::MAX_DIMENSIONS {
        return Err(malformed("too many dimensions")
            .expected(format!("at most {}", limits::MAX_DIMENSIONS))
            .found(json::quote(shape_value)));
    }
    let shape = serde_json::from_str(shape_value.get())
        .map_err(|error| wrong("shape", "an array of whole numbers from 0", shape_value).caused_by(error))?;

    let [start, end]: [u64; 2] = serde_json::from_str(offsets_value.get())
        .map_err(|error| wrong("data_offsets", "two whole numbers from 0", offsets_value).caused_by(error))?;
    Ok((dtype, shape, start..end))
}

/// Checks that the shape of a tensor fits its number of bytes.
fn check_length(meta: &TensorMeta, offsets: &Range<u64>) -> Result<()> {
    let shape = format!("{:?} of {}", meta.shape, meta.dtype);
    let Some(length) = offsets.end.checked_sub(offsets.start) else {
        return Err(malformed("data ends before it begins")
            .expected("`data_offsets` in increasing order")
            .found(format!("[{}, {}]", offsets.start, offsets.end)));
    };
    let Some(bits) = meta.elements().and_then(|elements| elements.checked_mul(u64::from(meta.dtype.bits()))) else {
        return Err(malformed("shape overflows").expected("fewer than 2^64 bits").found(shape));
    };
    if !bits.is_multiple_of(8) {
        return Err(malformed("elements do not end on a byte")
            .expected("a number of bits that 8 divides")
            .found(format!("{shape}, which is {bits} bits")));
    }
    if bits / 8 != length {
        return Err(malformed("length of the data does not fit the shape")
            .expected(format!("{} bytes for {shape}", bits / 8))
            .found(format!("{length} bytes")));
    }
    Ok(())
}

/// Checks that `entries`, in the order of their data, cover `length` bytes without gap or overlap.
fn cover(entries: &[Entry], length: u64) -> Result<()> {
    let mut end = 0;
    let mut previous = None;
    for Entry { meta, offsets } in entries {
        let fault = |summary: &str, expected: String| {
            let found = format!("[{}, {}]", offsets.start, offsets.end);
            Err(malformed(summary).tensor(&meta.name).expected(expected).found(found))
        };
        if offsets.end > length {
            return fault("data ends beyond the file", format!("offsets up to {length}"));
        }
        let previous_name = previous.replace(&meta.name);
        match previous_name {
            None if offsets.start != 0 => {
                return fault("data of the first tensor does not begin at 0", "an offset of 0".to_owned());
            }
            Some(name) if offsets.start < end => {
                let summary = format!("data overlaps that of `{}`", name.escape_debug());
                return fault(&summary, format!("offsets from {end}"));
            }
            Some(name) if offsets.start > end => {
                let summary = format!("there is a gap after the data of `{}`", name.escape_debug());
                return fault(&summary, format!("an offset of {end}"));
            }
            _ => end = offsets.end,
        }
    }
    if end < length {
        return Err(malformed("there are bytes after the last tensor")
            .expected(format!("{end} bytes of data"))
            .found(format!("{length}")));
    }
    Ok(())
}
