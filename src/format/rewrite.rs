//! Outputs in the form of the source's own file: what is no table stays as it is, byte for byte.
//!
//! Where a file is more than its tensors (the graph of a model, typed metadata), safetensors would lose the rest. A
//! reader of such a format gives a [`Rewriter`]; conversions ask for it and know nothing of the format.

use std::path::Path;

use super::{Contents, WriteTensors};
use crate::codec::{Codec, Setting};
use crate::error::Result;
use crate::tensor::TensorMeta;

/// A table as a file has it on one side of a conversion, and as it has it on the other.
pub struct EncodedTable<'a> {
    /// Name, dtype and shape `[V, d]` of the dense tensor.
    pub dense: TensorMeta,
    /// Names of other tensors that are the same table and are stored once with it.
    pub tied: Vec<String>,
    /// What encodes it.
    pub codec: &'static dyn Codec,
    /// The codec's parameters.
    pub setting: &'a Setting,
    /// The tensors that the codec stores, in its order.
    pub parts: Vec<TensorMeta>,
}

/// Plans files of the form of one that is open.
pub trait Rewriter {
    /// Says why the file cannot hold `table` encoded.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] with the reason.
    fn accepts(&self, table: &EncodedTable<'_>) -> Result<()>;

    /// Part `part` of `table` as the file has it, under which name, dtype and shape it is read again.
    #[expect(clippy::indexing_slicing, reason = "the part is one that the table has")]
    fn part(&self, table: &EncodedTable<'_>, part: usize) -> TensorMeta {
        table.parts[part].clone()
    }

    /// The file with the parts of `tables` in place of the dense tensors, which it has.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where [`Rewriter::accepts`] would say so.
    fn encoded(&self, tables: &[EncodedTable<'_>]) -> Result<Box<dyn Rewrite + '_>>;

    /// The file with the dense tensors of `tables` in place of the parts, which it has.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Malformed`] where the file is not what [`Rewriter::encoded`] made.
    fn decoded(&self, tables: &[EncodedTable<'_>]) -> Result<Box<dyn Rewrite + '_>>;
}

/// A file that was planned. Its tensors are those of [`Contents::tensors`]: tensors of the open file by their names,
/// whose bytes are given again, and those that the plan adds.
pub trait Rewrite {
    /// The exact length of the new file and its data files together, sealed.
    ///
    /// # Errors
    /// Where it cannot be laid out.
    fn file_bytes(&self, contents: &Contents<'_>) -> Result<u64>;

    /// Creates the file `path`, which must not exist, and its data files beside it.
    ///
    /// A tied copy that has the table transposed is given the bytes of the table, and transposes them.
    ///
    /// # Errors
    /// As [`super::WriteFormat::create`].
    fn create<'c>(&self, path: &Path, contents: &Contents<'c>) -> Result<Box<dyn WriteTensors + 'c>>;

    /// Writes into the finished file `path` the digest that ties it to its manifest, as the metadata
    /// [`crate::manifest::SEAL`]. Gives whether the file was changed, which a format without a place for it does not.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] where it cannot be written.
    fn seal(&self, _path: &Path, _digest: &str) -> Result<bool> {
        Ok(false)
    }
}
