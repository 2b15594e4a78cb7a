//! Sentences as the numbers that a classifier takes in.

use super::{Example, Labels, PADDING, UNKNOWN, Vocabulary, words};
use crate::error::{Error, ErrorKind, Result};

/// Sentences of numbered words, all of one length with padding behind them, and their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Numbers of words `[n, max_tokens]`, row-major, [`PADDING`] behind the end of a sentence.
    pub ids: Vec<u32>,
    /// Words of each sentence `[n]`, at least 1.
    pub lengths: Vec<u32>,
    /// Numbers of the labels `[n]`.
    pub labels: Vec<u32>,
    /// Words of a sentence that count; what follows is cut off.
    pub max_tokens: usize,
}

impl Dataset {
    /// Looks words and labels up. Sentences are cut after `max_tokens` words. A sentence without words becomes one
    /// [`UNKNOWN`] word, so that every sentence has a mean.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where `max_tokens` is 0, and where an example has a label that `labels` lack: no
    /// classifier trained on them could tell it, and what looks like a bad classifier would be a mistake in the data.
    #[expect(clippy::arithmetic_side_effects, reason = "counts of words that stand in memory")]
    pub fn encode(examples: &[Example], vocabulary: &Vocabulary, labels: &Labels, max_tokens: usize) -> Result<Self> {
        if max_tokens == 0 {
            return Err(Error::new(ErrorKind::Request, "sentences need at least one word"));
        }
        let mut dataset = Dataset { ids: Vec::new(), lengths: Vec::new(), labels: Vec::new(), max_tokens };
        for (number, example) in examples.iter().enumerate() {
            let label = labels.id(&example.label).ok_or_else(|| unknown_label(number, example, labels))?;
            let start = dataset.ids.len();
            dataset.ids.extend(words(&example.text).take(max_tokens).map(|word| vocabulary.id(word)));
            if dataset.ids.len() == start {
                dataset.ids.push(UNKNOWN);
            }
            // Within `max_tokens`; more than 2^32 of them would not fit the memory.
            dataset.lengths.push((dataset.ids.len() - start) as u32);
            dataset.ids.resize(start + max_tokens, PADDING);
            dataset.labels.push(label);
        }
        Ok(dataset)
    }

    /// How many sentences there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no sentence.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The words of sentence `index`, without padding.
    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "sentences are numbered below `len`, each with its place and its length"
    )]
    pub fn sentence(&self, index: usize) -> &[u32] {
        &self.ids[index * self.max_tokens..][..self.lengths[index] as usize]
    }
}

#[expect(clippy::arithmetic_side_effects, reason = "a count of examples that stand in memory")]
fn unknown_label(number: usize, example: &Example, labels: &Labels) -> Error {
    let known: Vec<_> = labels.names().iter().take(20).map(|name| format!("`{}`", name.escape_debug())).collect();
    let more = if labels.len() > known.len() { ", ..." } else { "" };
    Error::new(ErrorKind::Request, format!("example {} has a label that the training data lack", number + 1))
        .expected(known.join(", ") + more)
        .found(format!("`{}`", example.label.chars().take(60).collect::<String>().escape_debug()))
        .hint("remove the examples of that label, or train on some of them")
}
