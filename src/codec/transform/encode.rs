//! Writes a table at one point: every row through the search, its codes packed, read back, and measured.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an encoder: every size and place is that of a table in memory or of its own parts"
)]

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::bits::BitWriter;
use super::codebook::Codebooks;
use super::decode::Decoder;
use super::gains::GAIN_BITS;
use super::layout::Stored;
use super::learn::{Learned, TASK_ROWS, project, wave_rows};
use super::point::Fitted;
use super::trellis::{LANES, Search};
use crate::codec::{Measured, Part, PartSink, Point, measure_weighted};
use crate::error::Result;
use crate::observe::Observer;
use crate::tensor::{Precision, Rows, TensorMeta};

/// Writes `rows` at `point` with what was `fitted` to it, and measures what was written.
pub(super) fn encode(
    learned: &Learned,
    rows: &dyn Rows,
    fitted: &Fitted,
    point: &Point,
    sink: &mut dyn PartSink,
    observer: &dyn Observer,
) -> Result<Measured> {
    let (height, width) = rows.shape();
    let projection = project(rows, &learned.gains, &fitted.vectors)?;
    for (part, bytes) in fitted.companions.iter().enumerate() {
        sink.write(part + 1, bytes)?;
    }
    let Some((meta, companion_metas)) = point.parts.split_first() else {
        return Ok(Measured::default());
    };
    let row_bytes = meta.matrix().map_or(0, |(_, row_bytes)| row_bytes);
    // Read back as a reader would, so that what is measured is what was written.
    let none = TensorMeta { shape: vec![0, row_bytes], ..meta.clone() };
    let mut parts = vec![Part { meta: &none, bytes: &[] }];
    parts.extend(companion_metas.iter().zip(&fitted.companions).map(|(meta, bytes)| Part { meta, bytes }));
    let decoder = Arc::new(Decoder::new(&Stored::open(&point.setting, &parts)?));
    let mut total = Measured::default();
    let wave = wave_rows(width);
    for start in (0..height).step_by(wave) {
        observer.check()?;
        let wave = start..height.min(start + wave);
        let codes = encode_rows(learned, &projection, &fitted.books, wave.clone(), row_bytes)?;
        sink.write(0, &codes)?;
        let decoded = Decoder::rows(&decoder, &codes, wave.len())?;
        let weights = learned.weights.as_ref().map(|weights| &weights[wave.clone()]);
        total.add(&measure_weighted(&Window { rows, range: wave }, &decoded, weights, observer)?);
    }
    Ok(total)
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
