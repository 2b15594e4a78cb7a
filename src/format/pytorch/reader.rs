//! A mapped checkpoint of PyTorch.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use super::state::{State, state_dict};
use super::storages::{self, Contents};
use super::value::Tensor;
use crate::error::{Error, ErrorKind, Result};
use crate::format::elements::{Arrangement, Elements};
use crate::format::map::MappedBytes;
use crate::format::{Reader, limits, stem, zip};
use crate::tensor::{Rows, TensorMeta};

/// Times its own length that the tensors of a file may take: views may share a storage, and strides may repeat it.
const EXPANSION: u64 = 16;
/// Bytes of tensors that are always allowed, for the small repeated buffers that models have.
const SMALL: u64 = 64 << 20;

/// A checkpoint whose pickle has been read; its storages stay on disk until they are looked at.
pub(super) struct MappedCheckpoint {
    map: MappedBytes,
    tensors: Vec<TensorMeta>,
    places: Vec<Place>,
    metadata: BTreeMap<String, String>,
    warnings: Vec<String>,
}

/// Where a tensor is.
struct Place {
    /// Its bytes in the file, from its first element to its last.
    range: Range<usize>,
    arrangement: Arrangement,
    /// The earlier tensor that is the same elements.
    stored_as: Option<usize>,
}

fn malformed(summary: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, summary)
}

impl MappedCheckpoint {
    /// Maps `path` and reads its pickle.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let map = MappedBytes::open(path)?;
        let alone = stem(path);
        let (tensors, places, warnings) = read(&map, &alone).map_err(|error| error.at(path))?;
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        Ok(MappedCheckpoint { map, tensors, places, metadata, warnings })
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the index is that of a tensor that this reader lists, the range was checked when it was opened"
    )]
    fn elements(&self, index: usize) -> Elements<'_> {
        let place = &self.places[index];
        let bytes = &self.map[place.range.clone()];
        Elements { bytes, meta: &self.tensors[index], arrangement: &place.arrangement }
    }
}

fn read(file: &[u8], alone: &str) -> Result<(Vec<TensorMeta>, Vec<Place>, Vec<String>)> {
    let contents = if file.starts_with(zip::MAGIC) {
        storages::read_archive(file)?
    } else if storages::is_tar(file.get(..limits::PROBE).unwrap_or(file)) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "a checkpoint of PyTorch before 0.1.10, which is a tar archive",
        )
        .hint("load it in Python and save its state dict again"));
    } else {
        storages::read_legacy(file)?
    };
    let State { tensors, warnings } = state_dict(&contents.objects, contents.root, alone)?;
    let mut metas = Vec::with_capacity(tensors.len());
    let mut places: Vec<Place> = Vec::with_capacity(tensors.len());
    let mut names = HashSet::new();
    let mut seen = HashMap::new();
    let allowed = SMALL.saturating_add(EXPANSION.saturating_mul(file.len() as u64));
    let mut total = 0u64;
    for (name, tensor) in tensors {
        if !names.insert(name.clone()) {
            return Err(malformed("two tensors of one name").tensor(name));
        }
        let meta = TensorMeta { name, dtype: tensor.dtype, shape: tensor.shape.clone() };
        let mut place = locate(&tensor, &meta, &contents).map_err(|error| error.tensor(&meta.name))?;
        if !place.range.is_empty() {
            let key = (place.range.clone(), tensor.dtype, tensor.shape, tensor.strides);
            place.stored_as = seen.get(&key).copied();
            seen.entry(key).or_insert(places.len());
        }
        if place.stored_as.is_none() {
            total = total.saturating_add(meta.bytes().unwrap_or(u64::MAX));
            if total > allowed {
                return Err(Error::new(ErrorKind::Unsupported, "tensors would take many times the file")
                    .tensor(&meta.name)
                    .expected(format!("at most {allowed} bytes together"))
                    .found(format!("{total} bytes up to this one"))
                    .hint("save tensors that repeat a storage with `.contiguous()`"));
            }
        }
        metas.push(meta);
        places.push(place);
    }
    Ok((metas, places, warnings))
}

/// The bytes of a tensor in the file, after everything that the pickle says of it was held against its storage.
#[expect(clippy::arithmetic_side_effects, reason = "each number is below the storage's length in bytes by then")]
fn locate(tensor: &Tensor, meta: &TensorMeta, contents: &Contents) -> Result<Place> {
    let storage = &tensor.storage;
    let quoted = format!("storage `{}`", storage.key.escape_debug());
    let range = contents.storages.get(&storage.key).ok_or_else(|| malformed(format!("file has no {quoted}")))?;
    let stored_width = storage.dtype.map_or(1, |dtype| dtype.bytes()) as u64;
    if storage.elements.checked_mul(stored_width) != Some(range.len() as u64) {
        return Err(malformed(format!("{quoted} is of another length than the pickle says"))
            .expected(format!("{} elements of {stored_width} bytes", storage.elements))
            .found(format!("{} bytes", range.len())));
    }
    let width = tensor.dtype.bytes() as u64;
    let view = storage.view.clone().unwrap_or(0..storage.elements);
    // In range: the view lies inside the storage, whose length in bytes was checked.
    let available = (view.end - view.start) * stored_width;
    if meta.bytes().is_none() {
        return Err(malformed("shape overflows").found(format!("{:?}", meta.shape)));
    }
    let (first, length) = if meta.shape.contains(&0) {
        (0, 0)
    } else {
        let reach = |last: Option<u64>, (&extent, &stride): (&usize, &u64)| {
            last?.checked_add((extent as u64 - 1).checked_mul(stride)?)
        };
        let last = tensor.shape.iter().zip(&tensor.strides).fold(Some(tensor.offset), reach);
        let end = last.and_then(|last| last.checked_add(1)?.checked_mul(width)).filter(|&end| end <= available);
        let end = end.ok_or_else(|| {
            malformed(format!("tensor goes beyond {quoted}"))
                .expected(format!("{} elements", available / width))
                .found(format!("offset {}, size {:?}, strides {:?}", tensor.offset, tensor.shape, tensor.strides))
        })?;
        (tensor.offset * width, end - tensor.offset * width)
    };
    let start = range.start + (view.start * stored_width + first) as usize;
    // Strides of dimensions that hold one element or none are of no meaning and may be anything.
    let strides = tensor.shape.iter().zip(&tensor.strides);
    let strides = strides.map(|(&extent, &stride)| if extent > 1 { (stride * width) as usize } else { 0 });
    let strides = if length == 0 { vec![0; tensor.shape.len()] } else { strides.collect() };
    let arrangement = Arrangement::new(meta, strides, contents.big_endian);
    Ok(Place { range: start..start + length as usize, arrangement, stored_as: None })
}

impl Reader for MappedCheckpoint {
    fn tensors(&self) -> &[TensorMeta] {
        &self.tensors
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>> {
        Ok(self.elements(index).packed())
    }

    fn is_mapped(&self, index: usize) -> bool {
        self.places.get(index).is_some_and(|place| place.arrangement.is_plain())
    }

    fn stream(&self, index: usize, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.elements(index).stream(take)
    }

    fn rows(&self, index: usize) -> Result<Box<dyn Rows + '_>> {
        self.elements(index).rows()
    }

    fn stored_as(&self, index: usize) -> Option<usize> {
        self.places.get(index)?.stored_as
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn file_bytes(&self) -> &[u8] {
        &self.map
    }
}
