//! Files with other tables: everything else of the file that is open stays, byte for byte.
//!
//! A header has a type and an offset for each tensor, both of fixed width, so that it keeps its length. Data keep their
//! order and what lies between them; those behind a table move by multiples of the alignment.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "places of what this program writes, from ranges that the reader checked"
)]

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::header::Header;
use super::types;
use crate::codec::BlockType;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Contents, EncodedTable, Rewrite, Rewriter, WriteTensors, Written};
use crate::manifest::hex;
use crate::observe::Silent;
use crate::output::{begin_flush, digest_file};
use crate::tensor::TensorMeta;

/// Plans files from the one that is open.
pub(super) struct Tables<'f> {
    pub(super) file: &'f [u8],
    pub(super) header: &'f Header,
}

impl Rewriter for super::reader::MappedFile {
    fn accepts(&self, table: &EncodedTable<'_>) -> Result<()> {
        let [_] = table.parts[..] else { return Err(no_slot(table)) };
        let part = self.part(table, 0);
        if (&part.name, &part.shape) != (&table.dense.name, &table.dense.shape) || types::number(part.dtype).is_none() {
            return Err(no_slot(table));
        }
        match table.tied.first() {
            None => Ok(()),
            Some(tied) => Err(Error::new(ErrorKind::Unsupported, "the file has the table twice")
                .tensor(&table.dense.name)
                .expected("a table that stands for its tied copies")
                .found(format!("`{}`, the same numbers", tied.escape_debug()))
                .hint("compress the checkpoint that it was made from")),
        }
    }

    /// Blocks of ggml are a tensor of their type here.
    fn part(&self, table: &EncodedTable<'_>, part: usize) -> TensorMeta {
        match BlockType::of(table.setting) {
            Some(type_) if table.codec.has_block_types() => TensorMeta { dtype: type_.dtype(), ..table.dense.clone() },
            _ => table.parts[part].clone(),
        }
    }

    fn encoded(&self, tables: &[EncodedTable<'_>]) -> Result<Box<dyn Rewrite + '_>> {
        tables.iter().try_for_each(|table| self.accepts(table))?;
        Ok(Box::new(self.tables()))
    }

    fn decoded(&self, tables: &[EncodedTable<'_>]) -> Result<Box<dyn Rewrite + '_>> {
        match tables.iter().find(|table| !table.dense.dtype.is_table_float()) {
            None => Ok(Box::new(self.tables())),
            Some(table) => Err(Error::new(ErrorKind::Unsupported, "a table of blocks cannot be restored")
                .tensor(&table.dense.name)
                .expected("a table that was F64, F32, F16 or BF16")
                .found(table.dense.dtype.name())
                .hint("the compressed file is a GGUF like any other; what was lost is in the original alone")),
        }
    }
}

fn no_slot(table: &EncodedTable<'_>) -> Error {
    Error::new(ErrorKind::Unsupported, "a GGUF file has no slot for the parts of a compressed table")
        .tensor(&table.dense.name)
        .expected("a table that stays one tensor of a type of ggml")
        .found(format!("`--method {}`", table.codec.name()))
        .hint("pass `--method ggml --type q8_0`, or compress the safetensors checkpoint that it was made from")
}

/// Where things go in a new file.
struct Places {
    /// Type and range of the data of each tensor, in the order of the data.
    tensors: Vec<(TensorMeta, Range<u64>)>,
    /// Places of the new file that are the bytes of places of the old one.
    kept: Vec<(u64, Range<usize>)>,
    length: u64,
}

impl Tables<'_> {
    /// Lays out a file with the dtypes of `contents`.
    fn places(&self, contents: &Contents<'_>) -> Result<Places> {
        let given: HashMap<&str, &TensorMeta> =
            contents.tensors.iter().map(|meta| (meta.name.as_str(), meta)).collect();
        let Header { tensors, ranges, alignment, .. } = self.header;
        let first = ranges.first().map_or(self.file.len(), |range| range.start);
        let mut places = Places { tensors: Vec::new(), kept: vec![(0, 0..first)], length: first as u64 };
        for (index, (old, range)) in tensors.iter().zip(ranges).enumerate() {
            let meta = given.get(old.name.as_str()).filter(|meta| meta.shape == old.shape);
            let bytes = meta.and_then(|meta| Some((*meta, meta.bytes()?)));
            let Some((meta, bytes)) = bytes.filter(|(meta, _)| types::number(meta.dtype).is_some()) else {
                return Err(Error::new(ErrorKind::Unsupported, "the tensor has no place in the file")
                    .tensor(&old.name)
                    .expected(format!("{:?} of a type of ggml", old.shape))
                    .found(
                        given
                            .get(old.name.as_str())
                            .map_or("none".to_owned(), |meta| format!("{} {:?}", meta.dtype, meta.shape)),
                    ));
            };
            let start = places.length;
            let end = start
                .checked_add(bytes)
                .filter(|end| *end <= i64::MAX as u64)
                .ok_or_else(|| Error::new(ErrorKind::Request, "file would be too long").tensor(&old.name))?;
            places.tensors.push((meta.clone(), start..end));
            // What lies between this one and the next, of which as much as aligns the next is filled up anew.
            let next = ranges.get(index + 1).map_or(self.file.len(), |next| next.start);
            let gap = range.end..next;
            let padding = (range.end as u64).next_multiple_of(*alignment) as usize - range.end;
            if bytes == (range.len()) as u64 {
                places.kept.push((end, gap.clone()));
                places.length = end + gap.len() as u64;
            } else if gap.len() < padding {
                // The last one, without what would align another.
                places.length = end;
            } else {
                let rest = range.end + padding..next;
                let at = end.next_multiple_of(*alignment);
                places.length = at + rest.len() as u64;
                places.kept.push((at, rest));
            }
        }
        Ok(places)
    }
}

impl Rewrite for Tables<'_> {
    fn file_bytes(&self, contents: &Contents<'_>) -> Result<u64> {
        self.places(contents).map(|places| places.length)
    }

    fn create<'c>(&self, path: &Path, contents: &Contents<'c>) -> Result<Box<dyn WriteTensors + 'c>> {
        let places = self.places(contents)?;
        let file = File::create_new(path).map_err(|error| Error::io("cannot create", path, error))?;
        let failed = |error| Error::io("cannot write", path, error);
        file.set_len(places.length).map_err(failed)?;
        for (at, kept) in places.kept {
            let end = at + kept.len() as u64;
            file.write_all_at(&self.file[kept], at).map_err(failed)?;
            begin_flush(&file, at..end);
        }
        for (entry, (meta, range)) in self.header.entries.iter().zip(&places.tensors) {
            let number = types::number(meta.dtype).unwrap_or_default();
            let offset = range.start - self.header.start;
            let fields = [&number.to_le_bytes()[..], &offset.to_le_bytes()].concat();
            file.write_all_at(&fields, *entry as u64).map_err(failed)?;
        }
        let range_of: HashMap<&str, &Range<u64>> =
            places.tensors.iter().map(|(meta, range)| (meta.name.as_str(), range)).collect();
        let open = contents.tensors.iter().map(|meta| Open {
            name: meta.name.clone(),
            left: range_of.get(meta.name.as_str()).map_or(0..0, |range| (*range).clone()),
            digest: Sha256::new(),
        });
        Ok(Box::new(TableWriter { path: path.to_owned(), file, tensors: open.collect() }))
    }
}

/// A tensor that is being written.
struct Open {
    name: String,
    /// Where in the file the rest of its bytes go.
    left: Range<u64>,
    digest: Sha256,
}

/// A file whose header is written.
struct TableWriter {
    path: PathBuf,
    file: File,
    tensors: Vec<Open>,
}

impl WriteTensors for TableWriter {
    fn write(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let Open { name, left, digest } = &mut self.tensors[index];
        let room = left.end - left.start;
        if bytes.len() as u64 > room {
            return Err(Error::new(ErrorKind::Output, "tensor gets bytes that are not its own")
                .at(&self.path)
                .tensor(name.as_str())
                .expected(format!("at most {room}"))
                .found(bytes.len().to_string()));
        }
        digest.update(bytes);
        self.file.write_all_at(bytes, left.start).map_err(|error| Error::io("cannot write", &self.path, error))?;
        let end = left.start + bytes.len() as u64;
        begin_flush(&self.file, left.start..end);
        left.start = end;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Written> {
        if let Some(open) = self.tensors.iter().find(|open| !open.left.is_empty()) {
            return Err(Error::new(ErrorKind::Output, "tensor is not complete").at(&self.path).tensor(&open.name));
        }
        self.file.sync_all().map_err(|error| Error::io("cannot flush", &self.path, error))?;
        let (bytes, sha256) = digest_file(&self.path, &Silent)?;
        let tensor_sha256 = self.tensors.into_iter().map(|open| hex(&open.digest.finalize())).collect();
        Ok(Written { bytes, sha256, tensor_sha256, data_files: Vec::new() })
    }
}
