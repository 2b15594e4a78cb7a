//! Zip archives whose entries are stored as they are, so that they can be mapped in place: what PyTorch and NumPy
//! write. Written after PKWARE's APPNOTE.TXT 6.3.10.
//!
//! Only the central directory is believed, as every reader of such archives does; checksums are not looked at, since
//! that would read the whole file before anything is known of it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::limits;
use crate::error::{Error, ErrorKind, Result};

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
/// Bytes of the end record without its comment.
const END_BYTES: usize = 22;
const LOCATOR_BYTES: usize = 20;
/// Longest comment.
const COMMENT: usize = 0xffff;
/// What a file of this kind begins with.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

/// The name of the first entry of a file that begins with `head`, if it is an archive and `head` is long enough.
pub(super) fn first_name(head: &[u8]) -> Option<&[u8]> {
    const LENGTH: usize = 26;
    const NAME: usize = 30;
    let length = head.starts_with(MAGIC).then(|| head.get(LENGTH..LENGTH + 2))??;
    let length = u16::from_le_bytes(length.try_into().ok()?);
    head.get(NAME..NAME.checked_add(usize::from(length))?)
}

/// The entries of an archive by name, each with the place of its bytes in the file.
#[derive(Debug)]
pub(super) struct Archive {
    entries: BTreeMap<String, Range<usize>>,
    /// The names in the order of the central directory.
    order: Vec<String>,
}

fn malformed(summary: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, summary)
}

/// Little-endian numbers from a place on.
struct Fields<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    /// What follows byte `place` of `file`; `what` names it in errors.
    fn at(file: &'a [u8], place: u64, what: &'static str) -> Result<Self> {
        let bytes = usize::try_from(place).ok().and_then(|place| file.get(place..));
        let bytes = bytes.ok_or_else(|| {
            malformed(format!("{what} of the archive would lie beyond the file"))
                .expected(format!("a place before {}", file.len()))
                .found(place.to_string())
        })?;
        Ok(Fields { bytes, what })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (head, tail) = self
            .bytes
            .split_at_checked(length)
            .ok_or_else(|| malformed(format!("archive ends within its {}", self.what)))?;
        self.bytes = tail;
        Ok(head)
    }

    fn number<const WIDTH: usize>(&mut self) -> Result<u64> {
        let bytes = self.take(WIDTH)?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn signature(&mut self, expected: u32) -> Result<()> {
        let found = self.number::<4>()?;
        if found == u64::from(expected) {
            return Ok(());
        }
        Err(malformed(format!("{} of the archive is not where it should be", self.what))
            .expected(format!("the signature {expected:08x}"))
            .found(format!("{found:08x}")))
    }
}

/// One line of the central directory.
struct Line {
    name: String,
    flags: u64,
    method: u64,
    compressed: u64,
    uncompressed: u64,
    local: u64,
}

/// The directory of an archive before its entries are looked for.
pub(super) struct Listing {
    lines: Vec<Line>,
}

impl Listing {
    /// Reads the directory of the archive that is `file`.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where it is not there or lies.
    pub(super) fn read(file: &[u8]) -> Result<Self> {
        let (count, start) = directory(file)?;
        let mut fields = Fields::at(file, start, "directory")?;
        if count > limits::MAX_ENTRIES {
            return Err(Error::new(ErrorKind::Unsupported, "archive has too many entries")
                .expected(format!("at most {}", limits::MAX_ENTRIES))
                .found(count.to_string()));
        }
        let lines = (0..count).map(|_| Line::read(&mut fields));
        Ok(Listing { lines: lines.collect::<Result<_>>()? })
    }

    /// The names of all entries, in the order of the directory.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|line| line.name.as_str())
    }

    /// Finds every entry in the `file` that the listing is of.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where a place or a length lies, a name occurs twice or entries overlap;
    /// [`ErrorKind::Unsupported`] where an entry is compressed or encrypted.
    pub(super) fn locate(self, file: &[u8]) -> Result<Archive> {
        let mut entries = BTreeMap::new();
        let mut order = Vec::new();
        for line in self.lines {
            let range =
                line.place(file).map_err(|error| error.found(format!("entry `{}`", line.name.escape_debug())))?;
            if entries.insert(line.name.clone(), range).is_some() {
                return Err(malformed("archive has two entries of one name")
                    .found(format!("`{}` twice", line.name.escape_debug())));
            }
            order.push(line.name);
        }
        check_overlap(&entries)?;
        Ok(Archive { entries, order })
    }
}

impl Archive {
    /// The place of an entry in the file.
    pub(super) fn find(&self, name: &str) -> Option<Range<usize>> {
        self.entries.get(name).cloned()
    }

    /// The names of all entries, in the order of the directory.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.order.iter().map(String::as_str)
    }
}

/// Number of entries, and where the directory begins.
fn directory(file: &[u8]) -> Result<(u64, u64)> {
    let first = file.len().saturating_sub(END_BYTES + COMMENT);
    let tail = file.get(first..).unwrap_or_default();
    let is_end = |window: &[u8]| window.starts_with(&END.to_le_bytes());
    let end = tail.windows(END_BYTES).rposition(is_end).and_then(|place| place.checked_add(first));
    let end = end.ok_or_else(|| {
        malformed("archive has no directory at its end")
            .expected("the record that ends a zip file")
            .hint("the file is cut off: fetch or save it again")
    })?;
    let mut fields = Fields::at(file, end as u64, "end record")?;
    fields.take(8)?;
    let counts = [fields.number::<2>()?, fields.number::<2>()?];
    let (_, start) = (fields.number::<4>()?, fields.number::<4>()?);
    let locator = end.checked_sub(LOCATOR_BYTES).and_then(|place| file.get(place..end));
    let Some(locator) = locator.filter(|locator| locator.starts_with(&LOCATOR_64.to_le_bytes())) else {
        return Ok((counted(counts)?, start));
    };
    let mut locator = Fields { bytes: locator, what: "64-bit locator" };
    locator.take(8)?;
    let place = locator.number::<8>()?;
    let mut fields = Fields::at(file, place, "64-bit end record")?;
    fields.signature(END_64)?;
    fields.take(20)?;
    let counts = [fields.number::<8>()?, fields.number::<8>()?];
    let (_, start) = (fields.number::<8>()?, fields.number::<8>()?);
    Ok((counted(counts)?, start))
}

/// The number of entries, from how many this file has and how many there are in all: archives of several files ended
/// with floppy disks, and a directory that only one of the numbers hides would be read as empty.
fn counted([here, all]: [u64; 2]) -> Result<u64> {
    if here == all {
        return Ok(all);
    }
    Err(malformed("archive is a part of several, or its end record lies")
        .expected(format!("{all} entries in this file"))
        .found(here.to_string()))
}

impl Line {
    fn read(fields: &mut Fields<'_>) -> Result<Self> {
        fields.signature(CENTRAL)?;
        fields.take(4)?;
        let (flags, method) = (fields.number::<2>()?, fields.number::<2>()?);
        fields.take(8)?;
        let (mut compressed, mut uncompressed) = (fields.number::<4>()?, fields.number::<4>()?);
        let [name, extra, comment] = [fields.number::<2>()?, fields.number::<2>()?, fields.number::<2>()?];
        fields.take(8)?;
        let mut local = fields.number::<4>()?;
        let name = fields.take(name as usize)?;
        let mut extra = Fields { bytes: fields.take(extra as usize)?, what: "extra field" };
        fields.take(comment as usize)?;
        while extra.bytes.len() >= 4 {
            let (kind, length) = (extra.number::<2>()?, extra.number::<2>()?);
            let mut content = Fields { bytes: extra.take(length as usize)?, what: "64-bit field" };
            if kind == 1 {
                for value in [&mut uncompressed, &mut compressed, &mut local] {
                    if *value == 0xffff_ffff {
                        *value = content.number::<8>()?;
                    }
                }
            }
        }
        let name = std::str::from_utf8(name)
            .map_err(|error| malformed("name of an entry is not UTF-8").caused_by(error))?
            .to_owned();
        Ok(Line { name, flags, method, compressed, uncompressed, local })
    }

    /// Where the bytes of the entry are.
    fn place(&self, file: &[u8]) -> Result<Range<usize>> {
        if self.flags & 1 != 0 {
            return Err(Error::new(ErrorKind::Unsupported, "entry of the archive is encrypted"));
        }
        if self.method != 0 {
            return Err(Error::new(ErrorKind::Unsupported, "entry of the archive is compressed")
                .expected("entries stored as they are")
                .hint("save it without compression: `torch.save`, or `numpy.savez` and not `savez_compressed`"));
        }
        if self.compressed != self.uncompressed {
            return Err(malformed("a stored entry has two lengths").expected(format!("{} bytes", self.uncompressed)));
        }
        let mut fields = Fields::at(file, self.local, "entry")?;
        fields.signature(LOCAL)?;
        fields.take(22)?;
        let (name, extra) = (fields.number::<2>()? as usize, fields.number::<2>()? as usize);
        if fields.take(name)? != self.name.as_bytes() {
            return Err(malformed("entry has another name than the directory gives it"));
        }
        fields.take(extra)?;
        // What is left of the file begins here.
        let start = file.len().saturating_sub(fields.bytes.len());
        let end = usize::try_from(self.uncompressed).ok().and_then(|length| start.checked_add(length));
        let end = end.filter(|&end| end <= file.len()).ok_or_else(|| {
            malformed("entry ends beyond the file").expected(format!("at most {} bytes", fields.bytes.len()))
        })?;
        Ok(start..end)
    }
}

/// Refuses entries that share bytes: a small file could stand for any amount of data.
fn check_overlap(entries: &BTreeMap<String, Range<usize>>) -> Result<()> {
    let mut places: Vec<_> = entries.iter().filter(|(_, range)| !range.is_empty()).collect();
    places.sort_by_key(|(_, range)| range.start);
    match places.iter().zip(places.iter().skip(1)).find(|((_, one), (_, next))| one.end > next.start) {
        None => Ok(()),
        Some(((one, _), (next, _))) => Err(malformed("entries of the archive overlap").found(format!(
            "`{}` and `{}`",
            one.escape_debug(),
            next.escape_debug()
        ))),
    }
}

/// Where in a local header the checksum stands.
pub(super) const CHECKSUM: u64 = 14;
/// Version 4.5 of the format, the first with 64-bit lengths.
const VERSION: u16 = 45;
/// The name is UTF-8.
const UTF_8: u16 = 1 << 11;
/// The first of January 1980, the earliest date that the format has.
const DATE: u16 = 0x21;
const EXTENDED: u32 = u32::MAX;

/// The directory of an archive that is being written: entries stored as they are, lengths and places of 64 bits.
#[derive(Debug, Default)]
pub(super) struct Directory {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    checksum: u32,
    length: u64,
    place: u64,
}

impl Directory {
    /// Adds an entry of `length` bytes whose header begins at `place`, and gives that header, with 0 for the checksum.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the name is too long.
    pub(super) fn add(&mut self, name: &str, length: u64, place: u64) -> Result<Vec<u8>> {
        let name_length = u16::try_from(name.len()).map_err(|error| {
            Error::new(ErrorKind::Unsupported, "name is too long for an archive").tensor(name).caused_by(error)
        })?;
        self.entries.push(Entry { name: name.to_owned(), checksum: 0, length, place });
        let mut out = LOCAL.to_le_bytes().to_vec();
        numbers(&mut out, &[VERSION, UTF_8, 0, 0, DATE]);
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend([EXTENDED; 2].map(u32::to_le_bytes).as_flattened());
        numbers(&mut out, &[name_length, 20]);
        out.extend_from_slice(name.as_bytes());
        numbers(&mut out, &[1, 16]);
        out.extend([length; 2].map(u64::to_le_bytes).as_flattened());
        Ok(out)
    }

    /// Gives the last entry its checksum.
    pub(super) fn set_checksum(&mut self, checksum: u32) {
        if let Some(entry) = self.entries.last_mut() {
            entry.checksum = checksum;
        }
    }

    /// The directory and the records that end the archive, for the place `start`.
    pub(super) fn render(&self, start: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for Entry { name, checksum, length, place } in &self.entries {
            out.extend_from_slice(&CENTRAL.to_le_bytes());
            numbers(&mut out, &[VERSION, VERSION, UTF_8, 0, 0, DATE]);
            out.extend_from_slice(&checksum.to_le_bytes());
            out.extend([EXTENDED; 2].map(u32::to_le_bytes).as_flattened());
            // The length was checked when the entry was added. Then: extra field, comment, disk, attributes.
            numbers(&mut out, &[name.len() as u16, 28, 0, 0, 0, 0, 0]);
            out.extend_from_slice(&EXTENDED.to_le_bytes());
            out.extend_from_slice(name.as_bytes());
            numbers(&mut out, &[1, 24]);
            out.extend([*length, *length, *place].map(u64::to_le_bytes).as_flattened());
        }
        let (count, length) = (self.entries.len() as u64, out.len() as u64);
        // Where the archive ends was told before the first byte of it was written.
        let end = start.saturating_add(length);
        out.extend_from_slice(&END_64.to_le_bytes());
        out.extend_from_slice(&44u64.to_le_bytes());
        numbers(&mut out, &[VERSION, VERSION, 0, 0, 0, 0]);
        out.extend([count, count, length, start].map(u64::to_le_bytes).as_flattened());
        out.extend_from_slice(&LOCATOR_64.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&end.to_le_bytes());
        out.extend_from_slice(&1u32.to_le_bytes());
        out.extend_from_slice(&END.to_le_bytes());
        numbers(&mut out, &[0, 0, u16::MAX, u16::MAX]);
        out.extend([EXTENDED; 2].map(u32::to_le_bytes).as_flattened());
        numbers(&mut out, &[0]);
        out
    }
}

fn numbers(out: &mut Vec<u8>, numbers: &[u16]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}
