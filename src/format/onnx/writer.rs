//! Writes a model and its data file, the elements of each tensor to its place.

#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "places of what this program writes")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::layout::{DATA_SUFFIX, Layout, Piece, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{DataFile, WriteTensors, Written};
use crate::manifest::hex;
use crate::observe::Silent;
use crate::output::{begin_flush, digest_file};
use crate::tensor::TensorMeta;

/// Bytes that are read back at a time.
const PIECE: usize = 1 << 18;

/// A model being written. Everything but elements is there from the start.
pub(super) struct Writer {
    model: (PathBuf, File),
    data: Option<(PathBuf, File)>,
    tensors: Vec<Progress>,
}

/// A tensor being written.
struct Progress {
    target: Target,
    bytes: u64,
    written: u64,
    /// Of what came, unless that is not what is stored.
    hasher: Sha256,
    transposed: Option<Transposed>,
}

/// A matrix whose rows come one after the other, and are the columns of what is stored.
struct Transposed {
    /// Bytes of an element.
    width: usize,
    /// Rows and columns of what comes.
    rows: usize,
    columns: usize,
    /// The beginning of a row that is not complete.
    pending: Vec<u8>,
    /// Rows that were stored.
    stored: usize,
}

impl Writer {
    /// Creates `path`, which must not exist, and the data file beside it where `layout` has one. `old` is the model that
    /// pieces are taken from, `tensors` are those of the output.
    pub(super) fn create(path: &Path, old: &[u8], layout: Layout, tensors: &[TensorMeta]) -> Result<Self> {
        let create = |path: PathBuf| {
            let file = File::options().read(true).write(true).create_new(true).open(&path);
            file.map(|file| (path.clone(), file)).map_err(|error| Error::io("cannot create", path, error))
        };
        let model = create(path.to_owned())?;
        let mut at = 0;
        for piece in &layout.pieces {
            let written = match piece {
                Piece::Old(range) => model.1.write_all_at(&old[range.clone()], at),
                Piece::New(bytes) => model.1.write_all_at(bytes, at),
                Piece::Elements(_) => Ok(()),
            };
            written.map_err(|error| Error::io("cannot write", path, error))?;
            let end = at + piece.bytes();
            begin_flush(&model.1, at..end);
            at = end;
        }
        let data = match layout.data_bytes {
            0 => None,
            _ => {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                Some(create(path.with_file_name(format!("{name}{DATA_SUFFIX}")))?)
            }
        };
        let tensors = tensors.iter().zip(layout.targets).map(|(meta, (target, is_transposed))| Progress {
            target,
            bytes: meta.bytes().unwrap_or_default(),
            written: 0,
            hasher: Sha256::new(),
            transposed: is_transposed.then(|| Transposed::new(meta)),
        });
        Ok(Writer { model, data, tensors: tensors.collect() })
    }

    /// The file that elements with this target go to, and where they begin in it.
    fn place(&self, target: Target) -> Option<(&Path, &File, u64)> {
        match target {
            Target::There => None,
            Target::Model(at) => Some((&self.model.0, &self.model.1, at)),
            Target::Data(at) => self.data.as_ref().map(|(path, file)| (path.as_path(), file, at)),
        }
    }

    /// The digest of tensor `index` as it is stored.
    fn read_back(&self, index: usize) -> Result<String> {
        let tensor = &self.tensors[index];
        let mut hasher = Sha256::new();
        if let Some((path, file, at)) = self.place(tensor.target) {
            let mut piece = vec![0; PIECE];
            let mut done = 0;
            while done < tensor.bytes {
                let piece = &mut piece[..(tensor.bytes - done).min(PIECE as u64) as usize];
                let read = file.read_exact_at(piece, at + done);
                read.map_err(|error| Error::io("cannot read back", path, error))?;
                hasher.update(&*piece);
                done += piece.len() as u64;
            }
        }
        Ok(hex(&hasher.finalize()))
    }
}

impl WriteTensors for Writer {
    fn write(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let tensor = &mut self.tensors[index];
        let end = tensor.written.checked_add(bytes.len() as u64).filter(|&end| end <= tensor.bytes);
        let Some(end) = end else {
            return Err(Error::new(ErrorKind::Output, format!("tensor {index} of the file gets too many bytes"))
                .at(&self.model.0)
                .expected(tensor.bytes.to_string())
                .found(format!("{} and {} more", tensor.written, bytes.len())));
        };
        let from = tensor.written;
        tensor.written = end;
        let transposed = tensor.transposed.take();
        if transposed.is_none() {
            tensor.hasher.update(bytes);
        }
        let target = tensor.target;
        let Some((path, file, at)) = self.place(target) else { return Ok(()) };
        let (written, transposed) = match transposed {
            None => {
                let written = file.write_all_at(bytes, at + from);
                begin_flush(file, at + from..at + end);
                (written, None)
            }
            Some(mut transposed) => (transposed.write(bytes, file, at), Some(transposed)),
        };
        written.map_err(|error| Error::io("cannot write", path, error))?;
        self.tensors[index].transposed = transposed;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Written> {
        let mut digests = Vec::with_capacity(self.tensors.len());
        for (index, tensor) in self.tensors.iter().enumerate() {
            if tensor.written != tensor.bytes {
                return Err(Error::new(ErrorKind::Output, format!("tensor {index} of the file is not complete"))
                    .at(&self.model.0)
                    .expected(format!("{} bytes", tensor.bytes))
                    .found(tensor.written.to_string()));
            }
            digests.push(match &tensor.transposed {
                None => hex(&tensor.hasher.clone().finalize()),
                Some(_) => self.read_back(index)?,
            });
        }
        let mut files = Vec::new();
        for (path, file) in std::iter::once(&self.model).chain(&self.data) {
            file.sync_all().map_err(|error| Error::io("cannot flush", path, error))?;
            files.push((path, digest_file(path, &Silent)?));
        }
        let data_files = files.split_off(1).into_iter().map(|(path, (bytes, sha256))| {
            (DataFile { path: path.file_name().map(PathBuf::from).unwrap_or_default(), bytes }, sha256)
        });
        let data_files = data_files.collect();
        let Some((_, (bytes, sha256))) = files.pop() else {
            return Err(Error::new(ErrorKind::Output, "no model was written").at(&self.model.0));
        };
        Ok(Written { bytes, sha256, tensor_sha256: digests, data_files })
    }
}

impl Transposed {
    /// For a tensor that is stored as `meta`.
    fn new(meta: &TensorMeta) -> Self {
        let (columns, rows) = meta.matrix().unwrap_or_default();
        Transposed { width: meta.dtype.bytes(), rows, columns, pending: Vec::new(), stored: 0 }
    }

    /// Stores the whole rows among what came so far and `bytes`, each column of them at once.
    fn write(&mut self, bytes: &[u8], file: &File, at: u64) -> std::io::Result<()> {
        self.pending.extend_from_slice(bytes);
        let stride = (self.width * self.columns).max(1);
        let count = self.pending.len() / stride;
        let mut column = Vec::with_capacity(count * self.width);
        for number in 0..self.columns {
            column.clear();
            for row in self.pending.chunks_exact(stride) {
                column.extend_from_slice(&row[number * self.width..][..self.width]);
            }
            let place = (number * self.rows + self.stored) * self.width;
            file.write_all_at(&column, at + place as u64)?;
        }
        self.pending.drain(..count * stride);
        self.stored += count;
        Ok(())
    }
}
