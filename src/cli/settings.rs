//! Command-line values resolved into what the library takes.

use std::sync::Arc;

use rankfold::codec::{Options, RowWeights, Split, Symmetry, Variant};
use rankfold::convert::{ConversionRequest, Request};
use rankfold::output::Replace;
use rankfold::plan::{Size, Target};
use rankfold::tensor::Dtype;

use super::args::{CompressArgs, ConvertArgs, FactorDtype, ScaleDtype, SplitArg, VariantArg};

impl CompressArgs {
    /// The request that these arguments make.
    pub(crate) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request {
            target: self.target()?,
            method: self.method.clone(),
            options: Options {
                dtype: self.dtype.map(Dtype::from),
                split: self.split.into(),
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
            },
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            overrides: self.overrides.clone(),
            max_size: self.max_size,
            stub: !self.no_stub,
            carrier: self.carrier.clone(),
        })
    }

    /// The one target; the parser has seen to it that there is exactly one.
    fn target(&self) -> anyhow::Result<Target> {
        let target = self.reduction.or(self.rank).or(self.bits).or(self.energy).or(self.max_error).or(self.target_size);
        target.ok_or_else(|| anyhow::anyhow!("no target given"))
    }
}

impl ConvertArgs {
    /// The request that these arguments make.
    pub(crate) fn request(&self) -> anyhow::Result<ConversionRequest> {
        let max_shard_size = match self.max_shard_size {
            None => None,
            Some(Size::Bytes(bytes)) => Some(bytes),
            Some(Size::Fraction(_)) => anyhow::bail!("a size of shards is in bytes, such as `5GB`, and no fraction"),
        };
        Ok(ConversionRequest {
            format: self.to.clone(),
            dtype: self.dtype.map(Dtype::from),
            tensors: self.tensors.clone(),
            renames: self.renames.clone(),
            max_shard_size,
            allow_overflow: self.allow_overflow,
            max_error: self.max_error,
            max_size: self.max_size,
        })
    }
}

/// What `--force` allows.
pub(crate) fn replace(force: bool) -> Replace {
    if force { Replace::OurOwn } else { Replace::Never }
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
