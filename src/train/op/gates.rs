//! One step of the recurrence for all sentences that go on at it: from gates to states, and back.
//!
//! Loops that compilers turn into vector instructions, for the instruction set of the processor; each gives the same
//! bits.

use super::activation::{sigmoid, tanh};
use super::product::Product;
use crate::linalg::Work;

/// Forward. Everything is by sentence.
pub(super) struct Forward<'a> {
    /// Hidden units.
    pub(super) h: usize,
    /// Distance of the rows of the gates.
    pub(super) stride: usize,
    /// Gates, `[active, 4 h]`; activated in place.
    pub(super) gates: &'a mut [f32],
    /// Cell states before, `[active, h]` or more; none at the first step.
    pub(super) old: Option<&'a [f32]>,
    /// Cell states after, `[active, h]`.
    pub(super) new: &'a mut [f32],
    /// Their hyperbolic tangents, `[active, h]`.
    pub(super) squashed: &'a mut [f32],
    /// Hidden states, before and after, `[active, h]` or more.
    pub(super) hidden: &'a mut [f32],
    /// Their sums over time.
    pub(super) sums: &'a mut [f32],
}

impl Work for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let h = self.h;
        for (sentence, gates) in self.gates.chunks_exact_mut(self.stride).enumerate() {
            let (at, gates) = (sentence * h, &mut gates[..4 * h]);
            sigmoid(&mut gates[..2 * h]);
            tanh(&mut gates[2 * h..3 * h]);
            sigmoid(&mut gates[3 * h..]);
            let (input, rest) = gates.split_at(h);
            let (forget, rest) = rest.split_at(h);
            let (cell, output) = rest.split_at(h);
            let new = &mut self.new[at..][..h];
            for i in 0..h {
                new[i] = input[i] * cell[i];
            }
            if let Some(old) = self.old {
                let old = &old[at..][..h];
                for i in 0..h {
                    new[i] += forget[i] * old[i];
                }
            }
            let squashed = &mut self.squashed[at..][..h];
            squashed.copy_from_slice(new);
            tanh(squashed);
            let (hidden, sums) = (&mut self.hidden[at..][..h], &mut self.sums[at..][..h]);
            for i in 0..h {
                hidden[i] = output[i] * squashed[i];
                sums[i] += hidden[i];
            }
        }
    }
}

/// Back: gradients with respect to the gates before activation.
pub(super) struct Backward<'a> {
    /// Hidden units.
    pub(super) h: usize,
    /// Distance of the rows of the activated gates.
    pub(super) stride: usize,
    /// Activated gates, `[active, 4 h]` or more.
    pub(super) gates: &'a [f32],
    /// Hyperbolic tangents of the cell states, `[active, h]`.
    pub(super) squashed: &'a [f32],
    /// Cell states before; none at the first step.
    pub(super) old: Option<&'a [f32]>,
    /// Gradient of each hidden state by way of the mean, `[active, h]` or more.
    pub(super) shares: &'a [f32],
    /// Gradient of the hidden states by way of the next step, for the first `behind` sentences.
    pub(super) hidden: &'a Product,
    /// Sentences that have a next step.
    pub(super) behind: usize,
    /// Gradient of the cell states, after and before, `[active, h]` or more.
    pub(super) cell: &'a mut [f32],
    /// What is found, `[active, 4 h]`.
    pub(super) out: &'a mut [f32],
}

impl Work for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let h = self.h;
        for (sentence, out) in self.out.chunks_exact_mut(4 * h).enumerate() {
            let at = sentence * h;
            let shares = &self.shares[at..][..h];
            let squashed = &self.squashed[at..][..h];
            let cell = &mut self.cell[at..][..h];
            let (input, rest) = self.gates[sentence * self.stride..][..4 * h].split_at(h);
            let (forget, rest) = rest.split_at(h);
            let (candidate, output) = rest.split_at(h);
            let (d_input, rest) = out.split_at_mut(h);
            let (d_forget, rest) = rest.split_at_mut(h);
            let (d_candidate, d_output) = rest.split_at_mut(h);
            // Filled with the gradient of the hidden states, and then with its own.
            d_output.copy_from_slice(shares);
            if sentence < self.behind {
                d_output.iter_mut().zip(self.hidden.row(sentence)).for_each(|(sum, &more)| *sum += more);
            }
            for i in 0..h {
                let dh = d_output[i];
                let dc = cell[i] + dh * output[i] * (1.0 - squashed[i] * squashed[i]);
                d_input[i] = dc * candidate[i] * input[i] * (1.0 - input[i]);
                d_candidate[i] = dc * input[i] * (1.0 - candidate[i] * candidate[i]);
                d_output[i] = dh * squashed[i] * output[i] * (1.0 - output[i]);
                d_forget[i] = dc * forget[i] * (1.0 - forget[i]);
                cell[i] = dc * forget[i];
            }
            match self.old {
                Some(old) => d_forget.iter_mut().zip(&old[at..][..h]).for_each(|(out, &old)| *out *= old),
                None => d_forget.fill(0.0),
            }
        }
    }
}
