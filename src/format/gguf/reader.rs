//! A mapped GGUF file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::cursor::malformed;
use super::decode;
use super::header::Header;
use super::rewriter::Tables;
use crate::error::{Error, ErrorKind, Result};
use crate::format::map::MappedBytes;
use crate::format::{Reader, Rewriter, matrix};
use crate::tensor::{Dtype, MappedRows, Precision, Rows, TensorMeta};

/// Numbers that are decoded at a time, whole blocks of every type: they stay in the second-level cache.
const PIECE: usize = 1 << 16;

fn undecodable(dtype: Dtype) -> Error {
    Error::new(ErrorKind::Unsupported, "the type cannot be decoded").found(dtype.name())
}

/// A GGUF file whose header has been checked; its data stay on disk until they are looked at.
pub(super) struct MappedFile {
    map: MappedBytes,
    header: Header,
    metadata: BTreeMap<String, String>,
}

impl MappedFile {
    /// Maps `path` and checks its header.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let map = MappedBytes::open(path)?;
        if map.is_empty() {
            return Err(malformed("the file is empty").at(path));
        }
        let header = Header::parse(&map).map_err(|error| error.at(path))?;
        let metadata = header.metadata.iter().map(|(key, value)| (key.clone(), value.to_string())).collect();
        Ok(MappedFile { map, header, metadata })
    }
}

impl MappedFile {
    /// What new files are planned from.
    pub(super) fn tables(&self) -> Tables<'_> {
        Tables { file: &self.map, header: &self.header }
    }
}

impl Reader for MappedFile {
    fn tensors(&self) -> &[TensorMeta] {
        &self.header.tensors
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the index is that of a tensor that this reader lists, the range was checked when it was opened"
    )]
    fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(&self.map[self.header.ranges[index].clone()]))
    }

    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "the index is that of a tensor that this reader lists, the range was checked when it was opened"
    )]
    fn stream_decoded(&self, index: usize, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let TensorMeta { dtype, .. } = self.header.tensors[index];
        if dtype.block() == 1 {
            return self.stream(index, take);
        }
        let bytes = &self.map[self.header.ranges[index].clone()];
        let (mut numbers, mut decoded) = (vec![0.0f32; PIECE], Vec::with_capacity(4 * PIECE));
        for blocks in bytes.chunks(PIECE / dtype.block() * dtype.bytes()) {
            let numbers = &mut numbers[..blocks.len() / dtype.bytes() * dtype.block()];
            if !decode(dtype, blocks, numbers) {
                return Err(undecodable(dtype));
            }
            decoded.clear();
            decoded.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            take(&decoded)?;
        }
        Ok(())
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the index is that of a tensor that this reader lists, the range was checked when it was opened"
    )]
    fn rows(&self, index: usize) -> Result<Box<dyn Rows + '_>> {
        let meta = &self.header.tensors[index];
        let (rows, columns) = matrix(meta)?;
        let bytes = &self.map[self.header.ranges[index].clone()];
        if meta.dtype.block() == 1 {
            return Ok(Box::new(MappedRows::new(bytes, meta.dtype, rows, columns)?));
        }
        Ok(Box::new(BlockRows::new(bytes, meta.dtype, rows, columns)?))
    }

    fn rewriter(&self) -> Option<&dyn Rewriter> {
        Some(self)
    }

    fn file_bytes(&self) -> &[u8] {
        &self.map
    }
}

/// Rows of a block type.
pub(crate) struct BlockRows<'a> {
    bytes: &'a [u8],
    dtype: Dtype,
    rows: usize,
    columns: usize,
}

impl<'a> BlockRows<'a> {
    /// A table of `rows` x `columns` numbers of the block type `dtype` in `bytes`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the type cannot be decoded, [`ErrorKind::Malformed`] where the bytes do not
    /// fit the shape.
    pub(crate) fn new(bytes: &'a [u8], dtype: Dtype, rows: usize, columns: usize) -> Result<Self> {
        if !dtype.is_readable() {
            return Err(undecodable(dtype));
        }
        let meta = TensorMeta { name: String::new(), dtype, shape: vec![rows, columns] };
        if meta.bytes() != Some(bytes.len() as u64) {
            return Err(malformed("length does not fit the shape")
                .expected(format!("{rows} x {columns} of {dtype}"))
                .found(format!("{} bytes", bytes.len())));
        }
        Ok(BlockRows { bytes, dtype, rows, columns })
    }
}

impl Rows for BlockRows<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn precision(&self) -> Precision {
        Precision::Single
    }

    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "rows out of range are the caller's error; that all of them are in the bytes was checked by `new`"
    )]
    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        assert_eq!(out.len(), rows.len() * self.columns, "output holds the rows asked for");
        let stride = self.columns / self.dtype.block() * (self.dtype.bits() as usize / 8);
        decode(self.dtype, &self.bytes[rows.start * stride..rows.end * stride], out);
        Ok(())
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        let mut singles = vec![0.0f32; out.len()];
        self.read_f32(rows, &mut singles)?;
        for (out, single) in out.iter_mut().zip(singles) {
            *out = f64::from(single);
        }
        Ok(())
    }
}
