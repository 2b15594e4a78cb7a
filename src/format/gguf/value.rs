//! Values of the metadata, with their types.

use std::fmt;

use super::cursor::{Cursor, malformed};
use crate::error::Result;

/// Levels of arrays in arrays.
const MAX_DEPTH: usize = 4;

/// A value of the metadata. Of an array the type and the length are kept, not the elements: a vocabulary is longer than
/// everything else together.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number of 8, 16, 32 or 64 bits without sign.
    Unsigned(u64),
    /// A whole number of 8, 16, 32 or 64 bits with sign.
    Signed(i64),
    /// A single or a double.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A string; bytes that are not UTF-8 are replaced.
    String(String),
    /// An array of so many values of one type.
    Array(&'static str, u64),
}

/// Name and bytes of each type, by its number; strings and arrays begin with a length.
const TYPES: [(&str, u64); 13] = [
    ("u8", 1),
    ("i8", 1),
    ("u16", 2),
    ("i16", 2),
    ("u32", 4),
    ("i32", 4),
    ("f32", 4),
    ("bool", 1),
    ("string", 8),
    ("array", 12),
    ("u64", 8),
    ("i64", 8),
    ("f64", 8),
];

const STRING: usize = 8;
const ARRAY: usize = 9;

impl Value {
    /// Reads a type and a value of it; `what` names it in errors.
    pub(super) fn read(cursor: &mut Cursor<'_>, what: &str) -> Result<Self> {
        let kind = kind(cursor, what)?;
        Ok(match kind {
            0 => Value::Unsigned(cursor.array::<1>(what)?[0].into()),
            1 => Value::Signed(i8::from_le_bytes(cursor.array(what)?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(cursor.array(what)?).into()),
            3 => Value::Signed(i16::from_le_bytes(cursor.array(what)?).into()),
            4 => Value::Unsigned(u32::from_le_bytes(cursor.array(what)?).into()),
            5 => Value::Signed(i32::from_le_bytes(cursor.array(what)?).into()),
            6 => Value::Float(f32::from_le_bytes(cursor.array(what)?).into()),
            7 => match cursor.array::<1>(what)? {
                [value @ (0 | 1)] => Value::Bool(value == 1),
                [other] => {
                    return Err(malformed(format!("{what} is no truth value"))
                        .expected("0 or 1")
                        .found(other.to_string()));
                }
            },
            STRING => Value::String(String::from_utf8_lossy(cursor.string(what)?).into_owned()),
            ARRAY => {
                let (kind, count) = skip_array(cursor, what, 1)?;
                Value::Array(kind, count)
            }
            10 => Value::Unsigned(cursor.u64(what)?),
            11 => Value::Signed(i64::from_le_bytes(cursor.array(what)?)),
            _ => Value::Float(f64::from_le_bytes(cursor.array(what)?)),
        })
    }
}

/// The number of a type that there is.
fn kind(cursor: &mut Cursor<'_>, what: &str) -> Result<usize> {
    let kind = cursor.u32(what)?;
    if (kind as usize) < TYPES.len() {
        return Ok(kind as usize);
    }
    Err(malformed(format!("{what} has an unknown type"))
        .expected(format!("a number below {}", TYPES.len()))
        .found(kind.to_string()))
}

/// Passes over the elements of an array; gives the name of their type and how many there are.
fn skip_array(cursor: &mut Cursor<'_>, what: &str, depth: usize) -> Result<(&'static str, u64)> {
    let kind = kind(cursor, what)?;
    let Some(&(name, width)) = TYPES.get(kind) else { return Err(malformed(format!("{what} has an unknown type"))) };
    let count = cursor.count(width, &format!("the length of {what}"))?;
    match kind {
        STRING => (0..count).try_for_each(|_| cursor.string(what).map(drop))?,
        ARRAY if depth == MAX_DEPTH => {
            return Err(malformed(format!("{what} has too many levels")).expected(format!("at most {MAX_DEPTH}")));
        }
        ARRAY => (0..count).try_for_each(|_| skip_array(cursor, what, depth.saturating_add(1)).map(drop))?,
        _ => {
            cursor.take(count.saturating_mul(width), what)?;
        }
    }
    Ok((name, count))
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Unsigned(value) => value.fmt(out),
            Value::Signed(value) => value.fmt(out),
            Value::Float(value) => value.fmt(out),
            Value::Bool(value) => value.fmt(out),
            Value::String(value) => value.fmt(out),
            Value::Array(kind, count) => write!(out, "{count} x {kind}"),
        }
    }
}
