//! Element types: those of the safetensors format, with the names that format gives them, and ggml's block types.

use std::fmt;
use std::str::FromStr;

macro_rules! dtypes {
    (
        $($(#[$doc:meta])* $variant:ident = $name:literal, $bits:literal;)*
        { $($(#[$block_doc:meta])* $block:ident = $block_name:literal, $elements:literal in $bytes:literal;)* }
    ) => {
        /// Element type of a tensor. Names and widths are those of the safetensors format, and of ggml for types that
        /// store a block of elements together.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(non_camel_case_types)]
        #[non_exhaustive]
        pub enum Dtype { $($(#[$doc])* $variant,)* $($(#[$block_doc])* $block,)* }

        impl Dtype {
            /// Every element type of the safetensors format.
            pub const ALL: &'static [Dtype] = &[$(Dtype::$variant,)*];

            /// Every type of ggml that stores a block of elements together, which the safetensors format has not.
            pub const BLOCKS: &'static [Dtype] = &[$(Dtype::$block,)*];

            /// The name that headers and manifests carry.
            pub const fn name(self) -> &'static str {
                match self { $(Dtype::$variant => $name,)* $(Dtype::$block => $block_name,)* }
            }

            /// Width in bits of one element, or of one block of a block type.
            pub const fn bits(self) -> u32 {
                match self { $(Dtype::$variant => $bits,)* $(Dtype::$block => 8 * $bytes,)* }
            }

            /// Elements of a block, which lie in one row; 1 but for block types.
            pub const fn block(self) -> usize {
                match self { $(Dtype::$variant => 1,)* $(Dtype::$block => $elements,)* }
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
    {
    /// 4 bits, a scale for each 32.
    Q4_0 = "Q4_0", 32 in 18;
    /// 4 bits, a scale and a least value for each 32.
    Q4_1 = "Q4_1", 32 in 20;
    /// 5 bits, a scale for each 32.
    Q5_0 = "Q5_0", 32 in 22;
    /// 5 bits, a scale and a least value for each 32.
    Q5_1 = "Q5_1", 32 in 24;
    /// 8 bits, a scale for each 32.
    Q8_0 = "Q8_0", 32 in 34;
    /// 8 bits, a scale and a sum for each 32.
    Q8_1 = "Q8_1", 32 in 40;
    /// 2 bits, scales and least values for each 16.
    Q2_K = "Q2_K", 256 in 84;
    /// 3 bits, a scale for each 16.
    Q3_K = "Q3_K", 256 in 110;
    /// 4 bits, scales and least values for each 32.
    Q4_K = "Q4_K", 256 in 144;
    /// 5 bits, scales and least values for each 32.
    Q5_K = "Q5_K", 256 in 176;
    /// 6 bits, a scale for each 16.
    Q6_K = "Q6_K", 256 in 210;
    /// 8 bits, a scale for each 256.
    Q8_K = "Q8_K", 256 in 292;
    /// 2 bits, from a grid.
    IQ2_XXS = "IQ2_XXS", 256 in 66;
    /// 2 bits, from a grid.
    IQ2_XS = "IQ2_XS", 256 in 74;
    /// 3 bits, from a grid.
    IQ3_XXS = "IQ3_XXS", 256 in 98;
    /// 1 bit, from a grid.
    IQ1_S = "IQ1_S", 256 in 50;
    /// 4 bits, not linear.
    IQ4_NL = "IQ4_NL", 32 in 18;
    /// 3 bits, from a grid.
    IQ3_S = "IQ3_S", 256 in 110;
    /// 2 bits, from a grid.
    IQ2_S = "IQ2_S", 256 in 82;
    /// 4 bits, not linear.
    IQ4_XS = "IQ4_XS", 256 in 136;
    /// 1 bit, from a grid.
    IQ1_M = "IQ1_M", 256 in 56;
    /// Ternary digits, a scale for each 256.
    TQ1_0 = "TQ1_0", 256 in 54;
    /// Ternary digits, a scale for each 256.
    TQ2_0 = "TQ2_0", 256 in 66;
    /// 4-bit floats with a power of two for each 32.
    MXFP4 = "MXFP4", 32 in 17;
    /// 4-bit floats with an 8-bit float for each 16.
    NVFP4 = "NVFP4", 64 in 36;
    /// 1 bit, a scale for each 128.
    Q1_0 = "Q1_0", 128 in 18;
    }
}

impl Dtype {
    /// Whether tables of this type can be factorized: F64, F32, F16 or BF16.
    pub const fn is_table_float(self) -> bool {
        matches!(self, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
    }

    /// Whether rows of this type can be read as numbers: [table floats](Dtype::is_table_float) and the block types that
    /// can be decoded.
    pub const fn is_readable(self) -> bool {
        self.is_table_float()
            || matches!(
                self,
                Dtype::Q4_0
                    | Dtype::Q4_1
                    | Dtype::Q5_0
                    | Dtype::Q5_1
                    | Dtype::Q8_0
                    | Dtype::Q2_K
                    | Dtype::Q3_K
                    | Dtype::Q4_K
                    | Dtype::Q5_K
                    | Dtype::Q6_K
                    | Dtype::Q8_K
            )
    }

    /// The type of the numbers that this one [stands for](Dtype::is_readable): itself for a table float, F32 for block
    /// types. `None` for types that cannot be read as numbers.
    pub const fn decoded(self) -> Option<Dtype> {
        match self.is_readable() {
            true if self.is_table_float() => Some(self),
            true => Some(Dtype::F32),
            false => None,
        }
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

/// The name is not one of [`Dtype::ALL`] or [`Dtype::BLOCKS`].
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
        Dtype::ALL.iter().chain(Dtype::BLOCKS).copied().find(|dtype| dtype.name() == name).ok_or(UnknownDtype)
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
