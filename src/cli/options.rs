//! The options of codecs, which every command takes that encodes tables.

use std::sync::Arc;

use clap::{Args, ValueEnum};

use rankfold::codec::{BlockType, Granularity, Options, Products, RowWeights, Split, Symmetry, Variant};
use rankfold::tensor::Dtype;

/// Heading of the options of `fixed-point`.
const FIXED_POINT: &str = "Method fixed-point";

/// Options of codecs, as they stand on the command line.
#[derive(Debug, Args)]
pub(crate) struct CodecArgs {
    /// Dtype of stored factors, the table's unless given; dtype to cast to, F16 unless given
    #[arg(long, value_enum, ignore_case = true)]
    dtype: Option<FactorDtype>,

    /// Where the singular values go: half to each factor, all left (to A) or all right (to B)
    #[arg(long, value_enum, default_value_t)]
    split: SplitArg,

    /// How `low-rank` multiplies singles: as they are (the same bits on every processor, but for the eigendecomposition),
    /// or as pairs of bfloat16 on the matrix unit of a processor with AMX; the fastest of this machine unless given
    #[arg(long, value_enum)]
    products: Option<ProductsArg>,

    /// How `low-rank-fixed` finds its factors: ours, or one of the paper's three
    #[arg(long, value_enum, default_value_t, help_heading = "Method low-rank-fixed")]
    variant: VariantArg,

    /// Bits of the left factor; chosen with the rank unless given
    #[arg(long, value_name = "BITS", help_heading = "Method low-rank-fixed",
          value_parser = clap::value_parser!(u32).range(2..=8))]
    left_bits: Option<u32>,

    /// Bits of the right factor; chosen with the rank unless given
    #[arg(long, value_name = "BITS", help_heading = "Method low-rank-fixed",
          value_parser = clap::value_parser!(u32).range(2..=8))]
    right_bits: Option<u32>,

    /// Pieces of a row, each quantized for itself; chosen for the target unless given
    #[arg(long, value_name = "M", help_heading = "Method product",
          value_parser = clap::value_parser!(u32).range(1..))]
    subquantizers: Option<u32>,

    /// Bits of the index of a piece, 4 or 8; 8 unless given
    #[arg(long, value_name = "BITS", help_heading = "Method product", value_parser = ["4", "8"])]
    code_bits: Option<String>,

    /// Rotate rows so that their pieces are quantized better (OPQ); the rotation is stored
    #[arg(long, help_heading = "Method product")]
    rotation: bool,

    /// Store norms apart from directions, as fastText's quantization does
    #[arg(long, help_heading = "Method product")]
    norms: bool,

    /// What each row counts in the error that is minimized: a file with one number a line (token counts), or `zipf`
    #[arg(long, value_name = "FILE|zipf")]
    row_weights: Option<String>,

    /// Where sequences of random numbers start; the same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Which entries share a scale: the whole `tensor`, each `row`, or each `group:N` of N columns of a row
    #[arg(long, value_name = "WHICH", help_heading = FIXED_POINT, default_value_t)]
    granularity: Granularity,

    /// Codes without a zero point: the default
    #[arg(long, help_heading = FIXED_POINT, conflicts_with = "affine")]
    symmetric: bool,

    /// Codes with a stored zero point
    #[arg(long, help_heading = FIXED_POINT)]
    affine: bool,

    /// Dtype of the scales; F16 unless given
    #[arg(long, value_enum, ignore_case = true, help_heading = FIXED_POINT)]
    scale_dtype: Option<ScaleDtype>,

    /// The block type: `q4_0`, `q4_1`, `q5_0`, `q5_1` or `q8_0`; a target of its own
    #[arg(long = "type", value_name = "TYPE", help_heading = "Method ggml")]
    pub(crate) block_type: Option<BlockType>,
}

impl CodecArgs {
    /// What these arguments ask of a codec. Weights of rows are read.
    pub(crate) fn options(&self) -> anyhow::Result<Options> {
        Ok(Options {
            dtype: self.dtype.map(Dtype::from),
            split: self.split.into(),
            products: self.products.map(Products::from).unwrap_or_default(),
            variant: self.variant.into(),
            left_bits: self.left_bits,
            right_bits: self.right_bits,
            subquantizers: self.subquantizers.map(|count| count as usize),
            code_bits: self.code_bits.as_deref().map(str::parse).transpose()?,
            rotation: self.rotation,
            norms: self.norms,
            row_weights: self.row_weights.as_deref().map(RowWeights::open).transpose()?.map(Arc::new),
            seed: self.seed,
            granularity: self.granularity,
            symmetry: if self.affine { Symmetry::Affine } else { Symmetry::Symmetric },
            scale_dtype: self.scale_dtype.map(Dtype::from),
            block_type: self.block_type,
        })
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FactorDtype {
    F64,
    F32,
    F16,
    Bf16,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ScaleDtype {
    F16,
    F32,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum VariantArg {
    #[default]
    Ours,
    Lplr,
    Svd,
    LplrSvd,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum SplitArg {
    #[default]
    Balanced,
    Left,
    Right,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProductsArg {
    Single,
    Int16,
    Bf16x2,
}

impl From<ProductsArg> for Products {
    fn from(products: ProductsArg) -> Self {
        match products {
            ProductsArg::Single => Products::Single,
            ProductsArg::Int16 => Products::Int16,
            ProductsArg::Bf16x2 => Products::Bf16x2,
        }
    }
}

impl From<FactorDtype> for Dtype {
    fn from(dtype: FactorDtype) -> Self {
        match dtype {
            FactorDtype::F64 => Dtype::F64,
            FactorDtype::F32 => Dtype::F32,
            FactorDtype::F16 => Dtype::F16,
            FactorDtype::Bf16 => Dtype::BF16,
        }
    }
}

impl From<VariantArg> for Variant {
    fn from(variant: VariantArg) -> Self {
        match variant {
            VariantArg::Ours => Variant::Ours,
            VariantArg::Lplr => Variant::Lplr,
            VariantArg::Svd => Variant::Svd,
            VariantArg::LplrSvd => Variant::LplrSvd,
        }
    }
}

impl From<ScaleDtype> for Dtype {
    fn from(dtype: ScaleDtype) -> Self {
        match dtype {
            ScaleDtype::F16 => Dtype::F16,
            ScaleDtype::F32 => Dtype::F32,
        }
    }
}

impl From<SplitArg> for Split {
    fn from(split: SplitArg) -> Self {
        match split {
            SplitArg::Balanced => Split::Balanced,
            SplitArg::Left => Split::Left,
            SplitArg::Right => Split::Right,
        }
    }
}
