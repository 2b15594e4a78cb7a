//! A factor pair of rank k whose entries are codes of a few bits: low rank and low precision together.
//!
//! `X.weight` holds the codes of L `[V, k]`, `X.proj.weight` those of R transposed `[d, k]`, each with a
//! `*_scale` of offset and step for every rank, or one for the whole factor. The mathematics is in `docs/methods.md`.

#![expect(clippy::arithmetic_side_effects, reason = "numbers of a factor pair that is smaller than a table in memory")]

mod factors;
mod grid;
mod ladder;
mod stored;

use serde_json::Value;

use super::scale::scale_of;
use super::weights::WeightedRows;
use super::{
    Analysis, Arithmetic, Codec, Demand, DirectTarget, Measured, Options, Part, PartSink, Point, Setting, Table,
    arithmetic, packed,
};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::{self, Factorization, Product, Products};
use crate::observe::{Observer, Silent};
use crate::plan::bytes_for_reduction;
use crate::tensor::{Dtype, Rows, TensorMeta};

use factors::{Factors, Source};
use stored::PackedFactor;

/// Low rank and low precision.
pub struct LowRankFixed;

/// Bits that a code may have.
const BITS: std::ops::RangeInclusive<u32> = 2..=packed::MAX_BITS;

/// Bits of both factors where a rank is asked for and nothing is said of bits.
const DEFAULT_BITS: u32 = 4;

/// How the quantized factors are found. Q is rounding to a grid with one range for a whole matrix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Variant {
    /// A grid for every rank; L and R fitted to each other as they are rounded.
    #[default]
    Ours,
    /// L = Q(W S) for a Gaussian sketch S, R = Q(pinv(L) W).
    Lplr,
    /// L = Q(U), R = Q(S V^T).
    Svd,
    /// L = Q(U S G) for a Gaussian sketch G, R = Q(pinv(L) W).
    LplrSvd,
}

impl Variant {
    /// Every variant, in the order of the docs.
    pub const ALL: [Variant; 4] = [Variant::Ours, Variant::Lplr, Variant::Svd, Variant::LplrSvd];

    /// The word of flags and manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Variant::Ours => "ours",
            Variant::Lplr => "lplr",
            Variant::Svd => "svd",
            Variant::LplrSvd => "lplr-svd",
        }
    }

    fn is_sketched(self) -> bool {
        matches!(self, Variant::Lplr | Variant::LplrSvd)
    }
}

/// The parameters of an operating point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Setup {
    rank: usize,
    left_bits: u32,
    right_bits: u32,
    variant: Variant,
    seed: u64,
}

impl Setup {
    fn setting(&self) -> Setting {
        let mut setting = Setting::from_iter([
            ("rank".to_owned(), Value::from(self.rank)),
            ("left_bits".to_owned(), Value::from(self.left_bits)),
            ("right_bits".to_owned(), Value::from(self.right_bits)),
            ("variant".to_owned(), Value::from(self.variant.name())),
        ]);
        if self.variant.is_sketched() {
            setting.insert("seed".to_owned(), Value::from(self.seed));
        }
        setting
    }

    fn read(setting: &Setting) -> Result<Self> {
        let number = |key: &str| setting.get(key).and_then(Value::as_u64);
        let bits = |key: &str| number(key).and_then(|bits| u32::try_from(bits).ok()).filter(|bits| BITS.contains(bits));
        let name = setting.get("variant").and_then(Value::as_str);
        let variant = Variant::ALL.into_iter().find(|variant| Some(variant.name()) == name);
        let rank = number("rank").and_then(|rank| usize::try_from(rank).ok()).filter(|&rank| rank > 0);
        let seed = if setting.contains_key("seed") { number("seed") } else { Some(0) };
        match (rank, bits("left_bits"), bits("right_bits"), variant, seed) {
            (Some(rank), Some(left_bits), Some(right_bits), Some(variant), Some(seed)) => {
                Ok(Setup { rank, left_bits, right_bits, variant, seed })
            }
            _ => Err(Error::new(ErrorKind::Malformed, "not the setting of a quantized factor pair")
                .expected("`rank` of at least 1, `left_bits` and `right_bits` from 2 to 8, and a known `variant`")
                .found(Value::Object(setting.clone()).to_string())),
        }
    }

    /// Grids of a factor.
    fn grids(&self) -> usize {
        if self.variant == Variant::Ours { self.rank } else { 1 }
    }

    /// Codes and grids of L, then of R transposed; `None` where a size overflows.
    fn parts(&self, name: &str, (height, width): (usize, usize)) -> Option<Vec<TensorMeta>> {
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let codes = |name: String, rows, bits| {
            let shape = vec![rows, packed::row_bytes(self.rank, bits)?];
            Some(TensorMeta { name, dtype: Dtype::U8, shape })
        };
        let grids = |name: String| TensorMeta { name, dtype: Dtype::F32, shape: vec![self.grids(), 2] };
        Some(vec![
            codes(name.to_owned(), height, self.left_bits)?,
            grids(format!("{module}.weight_scale")),
            codes(format!("{module}.proj.weight"), width, self.right_bits)?,
            grids(format!("{module}.proj.weight_scale")),
        ])
    }

    fn bytes(&self, (height, width): (usize, usize)) -> Option<u64> {
        let parts = self.parts("", (height, width))?;
        parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.bytes()?))
    }
}

impl Codec for LowRankFixed {
    fn name(&self) -> &'static str {
        "low-rank-fixed"
    }

    fn summary(&self) -> &'static str {
        "a factor pair whose entries are codes of 2 to 8 bits; rank and bits are chosen together"
    }

    fn reference(&self) -> &'static str {
        "Saha, Srivastava, Pilanci, Matrix Compression via Randomized Low Rank and Low Precision Factorization, \
         NeurIPS 2023, arXiv 2310.11028"
    }

    fn resolve(&self, table: &Table<'_>, options: &Options, target: DirectTarget) -> Result<Setting> {
        let shape @ (height, width) = table.rows.shape();
        let dense = table.bytes();
        let (left, right) = bits_of(options)?;
        match target {
            DirectTarget::Rank(rank) => {
                let setup = Setup {
                    rank,
                    left_bits: left.unwrap_or(DEFAULT_BITS),
                    right_bits: right.unwrap_or(DEFAULT_BITS),
                    variant: options.variant,
                    seed: options.seed,
                };
                let saves = |rank| Setup { rank, ..setup }.bytes(shape).is_some_and(|bytes| bytes < dense);
                let most = height.min(width);
                if (1..=most).contains(&rank) && saves(rank) {
                    return Ok(setup.setting());
                }
                let largest = (1..=most).rev().find(|&rank| saves(rank)).unwrap_or(0);
                Err(Error::new(ErrorKind::Request, "rank is 0, beyond the table's, or would not save bytes")
                    .expected(format!("a rank from 1 to {largest} for [{height}, {width}]"))
                    .found(rank.to_string()))
            }
            DirectTarget::Bits(_) => Err(Error::new(ErrorKind::Request, "a factor pair has bits on two sides")
                .expected("`--reduction`, `--rank`, `--max-error` or `--target-size`")
                .hint("`--left-bits` and `--right-bits` fix the bits")),
            DirectTarget::Reduction(reduction) => {
                let budget = bytes_for_reduction(reduction, dense)?;
                // Which rank and bits are best within the bytes only the numbers can tell.
                let analysis = self.analyze(table, options, Demand::Ladder, &Silent)?;
                let within = analysis.points().iter().rev().find(|point| point.bytes() <= budget);
                within.map(|point| point.setting.clone()).ok_or_else(|| {
                    let least = analysis.points().first().map_or(0, Point::bytes);
                    Error::new(ErrorKind::Request, "reduction leaves too few bytes")
                        .expected(format!("at least {least} bytes (rank 1)"))
                        .found(format!("{budget} bytes"))
                })
            }
        }
    }

    fn analyze(
        &self,
        table: &Table<'_>,
        options: &Options,
        demand: Demand<'_>,
        observer: &dyn Observer,
    ) -> Result<Box<dyn Analysis>> {
        let shape @ (height, width) = table.rows.shape();
        let rank = match demand {
            Demand::Ladder => height.min(width),
            Demand::Only(setting) => Setup::read(setting)?.rank.min(height.min(width)),
        };
        let weights = options.weights_of(height)?;
        let weighted = WeightedRows::new(table.rows, weights.as_deref());
        let factorization = linalg::factorize(&weighted, Some(rank), Products::Single, observer)?;
        let spectrum = factorization.spectrum();
        let squared_norm = spectrum.squared_norm;
        let scale = scale_of(squared_norm, height, width);
        let prediction = {
            let weights = weights.as_deref();
            let source = Source { rows: table.rows, weights, scale, squared_norm, observer };
            ladder::Prediction::new(&source, &factorization, options.variant, rank)?
        };
        let (left, right) = bits_of(options)?;
        let setups = match demand {
            Demand::Ladder => {
                let dense = table.bytes();
                let base = Setup { rank, left_bits: 8, right_bits: 8, variant: options.variant, seed: options.seed };
                ladder::envelope(&base, shape, (left, right), dense, &prediction)
            }
            Demand::Only(setting) => vec![Setup::read(setting)?],
        };
        let source = Source { rows: table.rows, weights: weights.as_deref(), scale, squared_norm, observer };
        let (setups, fitted) = ladder::measure(&source, &factorization, setups, &prediction)?;
        let points = setups.iter().filter_map(|(setup, squared_error)| {
            let parts = setup.parts(table.name, shape)?;
            Some(Point {
                setting: setup.setting(),
                parameters: (setup.rank as u64) * (height as u64 + width as u64) + 4 * setup.grids() as u64,
                parts,
                squared_error: *squared_error,
                retained_energy: None,
                flops_per_token: 2 * setup.rank as u64 * (width as u64 + 1),
            })
        });
        let points: Vec<_> = points.collect();
        if points.is_empty() {
            return Err(Error::new(ErrorKind::Request, "no rank saves bytes")
                .expected("a table larger than its quantized factor pair of rank 1")
                .found(format!("[{height}, {width}] in {}", table.dtype))
                .hint("leave the table out with `--exclude`"));
        }
        Ok(Box::new(Prepared { factorization, points, scale, weights, fitted }))
    }

    fn decode<'p>(&self, setting: &Setting, parts: &[Part<'p>]) -> Result<Box<dyn Rows + 'p>> {
        let setup = Setup::read(setting)?;
        let [left, left_grids, right, right_grids] = parts else {
            return Err(Error::new(ErrorKind::Malformed, "a quantized factor pair has four parts")
                .expected("4 parts")
                .found(parts.len().to_string()));
        };
        let left = PackedFactor::open(left, left_grids, setup.rank, setup.left_bits)?;
        let right = PackedFactor::open(right, right_grids, setup.rank, setup.right_bits)?;
        Ok(Box::new(Product::new(left, &right)?))
    }

    fn arithmetic(&self, setting: &Setting) -> Result<Arithmetic> {
        let setup = Setup::read(setting)?;
        let is_bytes = setup.left_bits == packed::MAX_BITS && setup.right_bits == packed::MAX_BITS;
        if is_bytes && setup.grids() == setup.rank {
            return Ok(Arithmetic::CodedProduct);
        }
        let hint = "pass `--left-bits 8 --right-bits 8`, whose codes are bytes, without `--variant`";
        Err(arithmetic::refuse(self.name(), setting, hint))
    }
}

fn bits_of(options: &Options) -> Result<(Option<u32>, Option<u32>)> {
    for bits in [options.left_bits, options.right_bits].into_iter().flatten() {
        if !BITS.contains(&bits) {
            return Err(Error::new(ErrorKind::Request, "bits of a factor are out of range")
                .expected("2 to 8")
                .found(bits.to_string()));
        }
    }
    Ok((options.left_bits, options.right_bits))
}

/// A factorized table and the points it can be stored at.
struct Prepared {
    factorization: Factorization,
    points: Vec<Point>,
    scale: f64,
    weights: Option<Vec<f64>>,
    /// Those of the only point.
    fitted: Option<Factors>,
}

impl Analysis for Prepared {
    fn squared_norm(&self) -> f64 {
        self.factorization.spectrum().squared_norm
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
        let source = Source {
            rows,
            weights: self.weights.as_deref(),
            scale: self.scale,
            squared_norm: self.squared_norm(),
            observer,
        };
        let found;
        let factors = match &self.fitted {
            Some(factors) => factors,
            None => {
                found = factors::fit(&source, &self.factorization, &setup)?;
                &found
            }
        };
        // Half of the magnitude on each side, so that tables of denormals have scales that are not.
        let left_scale = (-self.scale.log2() / 2.0).floor().exp2();
        stored::write_grids(&factors.left, left_scale, 1, sink)?;
        stored::write_grids(&factors.right, self.scale.recip() / left_scale, 3, sink)?;
        stored::write_right(&factors.right_codes, setup.rank, setup.right_bits, sink)?;
        let mut bytes = Vec::new();
        let mut take = |codes: &[u8]| {
            bytes.clear();
            codes.chunks_exact(setup.rank).for_each(|row| packed::pack_row(row, setup.left_bits, &mut bytes));
            sink.write(0, &bytes)
        };
        factors.encode(&source, setup.rank, &mut take)
    }
}
