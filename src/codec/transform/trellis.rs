//! Trellis-coded quantization: which levels a component may use depends on the codes before it in the row.
//!
//! A component of `b` bits has `2^(b+1)` levels, twice as many as its codes can name. The state of a convolutional
//! code says whether code `c` means level `2c` or `2c + 1`, and the lowest bit of `c` drives the state on. A search
//! over all rows of states finds the codes of least error (Viterbi), which gains about a decibel over quantizing each
//! component alone at the same bits; reading a code stays one lookup. Marcellin and Fischer, "Trellis coded
//! quantization of memoryless and Gauss-Markov sources", IEEE Transactions on Communications 38 (1990); the code is
//! that of Ungerboeck (1982) with 256 states, in the parity-check form that he tabulates.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "states and lanes are below the lengths of their arrays; a code has at most 8 bits; measured"
)]

use super::codebook::Codebooks;
use crate::linalg::{InstructionSet, Work};

/// Bits of the state.
const MEMORY: usize = 8;
const STATES: usize = 1 << MEMORY;
/// Parity-check polynomials h0 and h1.
const FEEDBACK: usize = 0o515;
const FORWARD: usize = 0o362;

/// Rows that are searched together, one to a lane of the vector instructions.
pub(super) const LANES: usize = 16;

/// The state of the code along a row; a row begins in the state zero.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State(usize);

impl State {
    /// The level that `code` means here, and the state after it.
    #[inline]
    pub(super) fn step(self, code: usize) -> (usize, State) {
        (2 * code + (self.0 & 1), State(successor(self.0, code & 1)))
    }
}

const fn successor(state: usize, bit: usize) -> usize {
    (state >> 1) ^ ((state & 1) * (FEEDBACK >> 1)) ^ (bit * (FORWARD >> 1))
}

/// A way into a state: where from, and which fourth of the levels it takes (their index modulo 4).
///
/// Both are bytes, whose range is that of the arrays they index, so that the search needs no checks.
#[derive(Clone, Copy)]
struct Branch {
    from: u8,
    subset: u8,
}

/// Both ways into each state.
const BRANCHES: [[Branch; 2]; STATES] = {
    let mut branches = [[Branch { from: 0, subset: 0 }; 2]; STATES];
    let mut found = [0; STATES];
    let mut state = 0;
    while state < STATES {
        let mut bit = 0;
        while bit < 2 {
            let to = successor(state, bit);
            branches[to][found[to]] = Branch { from: state as u8, subset: (2 * bit + (state & 1)) as u8 };
            found[to] += 1;
            bit += 1;
        }
        state += 1;
    }
    branches
};

type Lanes = [f32; LANES];

/// What every state costs in each lane.
type Costs = [Lanes; STATES];

/// Room for the search over [`LANES`] rows.
pub(super) struct Search {
    instructions: InstructionSet,
    costs: Box<Costs>,
    reached: Box<Costs>,
    /// The decisions of one component, as wide as costs.
    chosen: Box<[[u32; LANES]; STATES]>,
    /// For each component and state, which of the two branches was cheaper.
    decisions: Vec<[u8; LANES]>,
    /// For each component and fourth of its levels, the nearest level.
    nearest: Vec<[[u16; LANES]; 4]>,
}

impl Search {
    /// For rows of `components` numbers.
    pub(super) fn new(components: usize) -> Self {
        Search {
            instructions: InstructionSet::best(),
            costs: Box::new([[0.0; LANES]; STATES]),
            reached: Box::new([[0.0; LANES]; STATES]),
            chosen: Box::new([[0; LANES]; STATES]),
            decisions: vec![[0; LANES]; components * STATES],
            nearest: vec![[[0; LANES]; 4]; components],
        }
    }

    /// Writes the levels of least squared error for at most [`LANES`] rows of numbers, row-major, to `levels`.
    pub(super) fn run(&mut self, books: &Codebooks, rows: &[f32], levels: &mut [u16]) {
        let components = self.nearest.len();
        if components == 0 {
            return;
        }
        self.costs.fill([f32::INFINITY; LANES]);
        self.costs[0] = [0.0; LANES];
        for (component, (nearest, decisions)) in
            self.nearest.iter_mut().zip(self.decisions.chunks_exact_mut(STATES)).enumerate()
        {
            let mut distances = [[0.0; LANES]; 4];
            for (lane, row) in rows.chunks_exact(components).enumerate() {
                for (subset, (index, distance)) in books.nearest(component, row[component]).into_iter().enumerate() {
                    nearest[subset][lane] = index;
                    distances[subset][lane] = distance;
                }
            }
            let (costs, reached, chosen) = (&self.costs, &mut self.reached, &mut self.chosen);
            self.instructions.run(Advance { costs, reached, chosen, decisions, distances: &distances });
            std::mem::swap(&mut self.costs, &mut self.reached);
        }
        self.trace(levels);
    }

    /// Follows the cheapest path of every row back to its begin; all rows at a time, since each step waits for memory.
    fn trace(&self, levels: &mut [u16]) {
        let components = self.nearest.len();
        let mut states = [0usize; LANES];
        for (candidate, costs) in self.costs.iter().enumerate() {
            for (lane, state) in states.iter_mut().enumerate() {
                if costs[lane] < self.costs[*state][lane] {
                    *state = candidate;
                }
            }
        }
        for component in (0..components).rev() {
            let (nearest, decisions) = (&self.nearest[component], &self.decisions[component * STATES..][..STATES]);
            for (lane, (row, state)) in levels.chunks_exact_mut(components).zip(&mut states).enumerate() {
                let branch = BRANCHES[*state][usize::from(decisions[*state][lane])];
                row[component] = nearest[usize::from(branch.subset)][lane];
                *state = usize::from(branch.from);
            }
        }
    }
}

/// One component of the search: from the costs of the states before it to those after it. Sums and comparisons are the
/// same in every instruction set; only the number of lanes in one instruction differs.
///
/// Lanes are computed in arrays of their own, and which branch was cheaper as numbers of four bytes: of a loop that writes
/// to where it may read from, or bytes beside singles, the compiler makes one lane after another.
struct Advance<'a> {
    costs: &'a Costs,
    reached: &'a mut Costs,
    chosen: &'a mut [[u32; LANES]; STATES],
    decisions: &'a mut [[u8; LANES]],
    distances: &'a [Lanes; 4],
}

impl Work for Advance<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let targets = self.reached.iter_mut().zip(self.chosen.iter_mut()).zip(&BRANCHES);
        for ((reached, chosen), [first, second]) in targets {
            let (one, one_distance) =
                (&self.costs[usize::from(first.from)], &self.distances[usize::from(first.subset % 4)]);
            let (other, other_distance) =
                (&self.costs[usize::from(second.from)], &self.distances[usize::from(second.subset % 4)]);
            let (mut cost, mut choice) = ([0.0; LANES], [0; LANES]);
            for lane in 0..LANES {
                let first = one[lane] + one_distance[lane];
                let second = other[lane] + other_distance[lane];
                let cheaper = second < first;
                cost[lane] = if cheaper { second } else { first };
                choice[lane] = if cheaper { 1 } else { 0 };
            }
            (*reached, *chosen) = (cost, choice);
        }
        let decisions = self.decisions.as_flattened_mut().iter_mut();
        decisions.zip(self.chosen.as_flattened()).for_each(|(decision, &chosen)| *decision = chosen as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_reached_from_two_states_of_one_parity_by_unlike_levels() {
        for [first, second] in BRANCHES {
            assert_ne!(first.from, second.from);
            assert_ne!(first.subset, second.subset);
            assert_eq!(first.subset % 2, second.subset % 2);
        }
    }

    #[test]
    fn codes_read_back_as_the_levels_that_the_search_chose() {
        let books = Codebooks::new(&[(1, vec![-3.0, -1.0, 1.0, 3.0]), (2, (0..8).map(|i| i as f32 - 3.5).collect())]);
        let rows: Vec<f32> = (0..2 * LANES).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        let mut levels = vec![0; rows.len()];
        Search::new(2).run(&books, &rows, &mut levels);
        for row in levels.chunks_exact(2) {
            let mut state = State::default();
            for &level in row {
                let (read, after) = state.step(usize::from(level) / 2);
                assert_eq!(read, usize::from(level));
                state = after;
            }
        }
    }

    #[test]
    fn the_search_is_no_worse_than_any_sequence_of_codes() {
        let books = Codebooks::new(&vec![(1, vec![-1.5, -0.5, 0.5, 1.5]); 6]);
        let row = [0.4f32, -1.2, 0.1, 1.9, -0.3, 0.8];
        let error = |levels: &[usize]| -> f32 {
            levels.iter().zip(row).map(|(&level, x)| (x - (level as f32 - 1.5)).powi(2)).sum()
        };
        let mut levels = [0u16; 6];
        Search::new(6).run(&books, &row, &mut levels);
        let found = error(&levels.map(usize::from));
        for codes in 0..1usize << 6 {
            let mut state = State::default();
            let levels: Vec<usize> = (0..6)
                .map(|at| {
                    let (level, after) = state.step(codes >> at & 1);
                    state = after;
                    level
                })
                .collect();
            assert!(found <= error(&levels) + 1e-6);
        }
    }
}
