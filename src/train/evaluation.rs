//! How well a classifier does on labelled sentences.

use serde::Serialize;

use super::data::Dataset;
use super::model::Classifier;
use crate::error::Result;

/// Sentences that are evaluated at a time.
const BATCH: usize = 50;

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scores {
    /// Sentences.
    pub sentences: usize,
    /// Share of the sentences that were given their label.
    pub accuracy: f64,
    /// Mean over the labels of the harmonic mean of precision and recall; a label that nothing has and nothing was given
    /// counts as 0, as in scikit-learn.
    pub macro_f1: f64,
    /// Sentences by label (row) and by the label given (column).
    pub confusion: Vec<Vec<u64>>,
}

/// Evaluates `classifier`, every codec applied, on `dataset`.
///
/// # Errors
/// What the codecs of the embedding report.
pub fn evaluate(classifier: &Classifier, dataset: &Dataset) -> Result<Scores> {
    match classifier.embedding().is_plain() {
        true => Scores::of(classifier, dataset),
        false => Scores::of(&classifier.decoded()?, dataset),
    }
}

impl Scores {
    /// Scores of `classifier` as steps of training see it.
    pub(super) fn of(classifier: &Classifier, dataset: &Dataset) -> Result<Self> {
        let given = classifier.predict(dataset, BATCH)?;
        Ok(Scores::new(classifier.sizes().classes, &dataset.labels, &given))
    }

    /// Scores of the labels `given` to sentences with the labels `true_labels`, all below `classes`.
    pub fn new(classes: usize, true_labels: &[u32], given: &[u32]) -> Self {
        let mut confusion = vec![vec![0u64; classes]; classes];
        for (&label, &given) in true_labels.iter().zip(given) {
            confusion[label as usize][given as usize] += 1;
        }
        let correct: u64 = (0..classes).map(|class| confusion[class][class]).sum();
        let f1 = |class: usize| {
            let given: u64 = confusion.iter().map(|row| row[class]).sum();
            let total = given + confusion[class].iter().sum::<u64>();
            if total == 0 { 0.0 } else { 2.0 * confusion[class][class] as f64 / total as f64 }
        };
        let sentences = true_labels.len();
        Scores {
            sentences,
            accuracy: correct as f64 / sentences.max(1) as f64,
            macro_f1: (0..classes).map(f1).sum::<f64>() / classes.max(1) as f64,
            confusion,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_the_definitions() {
        let scores = Scores::new(3, &[0, 0, 0, 1, 1, 2], &[0, 0, 1, 1, 0, 1]);
        assert_eq!(scores.confusion, [[2, 1, 0], [1, 1, 0], [0, 1, 0]]);
        assert_eq!(scores.accuracy, 0.5);
        // Precision 2/3 and recall 2/3; 1/3 and 1/2; nothing.
        let expected = (2.0 / 3.0 + 0.4 + 0.0) / 3.0;
        assert!((scores.macro_f1 - expected).abs() < 1e-12, "{scores:?}");
    }
}
