//! What a training depends on besides model and data.

use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::schedule::{self, Schedule};
use crate::train::optimizer::{self, Optimizer};

/// Which numbers are trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// Embedding and network.
    #[default]
    All,
    /// The embedding alone.
    Embedding,
}

impl Scope {
    /// The word of flags and manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::All => "all",
            Scope::Embedding => "embedding",
        }
    }
}

/// The settings of a training.
#[derive(Clone)]
pub struct FitSettings {
    /// Passes over the training set.
    pub epochs: u64,
    /// Epochs in a row that are no better on the development set than one before them, after which no more are done; `None`
    /// to do all. Schedules go by [`FitSettings::epochs`] in any case.
    pub patience: Option<u64>,
    /// Sentences in a batch.
    pub batch: usize,
    /// Where the random numbers of shuffling and dropout start.
    pub seed: u64,
    /// From gradients to changes.
    pub optimizer: &'static dyn Optimizer,
    /// From updates to learning rates.
    pub schedule: &'static dyn Schedule,
    /// The numbers of the schedule. `steps_per_epoch` and `updates` are those of the training, whatever stands here.
    pub rates: schedule::Settings,
    /// What is trained.
    pub scope: Scope,
}

impl FitSettings {
    /// The setting of the paper: batches of 50, CALR with its numbers for `max_lr`; Adam.
    ///
    /// # Errors
    /// Never, while there are schedules and optimizers.
    pub fn new(max_lr: f64, epochs: u64, seed: u64) -> Result<Self> {
        Ok(FitSettings {
            epochs,
            patience: None,
            batch: 50,
            seed,
            optimizer: optimizer::find("adam")?,
            schedule: schedule::find("calr")?,
            rates: schedule::Settings::new(max_lr),
            scope: Scope::All,
        })
    }

    /// Updates in an epoch over `sentences` sentences.
    pub fn steps_per_epoch(&self, sentences: usize) -> u64 {
        sentences.div_ceil(self.batch.max(1)) as u64
    }

    /// The numbers of the schedule for a training set of `sentences`.
    pub fn resolved(&self, sentences: usize) -> schedule::Settings {
        let steps_per_epoch = self.steps_per_epoch(sentences);
        schedule::Settings { steps_per_epoch, updates: steps_per_epoch.saturating_mul(self.epochs), ..self.rates }
    }

    /// Checks that they make a training of `sentences` sentences.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] that names the first number which does not.
    pub fn check(&self, sentences: usize) -> Result<()> {
        let wrong = |name: &str| {
            Err(Error::new(ErrorKind::Request, format!("`{name}` is out of range")).expected("at least 1").found("0"))
        };
        if self.epochs == 0 {
            return wrong("epochs");
        }
        if self.batch == 0 {
            return wrong("batch");
        }
        if sentences == 0 {
            return Err(Error::new(ErrorKind::Request, "there is no sentence to train on"));
        }
        self.resolved(sentences).check()
    }

    /// What is recorded of them, for `sentences` sentences.
    pub fn record(&self, sentences: usize) -> Map<String, Value> {
        let record = json!({
            "epochs": self.epochs,
            "batch": self.batch,
            "seed": self.seed,
            "optimizer": self.optimizer.name(),
            "schedule": self.schedule.name(),
            "rates": self.resolved(sentences),
            "scope": self.scope.name(),
        });
        match record {
            Value::Object(mut record) => {
                record.extend(self.patience.map(|patience| ("patience".to_owned(), Value::from(patience))));
                record
            }
            _ => Map::new(),
        }
    }
}
