//! Bytes of a data file as text.

use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// What the bytes of a data file stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    #[default]
    Utf8,
    /// ISO 8859-1: each byte is the character of that number.
    Latin1,
}

impl Encoding {
    /// Every encoding, by the names of flags.
    pub const ALL: [(&'static str, Encoding); 2] = [("utf-8", Encoding::Utf8), ("latin1", Encoding::Latin1)];

    /// The text that `bytes` are.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] with the line of the first byte that is not UTF-8.
    pub(super) fn decode(self, bytes: Vec<u8>) -> Result<String> {
        match self {
            Encoding::Latin1 => Ok(bytes.into_iter().map(char::from).collect()),
            Encoding::Utf8 => match String::from_utf8(bytes) {
                Ok(text) => Ok(match text.strip_prefix('\u{feff}') {
                    Some(rest) => rest.to_owned(),
                    None => text,
                }),
                Err(error) => Err(not_utf8(error.as_bytes(), error.utf8_error().valid_up_to())),
            },
        }
    }
}

#[expect(clippy::arithmetic_side_effects, reason = "counts of what stands in memory")]
fn not_utf8(bytes: &[u8], at: usize) -> Error {
    let (before, after) = bytes.split_at_checked(at).unwrap_or_default();
    let line = 1 + memchr::memchr_iter(b'\n', before).count();
    let column = 1 + before.iter().rev().take_while(|&&byte| byte != b'\n').count();
    Error::new(ErrorKind::Malformed, format!("line {line} is not UTF-8"))
        .found(format!("byte 0x{:02x} in column {column}", after.first().copied().unwrap_or_default()))
        .hint("where the file is in ISO 8859-1, say so with `--encoding latin1`")
}

impl FromStr for Encoding {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Encoding::ALL.into_iter().find(|(own, _)| *own == name).map(|(_, encoding)| encoding).ok_or_else(|| {
            let names = Encoding::ALL.map(|(name, _)| name);
            Error::new(ErrorKind::Request, "unknown encoding")
                .expected(names.join(" or "))
                .found(format!("`{}`", name.escape_debug()))
        })
    }
}
