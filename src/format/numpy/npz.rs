//! A mapped .npz archive.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::header::Header;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Reader;
use crate::format::elements::{Arrangement, Elements};
use crate::format::map::MappedBytes;
use crate::format::zip::Listing;
use crate::tensor::{Rows, TensorMeta};

/// What `numpy.savez` appends to the name of an array.
pub(super) const ENDING: &str = ".npy";

/// An archive of arrays whose headers were checked.
pub(super) struct MappedArchive {
    map: MappedBytes,
    tensors: Vec<TensorMeta>,
    /// Bytes in the file, and how the elements lie in them.
    places: Vec<(Range<usize>, Arrangement)>,
    metadata: BTreeMap<String, String>,
}

impl MappedArchive {
    /// Maps `path` and checks the headers of its arrays.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let map = MappedBytes::open(path)?;
        let (tensors, places) = read(&map).map_err(|error| error.at(path))?;
        Ok(MappedArchive { map, tensors, places, metadata: BTreeMap::new() })
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the index is that of a tensor that this reader lists, the range was checked when it was opened"
    )]
    fn elements(&self, index: usize) -> Elements<'_> {
        let (range, arrangement) = &self.places[index];
        Elements { bytes: &self.map[range.clone()], meta: &self.tensors[index], arrangement }
    }
}

/// The arrays and their places.
type Arrays = (Vec<TensorMeta>, Vec<(Range<usize>, Arrangement)>);

fn read(file: &[u8]) -> Result<Arrays> {
    let archive = Listing::read(file)?.locate(file)?;
    let mut arrays = Arrays::default();
    for entry in archive.names() {
        let name = entry.strip_suffix(ENDING).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "archive holds something besides arrays")
                .expected(format!("entries whose names end in `{ENDING}`"))
                .found(format!("`{}`", entry.escape_debug()))
        })?;
        let range = archive.find(entry).unwrap_or_default();
        let array = file.get(range.clone()).unwrap_or_default();
        let header = Header::parse(array, name.to_owned()).map_err(|error| error.tensor(name))?;
        arrays.0.push(header.meta);
        // Both ends are in the entry, whose place is a range of the file.
        let place = |at: usize| range.start.saturating_add(at);
        arrays.1.push((place(header.data.start)..place(header.data.end), header.arrangement));
    }
    Ok(arrays)
}

impl Reader for MappedArchive {
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
        self.places.get(index).is_some_and(|(_, arrangement)| arrangement.is_plain())
    }

    fn stream(&self, index: usize, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.elements(index).stream(take)
    }

    fn rows(&self, index: usize) -> Result<Box<dyn Rows + '_>> {
        self.elements(index).rows()
    }

    fn file_bytes(&self) -> &[u8] {
        &self.map
    }
}
