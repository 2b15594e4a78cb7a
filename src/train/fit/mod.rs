//! Training: epochs over shuffled batches, the best of them on the development set kept.

mod history;
mod saved;
mod settings;
mod training;

pub use history::{Epoch, History};
pub use settings::{FitSettings, Scope};
pub use training::Training;

use std::path::Path;
use std::time::{Duration, Instant};

use super::data::Dataset;
use super::model::Classifier;
use crate::error::Result;
use crate::observe::{Observer, Silent};

/// A training is kept again once this many times the time that keeping took has gone by: a tenth of the time at most.
const KEEP_AFTER: u32 = 10;

/// Where a training is kept while it lasts, so that one that was killed goes on where it was.
#[derive(Debug, Clone, Copy)]
pub struct Keep<'a> {
    /// The file. The caller removes it when what came of the training is safe.
    pub path: &'a Path,
    /// All that the numbers depend on, in words. A file of another training is refused.
    pub identity: &'a str,
}

/// Hears of a training, and may stop it.
pub trait FitObserver {
    /// Called once before the first update; `history` has what was done before a kill.
    ///
    /// # Errors
    /// Whatever is to end the training.
    fn begin(&mut self, _history: &History) -> Result<()> {
        Ok(())
    }

    /// Called after each update: how many are done of how many, the loss of the batch, and the learning rate.
    ///
    /// # Errors
    /// Whatever is to end the training.
    fn update(&mut self, _done: u64, _of: u64, _loss: f64, _rate: f64) -> Result<()> {
        Ok(())
    }

    /// Called after each epoch.
    ///
    /// # Errors
    /// Whatever is to end the training.
    fn epoch(&mut self, _epoch: &Epoch, _training: &Training) -> Result<()> {
        Ok(())
    }
}

impl FitObserver for Silent {}

/// Stops where the observer says so, and tells it nothing.
impl FitObserver for &dyn Observer {
    fn update(&mut self, _done: u64, _of: u64, _loss: f64, _rate: f64) -> Result<()> {
        self.check()
    }
}

/// Trains `classifier` on `train` and leaves it as it was after the epoch that was best on `dev`, the first of equals.
///
/// The same arguments give the same numbers on one machine, on any number of threads: a batch of tens of short sentences
/// is too little to divide, so all of it runs on the calling thread. Several trainings can run side by side. With `keep`
/// a training that was killed goes on after one of its last epochs, to the same numbers.
///
/// # Errors
/// [`crate::ErrorKind::Request`] where the settings or the data make no training, [`crate::ErrorKind::NonFinite`] where
/// the loss is no longer a number; what the observer and the codecs of the embedding report, and reading and writing
/// what is kept.
pub fn fit(
    classifier: &mut Classifier,
    train: &Dataset,
    dev: &Dataset,
    settings: &FitSettings,
    keep: Option<Keep<'_>>,
    observer: &mut dyn FitObserver,
) -> Result<History> {
    let mut training = Training::new(classifier.clone(), train, dev, settings)?;
    if let Some(keep) = keep {
        training.resume(keep)?;
    }
    observer.begin(training.history())?;
    let (mut kept, mut took) = (Instant::now(), Duration::ZERO);
    while !training.is_done() {
        training.epoch(train, dev, observer)?;
        if let Some(keep) = keep.filter(|_| kept.elapsed() >= took * KEEP_AFTER) {
            let began = Instant::now();
            training.save(keep)?;
            kept = Instant::now();
            took = kept - began;
        }
    }
    let (best, history) = training.finish();
    *classifier = best;
    Ok(history)
}
