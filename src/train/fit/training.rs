//! A training that goes on epoch by epoch, and can be kept in between.

use super::{Epoch, FitObserver, FitSettings, History, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::random::Random;
use crate::schedule;
use crate::tensor::Rows;
use crate::train::data::Dataset;
use crate::train::evaluation::{Scores, evaluate};
use crate::train::model::{Batch, Classifier, Gradients};
use crate::train::optimizer::State;

/// Sequences of random numbers of one seed: the order of an epoch, and dropout.
const SHUFFLE: u64 = 1;
const DROPOUT: u64 = 2;

/// A training between two epochs.
pub struct Training {
    settings: FitSettings,
    pub(super) schedule: schedule::Settings,
    pub(in crate::train) classifier: Classifier,
    pub(in crate::train) states: States,
    /// Learning rates of the updates done.
    pub(super) rates: Vec<f64>,
    pub(in crate::train) history: History,
    pub(in crate::train) best: Classifier,
}

/// What the optimizer remembers: of W or A by row, of B, and of each parameter of the network.
pub(in crate::train) struct States {
    pub(in crate::train) left: State,
    pub(in crate::train) right: Option<State>,
    pub(in crate::train) parameters: Vec<State>,
}

impl Training {
    /// The start of a training of `classifier` on `train`, which is to be chosen on `dev`.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where settings or data make no training, or do not fit the classifier; what the codecs of
    /// the embedding report.
    pub fn new(classifier: Classifier, train: &Dataset, dev: &Dataset, settings: &FitSettings) -> Result<Self> {
        settings.check(train.len())?;
        if dev.is_empty() {
            return Err(Error::new(ErrorKind::Request, "there is no sentence to choose the best epoch on"));
        }
        let (vocabulary, classes) = (classifier.embedding().shape().0, classifier.sizes().classes);
        for dataset in [train, dev] {
            let word = dataset.ids.iter().copied().max().unwrap_or_default() as usize;
            let label = dataset.labels.iter().copied().max().unwrap_or_default() as usize;
            if word >= vocabulary || label >= classes {
                return Err(Error::new(ErrorKind::Request, "the data have words or labels that the classifier lacks")
                    .expected(format!("{vocabulary} words, {classes} labels"))
                    .found(format!("word number {word}, label number {label}")));
            }
        }
        let optimizer = settings.optimizer;
        let (left, right) = classifier.embedding().masters();
        let (rows, columns) = left.shape();
        let whole = |numbers: usize| State::new(optimizer, 1, numbers);
        let parameters = match settings.scope {
            Scope::All => classifier.parameters().iter().map(|parameter| whole(parameter.values.len())).collect(),
            Scope::Embedding => Vec::new(),
        };
        let states = States {
            left: State::new(optimizer, rows, columns),
            right: right.map(|right| whole(right.values().len())),
            parameters,
        };
        let start_dev_accuracy = evaluate(&classifier, dev)?.accuracy;
        Ok(Training {
            settings: settings.clone(),
            schedule: settings.resolved(train.len()),
            best: classifier.clone(),
            classifier,
            states,
            rates: Vec::new(),
            history: History { start_dev_accuracy, ..History::default() },
        })
    }

    /// Whether every epoch has been done, or as many as the settings allow without a better one.
    pub fn is_done(&self) -> bool {
        let done = self.history.epochs.len() as u64;
        let worse = done.saturating_sub(self.history.best_epoch);
        done >= self.settings.epochs || self.settings.patience.is_some_and(|patience| worse >= patience)
    }

    /// What has happened so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The settings.
    pub fn settings(&self) -> &FitSettings {
        &self.settings
    }

    /// The best classifier so far, and what happened.
    pub fn finish(self) -> (Classifier, History) {
        (self.best, self.history)
    }

    /// One pass over `train`, and a look at `dev`.
    ///
    /// # Errors
    /// [`ErrorKind::NonFinite`] where the loss is no longer a number; what the observer and the codecs of the embedding
    /// report.
    pub fn epoch(&mut self, train: &Dataset, dev: &Dataset, observer: &mut dyn FitObserver) -> Result<()> {
        let number = self.history.epochs.len() as u64 + 1;
        let order = shuffled(train.len(), &mut self.random(SHUFFLE, number));
        let (mut loss, mut correct) = (0.0, 0);
        for indices in order.chunks(self.settings.batch) {
            let gradients = self.update(Batch::new(train, indices))?;
            loss += gradients.loss * indices.len() as f64;
            correct += gradients.correct;
            let rate = self.rates.last().copied().unwrap_or_default();
            observer.update(self.rates.len() as u64, self.schedule.updates, gradients.loss, rate)?;
        }
        self.catch_up();
        let updates = self.rates.len() as u64;
        self.classifier.embedding_mut().refresh(updates)?;
        // Codes of a whole matrix are dear. Where they are not due, the epoch is looked at as steps see it, and is none to
        // keep; the last one always is.
        let whole = self.classifier.embedding().is_current() || number == self.settings.epochs;
        let dev_accuracy = match whole {
            true => evaluate(&self.classifier, dev)?.accuracy,
            false => Scores::of(&self.classifier, dev)?.accuracy,
        };
        let best = self.history.best().map(|best| best.dev_accuracy);
        if whole && best.is_none_or(|best| dev_accuracy > best) {
            self.best = self.classifier.clone();
            self.history.best_epoch = number;
        }
        self.history.epochs.push(Epoch {
            epoch: number,
            updates,
            learning_rate: self.rates.last().copied().unwrap_or_default(),
            loss: loss / train.len() as f64,
            train_accuracy: correct as f64 / train.len() as f64,
            dev_accuracy,
        });
        match self.history.epochs.last().cloned() {
            Some(epoch) => observer.epoch(&epoch, self),
            None => Ok(()),
        }
    }

    /// One batch forward and back, and the change that follows.
    fn update(&mut self, batch: Batch) -> Result<Gradients> {
        let done = self.rates.len() as u64;
        if done > 0 && self.classifier.embedding().is_due(done) {
            self.catch_up();
            self.classifier.embedding_mut().refresh(done)?;
        }
        let left = self.classifier.embedding_mut().left.master_mut();
        let columns = left.shape().1;
        let words = batch.words().to_vec();
        let values = left.values_mut();
        for &word in &words {
            let row = &mut values[word as usize * columns..][..columns];
            self.states.left.catch_up(word as usize, &self.rates, row);
        }
        let dropout = self.random(DROPOUT, done).bits();
        let gradients = self.classifier.gradients(batch, Some(dropout), self.settings.scope == Scope::All)?;
        if !gradients.loss.is_finite() {
            return Err(Error::new(ErrorKind::NonFinite, format!("the loss of update {} is not finite", done + 1))
                .expected("a number")
                .found(gradients.loss.to_string())
                .hint("try a smaller learning rate"));
        }
        self.rates.push(self.settings.schedule.rate(&self.schedule, done));
        let (states, rates) = (&mut self.states, self.rates.as_slice());
        let embedding = self.classifier.embedding_mut();
        let values = embedding.left.master_mut().values_mut();
        for (&word, gradient) in words.iter().zip(gradients.rows.chunks_exact(columns)) {
            let row = &mut values[word as usize * columns..][..columns];
            states.left.update(word as usize, rates, row, gradient);
        }
        if let (Some(right), Some(state), Some(gradient)) =
            (embedding.right.as_mut(), states.right.as_mut(), gradients.right.as_ref())
        {
            state.update(0, rates, right.master_mut().values_mut(), gradient);
        }
        let parameters = self.classifier.parameters.iter_mut().zip(&mut states.parameters);
        for ((parameter, state), gradient) in parameters.zip(&gradients.parameters) {
            state.update(0, rates, &mut parameter.values, gradient);
        }
        Ok(gradients)
    }

    /// Brings every row of the embedding to the present update.
    fn catch_up(&mut self) {
        let left = self.classifier.embedding_mut().left.master_mut();
        let columns = left.shape().1;
        for (row, values) in left.values_mut().chunks_exact_mut(columns).enumerate() {
            self.states.left.catch_up(row, &self.rates, values);
        }
    }

    /// Random numbers that follow from the seed, what they are for, and a count.
    fn random(&self, purpose: u64, count: u64) -> Random {
        let mut random = Random::new(self.settings.seed);
        let key = random.bits() ^ Random::new(purpose).bits();
        Random::new(Random::new(key.wrapping_add(count)).bits())
    }
}

/// The numbers below `count` in random order (Fisher, Yates; in the form of Durstenfeld, 1964).
fn shuffled(count: usize, random: &mut Random) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let other = (random.uniform() * (last + 1) as f64) as usize;
        order.swap(last, other.min(last));
    }
    order
}
