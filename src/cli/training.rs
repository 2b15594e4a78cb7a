//! What `train` and `retrain` share: the settings of a training, its log, its progress, and going on after a kill.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use rankfold::convert::Finished;
use rankfold::observe::Observer;
use rankfold::report::text;
use rankfold::schedule;
use rankfold::train::data::Dataset;
use rankfold::train::{Classifier, Epoch, FitObserver, FitSettings, History, Keep, Scope, Training, fit, optimizer};
use rankfold::{Error, ErrorKind};
use serde_json::{Map, Value};

use super::Outcome;
use super::data::DataArgs;
use super::output::{Terminal, print, print_json};

/// Arguments of a training.
#[derive(Debug, Args)]
pub(crate) struct TrainingArgs {
    /// Labelled sentences to train on: `LABEL SENTENCE` lines, .tsv, .csv or .jsonl
    #[arg(long, value_name = "FILE")]
    pub(super) train: PathBuf,

    /// Labelled sentences to choose the best epoch on
    #[arg(long, value_name = "FILE")]
    pub(super) dev: PathBuf,

    /// The directory to make; what is done so far stands in OUT.training beside it, where a killed run goes on
    #[arg(long, short, value_name = "OUT")]
    pub(super) output: PathBuf,

    /// Replace OUT if this program made it
    #[arg(long)]
    pub(super) force: bool,

    #[command(flatten)]
    pub(super) data: DataArgs,

    /// Passes over the training data
    #[arg(long, value_name = "N", default_value_t = 15)]
    epochs: u64,

    /// Sentences in a batch
    #[arg(long, value_name = "N", default_value_t = 50)]
    batch: usize,

    /// From gradients to changes: adam, adamw, sgd, momentum, adagrad, adadelta or rmsprop
    #[arg(long, value_name = "NAME", default_value = "adam")]
    optimizer: String,

    /// From updates to learning rates: a name that `rankfold schedule` knows
    #[arg(long, value_name = "NAME", default_value = "calr")]
    schedule: String,

    /// The largest learning rate; what is usual for the optimizer unless given
    #[arg(long, value_name = "RATE")]
    max_lr: Option<f64>,

    /// The smallest learning rate; three decays below the largest unless given
    #[arg(long, value_name = "RATE")]
    base_lr: Option<f64>,

    /// What a decay multiplies by
    #[arg(long, value_name = "FACTOR", default_value_t = 0.1)]
    decay: f64,

    /// Half a cycle of a cyclic schedule, in updates
    #[arg(long, value_name = "N", default_value_t = 1000)]
    step_size: u64,

    /// Where sequences of random numbers start; the same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u64,

    /// Write one JSON object an epoch to this file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// One JSON document on standard output: the manifest
    #[arg(long)]
    pub(super) json: bool,
}

impl TrainingArgs {
    /// The settings that these arguments make.
    pub(super) fn settings(&self, scope: Scope) -> anyhow::Result<FitSettings> {
        let optimizer = optimizer::find(&self.optimizer)?;
        let max_lr = self.max_lr.unwrap_or(optimizer.usual_rate());
        let settings = FitSettings::new(max_lr, self.epochs, self.seed)?;
        let base_lr = self.base_lr.unwrap_or(max_lr * self.decay.powf(3.0));
        let rates = schedule::Settings { step_size: self.step_size, decay: self.decay, base_lr, ..settings.rates };
        let schedule = schedule::find(&self.schedule)?;
        Ok(FitSettings { batch: self.batch, optimizer, schedule, rates, scope, ..settings })
    }

    /// What a manifest says of the training: the settings, and the digests of the data.
    pub(super) fn record(
        &self,
        settings: &FitSettings,
        sentences: usize,
        observer: &dyn Observer,
    ) -> anyhow::Result<Map<String, Value>> {
        let mut record = settings.record(sentences);
        record.insert("train".into(), super::data::record(&self.train, observer)?);
        record.insert("dev".into(), super::data::record(&self.dev, observer)?);
        Ok(record)
    }

    /// Trains, going on where a killed run of the same `record` left off; gives the history and what to remove once
    /// the output is there.
    pub(super) fn fit(
        &self,
        classifier: &mut Classifier,
        data: (&Dataset, &Dataset),
        settings: &FitSettings,
        record: &Map<String, Value>,
        terminal: &Terminal,
    ) -> anyhow::Result<(History, Kept)> {
        let (train, dev) = data;
        let kept = Kept(beside(&self.output)?);
        let identity = format!("{} {}", env!("CARGO_PKG_VERSION"), Value::Object(record.clone()));
        let keep = Keep { path: &kept.0, identity: &identity };
        let mut progress = Progress { terminal, log: self.log.as_deref(), file: None };
        let architecture = classifier.architecture().name();
        terminal.stage("train", architecture, settings.steps_per_epoch(train.len()) * settings.epochs);
        let history = fit(classifier, train, dev, settings, Some(keep), &mut progress);
        let history = history.map_err(|error| match error.kind() {
            ErrorKind::Interrupted if kept.0.exists() => {
                error.hint(format!("the same command goes on from `{}`", kept.0.display()))
            }
            _ => error,
        })?;
        Ok((history, kept))
    }

    /// Once the output is there: removes what was kept for going on, and prints what was done.
    pub(super) fn finish(
        &self,
        kept: Kept,
        history: &History,
        finished: &Finished,
        terminal: &Terminal,
    ) -> anyhow::Result<Outcome> {
        kept.remove()?;
        terminal.clear();
        if self.json {
            print_json(&finished.manifest)?;
        } else {
            print(&summary(history))?;
            print(&text::finished(&self.output, &finished.manifest, &finished.manifest_sha256))?;
        }
        Ok(Outcome::Done)
    }
}

/// One line on how it went.
fn summary(history: &History) -> String {
    match history.best() {
        Some(best) => format!(
            "epoch {} of {} was best: dev accuracy {:.4}, before training {:.4}\n",
            best.epoch,
            history.epochs.len(),
            best.dev_accuracy,
            history.start_dev_accuracy
        ),
        None => format!("no epoch was better than before training: dev accuracy {:.4}\n", history.start_dev_accuracy),
    }
}

/// The file in which a training stands while it lasts.
pub(super) struct Kept(PathBuf);

impl Kept {
    /// Removes it.
    pub(super) fn remove(self) -> Result<(), Error> {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("cannot remove what was kept of the training", &self.0, error))
            }
            _ => Ok(()),
        }
    }
}

/// `OUT.training`, beside the output.
fn beside(output: &Path) -> anyhow::Result<PathBuf> {
    let mut name: OsString = output.file_name().context("the output needs a name of its own")?.to_owned();
    name.push(".training");
    Ok(output.with_file_name(name))
}

/// Shows a training, and logs it: a line for each epoch, there as soon as the epoch has ended.
struct Progress<'a> {
    terminal: &'a Terminal,
    log: Option<&'a Path>,
    file: Option<BufWriter<File>>,
}

impl Progress<'_> {
    fn write(&mut self, epoch: &Epoch) -> rankfold::Result<()> {
        let (Some(path), Some(file)) = (self.log, &mut self.file) else { return Ok(()) };
        let line = serde_json::to_string(epoch).map_err(std::io::Error::from);
        let written = line.and_then(|line| writeln!(file, "{line}")).and_then(|()| file.flush());
        written.map_err(|error| Error::io("cannot write", path, error))
    }
}

impl FitObserver for Progress<'_> {
    fn begin(&mut self, history: &History) -> rankfold::Result<()> {
        let Some(path) = self.log else { return Ok(()) };
        let file = File::create(path).map_err(|error| Error::io("cannot create", path, error))?;
        self.file = Some(BufWriter::new(file));
        // Of a run that goes on, the log has what was done before the kill and no more.
        let updates = history.last().map_or(0, |last| last.updates);
        self.terminal.advance(updates);
        history.epochs.iter().try_for_each(|epoch| self.write(epoch))
    }

    fn update(&mut self, _done: u64, _of: u64, _loss: f64, _rate: f64) -> rankfold::Result<()> {
        self.terminal.advance(1);
        self.terminal.check()
    }

    fn epoch(&mut self, epoch: &Epoch, _training: &Training) -> rankfold::Result<()> {
        self.terminal.note(&format!(
            "epoch {:>3}  loss {:.4}  accuracy {:.4}  dev accuracy {:.4}  learning rate {:.3e}",
            epoch.epoch, epoch.loss, epoch.train_accuracy, epoch.dev_accuracy, epoch.learning_rate
        ));
        self.write(epoch)
    }
}
