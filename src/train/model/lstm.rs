//! The long short-term memory.

use candle_core::{Result, Tensor};

use super::Parameter;
use super::architecture::{Architecture, Network, Sizes, bound, linear};
use crate::codec::random::Random;
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
        // What the gates get from a word depends on nothing else: once for each distinct word, and with a factor pair
        // through the small product of B and the weight.
        let input = match &network.look_up.right {
            Some(right) => right.matmul(&input.t()?)?,
            None => input.t()?,
        };
        let gates = network.look_up.rows.matmul(&input)?.broadcast_add(bias)?.broadcast_add(second)?;
        let means = gates.apply_op2(recurrent, Recurrence::new(network.batch.clone()))?;
        linear(&network.drop(&means)?, weight, classes)
    }

    fn flops(&self, sizes: &Sizes, tokens: usize) -> u64 {
        let units = sizes.hidden.first().copied().unwrap_or_default();
        // Two products and two sums for the gates; three activations and the hyperbolic tangent, products and sums of
        // the states, and the running mean: one operation each.
        let step = 2 * 4 * units * (sizes.columns + units) + 4 * units + 10 * units;
        (tokens * step + 2 * units * sizes.classes + sizes.classes) as u64
    }
}
