//! Codecs: the ways to store a table in fewer bytes; one file each, one line in [`CODECS`].
//!
//! A codec first *analyzes* a table, which gives the ladder of operating points it offers (bytes against error);
//! the plan picks a point; the codec then *encodes* the table into parts and measures the error of what it wrote.
//! Decoding gives [`Rows`] again, so whatever reads a table reads an encoded one too.

// What is read here comes from strangers. Tests may panic, which is how they fail.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod arithmetic;
mod calibrate;
mod cast;
mod fixed_point;
mod ggml;
mod low_rank;
mod low_rank_fixed;
mod measure;
pub mod packed;
mod part;
mod product;
mod rowwise;
mod scale;
mod transform;
mod weights;

pub use arithmetic::Arithmetic;
pub use cast::Cast;
pub use fixed_point::{BITS, FixedPoint, Granularity, Symmetry};
pub use ggml::{BlockType, Ggml};
pub use low_rank::LowRank;
pub use low_rank_fixed::{LowRankFixed, Variant};
pub use measure::{measure, measure_weighted};
pub use part::Part;
pub use product::ProductQuantization;
pub use transform::Transform;
pub use weights::RowWeights;

pub(crate) use rowwise::encode_rows;

pub use crate::linalg::{Measured, Products, Split, Weighted};

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::tensor::{Dtype, Rows, TensorMeta};

/// Every codec, in the order in which help texts and docs show them.
pub const CODECS: &[&dyn Codec] =
    &[&LowRank, &LowRankFixed, &FixedPoint, &Cast, &Transform, &ProductQuantization, &Ggml];

/// The codec called `name`.
///
/// # Errors
/// [`ErrorKind::Unsupported`] with the names there are.
pub fn find(name: &str) -> Result<&'static dyn Codec> {
    CODECS.iter().copied().find(|codec| codec.name() == name).ok_or_else(|| {
        let names: Vec<_> = CODECS.iter().map(|codec| codec.name()).collect();
        Error::new(ErrorKind::Unsupported, "unknown method").expected(names.join(" or ")).found(format!("`{name}`"))
    })
}

/// The parameters of one operating point, as the manifest records them (`{"rank": 37}`).
pub type Setting = Map<String, Value>;

/// A table as a codec sees it.
pub struct Table<'a> {
    /// Name of the tensor (`X.weight`); parts are named after it.
    pub name: &'a str,
    /// Element type in the source.
    pub dtype: Dtype,
    /// The numbers.
    pub rows: &'a dyn Rows,
}

impl Table<'_> {
    /// Bytes of the table in the source; the largest number there is where they are more.
    pub fn bytes(&self) -> u64 {
        let (rows, columns) = self.rows.shape();
        (rows as u64).saturating_mul(columns as u64).saturating_mul(self.dtype.bytes() as u64)
    }
}

/// What the user asked of a codec besides the target.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// Element type of stored factors; the source's unless given.
    pub dtype: Option<Dtype>,
    /// How the singular values are divided between the factors.
    pub split: Split,
    /// How products of singles are computed for a factor pair; the fastest unless given.
    pub products: Products,
    /// How quantized factors are found.
    pub variant: Variant,
    /// Bits of the left quantized factor; chosen unless given.
    pub left_bits: Option<u32>,
    /// Bits of the right quantized factor; chosen unless given.
    pub right_bits: Option<u32>,
    /// Pieces of a row that are quantized each for itself; chosen unless given.
    pub subquantizers: Option<usize>,
    /// Bits of the index of a piece, 4 or 8; 8 unless given.
    pub code_bits: Option<u32>,
    /// Whether rows are rotated before they are cut into pieces.
    pub rotation: bool,
    /// Whether norms are stored apart from directions.
    pub norms: bool,
    /// What each row counts in the errors that are minimized; all the same unless given.
    pub row_weights: Option<Arc<RowWeights>>,
    /// Where sequences of random numbers start.
    pub seed: u64,
    /// Which entries share a scale.
    pub granularity: Granularity,
    /// Whether codes have a stored zero point.
    pub symmetry: Symmetry,
    /// Element type of scales; F16 unless given.
    pub scale_dtype: Option<Dtype>,
    /// The block type; chosen unless given.
    pub block_type: Option<BlockType>,
}

impl Options {
    /// Weights of the rows of a table of `rows` rows, with a mean of one, if there are any.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where there is another number of them.
    pub fn weights_of(&self, rows: usize) -> Result<Option<Vec<f64>>> {
        self.row_weights.as_ref().map(|weights| weights.of_rows(rows)).transpose()
    }
}

/// One operating point of a codec on a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The codec's parameters.
    pub setting: Setting,
    /// The tensors it would store: name, dtype, shape, in storage order.
    pub parts: Vec<TensorMeta>,
    /// Predicted `||W - decode||_F^2`, rounding to the stored dtype included; with weights of rows, where there are any.
    pub squared_error: f64,
    /// Kept squared singular values over all of them, for codecs that keep some.
    pub retained_energy: Option<f64>,
    /// Parameters stored, all parts counted.
    pub parameters: u64,
    /// Floating-point operations to decode one row (the paper's cost per token).
    pub flops_per_token: u64,
}

impl Point {
    /// Bytes of data over all parts.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().filter_map(TensorMeta::bytes).sum()
    }
}

/// What of a table's ladder is needed.
#[derive(Debug, Clone, Copy)]
pub enum Demand<'a> {
    /// Every operating point.
    Ladder,
    /// The one with this setting, which may be much cheaper to find.
    Only(&'a Setting),
}

/// A target that a codec can turn into a setting from the table's shape and dtype alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DirectTarget {
    /// The fraction p of the table's parameters (low rank) or bytes that goes.
    Reduction(f64),
    /// The rank k.
    Rank(usize),
    /// The width of codes b.
    Bits(u32),
}

/// How loaders that people already have read the parts of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Native {
    /// As they are: the table is a plain tensor still.
    Plain,
    /// As a factor pair A [V, k] and B transposed [d, k] of floats, where an architecture has a place for one.
    FactorPair,
    /// Through compressed-tensors, by this member of its `config_groups`, without targets.
    CompressedTensors(Value),
}

/// A way to store a table in fewer bytes.
pub trait Codec: Sync {
    /// The name of flags, manifests and docs.
    fn name(&self) -> &'static str;

    /// One line for help texts and docs.
    fn summary(&self) -> &'static str;

    /// Paper or specification that it follows.
    fn reference(&self) -> &'static str;

    /// Whether [`Options::block_type`] means something to it.
    fn has_block_types(&self) -> bool {
        false
    }

    /// The setting that meets `target`: from shape and dtype alone, or of several that meet it the best for the
    /// numbers of `table`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Request`] where no point of this table meets it or where it would save no bytes; the
    /// message names the nearest that would.
    fn resolve(&self, table: &Table<'_>, options: &Options, target: DirectTarget) -> Result<Setting>;

    /// Looks at the numbers of `table` and finds the operating points demanded.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NonFinite`] where a weight is NaN or infinite (the first row is named),
    /// [`crate::ErrorKind::Interrupted`] where the observer says so.
    fn analyze(
        &self,
        table: &Table<'_>,
        options: &Options,
        demand: Demand<'_>,
        observer: &dyn Observer,
    ) -> Result<Box<dyn Analysis>>;

    /// Opens the parts of an encoded table for reading.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Malformed`] where the parts do not fit each other or the setting.
    fn decode<'p>(&self, setting: &Setting, parts: &[Part<'p>]) -> Result<Box<dyn Rows + 'p>>;

    /// Whether what a row becomes at `setting` does not depend on the other rows, so that rows can be encoded apart.
    fn encodes_rows_apart(&self, _setting: &Setting) -> bool {
        false
    }

    /// Rows that are encoded apart, `[_, columns]`, in place as they are once encoded and decoded. Training asks for the rows
    /// of a batch at each step; nothing is packed, measured or written for it.
    ///
    /// # Errors
    /// What encoding reports; [`ErrorKind::Unsupported`] where rows are not encoded apart.
    fn round_rows(&self, _setting: &Setting, _columns: usize, _values: &mut [f32]) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, format!("rows are not encoded apart by {}", self.name())))
    }

    /// Whether the parts are plain numbers that can be trained as they are: A `[V, k]` and B transposed `[d, k]`.
    fn is_factor_pair(&self) -> bool {
        false
    }

    /// How other loaders read the parts of a table of `columns` at `setting`; `None` where they cannot, and have to
    /// fail on the shape of what they find.
    fn native(&self, _setting: &Setting, _columns: usize) -> Option<Native> {
        None
    }

    /// The setting of what another program stored with scales of `scale_dtype`, from `weights` of a group of
    /// compressed-tensors' `config_groups`; `None` where this codec does not read it.
    fn adopt(&self, _weights: &serde_json::Value, _scale_dtype: Dtype) -> Option<Setting> {
        None
    }

    /// How a graph of plain operators decodes a row at `setting`, for file forms that hold their own decoder.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] with the reason where none can.
    fn arithmetic(&self, setting: &Setting) -> Result<Arithmetic> {
        let hint = "choose `--method low-rank`, `--method fixed-point --bits 8` or `--method cast`";
        Err(arithmetic::refuse(self.name(), setting, hint))
    }
}

/// What a codec learned about one table. It holds none of the table's rows.
pub trait Analysis {
    /// `||W||_F^2`; with weights of rows, where there are any.
    fn squared_norm(&self) -> f64;

    /// The operating points, by increasing bytes; errors do not increase.
    fn points(&self) -> &[Point];

    /// `points()[index]`.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where there are not so many.
    fn point(&self, index: usize) -> Result<&Point> {
        self.points().get(index).ok_or_else(|| {
            Error::new(ErrorKind::Request, "no such operating point")
                .expected(format!("a number below {}", self.points().len()))
                .found(index.to_string())
        })
    }

    /// What products of singles are computed with, where the bytes of a point depend on it.
    fn products(&self, _point: usize) -> Option<Products> {
        None
    }

    /// Encodes `rows`, those that were analyzed, at `points()[point]`: writes the parts to `sink`, and measures the
    /// error of what was written.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NonFinite`] where a part leaves the range of its dtype; whatever the sink reports.
    fn encode(
        &self,
        rows: &dyn Rows,
        point: usize,
        sink: &mut dyn PartSink,
        observer: &dyn Observer,
    ) -> Result<Measured>;
}

/// Receives the bytes of the parts.
pub trait PartSink {
    /// Appends `bytes` (packed, row-major, little-endian) to part `part` of the point's list.
    ///
    /// # Errors
    /// Where the bytes cannot be stored, or are more than the part's shape holds.
    fn write(&mut self, part: usize, bytes: &[u8]) -> Result<()>;
}
