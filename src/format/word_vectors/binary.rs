//! word2vec's binary form: a first line of V and d, then each word, a blank, and its numbers as little-endian singles.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "places are those that `memchr` and `position` found in the same bytes, and sums of them; V and d were held against the length of the file"
)]

use std::ops::Range;

use memchr::memchr;

use super::table::{Table, malformed};
use crate::error::Result;
use crate::format::limits::MAX_WORD;

/// Rows of which the first one's place is remembered.
const BLOCK: usize = 64;

/// Where the rows of a file are.
pub(super) struct Binary {
    rows: usize,
    columns: usize,
    /// Where every [`BLOCK`]th row begins.
    starts: Vec<usize>,
}

impl Binary {
    /// Finds the rows of `file`, of which the first begins at `start`; `header` has V and d.
    pub(super) fn index(file: &[u8], start: usize, (rows, columns): (u64, u64)) -> Result<Self> {
        let left = file.len() - start;
        // A blank and the numbers at least: what is allocated for rows is in proportion to the file.
        let least = columns.checked_mul(4).and_then(|row| (row + 1).checked_mul(rows));
        let fits = least.filter(|&least| least <= left as u64 && rows > 0 && columns > 0);
        if fits.is_none() {
            return Err(malformed("the first line lies about the size of the file")
                .expected(format!("{rows} rows of {columns} numbers, at least one of each, as it says"))
                .found(format!("{left} bytes")));
        }
        let mut binary = Binary { rows: rows as usize, columns: columns as usize, starts: Vec::new() };
        let mut at = start;
        for row in 0..binary.rows {
            if row % BLOCK == 0 {
                binary.starts.push(at);
            }
            at = binary.row(file, row, at)?.end;
        }
        let rest = file[at..].iter().position(|byte| !byte.is_ascii_whitespace());
        match rest {
            Some(_) => Err(malformed("the first line lies about the number of rows")
                .expected(format!("{rows} rows, as it says"))
                .found(format!("{} bytes behind them", file.len() - at))),
            None => Ok(binary),
        }
    }

    /// The row that begins at `at`.
    fn row<'f>(&self, file: &'f [u8], row: usize, at: usize) -> Result<Row<'f>> {
        // The original program ends each row with a newline, others do not.
        let newlines = file[at..].iter().take_while(|&&byte| byte == b'\n').count();
        let rest = &file[at + newlines..];
        let fault = |summary: &str| malformed(format!("row {} {summary}", row + 1));
        let Some(length) = memchr(b' ', &rest[..rest.len().min(MAX_WORD + 1)]) else {
            return Err(fault("has no end of its word")
                .expected(format!("a blank within {MAX_WORD} bytes"))
                .found(format!("{} bytes left", rest.len())));
        };
        let (word, numbers) = (&rest[..length], &rest[length + 1..]);
        match numbers.get(..4 * self.columns) {
            Some(numbers) => Ok(Row { word, numbers, end: at + newlines + length + 1 + numbers.len() }),
            None => Err(fault("ends beyond the file")
                .expected(format!("{} bytes of numbers", 4 * self.columns))
                .found(numbers.len().to_string())),
        }
    }

    fn each(&self, file: &[u8], rows: Range<usize>, mut take: impl FnMut(Row<'_>) -> Result<()>) -> Result<()> {
        let Some(&(mut at)) = self.starts.get(rows.start / BLOCK) else { return Ok(()) };
        for number in rows.start / BLOCK * BLOCK..rows.end {
            let row = self.row(file, number, at)?;
            at = row.end;
            if number >= rows.start {
                take(row)?;
            }
        }
        Ok(())
    }
}

impl Table for Binary {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn read(&self, file: &[u8], rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let mut values = out.iter_mut();
        self.each(file, rows, |row| {
            for (bytes, out) in row.numbers.as_chunks().0.iter().zip(values.by_ref()) {
                *out = f32::from_le_bytes(*bytes);
            }
            Ok(())
        })
    }

    fn words(&self, file: &[u8], rows: Range<usize>, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.each(file, rows, |row| take(row.word))
    }
}

struct Row<'f> {
    word: &'f [u8],
    numbers: &'f [u8],
    /// Where the next one begins.
    end: usize,
}
