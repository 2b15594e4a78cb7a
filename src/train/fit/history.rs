//! What happened in a training.

use serde::{Deserialize, Serialize};

/// One pass over the training set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// From 1.
    pub epoch: u64,
    /// Updates done at its end.
    pub updates: u64,
    /// Learning rate of its last update.
    pub learning_rate: f64,
    /// Mean over its sentences of the cross-entropy, in nats, before each update and with dropout.
    pub loss: f64,
    /// Share of its sentences that were given their label, likewise.
    pub train_accuracy: f64,
    /// Accuracy on the development set at its end.
    pub dev_accuracy: f64,
}

/// The course of a training.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Accuracy on the development set before the first update.
    pub start_dev_accuracy: f64,
    /// Every epoch.
    pub epochs: Vec<Epoch>,
    /// Number of the epoch that was best on the development set, the first of equals; 0 before the first has ended.
    pub best_epoch: u64,
}

impl History {
    /// The epoch that was best on the development set.
    pub fn best(&self) -> Option<&Epoch> {
        self.epochs.iter().find(|epoch| epoch.epoch == self.best_epoch)
    }

    /// The last epoch.
    pub fn last(&self) -> Option<&Epoch> {
        self.epochs.last()
    }
}
