//! A long short-term memory and the mean of its hidden states over time, forward and back.
//!
//! Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 1997, with the forget gate of Gers, Schmidhuber,
//! Cummins, 2000; gates in PyTorch's order: input, forget, cell, output.
//!
//! Sentences are taken longest first, so that those that go on at a step are a prefix of those of the step before: no
//! step is computed for padding.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Device, Error, Layout, Result, Shape, Tensor};

use super::activation::{sigmoid, tanh};
use super::product::{Matrix, multiply};
use super::singles;
use crate::train::model::Batch;

/// From what the gates get from each distinct word, `[n, 4 h]`, and the recurrent weight `[4 h, h]`, the mean hidden
/// state of each sentence of the batch, `[b, h]`.
pub(in crate::train) struct Recurrence {
    batch: Arc<Batch>,
    /// What the forward pass leaves for the backward pass.
    states: Mutex<Option<States>>,
}

impl Recurrence {
    pub(in crate::train) fn new(batch: Arc<Batch>) -> Self {
        Recurrence { batch, states: Mutex::new(None) }
    }
}

/// The order in which words are taken: all first words, then all second ones, longest sentences first.
struct Order {
    /// Sentences by falling length.
    sentences: Vec<usize>,
    /// Sentences that have a word at each step, and the position of the first of them among all words.
    steps: Vec<(usize, usize)>,
    /// The row of each word.
    rows: Vec<u32>,
}

impl Order {
    fn of(batch: &Batch) -> Self {
        let mut sentences: Vec<usize> = (0..batch.len()).collect();
        sentences.sort_by_key(|&sentence| std::cmp::Reverse(batch.sentence(sentence).len()));
        let longest = sentences.first().map_or(0, |&sentence| batch.sentence(sentence).len());
        let (mut steps, mut rows) = (Vec::with_capacity(longest), Vec::new());
        for step in 0..longest {
            let start = rows.len();
            rows.extend(sentences.iter().map_while(|&sentence| batch.sentence(sentence).get(step)));
            steps.push((rows.len() - start, start));
        }
        Order { sentences, steps, rows }
    }
}

/// Everything by word, in [`Order`].
struct States {
    order: Order,
    /// Activated gates `[words, 4 h]`.
    gates: Vec<f32>,
    /// Cell states `[words, h]`, and their hyperbolic tangents.
    cells: Vec<f32>,
    squashed: Vec<f32>,
    /// Hidden states before each word `[words, h]`.
    before: Vec<f32>,
}

impl CustomOp2 for Recurrence {
    fn name(&self) -> &'static str {
        "recurrence"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (inputs, weight) = (singles(s1, l1)?, singles(s2, l2)?);
        let (four, h) = l2.shape().dims2()?;
        let order = Order::of(&self.batch);
        let words = order.rows.len();
        let mut gates = vec![0.0f32; words * four];
        for (gates, &row) in gates.chunks_exact_mut(four).zip(&order.rows) {
            gates.copy_from_slice(&inputs[row as usize * four..][..four]);
        }
        let mut cells = vec![0.0f32; words * h];
        let mut squashed = vec![0.0f32; words * h];
        let mut before = vec![0.0f32; words * h];
        let mut hidden = vec![0.0f32; self.batch.len() * h];
        let mut sums = vec![0.0f32; self.batch.len() * h];
        let recurrent = Matrix::new(weight, four, h).transposed();
        let mut previous = 0;
        for (step, &(active, start)) in order.steps.iter().enumerate() {
            let gates = &mut gates[start * four..][..active * four];
            if step > 0 {
                let before = &mut before[start * h..][..active * h];
                before.copy_from_slice(&hidden[..active * h]);
                multiply(gates, Matrix::new(before, active, h), recurrent, true);
            }
            for sentence in 0..active {
                let gates = &mut gates[sentence * four..][..four];
                activate(gates, h);
                let (input, rest) = gates.split_at(h);
                let (forget, rest) = rest.split_at(h);
                let (cell, output) = rest.split_at(h);
                let at = (start + sentence) * h;
                let (old, new) = cells.split_at_mut(at);
                let new = &mut new[..h];
                for i in 0..h {
                    new[i] = input[i] * cell[i];
                }
                if step > 0 {
                    let old = &old[(previous + sentence) * h..][..h];
                    for i in 0..h {
                        new[i] += forget[i] * old[i];
                    }
                }
                let squashed = &mut squashed[at..][..h];
                squashed.copy_from_slice(new);
                tanh(squashed);
                let hidden = &mut hidden[sentence * h..][..h];
                let sums = &mut sums[sentence * h..][..h];
                for i in 0..h {
                    hidden[i] = output[i] * squashed[i];
                    sums[i] += hidden[i];
                }
            }
            previous = start;
        }
        let mut means = vec![0.0f32; self.batch.len() * h];
        for (sums, &sentence) in sums.chunks_exact(h).zip(&order.sentences) {
            let share = 1.0 / self.batch.sentence(sentence).len().max(1) as f32;
            let mean = &mut means[sentence * h..][..h];
            mean.iter_mut().zip(sums).for_each(|(mean, &sum)| *mean = sum * share);
        }
        let states = States { order, gates, cells, squashed, before };
        *self.states.lock().unwrap_or_else(PoisonError::into_inner) = Some(states);
        Ok((CpuStorage::F32(means), (self.batch.len(), h).into()))
    }

    fn bwd(
        &self,
        inputs: &Tensor,
        weight: &Tensor,
        _means: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner).take();
        let states = states.ok_or_else(|| Error::Msg("recurrence: backward before forward".into()))?;
        let (count, four) = inputs.dims2()?;
        let h = four / 4;
        let weight = weight.flatten_all()?.to_vec1::<f32>()?;
        let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
        let (gates, recurrent) = states.back(&self.batch, &weight, &gradient, h);
        let mut inputs = vec![0.0f32; count * four];
        for (gates, &row) in gates.chunks_exact(four).zip(&states.order.rows) {
            let out = &mut inputs[row as usize * four..][..four];
            out.iter_mut().zip(gates).for_each(|(sum, &value)| *sum += value);
        }
        let inputs = Tensor::from_vec(inputs, (count, four), &Device::Cpu)?;
        let recurrent = Tensor::from_vec(recurrent, (four, h), &Device::Cpu)?;
        Ok((Some(inputs), Some(recurrent)))
    }
}

impl States {
    /// Gradients with respect to the gates before activation, `[words, 4 h]`, and the recurrent weight, from those of
    /// the means `[b, h]`.
    fn back(&self, batch: &Batch, weight: &[f32], means: &[f32], h: usize) -> (Vec<f32>, Vec<f32>) {
        let four = 4 * h;
        let recurrent = Matrix::new(weight, four, h);
        let mut gradients = vec![0.0f32; self.gates.len()];
        // Of the hidden and the cell states after the present step, from the steps behind it.
        let mut hidden = vec![0.0f32; batch.len() * h];
        let mut cell = vec![0.0f32; batch.len() * h];
        for (step, &(active, start)) in self.order.steps.iter().enumerate().rev() {
            let previous = step.checked_sub(1).map(|step| self.order.steps[step].1);
            for (sentence, &original) in self.order.sentences[..active].iter().enumerate() {
                let share = 1.0 / batch.sentence(original).len().max(1) as f32;
                let at = start + sentence;
                let old = previous.map(|previous| &self.cells[(previous + sentence) * h..][..h]);
                let gates = &self.gates[at * four..][..four];
                let squashed = &self.squashed[at * h..][..h];
                let out = &mut gradients[at * four..][..four];
                let mean = &means[original * h..][..h];
                let hidden = &hidden[sentence * h..][..h];
                let cell = &mut cell[sentence * h..][..h];
                for i in 0..h {
                    let (input, forget, candidate, output) =
                        (gates[i], gates[h + i], gates[2 * h + i], gates[3 * h + i]);
                    let dh = hidden[i] + mean[i] * share;
                    let dc = cell[i] + dh * output * (1.0 - squashed[i] * squashed[i]);
                    out[i] = dc * candidate * input * (1.0 - input);
                    out[h + i] = old.map_or(0.0, |old| dc * old[i] * forget * (1.0 - forget));
                    out[2 * h + i] = dc * input * (1.0 - candidate * candidate);
                    out[3 * h + i] = dh * squashed[i] * output * (1.0 - output);
                    cell[i] = dc * forget;
                }
            }
            let out = &gradients[start * four..][..active * four];
            multiply(&mut hidden[..active * h], Matrix::new(out, active, four), recurrent, false);
        }
        let mut weights = vec![0.0f32; four * h];
        let words = self.order.rows.len();
        let gates = Matrix::new(&gradients, words, four).transposed();
        multiply(&mut weights, gates, Matrix::new(&self.before, words, h), false);
        (gradients, weights)
    }
}

/// Input, forget and output gates between 0 and 1, the cell's candidate between -1 and 1.
fn activate(gates: &mut [f32], h: usize) {
    sigmoid(&mut gates[..2 * h]);
    tanh(&mut gates[2 * h..3 * h]);
    sigmoid(&mut gates[3 * h..]);
}
