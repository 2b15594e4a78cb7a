//! What a table is quantized to: bits, granularity, symmetric or affine, dtype of the scales; and what that stores.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::codec::Setting;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{Dtype, TensorMeta};

/// The widths of a code, narrowest first.
pub const BITS: [u32; 8] = [2, 3, 4, 5, 6, 7, 8, 16];

/// Which entries share a scale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Granularity {
    /// The whole table.
    Tensor,
    /// Each row.
    #[default]
    Row,
    /// That many neighbouring columns of a row; the last group of a row may be shorter.
    Group(usize),
}

impl fmt::Display for Granularity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Granularity::Tensor => out.write_str("tensor"),
            Granularity::Row => out.write_str("row"),
            Granularity::Group(columns) => write!(out, "group:{columns}"),
        }
    }
}

impl FromStr for Granularity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let group = || text.strip_prefix("group:")?.parse().ok().filter(|&columns| columns > 0);
        match text {
            "tensor" => Ok(Granularity::Tensor),
            "row" => Ok(Granularity::Row),
            _ => group().map(Granularity::Group).ok_or_else(|| {
                Error::new(ErrorKind::Request, "not a granularity")
                    .expected("`tensor`, `row` or `group:64` with any number of columns above 0")
                    .found(format!("`{}`", text.escape_debug()))
            }),
        }
    }
}

/// Where zero lies in the range of the codes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Symmetry {
    /// In the middle: the scale follows from the largest magnitude alone.
    #[default]
    Symmetric,
    /// At a stored zero point: the scale follows from the least and the largest value.
    Affine,
}

impl Symmetry {
    /// The word of flags and manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Symmetry::Symmetric => "symmetric",
            Symmetry::Affine => "affine",
        }
    }
}

/// Everything that decides what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scheme {
    pub(super) bits: u32,
    pub(super) granularity: Granularity,
    pub(super) symmetry: Symmetry,
    /// F16 or F32; BF16 too where another program stored it.
    pub(super) scale_dtype: Dtype,
}

/// How the codes of a table lie in its first part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// `X.weight` I8 `[V, d]`: compressed-tensors' `int-quantized`.
    Bytes,
    /// `X.weight_packed` I32, rows of whole words: compressed-tensors' `pack-quantized`.
    Words,
    /// `X.weight` U8 in one dimension, rows of whole bytes: ours.
    Stream,
}

impl Scheme {
    /// The scheme that a [`Setting`] records.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where it records none.
    pub(super) fn from_setting(setting: &Setting) -> Result<Self> {
        let text = |key: &str| setting.get(key).and_then(Value::as_str);
        let scheme = || {
            let bits = u32::try_from(setting.get("bits")?.as_u64()?).ok().filter(|bits| BITS.contains(bits))?;
            let symmetry = [Symmetry::Symmetric, Symmetry::Affine];
            Some(Scheme {
                bits,
                granularity: text("granularity")?.parse().ok()?,
                symmetry: symmetry.into_iter().find(|one| Some(one.name()) == text("scheme"))?,
                scale_dtype: [Dtype::F16, Dtype::F32, Dtype::BF16]
                    .into_iter()
                    .find(|one| Some(one.name()) == text("scale_dtype"))?,
            })
        };
        scheme().ok_or_else(|| {
            Error::new(ErrorKind::Malformed, "not the setting of a fixed-point table")
                .expected("`bits`, `granularity`, `scheme` and `scale_dtype`")
                .found(Value::Object(setting.clone()).to_string())
        })
    }

    pub(super) fn to_setting(self) -> Setting {
        Setting::from_iter([
            ("bits".to_owned(), Value::from(self.bits)),
            ("granularity".to_owned(), Value::from(self.granularity.to_string())),
            ("scheme".to_owned(), Value::from(self.symmetry.name())),
            ("scale_dtype".to_owned(), Value::from(self.scale_dtype.name())),
        ])
    }

    pub(super) fn is_affine(&self) -> bool {
        self.symmetry == Symmetry::Affine
    }

    /// Least and largest code.
    #[expect(clippy::arithmetic_side_effects, reason = "bits are from 2 to 16")]
    pub(super) fn range(&self) -> (i32, i32) {
        let half = 1i32 << (self.bits - 1);
        (-half, half - 1)
    }

    /// Columns that share a scale in a row of `columns`.
    pub(super) fn group_columns(&self, columns: usize) -> usize {
        match self.granularity {
            Granularity::Group(group) => group.min(columns.max(1)),
            Granularity::Tensor | Granularity::Row => columns.max(1),
        }
    }

    /// Scales of a row of `columns`.
    pub(super) fn groups(&self, columns: usize) -> usize {
        columns.div_ceil(self.group_columns(columns))
    }

    /// Where the conventions of compressed-tensors cover the scheme, theirs; else ours.
    pub(super) fn packing(&self, columns: usize) -> Packing {
        let whole = match self.granularity {
            Granularity::Group(group) => columns.is_multiple_of(group),
            Granularity::Tensor | Granularity::Row => true,
        };
        match self.bits {
            8 if whole => Packing::Bytes,
            4 if whole => Packing::Words,
            _ => Packing::Stream,
        }
    }

    /// Bytes of the codes of a row.
    pub(super) fn row_bytes(&self, columns: usize) -> Option<usize> {
        let bits = columns.checked_mul(self.bits as usize)?;
        Some(match self.packing(columns) {
            Packing::Words => bits.div_ceil(32).checked_mul(4)?,
            Packing::Bytes | Packing::Stream => bits.div_ceil(8),
        })
    }

    /// Where the zero points are: packed like codes, so that eight rows share words, or a number each.
    pub(super) fn packs_zero_points(&self, columns: usize) -> bool {
        self.packing(columns) == Packing::Words && self.granularity != Granularity::Tensor
    }

    /// The parts of the table called `name`, in the order in which [`Parts`] numbers them; `None` where their sizes
    /// overflow.
    pub(super) fn parts(&self, name: &str, (rows, columns): (usize, usize)) -> Option<Vec<TensorMeta>> {
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let meta = |suffix: &str, dtype, shape| TensorMeta { name: format!("{module}.{suffix}"), dtype, shape };
        let row_bytes = self.row_bytes(columns)?;
        let groups = self.groups(columns);
        let scales = match self.granularity {
            Granularity::Tensor => vec![1],
            Granularity::Row | Granularity::Group(_) => vec![rows, groups],
        };
        let packing = self.packing(columns);
        let mut parts = vec![match packing {
            Packing::Bytes => TensorMeta { name: name.to_owned(), dtype: Dtype::I8, shape: vec![rows, columns] },
            Packing::Words => meta("weight_packed", Dtype::I32, vec![rows, row_bytes / 4]),
            Packing::Stream => {
                TensorMeta { name: name.to_owned(), dtype: Dtype::U8, shape: vec![rows.checked_mul(row_bytes)?] }
            }
        }];
        parts.push(meta("weight_scale", self.scale_dtype, scales.clone()));
        if self.is_affine() {
            let (dtype, shape) = match self.bits {
                _ if self.packs_zero_points(columns) => (Dtype::I32, vec![rows.div_ceil(8), groups]),
                16 => (Dtype::I16, scales),
                _ => (Dtype::I8, scales),
            };
            parts.push(meta("weight_zero_point", dtype, shape));
        }
        if packing != Packing::Bytes {
            parts.push(meta("weight_shape", Dtype::I64, vec![2]));
        }
        parts.iter().all(|part| part.bytes().is_some()).then_some(parts)
    }

    /// The group of compressed-tensors' `config_groups` that reads these parts, its targets left to the caller.
    pub(super) fn compressed_tensors(&self, columns: usize) -> Option<Value> {
        let format = match self.packing(columns) {
            Packing::Bytes => "int-quantized",
            Packing::Words => "pack-quantized",
            Packing::Stream => return None,
        };
        let (strategy, group_size) = match self.granularity {
            Granularity::Tensor => ("tensor", None),
            Granularity::Row => ("channel", None),
            Granularity::Group(columns) => ("group", Some(columns)),
        };
        Some(json!({
            "format": format,
            "weights": {
                "num_bits": self.bits,
                "type": "int",
                "symmetric": !self.is_affine(),
                "strategy": strategy,
                "group_size": group_size,
                "dynamic": false,
            },
        }))
    }

    /// The scheme of a group that another program wrote, from its member `weights`: the way back from
    /// [`Scheme::compressed_tensors`].
    pub(super) fn of_compressed_tensors(weights: &Value, scale_dtype: Dtype) -> Option<Self> {
        let text = |key: &str| weights.get(key).and_then(Value::as_str);
        if text("type") != Some("int") {
            return None;
        }
        let granularity = match text("strategy")? {
            "tensor" => Granularity::Tensor,
            "channel" => Granularity::Row,
            "group" => Granularity::Group(usize::try_from(weights.get("group_size")?.as_u64()?).ok()?),
            _ => return None,
        };
        let symmetry = if weights.get("symmetric")?.as_bool()? { Symmetry::Symmetric } else { Symmetry::Affine };
        let bits = u32::try_from(weights.get("num_bits")?.as_u64()?).ok()?;
        // Through the setting, so that what no manifest may say is not read here either.
        Scheme::from_setting(&Scheme { bits, granularity, symmetry, scale_dtype }.to_setting()).ok()
    }
}

/// The numbers of the parts in storage order.
pub(super) struct Parts;

impl Parts {
    pub(super) const CODES: usize = 0;
    pub(super) const SCALES: usize = 1;
    /// Where the scheme is affine.
    pub(super) const ZERO_POINTS: usize = 2;
}
