//! Fixed-point quantization: each number becomes a code of a few bits, `W ~ (code - zero_point) * scale`.
//!
//! The mathematics and what is stored is in `docs/methods.md`.

mod analysis;
mod blocks;
mod decode;
mod grid;
mod round;
mod scheme;

use crate::codec::{
    Analysis, Arithmetic, Codec, Demand, DirectTarget, Native, Options, Part, Setting, Table, arithmetic,
};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::plan::bytes_within_reduction;
use crate::tensor::{Dtype, Rows};

use decode::Quantized;
use scheme::Scheme;
pub use scheme::{BITS, Granularity, Symmetry};

/// Codes of 2 to 8 or of 16 bits with a scale for the table, for each row, or for each group of columns.
pub struct FixedPoint;

impl Codec for FixedPoint {
    fn name(&self) -> &'static str {
        "fixed-point"
    }

    fn summary(&self) -> &'static str {
        "codes of 2 to 8 or 16 bits with a scale for each row, each group of columns, or the table"
    }

    fn reference(&self) -> &'static str {
        "Jacob, Kligys, Chen, Zhu, Tang, Howard, Adam, Kalenichenko, Quantization and Training of Neural Networks for \
         Efficient Integer-Arithmetic-Only Inference, CVPR 2018, arXiv 1712.05877; storage after compressed-tensors"
    }

    fn resolve(&self, table: &Table<'_>, options: &Options, target: DirectTarget) -> Result<Setting> {
        let schemes = saving(table, options)?;
        let bytes = |scheme: &Scheme| stored_bytes(scheme, table.rows.shape());
        let chosen = match target {
            DirectTarget::Rank(_) => {
                return Err(Error::new(ErrorKind::Request, "fixed-point codes have no rank")
                    .hint("choose the width with `--bits`, or use `--method low-rank`"));
            }
            DirectTarget::Bits(bits) => {
                let chosen = schemes.iter().find(|scheme| scheme.bits == bits);
                chosen.copied().ok_or_else(|| refuse_bits(bits, &schemes, table))?
            }
            DirectTarget::Reduction(reduction) => {
                let dense = table.bytes();
                let limit = bytes_within_reduction(reduction, dense)?;
                let chosen = schemes.iter().rev().find(|scheme| bytes(scheme).is_some_and(|bytes| bytes <= limit));
                chosen.copied().ok_or_else(|| {
                    let least = schemes.first().and_then(bytes).unwrap_or(dense);
                    let largest = ((1.0 - least as f64 / dense as f64) * 1e6).floor() / 1e6;
                    Error::new(ErrorKind::Request, "reduction is beyond the narrowest codes")
                        .expected(format!("a table that keeps at least {least} of {dense} bytes"))
                        .found(format!("reduction {reduction}, which leaves {limit}"))
                        .hint(format!("the largest reduction of this table is {largest:.6}"))
                })?
            }
        };
        Ok(chosen.to_setting())
    }

    fn analyze(
        &self,
        table: &Table<'_>,
        options: &Options,
        demand: Demand<'_>,
        observer: &dyn Observer,
    ) -> Result<Box<dyn Analysis>> {
        let schemes = match demand {
            Demand::Ladder => saving(table, options)?,
            Demand::Only(setting) => vec![Scheme::from_setting(setting)?],
        };
        Ok(Box::new(analysis::survey(table, &schemes, options.weights_of(table.rows.shape().0)?, observer)?))
    }

    fn decode<'p>(&self, setting: &Setting, parts: &[Part<'p>]) -> Result<Box<dyn Rows + 'p>> {
        Ok(Box::new(Quantized::open(Scheme::from_setting(setting)?, parts)?))
    }

    fn encodes_rows_apart(&self, setting: &Setting) -> bool {
        Scheme::from_setting(setting).is_ok_and(|scheme| scheme.granularity != Granularity::Tensor)
    }

    fn round_rows(&self, setting: &Setting, columns: usize, values: &mut [f32]) -> Result<()> {
        let scheme = Scheme::from_setting(setting)?;
        if scheme.granularity == Granularity::Tensor {
            return Err(Error::new(ErrorKind::Unsupported, "one scale serves all rows"));
        }
        round::round_rows(&scheme, columns, values)
    }

    fn native(&self, setting: &Setting, columns: usize) -> Option<Native> {
        let scheme = Scheme::from_setting(setting).ok()?;
        scheme.compressed_tensors(columns).map(Native::CompressedTensors)
    }

    fn adopt(&self, weights: &serde_json::Value, scale_dtype: Dtype) -> Option<Setting> {
        Scheme::of_compressed_tensors(weights, scale_dtype).map(Scheme::to_setting)
    }

    fn arithmetic(&self, setting: &Setting) -> Result<Arithmetic> {
        let scheme = Scheme::from_setting(setting)?;
        if scheme.bits == 8 {
            return Ok(Arithmetic::Scaled { has_zero_points: scheme.is_affine(), granularity: scheme.granularity });
        }
        let hint = "pass `--bits 8`, whose codes are bytes";
        Err(arithmetic::refuse(self.name(), setting, hint))
    }
}

/// The schemes of `options` that take fewer bytes than the table, narrowest first.
///
/// # Errors
/// [`ErrorKind::Request`] where there is none, or where the dtype of scales is none.
fn saving(table: &Table<'_>, options: &Options) -> Result<Vec<Scheme>> {
    let scale_dtype = options.scale_dtype.unwrap_or(Dtype::F16);
    if !matches!(scale_dtype, Dtype::F16 | Dtype::F32) {
        return Err(Error::new(ErrorKind::Request, "dtype of scales is not supported")
            .expected("F16 or F32")
            .found(scale_dtype.name()));
    }
    let scheme = |bits| Scheme { bits, granularity: options.granularity, symmetry: options.symmetry, scale_dtype };
    let dense = table.bytes();
    let saves = |scheme: &Scheme| stored_bytes(scheme, table.rows.shape()).is_some_and(|bytes| bytes < dense);
    let schemes: Vec<Scheme> = BITS.into_iter().map(scheme).filter(saves).collect();
    if schemes.is_empty() {
        let (rows, columns) = table.rows.shape();
        return Err(Error::new(ErrorKind::Request, "no width of codes saves bytes")
            .expected(format!("a table larger than its codes and scales ({})", options.granularity))
            .found(format!("[{rows}, {columns}] in {}", table.dtype))
            .hint("share scales more widely with `--granularity`, or leave the table out with `--exclude`"));
    }
    Ok(schemes)
}

fn stored_bytes(scheme: &Scheme, shape: (usize, usize)) -> Option<u64> {
    scheme.parts("", shape)?.iter().try_fold(0u64, |sum, part| sum.checked_add(part.bytes()?))
}

fn refuse_bits(bits: u32, schemes: &[Scheme], table: &Table<'_>) -> Error {
    let words = |bits: &[u32]| bits.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let (rows, columns) = table.rows.shape();
    let saving: Vec<u32> = schemes.iter().map(|scheme| scheme.bits).collect();
    if BITS.contains(&bits) {
        Error::new(ErrorKind::Request, "codes of that width would not save bytes")
            .expected(format!("{} bits for [{rows}, {columns}] in {}", words(&saving), table.dtype))
            .found(format!("{bits} bits"))
    } else {
        Error::new(ErrorKind::Request, "there are no codes of that width")
            .expected(format!("{} bits", words(&BITS)))
            .found(format!("{bits} bits"))
    }
}
