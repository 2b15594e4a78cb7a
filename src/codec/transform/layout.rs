//! What is stored, and how large it is.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "at most 2^24 columns, no more components than columns, of at most 8 bits each: every sum stays below 2^53"
)]

use half::f16;

use super::basis;
use super::codebook::level_count;
use super::gains::{GAIN_BITS, GAINS};
use super::{BITS, COLUMNS};
use crate::codec::{Part, Setting};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{Dtype, TensorMeta};

/// Columns of a table that is read back: what stays within memory whatever a setting says.
const MAX_COLUMNS: u64 = 1 << 24;

/// The sums that the sizes of all parts follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    height: usize,
    width: usize,
    components: usize,
    row_bits: usize,
    levels: usize,
    basis_bytes: u64,
}

impl Extent {
    /// A table `[height, width]` whose kept components have these bits.
    pub(super) fn of(height: usize, width: usize, bits: &[u8]) -> Extent {
        let basis = bits.iter().enumerate().map(|(index, &bits)| basis::vector_bytes(bits, index, width as u64));
        Extent {
            height,
            width,
            components: bits.len(),
            row_bits: GAIN_BITS + bits.iter().map(|&bits| usize::from(bits)).sum::<usize>(),
            levels: bits.iter().map(|&bits| level_count(bits)).sum(),
            basis_bytes: basis.sum(),
        }
    }

    /// Bytes of the codes of a row.
    pub(super) fn row_bytes(&self) -> usize {
        self.row_bits.div_ceil(8)
    }

    /// Bytes of all parts.
    pub(super) fn bytes(&self) -> u64 {
        self.height as u64 * self.row_bytes() as u64 + self.bytes_beside_codes()
    }

    /// Bits, levels, basis, scales and gains.
    fn bytes_beside_codes(&self) -> u64 {
        9 * self.components as u64 + 2 * self.levels as u64 + self.basis_bytes + 8 * GAINS as u64
    }

    /// Numbers that are stored, each counted once whatever its bits.
    pub(super) fn numbers(&self) -> u64 {
        let components = self.components as u64;
        // Of entry j of the basis, those before it follow from the others.
        let basis = components * self.width as u64 - components * (components + 1) / 2;
        components * (self.height as u64 + 2) + basis + self.levels as u64 + (self.height + GAINS) as u64
    }

    /// Floating-point operations for a row: its product with the basis.
    pub(super) fn flops(&self) -> u64 {
        2 * self.components as u64 * self.width as u64
    }

    /// The parts of the table `name`: codes, bits, levels, basis, scales, gains.
    pub(super) fn parts(&self, name: &str) -> Vec<TensorMeta> {
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let part = |name: &str, dtype, shape| TensorMeta { name: format!("{module}.{name}"), dtype, shape };
        vec![
            TensorMeta { name: name.to_owned(), dtype: Dtype::U8, shape: vec![self.height, self.row_bytes()] },
            part("bits", Dtype::U8, vec![self.components]),
            part("levels", Dtype::F16, vec![self.levels]),
            part("basis", Dtype::U8, vec![self.basis_bytes as usize]),
            part("scales", Dtype::F32, vec![2, self.components]),
            part("gains", Dtype::F64, vec![GAINS]),
        ]
    }
}

/// The parts of a stored table, checked against each other.
#[derive(Debug)]
pub(super) struct Stored<'p> {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) row_bytes: usize,
    /// Bits of each component's codes.
    pub(super) bits: &'p [u8],
    pub(super) codes: &'p [u8],
    pub(super) levels: Vec<f32>,
    pub(super) basis: &'p [u8],
    /// The components' level scales, then their basis steps.
    pub(super) scales: Vec<f32>,
    pub(super) gains: [f64; GAINS],
}

impl<'p> Stored<'p> {
    /// Checks that `parts` are a table with `setting`.
    pub(super) fn open(setting: &Setting, parts: &[Part<'p>]) -> Result<Stored<'p>> {
        let width = setting.get(COLUMNS).and_then(serde_json::Value::as_u64);
        let width = width.filter(|width| (1..=MAX_COLUMNS).contains(width)).ok_or_else(|| {
            malformed("the setting has no number of columns")
                .expected(format!("`{COLUMNS}` from 1 to {MAX_COLUMNS}"))
                .found(serde_json::Value::Object(setting.clone()).to_string())
        })? as usize;
        let [codes, bits, levels, basis, scales, gains] = parts else {
            return Err(malformed("a part is missing or too many").expected("6 parts").found(parts.len().to_string()));
        };
        if let Some(bad) = bits.bytes.iter().find(|bits| !BITS.contains(bits)) {
            return Err(malformed("a component has a number of bits that there is not")
                .tensor(&bits.meta.name)
                .expected(format!("{} to {}", BITS.start(), BITS.end()))
                .found(bad.to_string()));
        }
        // Without this the reflections would not fit their rows, and the sizes of all of them no file.
        if bits.bytes.len() > width {
            return Err(malformed("a table has more components than columns")
                .tensor(&bits.meta.name)
                .expected(format!("at most {width}"))
                .found(bits.bytes.len().to_string()));
        }
        let height = codes.meta.shape.first().copied().unwrap_or(0);
        let extent = Extent::of(height, width, bits.bytes);
        for (part, expected) in parts.iter().zip(extent.parts("")) {
            part.check(expected.dtype, &expected.shape)?;
        }
        let numbers: Vec<f32> = scales.bytes.as_chunks().0.iter().map(|&scale| f32::from_le_bytes(scale)).collect();
        check_finite(scales, numbers.iter().map(|&scale| scale.into()))?;
        let level_values: Vec<f32> =
            levels.bytes.as_chunks().0.iter().map(|&level| f16::from_le_bytes(level).to_f32()).collect();
        check_finite(levels, level_values.iter().map(|&level| level.into()))?;
        let mut values = [0.0; GAINS];
        for (value, bytes) in values.iter_mut().zip(gains.bytes.as_chunks().0) {
            *value = f64::from_le_bytes(*bytes);
        }
        check_finite(gains, values.into_iter())?;
        Ok(Stored {
            height,
            width,
            row_bytes: extent.row_bytes(),
            bits: bits.bytes,
            codes: codes.bytes,
            levels: level_values,
            basis: basis.bytes,
            scales: numbers,
            gains: values,
        })
    }
}

fn malformed(summary: &str) -> Error {
    Error::new(ErrorKind::Malformed, summary)
}

/// Refuses numbers that no encoder writes.
fn check_finite(part: &Part<'_>, mut numbers: impl Iterator<Item = f64>) -> Result<()> {
    match numbers.find(|number| !number.is_finite()) {
        None => Ok(()),
        Some(number) => Err(Error::new(ErrorKind::NonFinite, "a part has a number that is not finite")
            .tensor(&part.meta.name)
            .expected("finite numbers")
            .found(number.to_string())),
    }
}
