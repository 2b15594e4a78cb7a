//! Writes a table at one point: fits the levels to the trellis on a sample of rows, then encodes every row.

use std::ops::Range;

use half::f16;
use rayon::prelude::*;

use super::basis::{Grid, entry_bits, vector_bytes};
use super::bits::BitWriter;
use super::codebook::{Codebooks, level_count};
use super::decode;
use super::gains::GAIN_BITS;
use super::learn::{Learned, TASK_ROWS, project, wave_rows};
use super::trellis::{LANES, Search};
use crate::codec::{Measured, Part, PartSink, Point, measure};
use crate::error::Result;
use crate::observe::Observer;
use crate::tensor::{Precision, Rows, TensorMeta};

/// Rows that the levels are fitted on.
const SAMPLE_ROWS: usize = 4096;
/// Neighbouring rows in the sample, whose groups are spread evenly over the table.
const SAMPLE_RUN: usize = 4;
/// Rounds of fitting; a fifth one lowers the error by two thousandths.
const ROUNDS: usize = 4;

/// The bytes of all parts but the codes.
struct Companions {
    bits: Vec<u8>,
    levels: Vec<u8>,
    basis: Vec<u8>,
    scales: Vec<u8>,
    gains: Vec<u8>,
}

/// Writes `rows` with the components and bits `kept`, and measures what was written.
pub(super) fn encode(
    learned: &Learned,
    rows: &dyn Rows,
    kept: &[(usize, u8)],
    point: &Point,
    sink: &mut dyn PartSink,
    observer: &dyn Observer,
) -> Result<Measured> {
    let (height, width) = rows.shape();
    let vectors: Vec<f64> =
        kept.iter().flat_map(|&(component, _)| vector(learned, component, width)).copied().collect();
    let projection = project(rows, &learned.gains, &vectors)?;
    let (books, level_scales, levels) = stored_levels(&fit_levels(learned, kept, &projection, observer)?);
    let (steps, basis) = stored_basis(learned, kept, width);
    let companions = Companions {
        bits: kept.iter().map(|&(_, bits)| bits).collect(),
        levels,
        basis,
        scales: level_scales.iter().chain(&steps).flat_map(|scale| scale.to_le_bytes()).collect(),
        gains: learned.gains.values.iter().flat_map(|gain| gain.to_le_bytes()).collect(),
    };
    for (part, bytes) in companions.in_order().into_iter().enumerate() {
        sink.write(part + 1, bytes)?;
    }
    let Some((meta, companion_metas)) = point.parts.split_first() else {
        return Ok(Measured::default());
    };
    let row_bytes = meta.matrix().map_or(0, |(_, row_bytes)| row_bytes);
    let mut total = Measured::default();
    let wave = wave_rows(width);
    for start in (0..height).step_by(wave) {
        observer.check()?;
        let wave = start..height.min(start + wave);
        let codes = encode_rows(learned, &projection, &books, wave.clone(), row_bytes)?;
        sink.write(0, &codes)?;
        // Read back as a reader would, so that what is measured is what was written.
        let meta = TensorMeta { shape: vec![wave.len(), row_bytes], ..meta.clone() };
        let mut parts = vec![Part { meta: &meta, bytes: &codes }];
        parts.extend(companion_metas.iter().zip(companions.in_order()).map(|(meta, bytes)| Part { meta, bytes }));
        let decoded = decode::open(&point.setting, &parts)?;
        let measured = measure(&Window { rows, range: wave }, decoded.as_ref(), observer)?;
        total.squared_norm += measured.squared_norm;
        total.squared_error += measured.squared_error;
        total.max_absolute_error = total.max_absolute_error.max(measured.max_absolute_error);
    }
    Ok(total)
}

impl Companions {
    fn in_order(&self) -> [&[u8]; 5] {
        [&self.bits, &self.levels, &self.basis, &self.scales, &self.gains]
    }
}

fn vector(learned: &Learned, component: usize, width: usize) -> &[f64] {
    &learned.vectors[component * width..(component + 1) * width]
}

/// The levels of each kept component: the start is its optimal quantizer of twice as many levels as it has codes; then
/// the codes of the sample are searched and each level moves to the mean of what was coded with it, in turns.
fn fit_levels(
    learned: &Learned,
    kept: &[(usize, u8)],
    projection: &dyn Rows,
    observer: &dyn Observer,
) -> Result<Vec<(u8, Vec<f32>)>> {
    let mut levels: Vec<(u8, Vec<f32>)> = kept
        .par_iter()
        .map(|&(component, bits)| {
            let quantizer = learned.distributions[component].summed().quantizer(level_count(bits)).0;
            (bits, quantizer.into_iter().map(|level| level as f32).collect())
        })
        .collect();
    let sample = Sample::read(learned, projection, kept.len())?;
    for _ in 0..ROUNDS {
        observer.check()?;
        let books = Codebooks::new(&levels);
        let mut chosen = vec![0u16; sample.values.len()];
        search(&books, &sample.values, &mut chosen);
        levels.par_iter_mut().enumerate().for_each(|(component, (_, levels))| sample.refit(component, &chosen, levels));
    }
    Ok(levels)
}

/// Components of some rows.
struct Sample {
    components: usize,
    values: Vec<f32>,
    weights: Vec<f64>,
}

impl Sample {
    fn read(learned: &Learned, projection: &dyn Rows, components: usize) -> Result<Sample> {
        let height = projection.shape().0;
        let runs = if height <= SAMPLE_ROWS { height.div_ceil(SAMPLE_RUN) } else { SAMPLE_ROWS / SAMPLE_RUN };
        let start = |run: usize| if height <= SAMPLE_ROWS { run * SAMPLE_RUN } else { run * (height / runs) };
        let runs: Vec<Range<usize>> = (0..runs).map(|run| start(run)..height.min(start(run) + SAMPLE_RUN)).collect();
        let values: Vec<Vec<f32>> = runs
            .par_iter()
            .map(|run| {
                let mut values = vec![0.0; run.len() * components];
                projection.read_f32(run.clone(), &mut values)?;
                Ok(values)
            })
            .collect::<Result<_>>()?;
        let weights = runs.into_iter().flatten().map(|row| learned.gains.of_row(row).powi(2)).collect();
        Ok(Sample { components, values: values.concat(), weights })
    }

    /// Moves the levels of a component to the means of what was coded with them; those of nothing stay.
    fn refit(&self, component: usize, chosen: &[u16], levels: &mut [f32]) {
        let mut sums = vec![(0.0f64, 0.0f64); levels.len()];
        let rows = self.values.chunks_exact(self.components).zip(chosen.chunks_exact(self.components));
        for ((values, chosen), weight) in rows.zip(&self.weights) {
            let (mass, moment) = &mut sums[usize::from(chosen[component])];
            *mass += weight;
            *moment += weight * f64::from(values[component]);
        }
        for (level, (mass, moment)) in levels.iter_mut().zip(sums) {
            if mass > 0.0 {
                *level = (moment / mass) as f32;
            }
        }
        levels.sort_by(f32::total_cmp);
    }
}

/// Searches the levels of all rows of `values`, row-major.
fn search(books: &Codebooks, values: &[f32], chosen: &mut [u16]) {
    let group = (LANES * books.len()).max(1);
    values
        .par_chunks(group)
        .zip(chosen.par_chunks_mut(group))
        .for_each_init(|| Search::new(books.len()), |search, (values, chosen)| search.run(books, values, chosen));
}

/// The levels as they are stored, which are those that rows are encoded with; their scales; their bytes.
fn stored_levels(fitted: &[(u8, Vec<f32>)]) -> (Codebooks, Vec<f32>, Vec<u8>) {
    let (mut books, mut scales, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for (bits, levels) in fitted {
        let scale = levels.iter().fold(0.0f32, |largest, level| largest.max(level.abs()));
        let inverse = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
        let stored: Vec<f16> = levels.iter().map(|&level| f16::from_f64(f64::from(level) * inverse)).collect();
        bytes.extend(stored.iter().flat_map(|level| level.to_le_bytes()));
        books.push((*bits, stored.iter().map(|level| level.to_f32() * scale).collect()));
        scales.push(scale);
    }
    (Codebooks::new(&books), scales, bytes)
}

/// The kept vectors on their grids: the steps, and the packed codes.
fn stored_basis(learned: &Learned, kept: &[(usize, u8)], width: usize) -> (Vec<f32>, Vec<u8>) {
    let packed: Vec<(f32, Vec<u8>)> = kept
        .par_iter()
        .map(|&(component, bits)| {
            let vector = vector(learned, component, width);
            let grid = Grid::fit(bits, vector).0;
            let mut bytes = vec![0; vector_bytes(bits, width as u64) as usize];
            let mut writer = BitWriter::new(&mut bytes);
            vector.iter().for_each(|&entry| writer.put(grid.code(entry), entry_bits(bits)));
            writer.finish();
            (grid.step(), bytes)
        })
        .collect();
    let (steps, bytes): (Vec<_>, Vec<_>) = packed.into_iter().unzip();
    (steps, bytes.concat())
}

/// The packed codes of some rows.
fn encode_rows(
    learned: &Learned,
    projection: &dyn Rows,
    books: &Codebooks,
    rows: Range<usize>,
    row_bytes: usize,
) -> Result<Vec<u8>> {
    let components = books.len();
    let mut bytes = vec![0u8; rows.len() * row_bytes];
    let room = || (Search::new(components), vec![0.0f32; TASK_ROWS * components], vec![0u16; TASK_ROWS * components]);
    bytes.par_chunks_mut(TASK_ROWS * row_bytes.max(1)).enumerate().try_for_each_init(
        room,
        |(search, values, chosen), (task, bytes)| {
            let first = rows.start + task * TASK_ROWS;
            let range = first..rows.end.min(first + TASK_ROWS);
            let (values, chosen) = (&mut values[..range.len() * components], &mut chosen[..range.len() * components]);
            projection.read_f32(range.clone(), values)?;
            let group = (LANES * components).max(1);
            for (values, chosen) in values.chunks(group).zip(chosen.chunks_mut(group)) {
                search.run(books, values, chosen);
            }
            for ((at, row), bytes) in range.enumerate().zip(bytes.chunks_exact_mut(row_bytes)) {
                let mut writer = BitWriter::new(bytes);
                writer.put(learned.gains.codes[row].into(), GAIN_BITS as u32);
                let chosen = &chosen[at * components..(at + 1) * components];
                for (component, &level) in chosen.iter().enumerate() {
                    writer.put(u32::from(level) / 2, books.bits(component).into());
                }
                writer.finish();
            }
            Ok(())
        },
    )?;
    Ok(bytes)
}

/// Some rows of a table.
struct Window<'a> {
    rows: &'a dyn Rows,
    range: Range<usize>,
}

impl Window<'_> {
    fn place(&self, rows: Range<usize>) -> Range<usize> {
        self.range.start + rows.start..self.range.start + rows.end
    }
}

impl Rows for Window<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.range.len(), self.rows.shape().1)
    }

    fn precision(&self) -> Precision {
        self.rows.precision()
    }

    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.rows.read_f32(self.place(rows), out)
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        self.rows.read_f64(self.place(rows), out)
    }
}
