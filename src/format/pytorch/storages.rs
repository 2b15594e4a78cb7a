//! Where the storages of a checkpoint are in its file, and the object that refers to them.

use std::collections::HashMap;
use std::ops::Range;

use super::pickle::Unpickler;
use super::value::{Id, Objects, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;
use crate::format::zip::Listing;

/// The number that a legacy file begins with.
const MAGIC_NUMBER: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// The only version of the legacy format.
const LEGACY_PROTOCOL: i128 = 1001;
/// Name of the pickle in an archive.
const PICKLE: &str = "data.pkl";

/// A checkpoint before its tensors are looked at.
pub(super) struct Contents {
    pub(super) objects: Objects,
    pub(super) root: Id,
    /// Where in the file the storage of each key is.
    pub(super) storages: HashMap<String, Range<usize>>,
    pub(super) big_endian: bool,
}

fn malformed(summary: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, summary)
}

/// Reads an archive as PyTorch 1.6 and later save it.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for TorchScript and for what state dicts do not need; [`ErrorKind::Malformed`] where the
/// archive or the pickle lies.
pub(super) fn read_archive(file: &[u8]) -> Result<Contents> {
    let listing = Listing::read(file)?;
    let is_pickle = |name: &&str| *name == PICKLE || name.strip_suffix(PICKLE).is_some_and(|rest| rest.ends_with('/'));
    let pickle = listing.names().find(is_pickle).ok_or_else(|| {
        malformed("zip archive is no PyTorch checkpoint").expected(format!("an entry `{PICKLE}`")).found("none")
    })?;
    let prefix = pickle.strip_suffix(PICKLE).unwrap_or_default().to_owned();
    let is_program = |name: &str| {
        name.strip_prefix(&prefix).is_some_and(|name| name == "constants.pkl" || name.starts_with("code/"))
    };
    if listing.names().any(is_program) {
        return Err(Error::new(ErrorKind::Unsupported, "a TorchScript archive, which holds a program besides weights")
            .hint(
                "in Python, save its weights alone: `torch.save(torch.jit.load(FILE).state_dict(), \"model.bin\")`",
            ));
    }
    let archive = listing.locate(file)?;
    let entry = |name: &str| archive.find(&format!("{prefix}{name}")).and_then(|range| file.get(range));
    let big_endian = match entry("byteorder") {
        None | Some(b"little") => false,
        Some(b"big") => true,
        Some(other) => {
            return Err(malformed("byte order of the checkpoint is unknown")
                .expected("`little` or `big`")
                .found(format!("`{}`", other.iter().take(16).copied().collect::<Vec<_>>().escape_ascii())));
        }
    };
    let mut unpickler = Unpickler::new(entry(PICKLE).unwrap_or_default());
    let root = unpickler.load()?;
    let folder = format!("{prefix}data/");
    let storages =
        archive.names().filter_map(|name| Some((name.strip_prefix(&folder)?.to_owned(), archive.find(name)?)));
    Ok(Contents { root, storages: storages.collect(), objects: unpickler.objects, big_endian })
}

/// Reads a file as PyTorch before 1.6 saved it: magic number, version, system, object, keys, then the storages one
/// after the other, each after its length.
///
/// # Errors
/// As [`read_archive`].
pub(super) fn read_legacy(file: &[u8]) -> Result<Contents> {
    let mut unpickler = Unpickler::new(file);
    let mut expect = |what: &str, expected: i128| -> Result<()> {
        let id = unpickler.load()?;
        match unpickler.objects.get(id) {
            Value::Integer(found) if *found == expected => Ok(()),
            found => Err(malformed(format!("{what} of the checkpoint is wrong: it is another kind of pickle"))
                .expected(format!("{expected:#x}"))
                .found(match found {
                    Value::Integer(found) => format!("{found:#x}"),
                    other => other.kind().to_owned(),
                })),
        }
    };
    expect("magic number", MAGIC_NUMBER)?;
    expect("version", LEGACY_PROTOCOL)?;
    let system = unpickler.load()?;
    if !matches!(unpickler.objects.get(system), Value::Dict(_)) {
        return Err(malformed("description of the system is no dict"));
    }
    let root = unpickler.load()?;
    let keys = unpickler.load()?;
    let mut position = unpickler.position();
    let objects = unpickler.objects;
    let widths = widths(&objects);
    let keys = objects.items(keys).ok_or_else(|| malformed("keys of the storages are no list"))?;
    let mut storages = HashMap::new();
    for &key in keys {
        let key = match objects.get(key) {
            Value::Text(key) => key.clone(),
            Value::Integer(key) => key.to_string(),
            other => return Err(malformed("key of a storage is no string").found(other.kind())),
        };
        let quoted = format!("storage `{}`", key.escape_debug());
        let cut =
            || malformed(format!("file ends within {quoted}")).hint("the file is cut off: fetch or save it again");
        let (length, rest) = file.get(position..).and_then(<[u8]>::split_first_chunk).ok_or_else(cut)?;
        let elements = u64::from_le_bytes(*length);
        let width = *widths.get(key.as_str()).ok_or_else(|| malformed(format!("no tensor refers to {quoted}")))?;
        let start = file.len().saturating_sub(rest.len());
        let end = usize::try_from(elements)
            .ok()
            .and_then(|elements| elements.checked_mul(width)?.checked_add(start))
            .filter(|&end| end <= file.len())
            .ok_or_else(|| cut().expected(format!("{elements} elements of {width} bytes")))?;
        if storages.insert(key, start..end).is_some() {
            return Err(malformed(format!("{quoted} is listed twice")));
        }
        position = end;
    }
    if position < file.len() {
        return Err(malformed("there are bytes after the last storage")
            .expected(format!("{position} bytes"))
            .found(file.len().to_string()));
    }
    Ok(Contents { objects, root, storages, big_endian: false })
}

/// Bytes of an element of each storage that the objects refer to. That of bytes without a type is 1.
fn widths(objects: &Objects) -> HashMap<&str, usize> {
    objects.storages().map(|storage| (storage.key.as_str(), storage.dtype.map_or(1, |dtype| dtype.bytes()))).collect()
}

/// Whether a file that begins with `head` is a pickle of a binary protocol, as every legacy file is.
pub(super) fn is_pickle(head: &[u8]) -> bool {
    matches!(head, [0x80, 2..=5, opcode, ..] if matches!(opcode, 0x8a | b'}' | b']' | b'(' | b'c' | 0x95))
}

/// Whether a file is one of the archives that PyTorch wrote before version 0.1.10.
pub(super) fn is_tar(head: &[u8]) -> bool {
    const PLACE: usize = 257;
    head.get(PLACE..).is_some_and(|rest| rest.starts_with(b"ustar")) && head.len() <= limits::PROBE
}
