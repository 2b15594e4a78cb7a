//! The long short-term memory.

use candle_core::{DType, Result, Tensor};

use super::Parameter;
use super::architecture::{Architecture, Network, Sizes, bound};
use crate::random::Random;
use crate::train::op::Recurrence;

/// One layer of long short-term memory, the mean of its hidden states over time, softmax.
pub(super) struct Lstm;

impl Architecture for Lstm {
    fn name(&self) -> &'static str {
        "lstm"
    }

    fn model_type(&self) -> &'static str {
        "rankfold-lstm"
    }

    fn summary(&self) -> &'static str {
        "long short-term memory: one layer, mean of its states over time, softmax"
    }

    fn reference(&self) -> &'static str {
        "Hochreiter, Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997"
    }

    fn hidden(&self) -> &'static [usize] {
        &[150]
    }

    fn max_layers(&self) -> usize {
        1
    }

    fn parameters(&self, sizes: &Sizes, seed: u64) -> Vec<Parameter> {
        let random = &mut Random::new(seed);
        let units = sizes.hidden.first().copied().unwrap_or_default();
        let edge = bound(units);
        vec![
            Parameter::uniform("lstm.weight_ih_l0", &[4 * units, sizes.columns], edge, random),
            Parameter::uniform("lstm.weight_hh_l0", &[4 * units, units], edge, random),
            Parameter::uniform("lstm.bias_ih_l0", &[4 * units], edge, random),
            // PyTorch's module has two biases where one would do, and trains both; so that it can load them, so do we.
            Parameter::uniform("lstm.bias_hh_l0", &[4 * units], edge, random),
            Parameter::uniform("classifier.weight", &[sizes.classes, units], edge, random),
            Parameter::uniform("classifier.bias", &[sizes.classes], edge, random),
        ]
    }

    fn logits(&self, network: &Network<'_>) -> Result<Tensor> {
        let [input, recurrent, bias, second, weight, classes] = network.parameters else {
            return Err(candle_core::Error::Msg("a long short-term memory has six parameters".into()));
        };
        // With a factor pair the words go through the small product of the weight and B.
        let input = match &network.look_up.right {
            Some(right) => network.linear(input, right, &Tensor::zeros(right.dim(0)?, DType::F32, right.device())?)?,
            None => input.clone(),
        };
        let biases = [bias.clone(), second.clone()];
        let recurrence = Recurrence::new(network.batch.clone(), biases, network.leaves.clone());
        let means = network.look_up.rows.apply_op3(&input, recurrent, recurrence)?;
        network.linear(&network.drop(&means)?, weight, classes)
    }

    fn flops(&self, sizes: &Sizes, tokens: usize) -> u64 {
        let units = sizes.hidden.first().copied().unwrap_or_default();
        // Two products and two sums for the gates; three activations and the hyperbolic tangent, products and sums of
        // the states, and the running mean: one operation each.
        let step = 2 * 4 * units * (sizes.columns + units) + 4 * units + 10 * units;
        (tokens * step + 2 * units * sizes.classes + sizes.classes) as u64
    }
}
