//! Networks from looked-up words to logits; one file each, one line in [`ARCHITECTURES`].

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::embedding::LookUp;
use super::{Batch, Parameter};
use crate::error::{Error, ErrorKind};
use crate::random::Random;
use crate::train::op::{Affine, Leaves};

/// A network between the embedding and the classes.
pub trait Architecture: Sync {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// The name of `model_type` in `config.json`.
    fn model_type(&self) -> &'static str;

    /// One line for help texts and docs.
    fn summary(&self) -> &'static str;

    /// Where it comes from.
    fn reference(&self) -> &'static str;

    /// Units of the hidden layers in the paper.
    fn hidden(&self) -> &'static [usize];

    /// How many hidden layers there may be, at most.
    fn max_layers(&self) -> usize;

    /// Its parameters at random, in the order in which [`Network`] gives them to [`Architecture::logits`]. The same seed
    /// gives the same numbers.
    fn parameters(&self, sizes: &Sizes, seed: u64) -> Vec<Parameter>;

    /// Logits of the batch, `[b, classes]`.
    ///
    /// # Errors
    /// What the framework reports.
    fn logits(&self, network: &Network<'_>) -> Result<Tensor>;

    /// Floating-point operations of a sentence of `tokens` words behind the embedding.
    fn flops(&self, sizes: &Sizes, tokens: usize) -> u64;
}

/// Every architecture.
pub const ARCHITECTURES: &[&dyn Architecture] = &[&super::dan::Dan, &super::lstm::Lstm];

/// The architecture called `name`.
///
/// # Errors
/// [`ErrorKind::Request`] where there is none.
pub fn find(name: &str) -> crate::Result<&'static dyn Architecture> {
    ARCHITECTURES.iter().copied().find(|architecture| architecture.name() == name).ok_or_else(|| {
        let names: Vec<_> = ARCHITECTURES.iter().map(|architecture| architecture.name()).collect();
        Error::new(ErrorKind::Request, "no such architecture").expected(names.join(", ")).found(format!("`{name}`"))
    })
}

/// The extents of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizes {
    /// Width d of the embedding.
    pub columns: usize,
    /// Units of each hidden layer.
    pub hidden: Vec<usize>,
    /// Labels.
    pub classes: usize,
    /// Share of the numbers of a sentence's vector that training leaves out at each step.
    pub dropout: f64,
}

/// One step of a network: what it sees.
pub struct Network<'a> {
    pub(super) batch: Arc<Batch>,
    pub(super) look_up: &'a LookUp,
    pub(super) parameters: &'a [Tensor],
    /// Where operations leave the gradients of leaves.
    pub(super) leaves: Leaves,
    /// What dropout multiplies the sentences' vectors by, where it does.
    pub(super) kept: Option<Dropout>,
}

/// Random numbers for dropout.
#[derive(Debug, Clone)]
pub struct Dropout {
    /// Share that is left out.
    pub(super) share: f64,
    /// Where the numbers start.
    pub(super) seed: u64,
}

impl Network<'_> {
    /// `inputs` times a weight `[out, in]` transposed, plus a bias `[out]`.
    pub(super) fn linear(&self, inputs: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        inputs.apply_op3(weight, bias, Affine(self.leaves.clone()))
    }

    /// `vectors` with a share of their numbers at zero and the others scaled up, so that the expectation stays (Srivastava
    /// and others, "Dropout", JMLR 2014); as they are where nothing is to be left out.
    pub(super) fn drop(&self, vectors: &Tensor) -> Result<Tensor> {
        let Some(Dropout { share, seed }) = self.kept.as_ref().filter(|dropout| dropout.share > 0.0) else {
            return Ok(vectors.clone());
        };
        let mut random = Random::new(*seed);
        let scale = (1.0 / (1.0 - share)) as f32;
        // Two numbers of 32 bits from each of 64.
        let bound = (share * 2f64.powi(32)) as u64;
        let mut mask = vec![scale; vectors.elem_count()];
        for pair in mask.chunks_mut(2) {
            let bits = random.bits();
            let drawn = [bits >> 32, bits & u64::from(u32::MAX)];
            pair.iter_mut().zip(drawn).filter(|(_, drawn)| *drawn < bound).for_each(|(kept, _)| *kept = 0.0);
        }
        vectors * Tensor::from_vec(mask, vectors.shape(), &Device::Cpu)?
    }
}

/// Half the range of the uniform numbers that a layer of `inputs` inputs starts with: PyTorch's default.
pub(super) fn bound(inputs: usize) -> f64 {
    1.0 / (inputs.max(1) as f64).sqrt()
}
