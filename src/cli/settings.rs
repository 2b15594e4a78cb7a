//! Command-line values resolved into what the library takes.

use rankfold::convert::{ConversionRequest, Request};
use rankfold::output::Replace;
use rankfold::plan::{Size, Target};
use rankfold::tensor::Dtype;

use super::args::{CompressArgs, ConvertArgs};

impl CompressArgs {
    /// The request that these arguments make.
    pub(crate) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request {
            target: self.target()?,
            method: self.method.clone(),
            options: self.codec.options()?,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            overrides: self.overrides.clone(),
            max_size: self.max_size,
            stub: !self.no_stub,
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
