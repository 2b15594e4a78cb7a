//! A mapped ONNX model.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use super::data::DataFiles;
use super::initializer::{Elements, Initializer};
use super::model::Model;
use super::uses;
use super::varints::Varints;
use super::wire::malformed;
use crate::error::{Error, ErrorKind, Result};
use crate::format::map::MappedBytes;
use crate::format::{DataFile, Reader, Rewriter, TensorUse, matrix};
use crate::tensor::{MappedRows, Rows, TensorMeta};

/// Elements that are decoded at a time.
const BLOCK: usize = 1 << 16;

/// A model whose graph has been read; its weights stay on disk until they are looked at.
pub(super) struct MappedModel {
    pub(super) map: MappedBytes,
    pub(super) model: Model,
    pub(super) data: DataFiles,
    pub(super) file_name: String,
    tensors: Vec<TensorMeta>,
    uses: Vec<TensorUse>,
    warnings: Vec<String>,
}

impl MappedModel {
    /// Maps `path` and reads its graph.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let map = MappedBytes::open(path)?;
        let model = Model::parse(&map).map_err(|error| error.at(path))?;
        let data = DataFiles::open(path, &model.initializers).map_err(|error| error.at(path))?;
        let tensors = model.initializers.iter().map(|one| one.meta.clone()).collect();
        let uses = uses::find(&model);
        let warnings = model.others.iter().map(|(name, data_type)| {
            format!("initializer `{}` of data type {data_type} is left as it is", name.escape_debug())
        });
        let warnings = warnings.collect();
        let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(MappedModel { map, model, data, file_name, tensors, uses, warnings })
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the index is that of a tensor that this reader lists, the range was checked when it was opened"
    )]
    fn initializer(&self, index: usize) -> &Initializer {
        &self.model.initializers[index]
    }

    fn varints(&self, index: usize) -> Option<Varints<'_>> {
        let Initializer { meta, elements, .. } = self.initializer(index);
        match elements {
            Elements::Varints { pieces, places } => Some(Varints { file: &self.map, meta, pieces, places }),
            _ => None,
        }
    }

    fn elements(&self, index: usize) -> Result<usize> {
        let meta = &self.initializer(index).meta;
        let elements = meta.elements().and_then(|elements| usize::try_from(elements).ok());
        elements.ok_or_else(|| malformed("shape overflows").tensor(&meta.name))
    }
}

impl Reader for MappedModel {
    fn tensors(&self) -> &[TensorMeta] {
        &self.tensors
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.model.metadata
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the index is that of a tensor that this reader lists, the range was checked when it was opened"
    )]
    fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>> {
        let Initializer { meta, elements, .. } = self.initializer(index);
        match elements {
            Elements::Packed(range) => Ok(Cow::Borrowed(&self.map[range.clone()])),
            Elements::External(external) => Ok(Cow::Borrowed(self.data.bytes(external, meta)?)),
            Elements::Varints { pieces, places } => {
                let mut bytes = Vec::new();
                let elements = self.elements(index)?;
                Varints { file: &self.map, meta, pieces, places }.decode(0..elements, &mut bytes)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    fn is_mapped(&self, index: usize) -> bool {
        self.varints(index).is_none()
    }

    fn stream(&self, index: usize, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let Some(varints) = self.varints(index) else { return take(&self.bytes(index)?) };
        let elements = self.elements(index)?;
        let mut bytes = Vec::new();
        for start in (0..elements).step_by(BLOCK) {
            bytes.clear();
            varints.decode(start..elements.min(start.saturating_add(BLOCK)), &mut bytes)?;
            take(&bytes)?;
        }
        Ok(())
    }

    fn rows(&self, index: usize) -> Result<Box<dyn Rows + '_>> {
        let meta = &self.initializer(index).meta;
        let (rows, columns) = matrix(meta)?;
        match self.varints(index) {
            Some(varints) if meta.dtype.is_table_float() => Ok(Box::new(varints)),
            _ => match self.bytes(index)? {
                Cow::Borrowed(bytes) => Ok(Box::new(MappedRows::new(bytes, meta.dtype, rows, columns)?)),
                Cow::Owned(_) => {
                    Err(Error::new(ErrorKind::Unsupported, "dtype cannot be factorized").found(meta.dtype.name()))
                }
            },
        }
    }

    fn rewriter(&self) -> Option<&dyn Rewriter> {
        Some(self)
    }

    fn data_files(&self) -> &[DataFile] {
        self.data.files()
    }

    fn uses(&self) -> &[TensorUse] {
        &self.uses
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn file_bytes(&self) -> &[u8] {
        &self.map
    }
}
