//! Product quantization: a row is cut into m pieces, and of each the index of the nearest of 16 or 256 centroids is kept.
//!
//! `X.weight` holds the indices `[V, m]`, `X.codebooks` the centroids `[16 or 256, d]` (row c has centroid c of every
//! piece); `X.rotation` `[d, d]`, `X.norm_codes` `[V, 1]` and `X.norm_levels` `[256, 1]` are there where they were asked
//! for. The mathematics is in `docs/methods.md`.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a row has at least one piece and no more pieces than columns, which `read` and `open` check; the rest counts a table in memory"
)]

mod decoder;
mod encoder;
mod kmeans;
mod training;

use std::ops::Range;

use serde_json::Value;

use super::calibrate::calibrated;
use super::scale::scale_of;
use super::{Analysis, Codec, Demand, DirectTarget, Measured, Options, Part, PartSink, Point, Setting, Table, packed};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::plan::bytes_for_reduction;
use crate::tensor::{Dtype, Rows, TensorMeta};

use decoder::Decoder;
use encoder::Trained;
use training::{Codebooks, Sample};

/// Product quantization.
pub struct ProductQuantization;

/// Levels that norms are rounded to.
const NORM_LEVELS: usize = 256;

/// Rows that the ladder is predicted from.
const LADDER_ROWS: usize = 8192;

/// Numbers of a table that is small enough to be encoded at every point instead.
const SMALL_VALUES: usize = 1 << 17;

/// Times that k-means moves the centroids for the predictions of a long ladder.
const LADDER_ROUNDS: usize = 4;

/// Predictions of a long ladder for which k-means moves them as often as for the table itself; the others are corrected by
/// what the few rounds are off by there.
const ANCHORS: usize = 5;

/// The parameters of an operating point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Setup {
    /// Pieces of a row, m.
    pieces: usize,
    /// Bits of an index: 4 or 8.
    bits: u32,
    rotation: bool,
    norms: bool,
    seed: u64,
}

impl Setup {
    fn new(pieces: usize, options: &Options) -> Result<Self> {
        let bits = options.code_bits.unwrap_or(packed::MAX_BITS);
        if bits != 4 && bits != 8 {
            let error = Error::new(ErrorKind::Request, "bits of an index are out of range");
            return Err(error.expected("4 or 8").found(bits.to_string()));
        }
        Ok(Setup { pieces, bits, rotation: options.rotation, norms: options.norms, seed: options.seed })
    }

    fn setting(&self) -> Setting {
        Setting::from_iter([
            ("subquantizers".to_owned(), Value::from(self.pieces)),
            ("bits".to_owned(), Value::from(self.bits)),
            ("rotation".to_owned(), Value::from(self.rotation)),
            ("norms".to_owned(), Value::from(self.norms)),
            ("seed".to_owned(), Value::from(self.seed)),
        ])
    }

    fn read(setting: &Setting) -> Result<Self> {
        let number = |key: &str| setting.get(key).and_then(Value::as_u64);
        let flag = |key: &str| setting.get(key).and_then(Value::as_bool);
        let pieces = number("subquantizers").and_then(|m| usize::try_from(m).ok()).filter(|&m| m > 0);
        let bits = number("bits").and_then(|bits| u32::try_from(bits).ok()).filter(|bits| matches!(bits, 4 | 8));
        match (pieces, bits, flag("rotation"), flag("norms"), number("seed")) {
            (Some(pieces), Some(bits), Some(rotation), Some(norms), Some(seed)) => {
                Ok(Setup { pieces, bits, rotation, norms, seed })
            }
            _ => Err(Error::new(ErrorKind::Malformed, "not the setting of a product quantization")
                .expected("`subquantizers` of at least 1, `bits` of 4 or 8, `rotation`, `norms` and `seed`")
                .found(Value::Object(setting.clone()).to_string())),
        }
    }

    /// Centroids of a piece.
    fn count(&self) -> usize {
        1 << self.bits
    }

    /// The columns of every piece: as equal as can be, the longer ones first.
    fn splits(&self, width: usize) -> Vec<Range<usize>> {
        let (short, longer) = (width / self.pieces, width % self.pieces);
        let start = |piece: usize| piece * short + piece.min(longer);
        (0..self.pieces).map(|piece| start(piece)..start(piece + 1)).collect()
    }

    /// Indices, codebooks, and what else was asked for; `None` where a size overflows.
    fn parts(&self, name: &str, (height, width): (usize, usize), dtype: Dtype) -> Option<Vec<TensorMeta>> {
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let part = |suffix: &str, dtype, shape: [usize; 2]| TensorMeta {
            name: format!("{module}.{suffix}"),
            dtype,
            shape: shape.to_vec(),
        };
        let indices = vec![height, packed::row_bytes(self.pieces, self.bits)?];
        let mut parts = vec![
            TensorMeta { name: name.to_owned(), dtype: Dtype::U8, shape: indices },
            part("codebooks", dtype, [self.count(), width]),
        ];
        if self.rotation {
            parts.push(part("rotation", dtype, [width, width]));
        }
        if self.norms {
            parts.push(part("norm_codes", Dtype::U8, [height, 1]));
            parts.push(part("norm_levels", dtype, [NORM_LEVELS, 1]));
        }
        parts.iter().all(|part| part.bytes().is_some()).then_some(parts)
    }

    fn bytes(&self, shape: (usize, usize), dtype: Dtype) -> u64 {
        let parts = self.parts("", shape, dtype).unwrap_or_default();
        parts.iter().filter_map(TensorMeta::bytes).fold(0, u64::saturating_add)
    }
}

/// The dtype of codebooks: centroids are found in singles, so that no wider one gains anything.
fn stored_dtype(table: &Table<'_>, options: &Options) -> Dtype {
    match options.dtype.unwrap_or(table.dtype) {
        Dtype::F64 => Dtype::F32,
        dtype => dtype,
    }
}

impl Codec for ProductQuantization {
    fn name(&self) -> &'static str {
        "product"
    }

    fn summary(&self) -> &'static str {
        "the index of the nearest of 16 or 256 k-means centroids for each of m pieces of a row"
    }

    fn reference(&self) -> &'static str {
        "Jegou, Douze, Schmid, Product Quantization for Nearest Neighbor Search, TPAMI 33(1), 2011; rotation: Ge, He, \
         Ke, Sun, Optimized Product Quantization for Approximate Nearest Neighbor Search, CVPR 2013"
    }

    fn resolve(&self, table: &Table<'_>, options: &Options, target: DirectTarget) -> Result<Setting> {
        let shape @ (height, width) = table.rows.shape();
        let (dense, dtype) = (table.bytes(), stored_dtype(table, options));
        let reduction = match target {
            DirectTarget::Reduction(reduction) => reduction,
            DirectTarget::Rank(_) | DirectTarget::Bits(_) => {
                return Err(Error::new(ErrorKind::Request, "a product quantization has neither a rank nor a width")
                    .expected("`--reduction`, `--max-error` or `--target-size`")
                    .hint("`--subquantizers` sets the number of pieces, `--code-bits` the bits of an index"));
            }
        };
        let budget = bytes_for_reduction(reduction, dense)?;
        let bytes = |pieces| Ok(Setup::new(pieces, options)?.bytes(shape, dtype));
        let candidates = options.subquantizers.map_or(1..=width, |pieces| pieces..=pieces);
        for pieces in candidates.clone().rev().filter(|pieces| (1..=width).contains(pieces)) {
            if bytes(pieces)? <= budget {
                return Ok(Setup::new(pieces, options)?.setting());
            }
        }
        let least = bytes((*candidates.start()).clamp(1, width.max(1)))?;
        Err(Error::new(ErrorKind::Request, "reduction leaves too few bytes")
            .expected(format!("at least {least} bytes for the indices and codebooks of [{height}, {width}]"))
            .found(format!("{budget} bytes"))
            .hint("store the codebooks with `--dtype f16`, take `--code-bits 4`, or remove less"))
    }

    fn analyze(
        &self,
        table: &Table<'_>,
        options: &Options,
        demand: Demand<'_>,
        observer: &dyn Observer,
    ) -> Result<Box<dyn Analysis>> {
        let shape @ (height, width) = table.rows.shape();
        let (dense, dtype) = (table.bytes(), stored_dtype(table, options));
        let weights = options.weights_of(height)?;
        let norms = super::measure::norms(table.rows, weights.as_deref(), observer)?;
        let scale = scale_of(norms.squared_norm, height, width);
        let squared_norm = norms.objective_norm();
        let setups = match demand {
            Demand::Only(setting) => vec![Setup::read(setting)?],
            Demand::Ladder => ladder(width, options)?,
        };
        if let Some(setup) = setups.iter().find(|setup| setup.pieces > width) {
            return Err(Error::new(ErrorKind::Request, "more pieces than columns")
                .expected(format!("at most {width} sub-quantizers"))
                .found(setup.pieces.to_string()));
        }
        let ladder = matches!(demand, Demand::Ladder);
        let small = height.saturating_mul(width) <= SMALL_VALUES;
        let limit = if small { training::SAMPLE_ROWS } else { LADDER_ROWS };
        let sample = Sample::draw(table.rows, scale, weights.as_deref(), limit, options.seed, observer)?;
        let setups: Vec<(Setup, Vec<TensorMeta>)> = setups
            .into_iter()
            .filter(|setup| !ladder || setup.bytes(shape, dtype) < dense)
            .filter_map(|setup| Some((setup, setup.parts(table.name, shape, dtype)?)))
            .collect();
        let errors = if small {
            let try_out = |(setup, _): &(Setup, _)| -> Result<f64> {
                let sink = &mut Nowhere;
                let trained = Trained::new(table.rows, sample.clone(), setup, scale, dtype, sink, observer)?;
                Ok(trained.encode(table.rows, weights.as_deref(), sink, observer)?.objective())
            };
            setups.iter().map(try_out).collect::<Result<Vec<_>>>()?
        } else {
            let shares = predictions(&sample, &setups, height, observer)?;
            shares.into_iter().map(|share| share * squared_norm).collect::<Vec<_>>()
        };
        let mut points: Vec<Point> = Vec::with_capacity(setups.len());
        for ((setup, parts), squared_error) in setups.into_iter().zip(errors) {
            let rotation = if setup.rotation { 2 * (width as u64).pow(2) } else { 0 };
            points.push(Point {
                setting: setup.setting(),
                parameters: parts.iter().filter_map(TensorMeta::elements).sum(),
                parts,
                squared_error,
                retained_energy: None,
                flops_per_token: rotation + if setup.norms { width as u64 } else { 0 },
            });
        }
        if points.is_empty() {
            return Err(Error::new(ErrorKind::Request, "no number of pieces saves bytes")
                .expected("a table larger than its codebooks")
                .found(format!("[{height}, {width}] in {}", table.dtype))
                .hint("store the codebooks with `--dtype f16`, or leave the table out with `--exclude`"));
        }
        // Fewer pieces can be luckier on a sample, and nobody need pay more for less.
        let mut least = f64::INFINITY;
        for point in &mut points {
            least = least.min(point.squared_error);
            point.squared_error = least;
        }
        Ok(Box::new(Prepared { points, squared_norm, scale, dtype, seed: options.seed, weights }))
    }

    fn decode<'p>(&self, setting: &Setting, parts: &[Part<'p>]) -> Result<Box<dyn Rows + 'p>> {
        Ok(Box::new(Decoder::open(&Setup::read(setting)?, parts)?))
    }
}

/// The share of the squared norm that each of `setups` is expected to lose on a table of `height` rows.
fn predictions(
    sample: &Sample,
    setups: &[(Setup, Vec<TensorMeta>)],
    height: usize,
    observer: &dyn Observer,
) -> Result<Vec<f64>> {
    let share = |(setup, _): &(Setup, _), rounds: usize| {
        observer.check()?;
        Ok(encoder::predicted_share(sample, setup, height, rounds))
    };
    let rough = if setups.len() <= ANCHORS {
        vec![1.0; setups.len()]
    } else {
        setups.iter().map(|setup| share(setup, LADDER_ROUNDS)).collect::<Result<_>>()?
    };
    calibrated(&rough, ANCHORS, |at| share(&setups[at], training::ROUNDS))
}

/// Numbers of pieces that are tried: those that divide a row into equal pieces, and as many again between the larger.
fn ladder(width: usize, options: &Options) -> Result<Vec<Setup>> {
    if let Some(pieces) = options.subquantizers {
        return Ok(vec![Setup::new(pieces, options)?]);
    }
    let sizes = (1..=8).chain([10, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]);
    let mut pieces: Vec<usize> = sizes.filter(|&size| size <= width).map(|size| width.div_ceil(size)).collect();
    // Between one and two columns a piece a byte more or less is much.
    pieces.extend([3, 5].map(|part| (width * part).div_ceil(6)));
    pieces.push(1);
    pieces.retain(|&pieces| pieces > 0);
    pieces.sort_unstable();
    pieces.dedup();
    pieces.into_iter().map(|pieces| Setup::new(pieces, options)).collect()
}

/// Takes parts that nobody keeps.
struct Nowhere;

impl PartSink for Nowhere {
    fn write(&mut self, _part: usize, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// A table's points.
struct Prepared {
    points: Vec<Point>,
    squared_norm: f64,
    scale: f64,
    dtype: Dtype,
    seed: u64,
    weights: Option<Vec<f64>>,
}

impl Analysis for Prepared {
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
        let setup = Setup::read(&point.setting)?;
        let weights = self.weights.as_deref();
        let sample = Sample::draw(rows, self.scale, weights, training::SAMPLE_ROWS, self.seed, observer)?;
        let trained = Trained::new(rows, sample, &setup, self.scale, self.dtype, sink, observer)?;
        trained.encode(rows, weights, sink, observer)
    }
}
