//! The deep averaging network.

use candle_core::{Result, Tensor};

use super::Parameter;
use super::architecture::{Architecture, Network, Sizes, bound};
use crate::random::Random;
use crate::train::op::{BagMean, Multiply};

/// The mean of the words' embeddings through hidden layers of rectified linear units, of which the paper has two.
pub(super) struct Dan;

impl Architecture for Dan {
    fn name(&self) -> &'static str {
        "dan"
    }

    fn model_type(&self) -> &'static str {
        "rankfold-dan"
    }

    fn summary(&self) -> &'static str {
        "deep averaging network: mean of the embeddings, hidden layers of ReLU, softmax"
    }

    fn reference(&self) -> &'static str {
        "Iyyer, Manjunatha, Boyd-Graber, Daumé, Deep Unordered Composition Rivals Syntactic Methods for Text \
         Classification, ACL 2015"
    }

    fn hidden(&self) -> &'static [usize] {
        &[30, 25]
    }

    fn max_layers(&self) -> usize {
        8
    }

    fn parameters(&self, sizes: &Sizes, seed: u64) -> Vec<Parameter> {
        let random = &mut Random::new(seed);
        let mut parameters = Vec::new();
        let mut inputs = sizes.columns;
        for (number, &units) in sizes.hidden.iter().enumerate() {
            let name = |part: &str| format!("hidden.{number}.{part}");
            parameters.push(Parameter::uniform(&name("weight"), &[units, inputs], bound(inputs), random));
            parameters.push(Parameter::uniform(&name("bias"), &[units], bound(inputs), random));
            inputs = units;
        }
        parameters.push(Parameter::uniform("classifier.weight", &[sizes.classes, inputs], bound(inputs), random));
        parameters.push(Parameter::uniform("classifier.bias", &[sizes.classes], bound(inputs), random));
        parameters
    }

    fn logits(&self, network: &Network<'_>) -> Result<Tensor> {
        let mean = BagMean { batch: network.batch.clone(), leaves: network.leaves.clone() };
        let mut vectors = network.look_up.rows.apply_op1(mean)?;
        // The mean of products is the product of the mean: B multiplies once a sentence, not once a word.
        if let Some(right) = &network.look_up.right {
            vectors = vectors.apply_op2(right, Multiply(network.leaves.clone()))?;
        }
        vectors = network.drop(&vectors)?;
        let (layers, _) = network.parameters.as_chunks::<2>();
        for (number, [weight, bias]) in layers.iter().enumerate() {
            vectors = network.linear(&vectors, weight, bias)?;
            if number + 1 < layers.len() {
                vectors = vectors.relu()?;
            }
        }
        Ok(vectors)
    }

    fn flops(&self, sizes: &Sizes, tokens: usize) -> u64 {
        let widths: Vec<usize> = [sizes.columns].iter().chain(&sizes.hidden).chain([&sizes.classes]).copied().collect();
        let layers: usize = widths.windows(2).map(|pair| 2 * pair[0] * pair[1] + pair[1]).sum();
        (tokens * sizes.columns + layers) as u64
    }
}
