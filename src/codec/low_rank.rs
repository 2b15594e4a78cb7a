//! A factor pair of rank k: `X.weight` = A [V, k] and `X.proj.weight` = B transposed [d, k], with W ~ A B.
//!
//! The mathematics is in `docs/methods.md`, the computation in [`crate::linalg`].

use serde_json::Value;

use super::weights::WeightedRows;
use super::{
    Analysis, Arithmetic, Codec, Demand, DirectTarget, Measured, Native, Options, Part, PartSink, Point, Setting,
    Split, Table,
};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::{self, Factor, Factorization, Pair, Product, Products, Values};
use crate::observe::Observer;
use crate::plan::{check_rank, largest_saving_rank, rank_for_reduction};
use crate::tensor::{Dtype, Precision, Rows, Store, TensorMeta};

/// Truncated singular value decomposition, stored as a factor pair.
pub struct LowRank;

/// The key of the rank in a [`Setting`].
const RANK: &str = "rank";

impl Codec for LowRank {
    fn name(&self) -> &'static str {
        "low-rank"
    }

    fn summary(&self) -> &'static str {
        "a factor pair A [V, k], B [k, d] from the truncated singular value decomposition"
    }

    fn reference(&self) -> &'static str {
        "Acharya, Goel, Metallinou, Dhillon, Online Embedding Compression for Text Classification using Low Rank \
         Matrix Factorization, AAAI 2019, arXiv 1811.00641"
    }

    fn is_factor_pair(&self) -> bool {
        true
    }

    fn resolve(&self, table: &Table<'_>, options: &Options, target: DirectTarget) -> Result<Setting> {
        let (height, width) = table.rows.shape();
        let rank = match target {
            DirectTarget::Reduction(reduction) => rank_for_reduction(reduction, height, width)?,
            DirectTarget::Rank(rank) => rank,
            DirectTarget::Bits(_) => {
                return Err(Error::new(ErrorKind::Request, "a factor pair of floats has no bits to choose")
                    .hint("choose `--rank` or `--reduction`, or use `--method fixed-point`"));
            }
        };
        check_rank(rank, height, width, table.dtype, options.dtype.unwrap_or(table.dtype))?;
        Ok(setting(rank))
    }

    fn analyze(
        &self,
        table: &Table<'_>,
        options: &Options,
        demand: Demand<'_>,
        observer: &dyn Observer,
    ) -> Result<Box<dyn Analysis>> {
        let (height, width) = table.rows.shape();
        let stored = options.dtype.unwrap_or(table.dtype);
        let largest = largest_saving_rank(height, width, table.dtype, stored);
        let (ranks, max_rank, products) = match demand {
            Demand::Ladder => {
                // Refuses a table that no rank saves bytes of.
                check_rank(largest.max(1), height, width, table.dtype, stored)?;
                (1..=largest, largest, options.products.of_spectrum())
            }
            Demand::Only(setting) => {
                let rank = rank_of(setting)?;
                (rank..=rank, rank, options.products)
            }
        };
        let weights = options.weights_of(height)?;
        let weighted = WeightedRows::new(table.rows, weights.as_deref());
        let factorization = linalg::factorize(&weighted, Some(max_rank), products, observer)?.of_weighted(weights);
        let spectrum = factorization.spectrum();
        let tails = spectrum.squared_errors();
        let points = ranks
            .map(|rank| {
                let parts = parts(table.name, stored, (height, width), rank);
                let dropped = tails.get(rank).copied().unwrap_or(0.0);
                Point {
                    setting: setting(rank),
                    parameters: parts.iter().filter_map(TensorMeta::elements).sum(),
                    parts,
                    squared_error: dropped + rounding(stored, spectrum.squared_norm - dropped),
                    retained_energy: Some(spectrum.retained_energy(rank)),
                    flops_per_token: 2u64.saturating_mul(rank as u64).saturating_mul(width as u64),
                }
            })
            .collect();
        Ok(Box::new(Decomposed { factorization, points, stored, split: options.split }))
    }

    fn decode<'p>(&self, setting: &Setting, parts: &[Part<'p>]) -> Result<Box<dyn Rows + 'p>> {
        let rank = rank_of(setting)?;
        let [left, right] = parts else {
            return Err(Error::new(ErrorKind::Malformed, "a factor pair has two parts")
                .expected("2 parts")
                .found(parts.len().to_string()));
        };
        Ok(Box::new(Product::new(left.floats(rank)?, &right.floats(rank)?)?))
    }

    fn arithmetic(&self, _setting: &Setting) -> Result<Arithmetic> {
        Ok(Arithmetic::Product)
    }

    fn native(&self, _setting: &Setting, _columns: usize) -> Option<Native> {
        Some(Native::FactorPair)
    }
}

/// A factorized table and the ranks it can be stored at.
struct Decomposed {
    factorization: Factorization,
    points: Vec<Point>,
    stored: Dtype,
    split: Split,
}

impl Decomposed {
    fn pair(&self, point: &Point) -> Result<Pair> {
        let stored = if self.stored == Dtype::F64 { Precision::Double } else { Precision::Single };
        Ok(Pair { rank: rank_of(&point.setting)?, split: self.split, stored })
    }
}

impl Analysis for Decomposed {
    fn squared_norm(&self) -> f64 {
        self.factorization.spectrum().squared_norm
    }

    fn points(&self) -> &[Point] {
        &self.points
    }

    fn products(&self, point: usize) -> Option<Products> {
        self.factorization.products(&self.pair(self.point(point).ok()?).ok()?)
    }

    fn encode(
        &self,
        rows: &dyn Rows,
        point: usize,
        sink: &mut dyn PartSink,
        observer: &dyn Observer,
    ) -> Result<Measured> {
        let point = self.point(point)?;
        let pair = self.pair(point)?;
        let round = |values: Values<'_>, bytes: &mut Vec<u8>| {
            let stored = match values {
                Values::Single(values) => f32::store(values, self.stored, bytes),
                Values::Double(values) => f64::store(values, self.stored, bytes),
            };
            stored.map_err(|overflow| {
                Error::new(ErrorKind::NonFinite, "a factor leaves the range of its dtype")
                    .expected(format!("a finite {}", self.stored))
                    .found(overflow.value.to_string())
                    .hint("store the factors in a dtype of wider range with `--dtype bf16` or `--dtype f32`")
            })
        };
        let mut take = |factor, bytes: &[u8]| match factor {
            Factor::Left => sink.write(0, bytes),
            Factor::Right => sink.write(1, bytes),
        };
        self.factorization.encode(rows, &pair, &round, &mut take, observer)
    }
}

fn setting(rank: usize) -> Setting {
    Setting::from_iter([(RANK.to_owned(), Value::from(rank))])
}

fn rank_of(setting: &Setting) -> Result<usize> {
    let rank = setting.get(RANK).and_then(Value::as_u64).and_then(|rank| usize::try_from(rank).ok());
    rank.ok_or_else(|| {
        Error::new(ErrorKind::Malformed, "the setting of a factor pair has no rank")
            .expected(format!("a whole number `{RANK}`"))
            .found(Value::Object(setting.clone()).to_string())
    })
}

/// A and B transposed, named so that they load into an embedding followed by a linear layer called `proj`.
fn parts(name: &str, stored: Dtype, (height, width): (usize, usize), rank: usize) -> Vec<TensorMeta> {
    let module = name.strip_suffix(".weight").unwrap_or(name);
    vec![
        TensorMeta { name: name.to_owned(), dtype: stored, shape: vec![height, rank] },
        TensorMeta { name: format!("{module}.proj.weight"), dtype: stored, shape: vec![width, rank] },
    ]
}

/// What rounding both factors is expected to add to the squared error: see "Rounding the factors" in
/// `docs/methods.md`.
fn rounding(stored: Dtype, kept: f64) -> f64 {
    2.0 / 3.0 * stored.unit_roundoff().unwrap_or(0.0).powi(2) * kept.max(0.0)
}
