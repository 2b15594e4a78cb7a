//! A table in a narrower float: the point of the fixed-point family that every loader reads.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "sizes of numbers in memory, and places in a block of rows; a weight for each row was checked"
)]

use serde_json::Value;

use super::rowwise::{encode_rows, finite};
use super::{
    Analysis, Arithmetic, Codec, Demand, DirectTarget, Measured, Native, Options, Part, PartSink, Point, Setting, Table,
};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::check_finite;
use crate::observe::Observer;
use crate::plan::bytes_within_reduction;
use crate::tensor::{Dtype, Rows, Store, TensorMeta};

/// Rounding each number to a narrower float: F16 unless another dtype is asked for.
pub struct Cast;

/// The key of the element type in a [`Setting`].
const DTYPE: &str = "dtype";

impl Codec for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn summary(&self) -> &'static str {
        "each number rounded to a narrower float, F16 unless `--dtype` says otherwise"
    }

    fn reference(&self) -> &'static str {
        "IEEE 754-2019, roundTiesToEven"
    }

    fn resolve(&self, table: &Table<'_>, options: &Options, target: DirectTarget) -> Result<Setting> {
        let dtype = narrower(table, options)?;
        let bits = dtype.bits();
        let refuse = |found: String| {
            let summary = "a cast cannot meet the target";
            Err(Error::new(ErrorKind::Request, summary).expected(format!("{bits} bits, those of {dtype}")).found(found))
        };
        match target {
            DirectTarget::Rank(rank) => refuse(format!("rank {rank}")),
            DirectTarget::Bits(asked) if asked != bits => refuse(format!("{asked} bits")),
            DirectTarget::Reduction(reduction) => {
                let limit = bytes_within_reduction(reduction, table.dtype.bytes() as u64 * 1_000_000)?;
                let own = dtype.bytes() as u64 * 1_000_000;
                if own > limit { refuse(format!("reduction {reduction}")) } else { Ok(setting(dtype)) }
            }
            DirectTarget::Bits(_) => Ok(setting(dtype)),
        }
    }

    fn analyze(
        &self,
        table: &Table<'_>,
        options: &Options,
        demand: Demand<'_>,
        observer: &dyn Observer,
    ) -> Result<Box<dyn Analysis>> {
        let dtype = match demand {
            Demand::Ladder => narrower(table, options)?,
            Demand::Only(setting) => dtype_of(setting)?,
        };
        let (rows, columns) = table.rows.shape();
        let part = TensorMeta { name: table.name.to_owned(), dtype, shape: vec![rows, columns] };
        let weights = options.weights_of(rows)?;
        let measured = convert(table.rows, dtype, weights.as_deref(), &mut |_| Ok(()), observer)?;
        let point = Point {
            setting: setting(dtype),
            parameters: part.elements().unwrap_or_default(),
            parts: vec![part],
            squared_error: measured.objective(),
            retained_energy: None,
            flops_per_token: 0,
        };
        Ok(Box::new(Casting { dtype, weights, squared_norm: measured.objective_norm(), point: [point] }))
    }

    fn decode<'p>(&self, setting: &Setting, parts: &[Part<'p>]) -> Result<Box<dyn Rows + 'p>> {
        let dtype = dtype_of(setting)?;
        let [part] = parts else {
            return Err(Error::new(ErrorKind::Malformed, "not the part of a cast table")
                .expected("1 part")
                .found(parts.len().to_string()));
        };
        let shape = part.meta.matrix().filter(|_| part.meta.dtype == dtype);
        let (_, columns) = shape.ok_or_else(|| part.misshapen(format!("{dtype} [_, _]")))?;
        Ok(Box::new(part.floats(columns)?))
    }

    fn encodes_rows_apart(&self, _setting: &Setting) -> bool {
        true
    }

    fn round_rows(&self, setting: &Setting, columns: usize, values: &mut [f32]) -> Result<()> {
        let mut rounded: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
        check_finite(0, columns, &rounded)?;
        store(&mut rounded, dtype_of(setting)?, columns, 0)?;
        values.iter_mut().zip(rounded).for_each(|(value, rounded)| *value = rounded as f32);
        Ok(())
    }

    fn native(&self, _setting: &Setting, _columns: usize) -> Option<Native> {
        Some(Native::Plain)
    }

    fn arithmetic(&self, _setting: &Setting) -> Result<Arithmetic> {
        Ok(Arithmetic::Values)
    }
}

/// The dtype asked for, where it is narrower than the table's.
fn narrower(table: &Table<'_>, options: &Options) -> Result<Dtype> {
    let dtype = options.dtype.unwrap_or(Dtype::F16);
    if dtype.is_table_float() && dtype.bits() < table.dtype.bits() {
        return Ok(dtype);
    }
    Err(Error::new(ErrorKind::Request, "the cast would not save bytes")
        .expected(format!("a float narrower than {}", table.dtype))
        .found(dtype.name())
        .hint("choose another `--dtype`, or leave the table out with `--exclude`"))
}

fn setting(dtype: Dtype) -> Setting {
    Setting::from_iter([(DTYPE.to_owned(), Value::from(dtype.name()))])
}

fn dtype_of(setting: &Setting) -> Result<Dtype> {
    let dtype = setting.get(DTYPE).and_then(Value::as_str).and_then(|name| name.parse::<Dtype>().ok());
    dtype.filter(|dtype| dtype.is_table_float()).ok_or_else(|| {
        Error::new(ErrorKind::Malformed, "the setting of a cast has no dtype")
            .expected(format!("`{DTYPE}`, a float"))
            .found(Value::Object(setting.clone()).to_string())
    })
}

struct Casting {
    dtype: Dtype,
    weights: Option<Vec<f64>>,
    squared_norm: f64,
    point: [Point; 1],
}

impl Analysis for Casting {
    fn squared_norm(&self) -> f64 {
        self.squared_norm
    }

    fn points(&self) -> &[Point] {
        &self.point
    }

    fn encode(
        &self,
        rows: &dyn Rows,
        point: usize,
        sink: &mut dyn PartSink,
        observer: &dyn Observer,
    ) -> Result<Measured> {
        self.point(point)?;
        convert(rows, self.dtype, self.weights.as_deref(), &mut |bytes| sink.write(0, bytes), observer)
    }
}

/// Rounds `rows` to `dtype`, gives `sink` the bytes in order, and measures what rounding changed.
fn convert(
    rows: &dyn Rows,
    dtype: Dtype,
    weights: Option<&[f64]>,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    observer: &dyn Observer,
) -> Result<Measured> {
    encode_rows(rows, &|range| convert_block(rows, range, dtype, weights), sink, observer)
}

fn convert_block(
    rows: &dyn Rows,
    range: std::ops::Range<usize>,
    dtype: Dtype,
    weights: Option<&[f64]>,
) -> Result<(Vec<u8>, Measured)> {
    let columns = rows.shape().1;
    let exact = finite(rows, &range)?;
    let mut rounded = exact.clone();
    let bytes = store(&mut rounded, dtype, columns, range.start)?;
    let weight = |row: usize| weights.map(|weights| weights[range.start + row]);
    let sums = Measured::of_rows(&exact, &rounded, columns, weight);
    Ok((bytes, sums))
}

/// Rounds rows in place, the first of which is `first_row`, and gives their bytes.
fn store(values: &mut [f64], dtype: Dtype, columns: usize, first_row: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let place = |index: usize| format!("row {}, column {}", first_row + index / columns, index % columns);
    f64::store(values, dtype, &mut bytes).map_err(|overflow| {
        Error::new(ErrorKind::NonFinite, "a weight leaves the range of the dtype")
            .expected(format!("a finite {dtype}"))
            .found(format!("{} in {}", overflow.value, place(overflow.index)))
            .hint("cast to a dtype of wider range with `--dtype bf16`")
    })?;
    Ok(bytes)
}
