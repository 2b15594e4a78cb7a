//! Outputs in the form of an open model.

#![expect(clippy::arithmetic_side_effects, reason = "sizes of what this program writes")]

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::build::metadata;
use super::layout::{Edits, Layout};
use super::reader::MappedModel;
use super::writer::Writer;
use super::{restore, surgery};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Contents, EncodedTable, Rewrite, Rewriter, WriteTensors};
use crate::manifest::SEAL;

impl Rewriter for MappedModel {
    fn accepts(&self, table: &EncodedTable<'_>) -> Result<()> {
        if self.model.metadata.contains_key(SEAL) {
            return Err(Error::new(ErrorKind::Unsupported, "the model is compressed already")
                .hint("start from the original, or `rankfold restore` this one first"));
        }
        surgery::encode(self, std::slice::from_ref(table)).map(|_| ())
    }

    fn encoded(&self, tables: &[EncodedTable<'_>]) -> Result<Box<dyn Rewrite + '_>> {
        Ok(Box::new(Rewritten { file: self, edits: surgery::encode(self, tables)? }))
    }

    fn decoded(&self, tables: &[EncodedTable<'_>]) -> Result<Box<dyn Rewrite + '_>> {
        Ok(Box::new(Rewritten { file: self, edits: restore::decode(self, tables)? }))
    }
}

/// A model with other tables.
struct Rewritten<'f> {
    file: &'f MappedModel,
    edits: Edits,
}

impl Rewrite for Rewritten<'_> {
    fn file_bytes(&self, contents: &Contents<'_>) -> Result<u64> {
        let layout = Layout::new(self.file, &self.edits, contents)?;
        Ok(layout.model_bytes + layout.seal_bytes + layout.data_bytes)
    }

    fn create<'c>(&self, path: &Path, contents: &Contents<'c>) -> Result<Box<dyn WriteTensors + 'c>> {
        let layout = Layout::new(self.file, &self.edits, contents)?;
        Ok(Box::new(Writer::create(path, &self.file.map, layout, contents.tensors)?))
    }

    fn seal(&self, path: &Path, digest: &str) -> Result<bool> {
        if !self.edits.is_sealed {
            return Ok(false);
        }
        // Fields of a message may come in any order, so the last one can be added when all others are known.
        let mut file =
            File::options().append(true).open(path).map_err(|error| Error::io("cannot open", path, error))?;
        let written = file.write_all(&metadata(SEAL, digest)).and_then(|()| file.sync_all());
        written.map_err(|error| Error::io("cannot write", path, error))?;
        Ok(true)
    }
}
