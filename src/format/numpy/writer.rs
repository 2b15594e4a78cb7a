//! Writes .npy files and .npz archives piece by piece.

#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "places of what this program writes")]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::header;
use super::npz::ENDING;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Contents, WriteTensors, Written, zip};
use crate::manifest::hex;
use crate::observe::Silent;
use crate::output::{begin_flush, digest_file};
use crate::tensor::TensorMeta;

/// A file that arrays are appended to.
struct Arrays {
    path: PathBuf,
    file: File,
    metas: Vec<TensorMeta>,
    /// Bytes written so far of the file, and of the data of the array that is being written.
    position: u64,
    written: u64,
    hasher: Sha256,
    digests: Vec<String>,
}

impl Arrays {
    fn create(path: &Path, contents: &Contents<'_>) -> Result<Self> {
        // Refuses what NumPy has no dtype for, before anything is written.
        for meta in contents.tensors {
            header::render(meta)?;
        }
        let file = File::create_new(path).map_err(|error| Error::io("cannot create", path, error))?;
        let metas = contents.tensors.to_vec();
        let digests = Vec::with_capacity(metas.len());
        Ok(Arrays { path: path.to_owned(), file, metas, position: 0, written: 0, hasher: Sha256::new(), digests })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::io("cannot write", &self.path, error))?;
        let end = self.position + bytes.len() as u64;
        begin_flush(&self.file, self.position..end);
        self.position = end;
        Ok(())
    }

    /// Appends data to the array that is being written.
    fn data(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let meta = &self.metas[index];
        let room = meta.bytes().unwrap_or_default() - self.written;
        if index != self.digests.len() || bytes.len() as u64 > room {
            return Err(Error::new(ErrorKind::Output, "array gets bytes that are not its own")
                .at(&self.path)
                .tensor(&meta.name)
                .expected(format!("at most {room}"))
                .found(bytes.len().to_string()));
        }
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        self.append(bytes)
    }

    /// Whether the array that is being written has all its bytes.
    fn is_complete(&self) -> bool {
        self.metas.get(self.digests.len()).is_some_and(|meta| meta.bytes() == Some(self.written))
    }

    fn next(&mut self) {
        self.digests.push(hex(&std::mem::take(&mut self.hasher).finalize()));
        self.written = 0;
    }

    fn finish(self) -> Result<Written> {
        if let Some(meta) = self.metas.get(self.digests.len()) {
            return Err(Error::new(ErrorKind::Output, "array is not complete").at(&self.path).tensor(&meta.name));
        }
        self.file.sync_all().map_err(|error| Error::io("cannot flush", &self.path, error))?;
        // The checksums of an archive stand before the data, so its digest can only be taken at the end.
        let (bytes, sha256) = digest_file(&self.path, &Silent)?;
        Ok(Written { bytes, sha256, tensor_sha256: self.digests, data_files: Vec::new() })
    }
}

/// A .npy file.
pub(super) struct ArrayWriter(Arrays);

impl ArrayWriter {
    /// Creates `path` for the one tensor of `contents`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where there are several, or NumPy lacks the dtype.
    pub(super) fn create(path: &Path, contents: &Contents<'_>) -> Result<Self> {
        let [meta] = contents.tensors else {
            return Err(Error::new(ErrorKind::Unsupported, "a .npy file holds one array")
                .at(path)
                .expected("1 tensor")
                .found(contents.tensors.len().to_string()));
        };
        let mut arrays = Arrays::create(path, contents)?;
        arrays.append(&header::render(meta)?)?;
        if arrays.is_complete() {
            arrays.next();
        }
        Ok(ArrayWriter(arrays))
    }
}

impl WriteTensors for ArrayWriter {
    fn write(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.0.data(index, bytes)?;
        if self.0.is_complete() {
            self.0.next();
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Written> {
        self.0.finish()
    }
}

/// A .npz archive.
pub(super) struct ArchiveWriter {
    arrays: Arrays,
    directory: zip::Directory,
    checksum: crc32fast::Hasher,
    /// Where the entry of the array that is being written begins.
    entry: u64,
}

impl ArchiveWriter {
    /// Creates `path` for `contents`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where NumPy lacks a dtype or a name does not fit an archive.
    pub(super) fn create(path: &Path, contents: &Contents<'_>) -> Result<Self> {
        let arrays = Arrays::create(path, contents)?;
        let mut writer = ArchiveWriter {
            arrays,
            directory: zip::Directory::default(),
            checksum: crc32fast::Hasher::new(),
            entry: 0,
        };
        writer.open()?;
        writer.close_complete()?;
        Ok(writer)
    }

    /// Begins the entry of the next array, if there is one.
    fn open(&mut self) -> Result<()> {
        let Some(meta) = self.arrays.metas.get(self.arrays.digests.len()) else { return Ok(()) };
        let header = header::render(meta)?;
        let length = meta.bytes().unwrap_or_default() + header.len() as u64;
        let name = format!("{}{ENDING}", meta.name);
        self.entry = self.arrays.position;
        let local = self.directory.add(&name, length, self.entry)?;
        self.arrays.append(&local)?;
        self.checksum = crc32fast::Hasher::new();
        self.checksum.update(&header);
        self.arrays.append(&header)
    }

    /// Ends entries that have all their bytes, and begins the next.
    fn close_complete(&mut self) -> Result<()> {
        while self.arrays.is_complete() {
            let checksum = std::mem::take(&mut self.checksum).finalize();
            self.directory.set_checksum(checksum);
            let place = self.entry + zip::CHECKSUM;
            let written = self.arrays.file.write_all_at(&checksum.to_le_bytes(), place);
            written.map_err(|error| Error::io("cannot write", &self.arrays.path, error))?;
            self.arrays.next();
            self.open()?;
        }
        Ok(())
    }
}

impl WriteTensors for ArchiveWriter {
    fn write(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.checksum.update(bytes);
        self.arrays.data(index, bytes)?;
        self.close_complete()
    }

    fn finish(mut self: Box<Self>) -> Result<Written> {
        let end = self.directory.render(self.arrays.position);
        self.arrays.append(&end)?;
        self.arrays.finish()
    }
}
