//! Training: epochs over shuffled batches, the best of them on the development set kept.

mod history;
mod settings;
mod training;

pub use history::{Epoch, History};
pub use settings::{FitSettings, Scope};
pub use training::Training;

use super::data::Dataset;
use super::model::Classifier;
use crate::error::Result;
use crate::observe::{Observer, Silent};

/// Hears of a training, and may stop it.
pub trait FitObserver {
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
/// is too little to divide, so all of it runs on the calling thread. Several trainings can run side by side.
///
/// # Errors
/// [`crate::ErrorKind::Request`] where the settings or the data make no training, [`crate::ErrorKind::NonFinite`] where
/// the loss is no longer a number; what the observer and the codecs of the embedding report.
pub fn fit(
    classifier: &mut Classifier,
    train: &Dataset,
    dev: &Dataset,
    settings: &FitSettings,
    observer: &mut dyn FitObserver,
) -> Result<History> {
    let mut training = Training::new(classifier.clone(), train, dev, settings)?;
    while !training.is_done() {
        training.epoch(train, dev, observer)?;
    }
    let (best, history) = training.finish();
    *classifier = best;
    Ok(history)
}
