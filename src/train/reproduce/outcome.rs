//! What a run gives.

use serde::{Deserialize, Serialize};

/// What a run gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was trained and measured.
    Measured(Box<Measured>),
    /// There is no such size of this method; why.
    Absent(String),
}

/// The numbers of a run. Accuracies are shares of 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Accuracy on dev at the epoch that was chosen, the best.
    pub dev_accuracy: f64,
    /// Accuracy on dev after the last epoch.
    pub final_dev_accuracy: f64,
    /// Accuracy on test at the epoch chosen on dev.
    pub test_accuracy: f64,
    /// The epoch chosen, from 1; 0 where nothing was trained.
    pub epoch: u64,
    /// Numbers stored for the embedding.
    pub parameters: u64,
    /// Bytes stored for the embedding, every part counted.
    pub bytes: u64,
    /// The codec's parameters, or the rank.
    pub setting: String,
    /// Floating-point operations to get one word's vector.
    pub flops_per_token: u64,
    /// Loss, dev accuracy and learning rate of every epoch since the table was replaced.
    pub curve: Vec<Epoch>,
    /// Seconds that it took; the only number that differs from one time to the next.
    pub seconds: f64,
}

/// One epoch of training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// Mean loss of its updates.
    pub loss: f64,
    /// Accuracy on dev after it.
    pub dev_accuracy: f64,
    /// Learning rate of its last update.
    pub lr: f64,
}
