//! Element types of the safetensors format, with the names that format gives them.

use std::fmt;
use std::str::FromStr;

macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $bits:literal;)*) => {
        /// Element type of a tensor. The names and the bit widths are those of the safetensors format.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(non_camel_case_types)]
        #[non_exhaustive]
        pub enum Dtype { $($(#[$doc])* $variant,)* }

        impl Dtype {
            /// Every element type that is known.
            pub const ALL: &'static [Dtype] = &[$(Dtype::$variant,)*];

            /// The name that headers and manifests carry.
            pub const fn name(self) -> &'static str {
                match self { $(Dtype::$variant => $name,)* }
            }

            /// Width of one element in bits.
            pub const fn bits(self) -> u32 {
                match self { $(Dtype::$variant => $bits,)* }
            }
        }
    };
}

dtypes! {
    /// Boolean, a byte each.
    Bool = "BOOL", 8;
    /// 4-bit float (MXFP4).
    F4 = "F4", 4;
    /// 6-bit float, 2-bit exponent.
    F6_E2M3 = "F6_E2M3", 6;
    /// 6-bit float, 3-bit exponent.
    F6_E3M2 = "F6_E3M2", 6;
    /// Unsigned byte.
    U8 = "U8", 8;
    /// Signed byte.
    I8 = "I8", 8;
    /// 8-bit float, 5-bit exponent.
    F8_E5M2 = "F8_E5M2", 8;
    /// 8-bit float, 4-bit exponent.
    F8_E4M3 = "F8_E4M3", 8;
    /// 8-bit power-of-two scale.
    F8_E8M0 = "F8_E8M0", 8;
    /// 8-bit float, 4-bit exponent, no infinities, one zero.
    F8_E4M3FNUZ = "F8_E4M3FNUZ", 8;
    /// 8-bit float, 5-bit exponent, no infinities, one zero.
    F8_E5M2FNUZ = "F8_E5M2FNUZ", 8;
    /// Signed 16-bit integer.
    I16 = "I16", 16;
    /// Unsigned 16-bit integer.
    U16 = "U16", 16;
    /// IEEE 754 half precision.
    F16 = "F16", 16;
    /// The upper half of an IEEE 754 single.
    BF16 = "BF16", 16;
    /// Signed 32-bit integer.
    I32 = "I32", 32;
    /// Unsigned 32-bit integer.
    U32 = "U32", 32;
    /// IEEE 754 single precision.
    F32 = "F32", 32;
    /// Complex of two singles.
    C64 = "C64", 64;
    /// IEEE 754 double precision.
    F64 = "F64", 64;
    /// Signed 64-bit integer.
    I64 = "I64", 64;
    /// Unsigned 64-bit integer.
    U64 = "U64", 64;
}

impl Dtype {
    /// Whether tables of this type can be factorized: F64, F32, F16 or BF16.
    pub const fn is_table_float(self) -> bool {
        matches!(self, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
    }

    /// Unit roundoff: the largest relative error of rounding a number in range to this type.
    /// `None` for types that are not [table floats](Dtype::is_table_float).
    pub const fn unit_roundoff(self) -> Option<f64> {
        match self {
            Dtype::F64 => Some(1.0 / (1u64 << 53) as f64),
            Dtype::F32 => Some(1.0 / (1u64 << 24) as f64),
            Dtype::F16 => Some(1.0 / (1u64 << 11) as f64),
            Dtype::BF16 => Some(1.0 / (1u64 << 8) as f64),
            _ => None,
        }
    }

    /// Bytes of one element of a [table float](Dtype::is_table_float); whole bytes of any other type, rounded up.
    pub const fn bytes(self) -> usize {
        self.bits().div_ceil(8) as usize
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// The name is not one of [`Dtype::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownDtype;

impl fmt::Display for UnknownDtype {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("unknown dtype")
    }
}

impl std::error::Error for UnknownDtype {}

impl FromStr for Dtype {
    type Err = UnknownDtype;

    fn from_str(name: &str) -> Result<Self, UnknownDtype> {
        Dtype::ALL.iter().copied().find(|dtype| dtype.name() == name).ok_or(UnknownDtype)
    }
}

impl serde::Serialize for Dtype {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Dtype {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(|_| serde::de::Error::custom(format!("unknown dtype `{name}`")))
    }
}
