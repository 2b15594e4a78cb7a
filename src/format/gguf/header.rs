//! Parsing and checking of a header: every lie is refused before a tensor's bytes are looked at.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::cursor::{Cursor, malformed};
use super::value::Value;
use super::{MAGIC, types};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::TensorMeta;

/// The key of the alignment of data, and what it is where the key is missing.
const ALIGNMENT: &str = "general.alignment";
const DEFAULT_ALIGNMENT: u64 = 32;

/// Dimensions of a tensor of ggml.
const MAX_DIMENSIONS: u32 = 4;

/// What the header of a file says, after all of it was checked against the file.
#[derive(Debug)]
pub(super) struct Header {
    /// The metadata.
    pub(super) metadata: BTreeMap<String, Value>,
    /// The tensors in the order of their data.
    pub(super) tensors: Vec<TensorMeta>,
    /// Where in the file each tensor's bytes are.
    pub(super) ranges: Vec<Range<usize>>,
    /// Where in the file each tensor's type is, behind which its offset is.
    pub(super) entries: Vec<usize>,
    /// Where the data begin, from which offsets count.
    pub(super) start: u64,
    /// What divides offsets.
    pub(super) alignment: u64,
}

/// A tensor and where its bytes begin in the data.
struct Entry {
    meta: TensorMeta,
    bytes: u64,
    offset: u64,
    /// Where its type is.
    at: usize,
}

impl Header {
    /// Parses the header at the start of `file`; the path is for the caller to add.
    pub(super) fn parse(file: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(file);
        let magic = cursor.take(MAGIC.len() as u64, "the magic number")?;
        if magic != MAGIC {
            return Err(malformed("not a GGUF file").expected("`GGUF`").found(format!("`{}`", magic.escape_ascii())));
        }
        let version = cursor.u32("the version")?;
        if !(2..=3).contains(&version) {
            let error = Error::new(ErrorKind::Unsupported, "unknown version of GGUF").expected("2 or 3");
            return Err(match version {
                1 => error.found("1").hint("convert it with llama.cpp's programs of August 2023"),
                _ if version.swap_bytes() <= 3 => error
                    .found("a big-endian file")
                    .hint("`gguf-convert-endian FILE little` of the gguf package changes the order of its bytes"),
                other => error.found(other.to_string()),
            });
        }
        // A name's length, its dimensions, type and offset; a key's length and a type and a byte.
        let tensors = cursor.u64("the number of tensors")?;
        let keys = cursor.count(8 + 4 + 1, "the number of metadata keys")?;
        let metadata = metadata(&mut cursor, keys)?;
        let alignment = alignment(&metadata)?;
        let room = cursor.left() as u64 / (8 + 4 + 4 + 8);
        if tensors > room {
            return Err(malformed("the number of tensors is more than the file has room for")
                .expected(format!("at most {room}"))
                .found(tensors.to_string()));
        }
        let mut names = HashSet::with_capacity(tensors as usize);
        let mut entries = Vec::with_capacity(tensors as usize);
        for _ in 0..tensors {
            let entry = Entry::read(&mut cursor, alignment)?;
            if !names.insert(entry.meta.name.clone()) {
                return Err(malformed("name occurs twice in the header").tensor(entry.meta.name));
            }
            entries.push(entry);
        }
        let start = (cursor.at() as u64).next_multiple_of(alignment);
        entries.sort_by_key(|entry| (entry.offset, entry.bytes));
        let ranges = cover(&entries, start, file.len() as u64)?;
        let (tensors, entries) = entries.into_iter().map(|entry| (entry.meta, entry.at)).unzip();
        Ok(Header { metadata, tensors, ranges, entries, start, alignment })
    }
}

fn metadata(cursor: &mut Cursor<'_>, keys: u64) -> Result<BTreeMap<String, Value>> {
    let mut metadata = BTreeMap::new();
    for _ in 0..keys {
        let key = cursor.name("a metadata key")?;
        let value = Value::read(cursor, &format!("the value of `{}`", key.escape_debug()))?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(malformed(format!("metadata key `{}` occurs twice", key.escape_debug())));
        }
    }
    Ok(metadata)
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64> {
    match metadata.get(ALIGNMENT) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(&Value::Unsigned(value)) if value.is_power_of_two() && value <= 1 << 20 => Ok(value),
        Some(other) => Err(malformed(format!("`{ALIGNMENT}` is no alignment"))
            .expected("a power of two up to 2^20")
            .found(other.to_string())),
    }
}

impl Entry {
    fn read(cursor: &mut Cursor<'_>, alignment: u64) -> Result<Self> {
        let name = cursor.name("the name of a tensor")?;
        let place = |error: Error| error.tensor(&name);
        let dimensions = cursor.u32("the list of tensors").map_err(place)?;
        if dimensions > MAX_DIMENSIONS {
            return Err(place(malformed("too many dimensions"))
                .expected(format!("at most {MAX_DIMENSIONS}"))
                .found(dimensions.to_string()));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let extent = cursor.u64("the list of tensors").map_err(place)?;
            shape.push(usize::try_from(extent).map_err(|_| place(malformed("shape overflows")))?);
        }
        // The first one is the innermost.
        shape.reverse();
        let at = cursor.at();
        let number = cursor.u32("the list of tensors").map_err(place)?;
        let dtype = types::dtype(number).ok_or_else(|| {
            place(Error::new(ErrorKind::Unsupported, "unknown ggml type")).found(format!("number {number}"))
        })?;
        let offset = cursor.u64("the list of tensors").map_err(place)?;
        if !offset.is_multiple_of(alignment) {
            return Err(place(malformed("data are not aligned"))
                .expected(format!("an offset that {alignment} divides"))
                .found(offset.to_string()));
        }
        let meta = TensorMeta { name: name.clone(), dtype, shape };
        let bytes = meta.bytes().ok_or_else(|| {
            place(malformed("shape overflows or its rows do not end on a block"))
                .expected(format!("rows of whole blocks of {}", dtype.block()))
                .found(format!("{:?} of {dtype}", meta.shape))
        })?;
        Ok(Entry { meta, bytes, offset, at })
    }
}

/// The places of `entries`, in the order of their data, in a file of `length` bytes whose data begin at `start`.
fn cover(entries: &[Entry], start: u64, length: u64) -> Result<Vec<Range<usize>>> {
    let mut before: Option<(&Entry, u64)> = None;
    let place = |entry| -> Result<Range<usize>> {
        let Entry { meta, bytes, offset, .. }: &Entry = entry;
        let begin = start.checked_add(*offset);
        let end = begin.and_then(|begin| begin.checked_add(*bytes)).filter(|&end| end <= length);
        let (Some(begin), Some(end)) = (begin, end) else {
            return Err(malformed("data end beyond the file")
                .tensor(&meta.name)
                .expected(format!("{bytes} bytes from {offset} on"))
                .found(format!("{} bytes of data", length.saturating_sub(start))));
        };
        if let Some((other, other_end)) = before.replace((entry, end))
            && begin < other_end
        {
            return Err(malformed(format!("data overlap those of `{}`", other.meta.name.escape_debug()))
                .tensor(&meta.name)
                .expected(format!("an offset from {}", other_end.saturating_sub(start)))
                .found(offset.to_string()));
        }
        Ok(begin as usize..end as usize)
    };
    entries.iter().map(place).collect()
}
