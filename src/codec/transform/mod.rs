//! Transform coding: the table is rotated into its right singular basis, and each component is quantized in the
//! number of bits that its variance is worth; none for most of a low-rank table.
//!
//! The mathematics is in `docs/methods.md`. [`learn`] looks at a table, [`allocate`] gives out the bits, [`point`] fits
//! basis and levels, [`encode`] writes through the search of [`trellis`], [`decode`] reads; [`layout`] says what the parts
//! are.

#![expect(clippy::indexing_slicing, reason = "an encoder: points and milestones are numbered together")]

mod allocate;
mod basis;
mod bits;
mod codebook;
mod decode;
mod encode;
mod gains;
mod layout;
mod learn;
mod levels;
mod lloyd;
mod point;
mod reflectors;
mod sample;
mod trellis;

use std::ops::RangeInclusive;

use serde_json::Value;

use allocate::Milestone;
use learn::Learned;
use point::Fitted;

use super::calibrate::calibrated;
use super::{Analysis, Codec, Demand, DirectTarget, Measured, Options, Part, PartSink, Point, Setting, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::plan::bytes_within_reduction;
use crate::tensor::Rows;

/// Transform coding with reverse water-filling and trellis-coded components.
pub struct Transform;

/// The most bits of a component.
const MOST_BITS: u8 = 8;
/// Bits of a component that is kept.
const BITS: RangeInclusive<u8> = 1..=MOST_BITS;
/// Levels that the trellis offers for each code.
const LEVELS_PER_CODE: usize = 2;

/// The key of the bytes of all parts in a [`Setting`].
const BYTES: &str = "bytes";
/// The key of the number of columns.
const COLUMNS: &str = "columns";

impl Codec for Transform {
    fn name(&self) -> &'static str {
        "transform"
    }

    fn summary(&self) -> &'static str {
        "0 to 8 bits for each component in the singular basis, by reverse water-filling, trellis-coded"
    }

    fn reference(&self) -> &'static str {
        "Huang, Schultheiss, Block Quantization of Correlated Gaussian Random Variables, IEEE Transactions on \
         Communications Systems 11, 1963; Marcellin, Fischer, Trellis Coded Quantization of Memoryless and \
         Gauss-Markov Sources, IEEE Transactions on Communications 38, 1990"
    }

    fn resolve(&self, table: &Table<'_>, _options: &Options, target: DirectTarget) -> Result<Setting> {
        let DirectTarget::Reduction(reduction) = target else {
            return Err(Error::new(ErrorKind::Request, "this method gives each component its own number of bits")
                .expected("a reduction, a maximum error or a size")
                .found(format!("{target:?}"))
                .hint("use `--reduction`, `--max-error` or `--target-size`"));
        };
        Ok(setting(bytes_within_reduction(reduction, table.bytes())?, table.rows.shape().1))
    }

    fn analyze(
        &self,
        table: &Table<'_>,
        options: &Options,
        demand: Demand<'_>,
        observer: &dyn Observer,
    ) -> Result<Box<dyn Analysis>> {
        let (height, width) = table.rows.shape();
        let learned = Learned::read(table, options.weights_of(height)?, observer)?;
        let mut milestones = learned.path.milestones.clone();
        if milestones.is_empty() {
            return Err(Error::new(ErrorKind::Request, "the method saves no bytes")
                .expected("a table larger than its basis")
                .found(format!("[{height}, {width}] in {}", table.dtype))
                .hint("leave the table out with `--exclude`"));
        }
        if let Demand::Only(setting) = demand {
            let limit = bytes_of(setting)?;
            let within = milestones.partition_point(|milestone| milestone.bytes <= limit);
            let least = milestones.first().map_or(0, |milestone| milestone.bytes);
            milestones.truncate(within);
            milestones = milestones.split_off(within.checked_sub(1).ok_or_else(|| {
                Error::new(ErrorKind::Request, "the table does not fit in so few bytes")
                    .expected(format!("at least {least} bytes"))
                    .found(limit.to_string())
                    .hint("ask for a smaller reduction, or leave the table out with `--exclude`")
            })?);
        }
        let modelled: Vec<f64> =
            milestones.iter().map(|milestone| milestone.squared_error + learned.outside()).collect();
        let mut only = None;
        let tries = learned.tries(&milestones);
        let errors = calibrated(&modelled, tries, |at| {
            let fitted = Fitted::new(&learned, &learned.path.bits(&milestones[at]), observer)?;
            let lost = fitted.lost * learned.squared_norm;
            only = Some(fitted);
            Ok(lost)
        })?;
        // Nobody need pay more for less: on a table of few rows a point may be less lucky than a smaller one.
        let mut least = f64::INFINITY;
        let (milestones, errors): (Vec<_>, Vec<_>) = milestones
            .into_iter()
            .zip(errors)
            .filter(|&(_, error)| {
                let better = error < least;
                least = least.min(error);
                better
            })
            .unzip();
        let only = only.filter(|_| milestones.len() == 1);
        let points = milestones
            .iter()
            .zip(errors)
            .map(|(milestone, squared_error)| Point {
                setting: setting(milestone.bytes, width),
                parts: milestone.extent.parts(table.name),
                squared_error,
                retained_energy: None,
                parameters: milestone.extent.numbers(),
                flops_per_token: milestone.extent.flops(),
            })
            .collect();
        Ok(Box::new(Ready { learned, milestones, points, shape: (height, width), only }))
    }

    fn decode<'p>(&self, setting: &Setting, parts: &[Part<'p>]) -> Result<Box<dyn Rows + 'p>> {
        decode::open(setting, parts)
    }
}

/// A table with the ladder it can be stored at.
struct Ready {
    learned: Learned,
    milestones: Vec<Milestone>,
    points: Vec<Point>,
    shape: (usize, usize),
    /// What was fitted to the only point.
    only: Option<Fitted>,
}

impl Analysis for Ready {
    fn squared_norm(&self) -> f64 {
        self.learned.squared_norm
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
        let (point, milestone) = (self.point(point)?, &self.milestones[point]);
        if rows.shape() != self.shape {
            return Err(Error::new(ErrorKind::Request, "the table is not the one that was analyzed"));
        }
        let found;
        let fitted = match &self.only {
            Some(fitted) => fitted,
            None => {
                found = Fitted::new(&self.learned, &self.learned.path.bits(milestone), observer)?;
                &found
            }
        };
        encode::encode(&self.learned, rows, fitted, point, sink, observer)
    }
}

fn setting(bytes: u64, columns: usize) -> Setting {
    Setting::from_iter([(BYTES.to_owned(), Value::from(bytes)), (COLUMNS.to_owned(), Value::from(columns))])
}

fn bytes_of(setting: &Setting) -> Result<u64> {
    setting.get(BYTES).and_then(Value::as_u64).ok_or_else(|| {
        Error::new(ErrorKind::Malformed, "the setting of a transform has no size")
            .expected(format!("a whole number `{BYTES}`"))
            .found(Value::Object(setting.clone()).to_string())
    })
}
