//! Where everything of a file lies, before any of it is written.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "places of what this program writes, whose sum was checked"
)]

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::ops::Range;

use super::{METADATA, PREFIX};
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;
use crate::tensor::TensorMeta;

/// The header of a file and the place of each tensor in it: a pure function of names, dtypes and shapes, so that
/// the size of a file is known to the byte before anything is computed.
///
/// The data keep the order given, unless a tensor would begin at a place that is not a multiple of its element
/// size; then all are sorted by the width of their elements, widest first, those of equal width in the order given.
/// That is the order that the reference implementation always takes, up to names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    header: Vec<u8>,
    order: Vec<usize>,
    ranges: Vec<Range<u64>>,
    length: u64,
}

impl Layout {
    /// Lays out `tensors` under a header that carries `metadata` (left out where it is empty).
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where a name occurs twice or is `__metadata__`, where a tensor has no whole number of
    /// bytes or too many dimensions, and where the header would be longer than readers accept.
    pub fn new(tensors: &[TensorMeta], metadata: &BTreeMap<String, String>) -> Result<Self> {
        let lengths = lengths(tensors)?;
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        let (mut offsets, mut end) = place(&order, &lengths)?;
        let misaligned = |(tensor, range): (&TensorMeta, &Range<u64>)| {
            !range.start.is_multiple_of(u64::from(tensor.dtype.bits()).div_ceil(8))
        };
        if tensors.iter().zip(&offsets).any(misaligned) {
            order.sort_by_key(|&index| std::cmp::Reverse(tensors[index].dtype.bits()));
            (offsets, end) = place(&order, &lengths)?;
        }
        let header = render(tensors, &order, &offsets, metadata)?;
        let start = header.len() as u64;
        let length = end.checked_add(start).ok_or_else(too_long)?;
        let ranges = offsets.into_iter().map(|range| range.start + start..range.end + start).collect();
        Ok(Layout { header, order, ranges, length })
    }

    /// The bytes before the data: length of the header, header, padding.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The tensors, as indices into the slice given, in the order of their data.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Where in the file the bytes of tensor `index` of the slice given are.
    pub fn range(&self, index: usize) -> Range<u64> {
        self.ranges[index].clone()
    }

    /// Length of the whole file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.length
    }

    /// Number of tensors.
    pub fn tensors(&self) -> usize {
        self.ranges.len()
    }
}

fn too_long() -> Error {
    Error::new(ErrorKind::Request, "file would be too long").expected("fewer than 2^64 bytes")
}

/// Number of bytes of each tensor, after what readers would refuse was refused.
fn lengths(tensors: &[TensorMeta]) -> Result<Vec<u64>> {
    let mut names = HashSet::with_capacity(tensors.len());
    let length = |tensor: &TensorMeta| {
        let refuse = |summary: &str| Err(Error::new(ErrorKind::Request, summary).tensor(&tensor.name));
        if tensor.name == METADATA {
            return refuse("name is reserved for metadata");
        }
        if tensor.dtype.block() > 1 {
            return refuse("dtype has no place in the format");
        }
        if tensor.shape.len() > limits::MAX_DIMENSIONS {
            return refuse("too many dimensions");
        }
        match tensor.bytes() {
            Some(bytes) => Ok(bytes),
            None => refuse("shape overflows or does not end on a byte"),
        }
    };
    tensors
        .iter()
        .map(|tensor| {
            if !names.insert(tensor.name.as_str()) {
                return Err(Error::new(ErrorKind::Request, "name occurs twice").tensor(&tensor.name));
            }
            length(tensor)
        })
        .collect()
}

/// Offsets from the start of the data, by index, when the tensors follow each other in `order`; and where they end.
fn place(order: &[usize], lengths: &[u64]) -> Result<(Vec<Range<u64>>, u64)> {
    let mut offsets = vec![0..0; lengths.len()];
    let mut end = 0u64;
    for &index in order {
        let start = end;
        end = end.checked_add(lengths[index]).ok_or_else(too_long)?;
        offsets[index] = start..end;
    }
    Ok((offsets, end))
}

/// The length, the compact JSON and the spaces that make the data begin at a multiple of 8.
fn render(
    tensors: &[TensorMeta],
    order: &[usize],
    offsets: &[Range<u64>],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| Error::new(ErrorKind::Request, "header cannot be made").caused_by(error);
    let mut out = vec![0; PREFIX];
    out.push(b'{');
    if !metadata.is_empty() {
        write!(out, "\"{METADATA}\":").map_err(failed)?;
        serde_json::to_writer(&mut out, metadata).map_err(|error| failed(error.into()))?;
    }
    for &index in order {
        let TensorMeta { name, dtype, shape } = &tensors[index];
        let Range { start, end } = offsets[index];
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        serde_json::to_writer(&mut out, name).map_err(|error| failed(error.into()))?;
        write!(out, ":{{\"dtype\":\"{dtype}\",\"shape\":").map_err(failed)?;
        serde_json::to_writer(&mut out, shape).map_err(|error| failed(error.into()))?;
        write!(out, ",\"data_offsets\":[{start},{end}]}}").map_err(failed)?;
    }
    out.push(b'}');
    out.resize(out.len().next_multiple_of(PREFIX), b' ');
    let length = (out.len() - PREFIX) as u64;
    if length > limits::MAX_HEADER {
        return Err(Error::new(ErrorKind::Request, "header would be too long")
            .expected(format!("at most {} bytes", limits::MAX_HEADER))
            .found(format!("{length}")));
    }
    out[..PREFIX].copy_from_slice(&length.to_le_bytes());
    Ok(out)
}
