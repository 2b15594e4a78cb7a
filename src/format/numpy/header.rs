//! The header of a .npy file: a Python literal that says dtype, order and shape.

use std::ops::Range;

use super::MAGIC;
use crate::error::{Error, ErrorKind, Result};
use crate::format::elements::{Arrangement, column_major, row_major};
use crate::format::limits;
use crate::tensor::{Dtype, TensorMeta};

/// What the data begin at a multiple of.
const ALIGNMENT: usize = 64;

/// An array and where its data are.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) meta: TensorMeta,
    pub(super) arrangement: Arrangement,
    /// The data in the bytes that the header was read from.
    pub(super) data: Range<usize>,
}

/// The three members of the literal.
#[derive(Default)]
struct Literal {
    descr: Option<String>,
    fortran_order: Option<bool>,
    shape: Option<Vec<usize>>,
}

fn malformed(summary: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, summary)
}

impl Header {
    /// Reads the header of the .npy file that is `file` and checks that its data are what follows.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where the header lies; [`ErrorKind::Unsupported`] for arrays of objects, strings and
    /// records.
    pub(super) fn parse(file: &[u8], name: String) -> Result<Self> {
        let (text, start) = split(file)?;
        let literal = Parser { text, rest: text }.dict()?;
        let missing = |what: &str| malformed(format!("header of the array has no `{what}`"));
        let descr = literal.descr.ok_or_else(|| missing("descr"))?;
        let fortran_order = literal.fortran_order.ok_or_else(|| missing("fortran_order"))?;
        let shape = literal.shape.ok_or_else(|| missing("shape"))?;
        let (dtype, big_endian) = dtype_of(&descr)?;
        let meta = TensorMeta { name, dtype, shape };
        let found = file.len().saturating_sub(start);
        let expected = meta.bytes().ok_or_else(|| malformed("shape overflows").found(format!("{:?}", meta.shape)))?;
        if expected != found as u64 {
            return Err(malformed("length of the data does not fit the shape")
                .expected(format!("{expected} bytes for {:?} of {dtype}", meta.shape))
                .found(format!("{found} bytes")));
        }
        let strides = if fortran_order { column_major } else { row_major }(&meta.shape, dtype.bytes());
        let arrangement = Arrangement::new(&meta, strides, big_endian);
        Ok(Header { meta, arrangement, data: start..file.len() })
    }
}

/// The text of the header, and where the data begin.
fn split(file: &[u8]) -> Result<(&str, usize)> {
    let short = || malformed("file ends within the header of the array");
    let rest = file.strip_prefix(MAGIC).ok_or_else(|| {
        malformed("not an array of NumPy").expected(format!("`{}` at its start", MAGIC.escape_ascii()))
    })?;
    let (&[major, _], rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (length, rest) = match major {
        1 => rest.split_first_chunk().map(|(length, rest)| (u32::from(u16::from_le_bytes(*length)), rest)),
        2 | 3 => rest.split_first_chunk().map(|(length, rest)| (u32::from_le_bytes(*length), rest)),
        _ => {
            return Err(Error::new(ErrorKind::Unsupported, "array of an unknown version")
                .expected("1, 2 or 3")
                .found(major.to_string()));
        }
    }
    .ok_or_else(short)?;
    let length = length as usize;
    if length > limits::MAX_NPY_HEADER {
        return Err(Error::new(ErrorKind::Unsupported, "header of the array is too long")
            .expected(format!("at most {} bytes", limits::MAX_NPY_HEADER))
            .found(length.to_string()));
    }
    let (text, data) =
        rest.split_at_checked(length).ok_or_else(|| short().expected(format!("{length} bytes of it")))?;
    let text =
        std::str::from_utf8(text).map_err(|error| malformed("header of the array is not UTF-8").caused_by(error))?;
    Ok((text, file.len().saturating_sub(data.len())))
}

/// The dtype of a type string such as `<f4`, and whether it is big-endian.
fn dtype_of(descr: &str) -> Result<(Dtype, bool)> {
    let unsupported = || {
        Error::new(ErrorKind::Unsupported, "arrays of this type are no tensors")
            .expected("f2, f4, f8, c8, b1, or i or u of 1, 2, 4 or 8 bytes, little- or big-endian")
            .found(format!("`{}`", descr.escape_debug()))
    };
    let mut characters = descr.chars();
    let big_endian = match characters.next() {
        Some('<' | '|' | '=') => false,
        Some('>') => true,
        _ => return Err(unsupported()),
    };
    let dtype = match characters.as_str() {
        "f8" => Dtype::F64,
        "f4" => Dtype::F32,
        "f2" => Dtype::F16,
        "c8" => Dtype::C64,
        "i8" => Dtype::I64,
        "i4" => Dtype::I32,
        "i2" => Dtype::I16,
        "i1" => Dtype::I8,
        "u8" => Dtype::U64,
        "u4" => Dtype::U32,
        "u2" => Dtype::U16,
        "u1" => Dtype::U8,
        "b1" => Dtype::Bool,
        _ => return Err(unsupported()),
    };
    Ok((dtype, big_endian))
}

/// The header of an array of packed, little-endian elements, its length and the padding included.
///
/// # Errors
/// [`ErrorKind::Unsupported`] where NumPy has no such dtype.
pub(super) fn render(meta: &TensorMeta) -> Result<Vec<u8>> {
    let descr = match meta.dtype {
        Dtype::F64 => "<f8",
        Dtype::F32 => "<f4",
        Dtype::F16 => "<f2",
        Dtype::C64 => "<c8",
        Dtype::I64 => "<i8",
        Dtype::I32 => "<i4",
        Dtype::I16 => "<i2",
        Dtype::I8 => "|i1",
        Dtype::U64 => "<u8",
        Dtype::U32 => "<u4",
        Dtype::U16 => "<u2",
        Dtype::U8 => "|u1",
        Dtype::Bool => "|b1",
        other => {
            let error = Error::new(ErrorKind::Unsupported, "NumPy has no such dtype").tensor(&meta.name);
            let error = error.expected("F64, F32, F16, C64, BOOL or an integer").found(other.name());
            return Err(if other.is_table_float() {
                error.hint("cast it with `--dtype f32`, which is exact")
            } else {
                error
            });
        }
    };
    let extents: String = meta.shape.iter().map(|extent| format!("{extent}, ")).collect();
    // A tuple of one has a comma, as Python writes it; longer ones have none at the end.
    let extents = if meta.shape.len() == 1 { extents.trim_end() } else { extents.trim_end_matches(", ") };
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}");
    const FIXED: usize = MAGIC.len() + 4;
    // One byte for the newline at the end.
    let whole = text.len().saturating_add(FIXED + 1).next_multiple_of(ALIGNMENT);
    let short = u16::try_from(whole.saturating_sub(FIXED))
        .map_err(|error| Error::new(ErrorKind::Unsupported, "header would be too long").caused_by(error))?;
    let mut header = [MAGIC, &[1, 0], &short.to_le_bytes(), text.as_bytes()].concat();
    header.resize(whole.saturating_sub(1), b' ');
    header.push(b'\n');
    Ok(header)
}

/// Reads the literal, of which NumPy writes one form only.
struct Parser<'a> {
    text: &'a str,
    /// What is to be read of it.
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn dict(mut self) -> Result<Literal> {
        let mut literal = Literal::default();
        self.expect('{')?;
        while !self.accept('}') {
            let key = self.string()?;
            self.expect(':')?;
            let again = match key.as_str() {
                "descr" => {
                    if !matches!(self.peek(), Some('\'' | '"')) {
                        return Err(Error::new(ErrorKind::Unsupported, "arrays of records are no tensors")
                            .expected("one type such as `<f4`"));
                    }
                    literal.descr.replace(self.string()?).is_some()
                }
                "fortran_order" => literal.fortran_order.replace(self.bool()?).is_some(),
                "shape" => literal.shape.replace(self.tuple()?).is_some(),
                _ => return Err(self.wrong("`descr`, `fortran_order` or `shape`")),
            };
            if again {
                return Err(malformed(format!("`{key}` occurs twice in the header of the array")));
            }
            if !self.accept(',') {
                self.expect('}')?;
                break;
            }
        }
        match self.peek() {
            None => Ok(literal),
            Some(_) => Err(self.wrong("nothing more")),
        }
    }

    /// The next character that is no white space.
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn accept(&mut self, wanted: char) -> bool {
        self.peek();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => self.rest = rest,
            None => return false,
        }
        true
    }

    fn expect(&mut self, wanted: char) -> Result<()> {
        if self.accept(wanted) { Ok(()) } else { Err(self.wrong(&format!("`{wanted}`"))) }
    }

    fn wrong(&self, expected: &str) -> Error {
        malformed("header of the array is not what NumPy writes")
            .expected(format!("{expected} at byte {} of it", self.text.len().saturating_sub(self.rest.len())))
    }

    fn string(&mut self) -> Result<String> {
        let quote = self.peek().filter(|quote| matches!(quote, '\'' | '"')).ok_or_else(|| self.wrong("a string"))?;
        let found = self.rest.strip_prefix(quote).and_then(|rest| rest.split_once(quote));
        let (string, rest) =
            found.filter(|(string, _)| !string.contains('\\')).ok_or_else(|| self.wrong("a string without escapes"))?;
        self.rest = rest;
        Ok(string.to_owned())
    }

    fn bool(&mut self) -> Result<bool> {
        self.peek();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(self.wrong("`True` or `False`"))
    }

    fn tuple(&mut self) -> Result<Vec<usize>> {
        self.expect('(')?;
        let mut extents = Vec::new();
        while !self.accept(')') {
            self.peek();
            let behind = self.rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
            let digits = self.rest.strip_suffix(behind).unwrap_or_default();
            let extent = digits.parse().map_err(|error| self.wrong("a whole number from 0").caused_by(error))?;
            if extents.len() == limits::MAX_DIMENSIONS {
                return Err(malformed("too many dimensions").expected(format!("at most {}", limits::MAX_DIMENSIONS)));
            }
            extents.push(extent);
            self.rest = behind;
            // Python 2 marked long integers.
            self.accept('L');
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(extents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, literal: &str, data: usize) -> Vec<u8> {
        let length = literal.len() as u32;
        let length = if version == 1 { length.to_le_bytes()[..2].to_vec() } else { length.to_le_bytes().to_vec() };
        [MAGIC, &[version, 0], &length, literal.as_bytes(), &vec![0; data]].concat()
    }

    #[test]
    fn what_is_written_is_read_again() {
        for shape in [vec![], vec![0], vec![7], vec![2, 3], vec![1, 2, 3]] {
            let meta = TensorMeta { name: "a".into(), dtype: Dtype::F16, shape };
            let mut file = render(&meta).expect("a dtype of NumPy");
            assert!(file.len().is_multiple_of(ALIGNMENT));
            file.resize(file.len() + meta.bytes().expect("small") as usize, 0);
            let header = Header::parse(&file, "a".into()).expect("a header of NumPy");
            assert_eq!(header.meta, meta);
            assert!(header.arrangement.is_plain());
        }
    }

    #[test]
    fn every_version_is_read() {
        for version in 1..=3 {
            let file = file(version, "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3L,), }  \n", 12);
            let header = Header::parse(&file, "a".into()).expect("a header of NumPy");
            assert_eq!((header.meta.dtype, header.meta.shape), (Dtype::I16, vec![2, 3]));
            assert!(!header.arrangement.is_plain());
        }
    }
}
