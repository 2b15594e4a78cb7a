//! A long short-term memory and the mean of its hidden states over time, forward and back.
//!
//! Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 1997, with the forget gate of Gers, Schmidhuber,
//! Cummins, 2000; gates in PyTorch's order: input, forget, cell, output.
//!
//! Sentences are taken longest first, so that those that go on at a step are a prefix of those of the step before: no
//! step is computed for padding.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Error, Layout, Result, Shape, Tensor};

use super::affine::{of_inputs, of_weight, sums};
use super::gates::{Backward, Forward};
use super::leaves::Leaves;
use super::product::{Left, Product, Right, TILE_ROWS, add};
use super::{numbers, singles};
use crate::linalg::InstructionSet;
use crate::train::model::Batch;

/// From the rows of the distinct words `[n, k]`, their weight `[4 h, k]` and the recurrent one `[4 h, h]`, the mean hidden
/// state of each sentence of the batch, `[b, h]`.
///
/// What the gates get from a word depends on nothing else and is computed once for each distinct word.
pub(in crate::train) struct Recurrence {
    batch: Arc<Batch>,
    /// Added to the gates `[4 h]`, both. They are leaves: the framework has no operation of five arguments.
    biases: [Tensor; 2],
    leaves: Leaves,
    /// What the forward pass leaves for the backward pass.
    states: Mutex<Option<States>>,
}

impl Recurrence {
    pub(in crate::train) fn new(batch: Arc<Batch>, biases: [Tensor; 2], leaves: Leaves) -> Self {
        Recurrence { batch, biases, leaves, states: Mutex::new(None) }
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
    /// Activated gates `[words, 4 h]`, `stride` apart.
    gates: Vec<f32>,
    stride: usize,
    /// Cell states `[words, h]`, and their hyperbolic tangents.
    cells: Vec<f32>,
    squashed: Vec<f32>,
    /// Hidden states before each word `[words, h]`.
    before: Vec<f32>,
}

impl CustomOp3 for Recurrence {
    fn name(&self) -> &'static str {
        "recurrence"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (inputs, input_weight, weight) = (singles(s1, l1)?, singles(s2, l2)?, singles(s3, l3)?);
        let ((n, k), (four, h)) = (l1.shape().dims2()?, l3.shape().dims2()?);
        let [first, second] = &self.biases;
        let bias = numbers(first, |first| {
            numbers(second, |second| Ok(first.iter().zip(second).map(|(one, other)| one + other).collect::<Vec<_>>()))
        })?;
        let mut from_words = Product::default();
        from_words.compute(Some(&bias), Left::new(inputs, k), n, &Right::transposed(input_weight, four, k));
        let order = Order::of(&self.batch);
        let words = order.rows.len();
        let recurrent = Right::transposed(weight, four, h);
        let stride = recurrent.stride();
        let mut gates = Vec::with_capacity((words + TILE_ROWS) * stride);
        let mut before = Vec::with_capacity((words + TILE_ROWS) * h);
        let mut cells = vec![0.0f32; words * h];
        let mut squashed = vec![0.0f32; words * h];
        let mut hidden = vec![0.0f32; self.batch.len() * h];
        let mut sums = vec![0.0f32; self.batch.len() * h];
        let mut previous = 0;
        for (step, &(active, start)) in order.steps.iter().enumerate() {
            // Step by step, so that the product and the activations find them in the cache.
            let end = start + active;
            for (row, &word) in (start + 1..=end).zip(&order.rows[start..]) {
                gates.extend_from_slice(from_words.row(word as usize));
                gates.resize(row * stride, 0.0);
            }
            before.extend_from_slice(&hidden[..active * h]);
            if step > 0 {
                // Products of whole tiles reach beyond the sentences of a step.
                gates.resize((end + TILE_ROWS) * stride, 0.0);
                before.resize((end + TILE_ROWS) * h, 0.0);
                add(&mut gates[start * stride..], Left::new(&before[start * h..], h), active, &recurrent);
                gates.truncate(end * stride);
                before.truncate(end * h);
            }
            let (old, new) = cells.split_at_mut(start * h);
            InstructionSet::best().run(Forward {
                h,
                stride,
                gates: &mut gates[start * stride..][..active * stride],
                old: (step > 0).then(|| &old[previous * h..]),
                new: &mut new[..active * h],
                squashed: &mut squashed[start * h..][..active * h],
                hidden: &mut hidden,
                sums: &mut sums,
            });
            previous = start;
        }
        let mut means = vec![0.0f32; self.batch.len() * h];
        for (sums, &sentence) in sums.chunks_exact(h).zip(&order.sentences) {
            let share = 1.0 / self.batch.sentence(sentence).len().max(1) as f32;
            let mean = &mut means[sentence * h..][..h];
            mean.iter_mut().zip(sums).for_each(|(mean, &sum)| *mean = sum * share);
        }
        let states = States { order, gates, stride, cells, squashed, before };
        *self.states.lock().unwrap_or_else(PoisonError::into_inner) = Some(states);
        Ok((CpuStorage::F32(means), (self.batch.len(), h).into()))
    }

    fn bwd(
        &self,
        inputs: &Tensor,
        input_weight: &Tensor,
        weight: &Tensor,
        _means: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner).take();
        let states = states.ok_or_else(|| Error::Msg("recurrence: backward before forward".into()))?;
        let (four, h) = weight.dims2()?;
        let back = |weight: &[f32], gradient: &[f32]| Ok(states.back(&self.batch, weight, gradient, h));
        let (gates, by_word) = numbers(weight, |weight| numbers(gradient, |gradient| back(weight, gradient)))?;
        for bias in &self.biases {
            self.leaves.give(bias, || Ok(sums(&by_word, four)))?;
        }
        Ok((
            self.leaves.give(inputs, || of_inputs(input_weight, &by_word))?,
            self.leaves.give(input_weight, || of_weight(inputs, &by_word))?,
            self.leaves.give(weight, || Ok(states.of_recurrent(&gates, h)))?,
        ))
    }
}

impl States {
    /// The gradient of the gates before activation from that of the means `[b, h]`: of each word, `[words, 4 h]`, and its
    /// sums over the places of each distinct word, `[n, 4 h]`.
    fn back(&self, batch: &Batch, weight: &[f32], means: &[f32], h: usize) -> (Vec<f32>, Vec<f32>) {
        let four = 4 * h;
        let recurrent = Right::new(weight, four, h);
        let mut by_word = vec![0.0f32; batch.words().len() * four];
        let mut gradients = vec![0.0f32; self.order.rows.len() * four];
        // Of the hidden states after the present step, and of the cells, from the steps behind it.
        let mut hidden = Product::default();
        let mut cell = vec![0.0f32; batch.len() * h];
        // Shares of the means, in the order of the sentences.
        let mut shares = Vec::with_capacity(batch.len() * h);
        for &sentence in &self.order.sentences {
            let share = 1.0 / batch.sentence(sentence).len().max(1) as f32;
            shares.extend(means[sentence * h..][..h].iter().map(|mean| mean * share));
        }
        for (step, &(active, start)) in self.order.steps.iter().enumerate().rev() {
            let previous = step.checked_sub(1).map(|step| self.order.steps[step].1);
            let behind = hidden.rows().count();
            InstructionSet::best().run(Backward {
                h,
                stride: self.stride,
                gates: &self.gates[start * self.stride..],
                squashed: &self.squashed[start * h..][..active * h],
                old: previous.map(|previous| &self.cells[previous * h..][..active * h]),
                shares: &shares,
                hidden: &hidden,
                behind,
                cell: &mut cell,
                out: &mut gradients[start * four..][..active * four],
            });
            if step > 0 {
                hidden.compute(None, Left::new(&gradients[start * four..], four), active, &recurrent);
            }
            for (gates, &row) in gradients[start * four..].chunks_exact(four).zip(&self.order.rows[start..][..active]) {
                let out = &mut by_word[row as usize * four..][..four];
                out.iter_mut().zip(gates).for_each(|(sum, &value)| *sum += value);
            }
        }
        (gradients, by_word)
    }

    /// The gradient of the recurrent weight `[4 h, h]`, from that of the gates.
    fn of_recurrent(&self, gates: &[f32], h: usize) -> Vec<f32> {
        let words = self.order.rows.len();
        // Found as its transpose, whose columns fill the kernel's tiles better.
        Product::of(Left::transposed(&self.before, h), h, &Right::new(gates, words, 4 * h)).transposed_values()
    }
}
