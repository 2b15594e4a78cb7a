//! The files beside a model that hold elements of its initializers.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::initializer::{Elements, External, Initializer};
use super::wire::malformed;
use crate::error::{Error, ErrorKind, Result};
use crate::format::map::MappedBytes;
use crate::format::{DataFile, limits};
use crate::tensor::TensorMeta;

/// The files that a model names, mapped.
#[derive(Default)]
pub(super) struct DataFiles {
    files: Vec<DataFile>,
    maps: Vec<MappedBytes>,
    numbers: BTreeMap<String, usize>,
}

impl DataFiles {
    /// Opens the files of `initializers`, whose locations are relative to the directory of `model`.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where a location leaves the directory or elements are beyond the end of a file.
    pub(super) fn open(model: &Path, initializers: &[Initializer]) -> Result<Self> {
        let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut own = DataFiles::default();
        for initializer in initializers {
            let Elements::External(external) = &initializer.elements else { continue };
            let place = |error: Error| error.tensor(&initializer.meta.name);
            own.open_one(folder, &external.location).map_err(place)?;
            own.range(external, &initializer.meta).map_err(place)?;
        }
        Ok(own)
    }

    /// The files, in the order in which the model names them.
    pub(super) fn files(&self) -> &[DataFile] {
        &self.files
    }

    /// The elements that `external` says are those of `meta`.
    pub(super) fn bytes(&self, external: &External, meta: &TensorMeta) -> Result<&[u8]> {
        let (number, range) = self.range(external, meta)?;
        let bytes = self.maps.get(number).and_then(|map| map.get(range));
        bytes.ok_or_else(|| malformed("external data were not opened"))
    }

    fn open_one(&mut self, folder: &Path, location: &str) -> Result<()> {
        if self.numbers.contains_key(location) {
            return Ok(());
        }
        let outside = || {
            malformed("external data lie outside the directory of the model")
                .expected("a plain relative path")
                .found(format!("`{}`", location.escape_debug()))
        };
        let path = limits::plain(location).ok_or_else(outside)?;
        if self.files.len() == limits::MAX_SHARDS {
            return Err(Error::new(ErrorKind::Unsupported, "the model has too many files of external data")
                .expected(format!("at most {}", limits::MAX_SHARDS)));
        }
        let full = folder.join(&path);
        // The file itself may be a link: a Hugging Face cache is made of them. Its folder may not lead elsewhere.
        let resolve = |path: &Path| path.canonicalize().map_err(|error| Error::io("cannot open", path, error));
        if !resolve(full.parent().unwrap_or(folder))?.starts_with(resolve(folder)?) {
            return Err(outside());
        }
        let map = MappedBytes::open(&full)?;
        self.numbers.insert(location.to_owned(), self.files.len());
        self.files.push(DataFile { path, bytes: map.len() as u64 });
        self.maps.push(map);
        Ok(())
    }

    fn range(&self, external: &External, meta: &TensorMeta) -> Result<(usize, Range<usize>)> {
        let bytes = meta.bytes().ok_or_else(|| malformed("shape overflows").found(format!("{:?}", meta.shape)))?;
        let number = self.numbers.get(&external.location).copied();
        let opened = number.and_then(|number| Some((number, self.files.get(number)?.bytes)));
        let (number, file) = opened.ok_or_else(|| malformed("external data were not opened"))?;
        let length = external.length.unwrap_or_else(|| file.saturating_sub(external.offset));
        if length != bytes {
            return Err(malformed("the length of external data does not fit the shape")
                .expected(format!("{bytes} bytes for {} {:?}", meta.dtype, meta.shape))
                .found(length.to_string()));
        }
        match external.offset.checked_add(length).filter(|&end| end <= file) {
            // In range: no more than the length of a mapped file.
            Some(end) => Ok((number, external.offset as usize..end as usize)),
            None => Err(malformed("external data end beyond their file")
                .expected(format!("at most {file} bytes"))
                .found(format!("offset {}, length {length}", external.offset))),
        }
    }
}
