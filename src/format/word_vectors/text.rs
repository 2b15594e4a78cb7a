//! Text: a word and its numbers on each line, separated by blanks; with word2vec a first line of V and d.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "places are those that `memchr` and `position` found in the same bytes; counts of lines and fields of a mapped file are below its length"
)]

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2};
use rayon::prelude::*;

use super::number::{is_blank, number};
use super::table::{Table, malformed};
use crate::error::{Error, Result};
use crate::format::limits::MAX_LINE;

/// Bytes of which the first line is remembered: finding a row costs reading so many at most.
const BLOCK: usize = 1 << 16;

/// Lines that are looked at to find d where no header tells it.
const SAMPLE: usize = 128;

/// Bytes that are searched for control characters.
const CONTROL_SAMPLE: usize = 4096;

/// Where the lines of a file are.
pub(super) struct Text {
    rows: usize,
    columns: usize,
    /// Lines before the first row: 1 with a header, 0 without.
    header_lines: usize,
    /// Where the first row begins and the last ends.
    body: Range<usize>,
    /// A row and where its line begins, for each block in which a line begins.
    starts: Vec<(usize, usize)>,
}

impl Text {
    /// Finds the lines of `file`, whose rows begin at `start`; `header` has its V and d, where it has them.
    pub(super) fn index(file: &[u8], start: usize, header: Option<(u64, u64)>) -> Result<Self> {
        let tail = file[start..].iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
        let body = start..file.len() - tail;
        if body.is_empty() {
            let error = malformed("there is no word in the file");
            return Err(match header {
                Some((rows, _)) => error.expected(format!("{rows} rows, which the first line says")),
                None => error,
            });
        }
        let (rows, starts) = lines(file, body.clone())?;
        let columns = match header {
            Some((stated, columns)) => {
                if stated != rows as u64 {
                    return Err(malformed("the first line lies about the number of rows")
                        .expected(format!("{stated} rows, as it says"))
                        .found(rows.to_string())
                        .hint(format!("if the file is complete, let its first line be `{rows} {columns}`")));
                }
                columns
            }
            None => sampled_columns(&file[body.clone()])?,
        };
        // A number takes two bytes at least: what is allocated for rows is in proportion to the file.
        let fits = (rows as u64).checked_mul(columns).is_some_and(|count| count <= body.len() as u64 / 2 + 1);
        if columns == 0 || !fits {
            return Err(malformed("the file is too short for its rows")
                .expected(format!("{rows} rows of at least 1 number"))
                .found(format!("{} bytes for rows of {columns} numbers", body.len())));
        }
        Ok(Text { rows, columns: columns as usize, header_lines: usize::from(header.is_some()), body, starts })
    }

    /// Calls `take` with the number of each row of `rows` and its line.
    fn each(&self, file: &[u8], rows: Range<usize>, mut take: impl FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
        let block = self.starts.partition_point(|&(row, _)| row <= rows.start).saturating_sub(1);
        let Some(&(mut row, mut at)) = self.starts.get(block) else { return Ok(()) };
        while row < rows.end {
            let rest = file.get(at..self.body.end).unwrap_or_default();
            let line = first_line(rest);
            if row >= rows.start {
                take(row, line)?;
            }
            at += line.len() + 1;
            row += 1;
        }
        Ok(())
    }

    /// What is wrong with the line of a row, with the number that editors give the line.
    fn refuse(&self, row: usize, fault: Fault) -> Error {
        malformed(format!("line {} {}", row + 1 + self.header_lines, fault.summary))
            .expected(fault.expected)
            .found(fault.found)
    }
}

impl Table for Text {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn read(&self, file: &[u8], rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let mut rest = out.chunks_exact_mut(self.columns);
        self.each(file, rows, |row, line| match rest.next() {
            Some(out) => parse(line, out).map(drop).map_err(|fault| self.refuse(row, fault)),
            None => Ok(()),
        })
    }

    fn words(&self, file: &[u8], rows: Range<usize>, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.each(file, rows, |row, line| take(word(line, self.columns).map_err(|fault| self.refuse(row, fault))?))
    }
}

/// The numbers V and d of a first line that has nothing else, and where the second begins.
pub(super) fn header(file: &[u8]) -> Option<((u64, u64), usize)> {
    // Two numbers of 64 bits, blanks between and behind.
    let head = &file[..file.len().min(64)];
    let end = memchr(b'\n', head)?;
    let line = std::str::from_utf8(&head[..end]).ok()?;
    let mut fields = line.split_ascii_whitespace();
    let (rows, columns) = (fields.next()?, fields.next()?);
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (fields.next().is_none() && is_number(rows) && is_number(columns))
        .then(|| Some(((rows.parse().ok()?, columns.parse().ok()?), end + 1)))?
}

/// Whether what follows a first line of V and `columns` is binary. Text begins with a line that can be read; where it
/// cannot, the control characters decide that singles have and text has not.
pub(super) fn is_binary(rows: &[u8], columns: u64) -> bool {
    let line = first_line(&rows[..rows.len().min(MAX_LINE)]);
    let fits = columns <= line.len() as u64 / 2;
    if fits && parse(line, &mut vec![0.0; columns as usize]).is_ok() {
        return false;
    }
    rows.iter().take(CONTROL_SAMPLE).any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace())
}

/// Whether `head`, the beginning of a file, is a word and at least two numbers. The last field counts only where it
/// ends, since it may be cut.
pub(super) fn begins(head: &[u8]) -> bool {
    let line = first_line(head);
    let mut fields: Vec<&[u8]> = trim(line).split(|&byte| is_blank(byte)).filter(|field| !field.is_empty()).collect();
    if line.len() == head.len() && fields.len() > 3 {
        fields.pop();
    }
    let is_number = |field: &&[u8]| number(field).is_some();
    fields.len() > 2 && fields.iter().rev().take(2).all(is_number)
}

/// The number of lines in `body` of `file`, and for each block the first line that begins in it.
fn lines(file: &[u8], body: Range<usize>) -> Result<(usize, Vec<(usize, usize)>)> {
    let blocks: Vec<usize> = body.clone().step_by(BLOCK).collect();
    let counted: Vec<(usize, Option<usize>)> = blocks
        .into_par_iter()
        .map(|start| {
            let block = &file[start..body.end.min(start + BLOCK)];
            (memchr_iter(b'\n', block).count(), memchr(b'\n', block).map(|at| start + at + 1))
        })
        .collect();
    let mut rows = 0;
    let mut starts = vec![(0, body.start)];
    let mut last = body.start;
    for (newlines, first) in counted {
        if let Some(first) = first {
            if first - last > MAX_LINE + BLOCK {
                break;
            }
            starts.push((rows + 1, first));
            last = first;
        }
        rows += newlines;
    }
    // The lines between two starts lie in one block; only one that spans several can be longer.
    let end = starts.iter().map(|&(_, at)| at).skip(1).chain([body.end]);
    if starts.iter().zip(end).any(|(&(_, at), end)| end - at > MAX_LINE + BLOCK) {
        return Err(malformed("a line is too long")
            .expected(format!("at most {MAX_LINE} bytes"))
            .hint("is it a file of word vectors?"));
    }
    Ok((rows + 1, starts))
}

/// d, from the first lines: as many numbers as every line has fields behind its first, since words with blanks in them
/// make some longer; but no more than some line ends with, since every word may have blanks.
fn sampled_columns(body: &[u8]) -> Result<u64> {
    let (mut least, mut most) = (usize::MAX, 0);
    let mut rest = body;
    for _ in 0..SAMPLE {
        let line = first_line(rest);
        let fields = || trim(line).split(|&byte| is_blank(byte)).filter(|field| !field.is_empty());
        let has_word = line.first().is_some_and(|&byte| !is_blank(byte));
        least = least.min(fields().count().saturating_sub(usize::from(has_word)));
        most = most.max(fields().rev().take_while(|field| number(field).is_some()).count());
        match rest.get(line.len() + 1..) {
            Some(more) if !more.is_empty() => rest = more,
            _ => break,
        }
    }
    match least.min(most) {
        0 => Err(malformed("a line has a word and no number").expected("a word and its numbers on each line")),
        columns => Ok(columns as u64),
    }
}

fn first_line(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr(b'\n', bytes).unwrap_or(bytes.len())]
}

/// Without the blanks and the carriage return that some programs leave at the end of a line.
fn trim(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|&byte| !is_blank(byte) && byte != b'\r').map_or(0, |last| last + 1);
    &line[..end]
}

/// The numbers of a line to `out`, which has room for as many as there are columns; gives the word.
fn parse<'l>(line: &'l [u8], out: &mut [f32]) -> Result<&'l [u8], Fault> {
    let line = trim(line);
    let end = memchr2(b' ', b'\t', line).unwrap_or(line.len());
    let (word, mut rest) = line.split_at(end);
    let mut count = 0;
    while let Some(start) = rest.iter().position(|&byte| !is_blank(byte)) {
        let found = out.get_mut(count).zip(number(&rest[start..]));
        let Some((slot, (value, length))) = found else { return parse_backwards(line, out) };
        *slot = value;
        count += 1;
        rest = &rest[start + length..];
    }
    if count == out.len() { Ok(word) } else { parse_backwards(line, out) }
}

/// The same for a word with blanks in it: the numbers are the last fields, the word is what is left.
fn parse_backwards<'l>(line: &'l [u8], out: &mut [f32]) -> Result<&'l [u8], Fault> {
    let (word, fields) = split(line, out.len())?;
    let fields = fields.split(|&byte| is_blank(byte)).filter(|field| !field.is_empty());
    for (slot, field) in out.iter_mut().zip(fields) {
        let (value, _) = number(field).ok_or_else(|| Fault {
            summary: "has a field that is no number",
            expected: "a decimal number".to_owned(),
            found: format!("`{}`", field[..field.len().min(60)].escape_ascii()),
        })?;
        *slot = value;
    }
    Ok(word)
}

/// The word of a line.
fn word(line: &[u8], columns: usize) -> Result<&[u8], Fault> {
    let line = trim(line);
    let blanks = memchr::memchr2_iter(b' ', b'\t', line).count();
    match memchr2(b' ', b'\t', line) {
        Some(end) if blanks == columns => Ok(&line[..end]),
        _ => split(line, columns).map(|(word, _)| word),
    }
}

/// Splits a trimmed line before its last `columns` fields.
fn split(line: &[u8], columns: usize) -> Result<(&[u8], &[u8]), Fault> {
    // Where the text before the fields found so far ends, without the blanks behind it.
    let mut end = line.len();
    let mut start = end;
    for found in 0..columns {
        start = line[..end].iter().rposition(|&byte| is_blank(byte)).map_or(0, |blank| blank + 1);
        if start == 0 {
            return Err(Fault {
                summary: "is too short",
                expected: format!("a word and {columns} numbers"),
                found: match found + usize::from(end > 0) {
                    0 => "an empty line".to_owned(),
                    1 => "1 field".to_owned(),
                    fields => format!("{fields} fields"),
                },
            });
        }
        end = line[..start].iter().rposition(|&byte| !is_blank(byte)).map_or(0, |last| last + 1);
    }
    Ok((&line[..end], &line[start..]))
}

/// What is wrong with a line.
struct Fault {
    summary: &'static str,
    expected: String,
    found: String,
}
