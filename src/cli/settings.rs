//! Command-line values resolved into what the library takes.

use rankfold::codec::{Options, Split};
use rankfold::convert::Request;
use rankfold::output::Replace;
use rankfold::plan::Target;
use rankfold::tensor::Dtype;

use super::args::{CompressArgs, FactorDtype, SplitArg};

impl CompressArgs {
    /// The request that these arguments make.
    pub(crate) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request {
            target: self.target()?,
            method: self.method.clone(),
            options: Options { dtype: self.dtype.map(Dtype::from), split: self.split.into() },
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            overrides: self.overrides.clone(),
            max_size: self.max_size,
            stub: !self.no_stub,
        })
    }

    /// The one target; the parser has seen to it that there is exactly one.
    fn target(&self) -> anyhow::Result<Target> {
        let target = self.reduction.or(self.rank).or(self.energy).or(self.max_error).or(self.target_size);
        target.ok_or_else(|| anyhow::anyhow!("no target given"))
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

impl From<SplitArg> for Split {
    fn from(split: SplitArg) -> Self {
        match split {
            SplitArg::Balanced => Split::Balanced,
            SplitArg::Left => Split::Left,
            SplitArg::Right => Split::Right,
        }
    }
}
