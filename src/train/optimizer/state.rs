//! What an optimizer remembers of a matrix, and up to which update each row of it is current.

use super::Optimizer;

/// The memory of an optimizer for a matrix `[rows, columns]`, of which a step may update a few rows.
#[derive(Clone)]
pub(in crate::train) struct State {
    optimizer: &'static dyn Optimizer,
    columns: usize,
    /// By row, the numbers of a row together.
    memory: Vec<f32>,
    /// Updates that each row has behind it.
    done: Vec<u64>,
}

impl State {
    pub(in crate::train) fn new(optimizer: &'static dyn Optimizer, rows: usize, columns: usize) -> Self {
        State { optimizer, columns, memory: vec![0.0; optimizer.memory() * rows * columns], done: vec![0; rows] }
    }

    /// What it remembers, by row, and the updates that each row has behind it: all of its state.
    pub(in crate::train) fn numbers(&self) -> (&[f32], &[u64]) {
        (&self.memory, &self.done)
    }

    /// The same to be replaced.
    pub(in crate::train) fn numbers_mut(&mut self) -> (&mut [f32], &mut [u64]) {
        (&mut self.memory, &mut self.done)
    }

    fn row(&mut self, row: usize) -> &mut [f32] {
        let width = self.optimizer.memory() * self.columns;
        &mut self.memory[row * width..][..width]
    }

    /// Brings `values`, row `row`, to the state after all updates at `rates`: those that it has not had were without a
    /// gradient.
    pub(in crate::train) fn catch_up(&mut self, row: usize, rates: &[f64], values: &mut [f32]) {
        let done = self.done[row];
        let missed = rates.get(done as usize..).unwrap_or_default();
        if !missed.is_empty() {
            let optimizer = self.optimizer;
            optimizer.idle(missed, done + 1, values, self.row(row));
            self.done[row] = rates.len() as u64;
        }
    }

    /// The update at the last of `rates`; all before it are done.
    pub(in crate::train) fn update(&mut self, row: usize, rates: &[f64], values: &mut [f32], gradient: &[f32]) {
        let Some(&rate) = rates.last() else { return };
        let (optimizer, t) = (self.optimizer, rates.len() as u64);
        optimizer.update(rate, t, values, gradient, self.row(row));
        self.done[row] = t;
    }
}
