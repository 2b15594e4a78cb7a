//! Sentences that go through a network together.

use crate::train::data::Dataset;

/// A batch: its distinct words, and sentences as positions among them, so that each word is looked up once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Distinct words, ascending.
    words: Vec<u32>,
    /// Sentences one after another, without padding: positions in `words`.
    positions: Vec<u32>,
    /// Where each sentence begins in `positions`, and the end.
    starts: Vec<usize>,
    /// Numbers of the labels.
    labels: Vec<u32>,
}

impl Batch {
    /// The sentences of `dataset` at `indices`, in that order.
    pub fn new(dataset: &Dataset, indices: &[usize]) -> Self {
        let mut positions = Vec::new();
        let mut starts = vec![0];
        for &index in indices {
            positions.extend_from_slice(dataset.sentence(index));
            starts.push(positions.len());
        }
        let mut words = positions.clone();
        words.sort_unstable();
        words.dedup();
        // Every word is in the list that was made of all.
        positions.iter_mut().for_each(|word| *word = words.partition_point(|known| known < word) as u32);
        Batch { words, positions, starts, labels: indices.iter().map(|&index| dataset.labels[index]).collect() }
    }

    /// Number of sentences.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no sentence.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Distinct words, ascending.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Positions in [`Batch::words`] of the words of sentence `index`.
    pub fn sentence(&self, index: usize) -> &[u32] {
        &self.positions[self.starts[index]..self.starts[index + 1]]
    }

    /// Every sentence.
    pub fn sentences(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.len()).map(|index| self.sentence(index))
    }

    /// Numbers of the labels.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }
}
