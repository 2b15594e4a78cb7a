//! The block types of ggml, in which llama.cpp and other programs keep tables: blocks of 32 numbers of a row, with a
//! half as scale, and in some types another as least value.

mod quantize;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde_json::Value;

use super::rowwise::{encode_rows, finite};
use super::{Analysis, Codec, Demand, DirectTarget, Measured, Options, Part, PartSink, Point, Setting, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::format::gguf::{BlockRows, decode};
use crate::observe::Observer;
use crate::plan::bytes_within_reduction;
use crate::tensor::{Dtype, Rows, TensorMeta};

use quantize::{BLOCK, push_block};

/// ggml's types of 32 numbers a block.
pub struct Ggml;

/// The key of the type in a [`Setting`].
const TYPE: &str = "type";

/// A type that tables can be quantized to. Those of 256 numbers a block are searched for by llama.cpp with weights of
/// its own and have no exact reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockType {
    /// Codes of 4 bits, a scale.
    Q4_0,
    /// Codes of 4 bits, a scale and a least value.
    Q4_1,
    /// Codes of 5 bits, a scale.
    Q5_0,
    /// Codes of 5 bits, a scale and a least value.
    Q5_1,
    /// Codes of 8 bits, a scale.
    Q8_0,
}

impl BlockType {
    /// Every type, by increasing bytes.
    pub const ALL: &'static [BlockType] =
        &[BlockType::Q4_0, BlockType::Q4_1, BlockType::Q5_0, BlockType::Q5_1, BlockType::Q8_0];

    /// The word of flags and manifests.
    pub const fn name(self) -> &'static str {
        match self {
            BlockType::Q4_0 => "q4_0",
            BlockType::Q4_1 => "q4_1",
            BlockType::Q5_0 => "q5_0",
            BlockType::Q5_1 => "q5_1",
            BlockType::Q8_0 => "q8_0",
        }
    }

    /// Bits of a code.
    pub const fn code_bits(self) -> u32 {
        match self {
            BlockType::Q4_0 | BlockType::Q4_1 => 4,
            BlockType::Q5_0 | BlockType::Q5_1 => 5,
            BlockType::Q8_0 => 8,
        }
    }

    /// The element type of tensors.
    pub const fn dtype(self) -> Dtype {
        match self {
            BlockType::Q4_0 => Dtype::Q4_0,
            BlockType::Q4_1 => Dtype::Q4_1,
            BlockType::Q5_0 => Dtype::Q5_0,
            BlockType::Q5_1 => Dtype::Q5_1,
            BlockType::Q8_0 => Dtype::Q8_0,
        }
    }

    /// Bytes of a row of `columns` numbers.
    #[expect(clippy::arithmetic_side_effects, reason = "at most two bytes for a number of a table that is there")]
    const fn row_bytes(self, columns: usize) -> usize {
        columns / BLOCK * (self.dtype().bits() as usize / 8)
    }

    /// That of a [`Setting`] of [`Ggml`], if it is one.
    pub fn of(setting: &Setting) -> Option<Self> {
        setting.get(TYPE).and_then(Value::as_str).and_then(|name| name.parse().ok())
    }

    fn setting(self) -> Setting {
        Setting::from_iter([(TYPE.to_owned(), Value::from(self.name()))])
    }
}

impl fmt::Display for BlockType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for BlockType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        BlockType::ALL.iter().copied().find(|known| known.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let names: Vec<_> = BlockType::ALL.iter().map(|known| known.name()).collect();
            Error::new(ErrorKind::Request, "unknown block type")
                .expected(names.join(" or "))
                .found(format!("`{}`", name.escape_debug()))
        })
    }
}

impl Codec for Ggml {
    fn name(&self) -> &'static str {
        "ggml"
    }

    fn summary(&self) -> &'static str {
        "codes of 4, 5 or 8 bits with a scale for each 32, as llama.cpp has them; what a GGUF takes"
    }

    fn reference(&self) -> &'static str {
        "ggml-org/ggml, ggml-quants.c, quantize_row_*_ref"
    }

    fn has_block_types(&self) -> bool {
        true
    }

    fn resolve(&self, table: &Table<'_>, options: &Options, target: DirectTarget) -> Result<Setting> {
        let types = smaller(table, options)?;
        let (fits, found): (Vec<_>, _) = match target {
            DirectTarget::Rank(rank) => (Vec::new(), format!("rank {rank}")),
            DirectTarget::Bits(bits) => {
                // The one of fewest bytes: a zero point is not what was asked for.
                let own = types.iter().copied().filter(|own| own.code_bits() == bits);
                (own.rev().collect(), format!("{bits} bits"))
            }
            DirectTarget::Reduction(reduction) => {
                let limit = bytes_within_reduction(reduction, table.bytes())?;
                let own = types.iter().copied().filter(|&own| part(table, own).bytes().is_some_and(|own| own <= limit));
                (own.collect(), format!("reduction {reduction}"))
            }
        };
        fits.last().map(|type_| type_.setting()).ok_or_else(|| {
            let names: Vec<_> = types.iter().map(|known| format!("{known} ({} bits)", known.code_bits())).collect();
            Error::new(ErrorKind::Request, "no block type meets the target").expected(names.join(" or ")).found(found)
        })
    }

    fn analyze(
        &self,
        table: &Table<'_>,
        options: &Options,
        demand: Demand<'_>,
        observer: &dyn Observer,
    ) -> Result<Box<dyn Analysis>> {
        let types = match demand {
            Demand::Ladder => smaller(table, options)?,
            Demand::Only(setting) => vec![type_of(setting)?],
        };
        let weights = options.weights_of(table.rows.shape().0)?;
        let mut analysis = Quantizing { weights, squared_norm: 0.0, points: Vec::new() };
        for type_ in types {
            whole_blocks(table)?;
            let found = quantize(table.rows, type_, analysis.weights.as_deref(), &mut |_| Ok(()), observer)?;
            analysis.squared_norm = found.objective_norm();
            // A least value may cost more than it gains.
            let gains = analysis.points.last().is_none_or(|last: &Point| found.objective() < last.squared_error);
            if gains {
                let part = part(table, type_);
                analysis.points.push(Point {
                    setting: type_.setting(),
                    parameters: part.elements().unwrap_or_default(),
                    parts: vec![part],
                    squared_error: found.objective(),
                    retained_energy: None,
                    flops_per_token: (table.rows.shape().1 as u64).saturating_mul(operations(type_)),
                });
            }
        }
        Ok(Box::new(analysis))
    }

    fn decode<'p>(&self, setting: &Setting, parts: &[Part<'p>]) -> Result<Box<dyn Rows + 'p>> {
        let type_ = type_of(setting)?;
        let malformed = |found: String| {
            Error::new(ErrorKind::Malformed, "not the part of a table in blocks")
                .expected(format!("{} [_, _], or its bytes", type_.dtype()))
                .found(found)
        };
        let [part] = parts else { return Err(malformed(format!("{} parts", parts.len()))) };
        let width = type_.dtype().bits() as usize / 8;
        let shape = part.meta.matrix().and_then(|(rows, columns)| match part.meta.dtype {
            Dtype::U8 if columns.is_multiple_of(width) => Some((rows, columns.div_euclid(width).checked_mul(BLOCK)?)),
            dtype if dtype == type_.dtype() => Some((rows, columns)),
            _ => None,
        });
        let (rows, columns) = shape
            .ok_or_else(|| malformed(format!("{} {:?}", part.meta.dtype, part.meta.shape)).tensor(&part.meta.name))?;
        let rows = BlockRows::new(part.bytes, type_.dtype(), rows, columns);
        Ok(Box::new(rows.map_err(|error| error.tensor(&part.meta.name))?))
    }
}

/// Operations to decode one number: a product, and a sum where there is a least value.
fn operations(type_: BlockType) -> u64 {
    match type_ {
        BlockType::Q4_0 | BlockType::Q5_0 | BlockType::Q8_0 => 1,
        BlockType::Q4_1 | BlockType::Q5_1 => 2,
    }
}

/// The bytes of the blocks, for formats that lack the type. A GGUF has the tensor itself.
fn part(table: &Table<'_>, type_: BlockType) -> TensorMeta {
    let (rows, columns) = table.rows.shape();
    TensorMeta { name: table.name.to_owned(), dtype: Dtype::U8, shape: vec![rows, type_.row_bytes(columns)] }
}

fn whole_blocks(table: &Table<'_>) -> Result<()> {
    let columns = table.rows.shape().1;
    if columns.is_multiple_of(BLOCK) && columns > 0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Request, "the rows of the table do not end on a block")
        .expected(format!("a number of columns that {BLOCK} divides"))
        .found(columns.to_string())
        .hint("choose another `--method`"))
}

/// The types that would save bytes, or the one asked for.
fn smaller(table: &Table<'_>, options: &Options) -> Result<Vec<BlockType>> {
    whole_blocks(table)?;
    let bytes = table.bytes();
    let asked = BlockType::ALL.iter().copied().filter(|own| options.block_type.is_none_or(|asked| asked == *own));
    let types: Vec<_> = asked.filter(|&own| part(table, own).bytes().is_some_and(|own| own < bytes)).collect();
    if types.is_empty() {
        return Err(Error::new(ErrorKind::Request, "the block type would not save bytes")
            .expected(format!("a type of fewer bytes than {}", table.dtype))
            .found(options.block_type.map_or("none", BlockType::name))
            .hint("choose another `--type`, or leave the table out with `--exclude`"));
    }
    Ok(types)
}

fn type_of(setting: &Setting) -> Result<BlockType> {
    BlockType::of(setting).ok_or_else(|| {
        Error::new(ErrorKind::Malformed, "the setting of a table in blocks has no type")
            .expected(format!("`{TYPE}`, a block type"))
            .found(Value::Object(setting.clone()).to_string())
    })
}

struct Quantizing {
    weights: Option<Vec<f64>>,
    squared_norm: f64,
    points: Vec<Point>,
}

impl Analysis for Quantizing {
    fn squared_norm(&self) -> f64 {
        self.squared_norm
    }

    fn points(&self) -> &[Point] {
        &self.points
    }

    fn encode(
        &self,
        rows: &dyn Rows,
        point: usize,
        sink: &mut dyn PartSink,
        observer: &dyn Observer,
    ) -> Result<Measured> {
        let type_ = type_of(&self.point(point)?.setting)?;
        quantize(rows, type_, self.weights.as_deref(), &mut |bytes| sink.write(0, bytes), observer)
    }
}

/// Quantizes `rows`, gives `sink` the blocks in order, and measures what that changed.
fn quantize(
    rows: &dyn Rows,
    type_: BlockType,
    weights: Option<&[f64]>,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    observer: &dyn Observer,
) -> Result<Measured> {
    encode_rows(rows, &|range| quantize_rows(rows, range, type_, weights), sink, observer)
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an encoder: a range of rows that stands in memory, and a weight for each"
)]
fn quantize_rows(
    rows: &dyn Rows,
    range: Range<usize>,
    type_: BlockType,
    weights: Option<&[f64]>,
) -> Result<(Vec<u8>, Measured)> {
    let columns = rows.shape().1;
    let exact = finite(rows, &range)?;
    let singles: Vec<f32> = exact.iter().map(|&value| value as f32).collect();
    let mut bytes = Vec::with_capacity(range.len() * type_.row_bytes(columns));
    for (number, block) in singles.as_chunks::<BLOCK>().0.iter().enumerate() {
        if !push_block(type_, block, &mut bytes) {
            return Err(Error::new(ErrorKind::NonFinite, "a block leaves the range of its scale")
                .expected("a scale and a least value that are finite as F16")
                .found(format!("row {}", range.start + number * BLOCK / columns)));
        }
    }
    let mut decoded = singles;
    decode(type_.dtype(), &bytes, &mut decoded);
    let decoded: Vec<f64> = decoded.into_iter().map(f64::from).collect();
    let weight = |row: usize| weights.map(|weights| weights[range.start + row]);
    Ok((bytes, Measured::of_rows(&exact, &decoded, columns, weight)))
}
