//! What each width costs, and the codes of the one chosen.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an encoder: every size and place is that of a table in memory or of its own parts"
)]

use std::ops::Range;

use super::blocks::{ROW_MULTIPLE, stream};
use super::decode::store_shape;
use super::grid::{Extent, Grid, OutOfRange, Sums};
use super::scheme::{Granularity, Packing, Parts, Scheme};
use crate::codec::{Analysis, Measured, PartSink, Point, Table, Weighted, packed};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::{InstructionSet, Work};
use crate::observe::Observer;
use crate::tensor::{Dtype, Rows, Store, TensorMeta};

/// The operating points of a table, their errors measured.
pub(super) struct Surveyed {
    /// With weights of rows, where there are any.
    squared_norm: f64,
    weights: Option<Vec<f64>>,
    points: Vec<Point>,
    /// Of the whole table, where one scale serves it.
    extent: Extent,
}

/// What one scheme makes of some rows.
type Outcome = std::result::Result<Sums, Error>;

/// Looks at every number of `table` once, or twice where one scale serves it, and measures what each of `schemes`
/// would cost, with `weights` of the rows, where there are any.
///
/// # Errors
/// [`ErrorKind::NonFinite`] for a NaN or an infinity, or where no scheme's scales are in range;
/// [`ErrorKind::Interrupted`].
pub(super) fn survey(
    table: &Table<'_>,
    schemes: &[Scheme],
    weights: Option<Vec<f64>>,
    observer: &dyn Observer,
) -> Result<Surveyed> {
    let (rows, columns) = table.rows.shape();
    let row_bytes = (columns * table.dtype.bytes()) as u64;
    let shared = schemes.iter().any(|scheme| scheme.granularity == Granularity::Tensor);
    let mut extent = Extent::ZERO;
    if shared {
        let set = InstructionSet::best();
        let of_block = |_, values: &[f64]| Ok(set.run(ExtentOf(values)));
        stream(table.rows, 0, observer, of_block, |block| {
            extent = extent.with(block);
            Ok(())
        })?;
    }
    let mut squared_norm = 0.0;
    let mut outcomes: Vec<Outcome> = schemes.iter().map(|_| Ok(Sums::default())).collect();
    let of_block = |range: Range<usize>, values: &[f64]| {
        let mut codes = vec![0u16; columns];
        let own = weights.as_ref().map(|weights| &weights[range.clone()]);
        let of_scheme = |scheme: &Scheme| {
            let mut total = Sums::default();
            each_row(&range, values, columns, scheme, extent, &mut codes, &mut |group| {
                total.add(group.sums, weight_of(own, group.index - range.start));
            })?;
            Ok(total)
        };
        let outcomes: Vec<Outcome> = schemes.iter().map(of_scheme).collect();
        let norms = squared_norms(values, columns, own);
        Ok((if own.is_some() { norms.1 } else { norms.0 }, outcomes))
    };
    stream(table.rows, row_bytes, observer, of_block, |(norm, block)| {
        squared_norm += norm;
        for (total, own) in outcomes.iter_mut().zip(block) {
            match (&mut *total, own) {
                (Ok(total), Ok(own)) => total.merge(own),
                (Ok(_), failed) => *total = failed,
                (Err(_), _) => {}
            }
        }
        Ok(())
    })?;
    let mut points = Vec::new();
    let mut refused = None;
    for (scheme, outcome) in schemes.iter().zip(outcomes) {
        match (outcome, scheme.parts(table.name, (rows, columns))) {
            (Ok(sums), Some(parts)) => {
                let error = if weights.is_some() { sums.weighted_error } else { sums.squared_error };
                points.push(point(scheme, parts, (rows, columns), error));
            }
            (Err(error), _) => refused = refused.or(Some(error)),
            (Ok(_), None) => {}
        }
    }
    if points.is_empty() {
        return Err(refused.unwrap_or_else(|| Error::new(ErrorKind::Request, "the table is too large to quantize")));
    }
    keep_those_that_pay(&mut points);
    Ok(Surveyed { squared_norm, weights, points, extent })
}

/// Points by increasing bytes, without those that a smaller one is as good as.
fn keep_those_that_pay(points: &mut Vec<Point>) {
    points.sort_by(|a, b| a.bytes().cmp(&b.bytes()).then(a.squared_error.total_cmp(&b.squared_error)));
    let mut least = f64::INFINITY;
    points.retain(|point| {
        let better = point.squared_error < least;
        least = least.min(point.squared_error);
        better
    });
}

fn point(scheme: &Scheme, parts: Vec<TensorMeta>, (rows, columns): (usize, usize), squared_error: f64) -> Point {
    let scales = match scheme.granularity {
        Granularity::Tensor => 1,
        Granularity::Row | Granularity::Group(_) => rows as u64 * scheme.groups(columns) as u64,
    };
    let numbers = if scheme.is_affine() { 2 * scales } else { scales };
    Point {
        setting: scheme.to_setting(),
        parts,
        squared_error,
        retained_energy: None,
        parameters: rows as u64 * columns as u64 + numbers,
        flops_per_token: columns as u64 * if scheme.is_affine() { 2 } else { 1 },
    }
}

/// What a row of a block counts.
fn weight_of(weights: Option<&[f64]>, row: usize) -> f64 {
    weights.map_or(1.0, |weights| weights[row])
}

/// The squared norm of some rows, and the weighted one, which is zero where there are no weights.
fn squared_norms(values: &[f64], columns: usize, weights: Option<&[f64]>) -> (f64, f64) {
    let set = InstructionSet::best();
    let rows = values.chunks_exact(columns.max(1)).zip(weights.unwrap_or_default());
    (set.run(SquaredNorm(values)), rows.map(|(row, weight)| weight * set.run(SquaredNorm(row))).sum())
}

/// Numbers that share a scale, quantized.
struct Group<'a> {
    /// The row.
    index: usize,
    grid: Grid,
    sums: Sums,
    /// The codes of the whole row, counted from the least, with the last group of a row.
    row: Option<&'a [u16]>,
}

/// Gives `take` each group of each row.
fn each_row(
    range: &Range<usize>,
    values: &[f64],
    columns: usize,
    scheme: &Scheme,
    shared: Extent,
    codes: &mut [u16],
    take: &mut dyn FnMut(&Group<'_>),
) -> Result<()> {
    let set = InstructionSet::best();
    let width = scheme.group_columns(columns);
    let shared = (scheme.granularity == Granularity::Tensor).then_some(shared);
    for (row, values) in range.clone().zip(values.chunks_exact(columns.max(1))) {
        let mut start = 0;
        for values in values.chunks(width) {
            let end = start + values.len();
            let work = Quantize { values, codes: &mut codes[start..end], scheme, shared };
            let (grid, sums) = set.run(work).map_err(|error| out_of_range(error, shared.is_none().then_some(row)))?;
            take(&Group { index: row, grid, sums, row: (end == columns).then_some(&*codes) });
            start = end;
        }
    }
    Ok(())
}

/// That of the numbers of a row, or of the table.
pub(super) fn out_of_range(error: OutOfRange, row: Option<usize>) -> Error {
    let place = row.map_or_else(String::new, |row| format!(" in row {row}"));
    let summary = "a scale or a level leaves the range of its dtype";
    let built = Error::new(ErrorKind::NonFinite, summary)
        .expected(format!("a finite {}", error.dtype))
        .found(format!("{:e}{place}", error.value));
    match error.dtype {
        Dtype::F16 => built.hint("store the scales as singles with `--scale-dtype f32`"),
        _ => built.hint("leave the table out with `--exclude`"),
    }
}

impl Analysis for Surveyed {
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
        let point = self.point(point)?;
        let scheme = Scheme::from_setting(&point.setting)?;
        let (count, columns) = rows.shape();
        let mut total =
            Measured { weighted: self.weights.as_ref().map(|_| Weighted::default()), ..Measured::default() };
        if scheme.granularity == Granularity::Tensor {
            let grid = Grid::new(self.extent, &scheme).map_err(|error| out_of_range(error, None))?;
            let mut block = Encoded::default();
            block.push_grid(&grid, &scheme)?;
            sink.write(Parts::SCALES, &block.scales)?;
            if scheme.is_affine() {
                sink.write(Parts::ZERO_POINTS, &block.zero_points)?;
            }
        }
        let encode = |range: Range<usize>, values: &[f64]| {
            let weights = self.weights.as_ref().map(|weights| &weights[range.clone()]);
            encode(&scheme, self.extent, columns, range, values, weights)
        };
        let row_bytes = scheme.row_bytes(columns).unwrap_or_default() as u64;
        stream(rows, row_bytes, observer, encode, |block| {
            total.squared_norm += block.squared_norm;
            total.squared_error += block.sums.squared_error;
            total.max_absolute_error = total.max_absolute_error.max(block.sums.largest_error);
            if let Some(weighted) = &mut total.weighted {
                weighted.squared_norm += block.weighted_norm;
                weighted.squared_error += block.sums.weighted_error;
            }
            sink.write(Parts::CODES, &block.codes)?;
            if scheme.granularity != Granularity::Tensor {
                sink.write(Parts::SCALES, &block.scales)?;
                if scheme.is_affine() {
                    sink.write(Parts::ZERO_POINTS, &block.zero_points)?;
                }
            }
            Ok(())
        })?;
        if scheme.packing(columns) != Packing::Bytes {
            sink.write(point.parts.len() - 1, &store_shape(count, columns))?;
        }
        Ok(total)
    }
}

/// Some rows as they are stored.
#[derive(Default)]
struct Encoded {
    codes: Vec<u8>,
    scales: Vec<u8>,
    zero_points: Vec<u8>,
    squared_norm: f64,
    weighted_norm: f64,
    sums: Sums,
}

impl Encoded {
    /// Appends the scale, and a zero point that is not packed.
    fn push_grid(&mut self, grid: &Grid, scheme: &Scheme) -> Result<()> {
        f64::store(&mut [grid.scale], scheme.scale_dtype, &mut self.scales)
            .map_err(|error| out_of_range(OutOfRange { value: error.value, dtype: scheme.scale_dtype }, None))?;
        match scheme.bits {
            16 => self.zero_points.extend((grid.zero_point as i16).to_le_bytes()),
            _ => self.zero_points.push(grid.zero_point as i8 as u8),
        }
        Ok(())
    }
}

fn encode(
    scheme: &Scheme,
    shared: Extent,
    columns: usize,
    range: Range<usize>,
    values: &[f64],
    weights: Option<&[f64]>,
) -> Result<Encoded> {
    let (squared_norm, weighted_norm) = squared_norms(values, columns, weights);
    let mut block = Encoded { squared_norm, weighted_norm, ..Encoded::default() };
    let row_bytes = scheme.row_bytes(columns).unwrap_or_default();
    let mut codes = vec![0u16; columns];
    let mut outcome = Ok(());
    each_row(&range, values, columns, scheme, shared, &mut codes, &mut |group| {
        block.sums.add(group.sums, weight_of(weights, group.index - range.start));
        let pushed = block.push_grid(&group.grid, scheme);
        if outcome.is_ok() {
            outcome = pushed;
        }
        if let Some(codes) = group.row {
            let end = block.codes.len() + row_bytes;
            packed::pack_row(codes, scheme.bits, &mut block.codes);
            // Rows of whole words end with zeros.
            block.codes.resize(end, 0);
        }
    })?;
    outcome?;
    if scheme.packing(columns) == Packing::Bytes {
        // From counting up from the least code to two's complement.
        block.codes.iter_mut().for_each(|code| *code ^= 0x80);
    }
    if scheme.packs_zero_points(columns) {
        block.zero_points = pack_zero_points(&block.zero_points, scheme.groups(columns));
    }
    Ok(block)
}

/// Eight rows of `groups` zero points to a row of words, the first row in the lowest bits.
fn pack_zero_points(zero_points: &[u8], groups: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for rows in zero_points.chunks(ROW_MULTIPLE * groups.max(1)) {
        for group in 0..groups {
            let column = rows.iter().skip(group).step_by(groups);
            let nibbles = column.enumerate().map(|(row, &zero)| u32::from(zero.wrapping_add(8) & 15) << (4 * row));
            bytes.extend(nibbles.fold(0, |word, nibble| word | nibble).to_le_bytes());
        }
    }
    bytes
}

/// Finds the grid of some numbers and their codes.
pub(super) struct Quantize<'a> {
    pub(super) values: &'a [f64],
    pub(super) codes: &'a mut [u16],
    pub(super) scheme: &'a Scheme,
    /// Of the whole table, where one scale serves it.
    pub(super) shared: Option<Extent>,
}

impl Work for Quantize<'_> {
    type Output = std::result::Result<(Grid, Sums), OutOfRange>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        let extent = self.shared.unwrap_or_else(|| Extent::of(self.values));
        let grid = Grid::new(extent, self.scheme)?;
        let sums = grid.quantize(self.values, self.codes);
        Ok((grid, sums))
    }
}

struct ExtentOf<'a>(&'a [f64]);

impl Work for ExtentOf<'_> {
    type Output = Extent;

    #[inline(always)]
    fn run(self) -> Extent {
        Extent::of(self.0)
    }
}

struct SquaredNorm<'a>(&'a [f64]);

impl Work for SquaredNorm<'_> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let (chunks, rest) = self.0.as_chunks::<8>();
        let mut sums = [0.0f64; 8];
        for chunk in chunks {
            sums.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += value * value);
        }
        sums.iter().sum::<f64>() + rest.iter().map(|value| value * value).sum::<f64>()
    }
}
