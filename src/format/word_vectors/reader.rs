//! A mapped file of word vectors.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "rows and columns were held against the length of the file when it was opened, and an index is that of a tensor listed"
)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use super::Encoding;
use super::binary::Binary;
use super::fasttext::{self, Matrix, Model};
use super::table::{Table, TableRows, malformed};
use super::text::{self, Text};
use crate::error::Result;
use crate::format::map::MappedBytes;
use crate::format::{Reader, Vocabulary, WriteFormat};
use crate::tensor::{Dtype, Rows, TensorMeta};

/// The table of words: an embedding of that name loads it.
pub const TABLE: &str = "embedding.weight";

/// The rows of a fastText model's input matrix that are n-grams of characters.
const SUBTABLE: &str = "subwords.weight";

/// The output matrix of a fastText model.
const OUTPUT: &str = "output.weight";

/// Numbers that are decoded at a time, by however many threads: with their bytes they are 16 MiB.
const PIECE: usize = 1 << 21;

/// Numbers that one thread decodes at a time.
const SHARE: usize = 1 << 16;

/// A file of word vectors whose rows were found; numbers are decoded when they are looked at.
pub(super) struct MappedFile {
    map: MappedBytes,
    form: Stored,
    tensors: Vec<TensorMeta>,
    metadata: BTreeMap<String, String>,
}

enum Stored {
    Text(Text),
    Binary(Binary),
    Model(Box<Model>),
}

impl MappedFile {
    /// Maps `path` and finds its rows.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let map = MappedBytes::open(path)?;
        if map.is_empty() {
            return Err(malformed("the file is empty").at(path));
        }
        let (form, name) = Stored::find(&map).map_err(|error| error.at(path))?;
        let meta = |name: &str, (rows, columns): (usize, usize)| TensorMeta {
            name: name.to_owned(),
            dtype: Dtype::F32,
            shape: vec![rows, columns],
        };
        let mut tensors = vec![meta(TABLE, form.table().shape())];
        if let Stored::Model(model) = &form {
            let (rows, columns) = model.input().shape();
            let others = [meta(SUBTABLE, (rows - model.shape().0, columns)), meta(OUTPUT, model.output().shape())];
            tensors.extend(others.into_iter().filter(|meta| !meta.shape.contains(&0)));
        }
        let metadata = BTreeMap::from([("encoding".to_owned(), name.to_owned())]);
        Ok(MappedFile { map, form, tensors, metadata })
    }

    /// The table behind tensor `index`.
    fn table(&self, index: usize) -> Box<dyn Table + '_> {
        let name = self.tensors[index].name.as_str();
        match &self.form {
            Stored::Model(model) if name == SUBTABLE => {
                Box::new(MatrixTable { matrix: model.input(), first: model.shape().0 })
            }
            Stored::Model(model) if name == OUTPUT => Box::new(MatrixTable { matrix: model.output(), first: 0 }),
            form => Box::new(form.table()),
        }
    }

    /// The place of a tensor that is stored as singles.
    fn stored(&self, index: usize) -> Option<Range<usize>> {
        match (&self.form, self.tensors[index].name.as_str()) {
            (Stored::Model(model), SUBTABLE) => model.input().dense(model.shape().0),
            (Stored::Model(model), OUTPUT) => model.output().dense(0),
            _ => None,
        }
    }
}

impl Stored {
    /// Tells the encoding of `file` and finds its rows.
    fn find(file: &[u8]) -> Result<(Self, &'static str)> {
        if file.starts_with(&fasttext::MAGIC) {
            let model = Model::index(file)?;
            let name = if model.is_quantized() { "fasttext-quantized" } else { "fasttext" };
            return Ok((Stored::Model(Box::new(model)), name));
        }
        match text::header(file) {
            Some((header, start)) if text::is_binary(&file[start..], header.1) => {
                Ok((Stored::Binary(Binary::index(file, start, header)?), Encoding::Word2vecBinary.name()))
            }
            Some((header, start)) => {
                Ok((Stored::Text(Text::index(file, start, Some(header))?), Encoding::Word2vecText.name()))
            }
            None => Ok((Stored::Text(Text::index(file, 0, None)?), Encoding::GloveText.name())),
        }
    }

    fn table(&self) -> &dyn Table {
        match self {
            Stored::Text(text) => text,
            Stored::Binary(binary) => binary,
            Stored::Model(model) => model.as_ref(),
        }
    }
}

impl Reader for MappedFile {
    fn tensors(&self) -> &[TensorMeta] {
        &self.tensors
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>> {
        if let Some(place) = self.stored(index) {
            return Ok(Cow::Borrowed(&self.map[place]));
        }
        let mut bytes = Vec::new();
        self.stream(index, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(Cow::Owned(bytes))
    }

    fn is_mapped(&self, index: usize) -> bool {
        self.stored(index).is_some()
    }

    fn stream(&self, index: usize, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if let Some(place) = self.stored(index) {
            return take(&self.map[place]);
        }
        let table = self.table(index);
        let (rows, columns) = table.shape();
        let [step, share] = [PIECE, SHARE].map(|numbers| (numbers / columns.max(1)).max(1));
        let mut numbers = vec![0.0f32; rows.min(step) * columns];
        let mut bytes = Vec::with_capacity(4 * numbers.len());
        for start in (0..rows).step_by(step) {
            let count = (rows - start).min(step);
            let numbers = &mut numbers[..count * columns];
            numbers.par_chunks_mut(share * columns).enumerate().try_for_each(|(number, out)| {
                let first = start + number * share;
                table.read(&self.map, first..first + out.len() / columns, out)
            })?;
            bytes.clear();
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            take(&bytes)?;
        }
        Ok(())
    }

    fn rows(&self, index: usize) -> Result<Box<dyn Rows + '_>> {
        Ok(Box::new(TableRows { table: self.table(index), file: &self.map }))
    }

    fn vocabulary(&self) -> Option<&dyn Vocabulary> {
        Some(self)
    }

    fn file_bytes(&self) -> &[u8] {
        &self.map
    }
}

impl Vocabulary for MappedFile {
    fn count(&self) -> usize {
        self.form.table().shape().0
    }

    fn words(&self, rows: Range<usize>, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.form.table().words(&self.map, rows, take)
    }
}

/// The rows of a matrix from `first` on, which have no words.
struct MatrixTable<'m> {
    matrix: &'m Matrix,
    first: usize,
}

impl Table for MatrixTable<'_> {
    fn shape(&self) -> (usize, usize) {
        let (rows, columns) = self.matrix.shape();
        (rows - self.first, columns)
    }

    fn read(&self, file: &[u8], rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        out.fill(0.0);
        for (row, out) in rows.zip(out.chunks_exact_mut(self.shape().1)) {
            self.matrix.add(file, self.first + row, out);
        }
        Ok(())
    }

    fn words(&self, _file: &[u8], _rows: Range<usize>, _take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        Ok(())
    }
}

impl Table for &dyn Table {
    fn shape(&self) -> (usize, usize) {
        (**self).shape()
    }

    fn read(&self, file: &[u8], rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        (**self).read(file, rows, out)
    }

    fn words(&self, file: &[u8], rows: Range<usize>, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        (**self).words(file, rows, take)
    }
}
