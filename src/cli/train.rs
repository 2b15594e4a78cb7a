//! `rankfold train`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use rankfold::observe::Observer;
use rankfold::output::{Replace, check_destination};
use rankfold::schedule;
use rankfold::train::checkpoint::{self, TrainedModel};
use rankfold::train::data::{Dataset, Encoding, Labels, ReadOptions, Vocabulary, read, vectors};
use rankfold::train::model::{self, Embedding, Matrix, Sizes};
use rankfold::train::optimizer;
use rankfold::train::{Classifier, Epoch, FitObserver, FitSettings, Training, fit};

use super::Outcome;
use super::output::{Terminal, print};

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// The network: dan or lstm
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: String,

    /// Labelled sentences to train on: `LABEL SENTENCE` lines, .tsv, .csv or .jsonl
    #[arg(long, value_name = "FILE")]
    pub(crate) train: PathBuf,

    /// Labelled sentences to choose the best epoch on
    #[arg(long, value_name = "FILE")]
    pub(crate) dev: PathBuf,

    /// Word vectors to start the table with (GloVe or word2vec text); random numbers unless given
    #[arg(long, value_name = "FILE")]
    pub(crate) vectors: Option<PathBuf>,

    /// Width of a table that starts at random
    #[arg(long, value_name = "D", default_value_t = 300, conflicts_with = "vectors")]
    pub(crate) width: usize,

    /// The directory to make
    #[arg(long, short, value_name = "OUT")]
    pub(crate) output: PathBuf,

    /// Encoding of the data: utf-8 or latin1
    #[arg(long, value_name = "NAME", default_value = "utf-8")]
    pub(crate) encoding: Encoding,

    /// Passes over the training data
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) epochs: u64,

    /// Sentences in a batch
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) batch: usize,

    /// Words of a sentence that count
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) max_tokens: usize,

    /// Share of the numbers of a sentence's vector that training leaves out
    #[arg(long, value_name = "P", default_value_t = 0.5)]
    pub(crate) dropout: f64,

    /// From gradients to changes: adam, adamw, sgd, momentum, adagrad, adadelta or rmsprop
    #[arg(long, value_name = "NAME", default_value = "adam")]
    pub(crate) optimizer: String,

    /// From updates to learning rates: a name that `rankfold schedule` knows
    #[arg(long, value_name = "NAME", default_value = "constant")]
    pub(crate) schedule: String,

    /// The largest learning rate; what is usual for the optimizer unless given
    #[arg(long, value_name = "RATE")]
    pub(crate) max_lr: Option<f64>,

    /// Half a cycle of a cyclic schedule, in updates
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) step_size: u64,

    /// Where sequences of random numbers start; the same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Write one JSON object an epoch to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
}

pub(super) fn run(args: &TrainArgs, terminal: &Terminal) -> anyhow::Result<Outcome> {
    check_destination(&args.output, Replace::Never)?;
    let settings = settings(args)?;
    let options = ReadOptions { encoding: args.encoding, ..ReadOptions::default() };
    let (examples, dev) = (read(&args.train, &options)?, read(&args.dev, &options)?);
    let (vocabulary, labels) = (Vocabulary::of(&examples), Labels::of(&examples));
    let train = Dataset::encode(&examples, &vocabulary, &labels, args.max_tokens)?;
    let dev = Dataset::encode(&dev, &vocabulary, &labels, args.max_tokens)?;
    let table = match &args.vectors {
        Some(path) => vectors::initial_table(path, &vocabulary, args.seed)?,
        None => vectors::random_table(&vocabulary, args.width, args.seed),
    };
    let architecture = model::find(&args.arch)?;
    let sizes = Sizes {
        columns: table.columns,
        hidden: architecture.hidden().to_vec(),
        classes: labels.len(),
        dropout: args.dropout,
    };
    let embedding = Embedding::dense(Matrix::new(table.values, vocabulary.len(), table.columns)?);
    let mut classifier = Classifier::new(architecture, sizes, embedding, args.seed)?;
    let mut progress = Progress { terminal, log: args.log.as_deref().map(Log::create).transpose()? };
    terminal.stage("train", architecture.name(), settings.steps_per_epoch(train.len()) * settings.epochs);
    let history = fit(&mut classifier, &train, &dev, &settings, &mut progress)?;
    checkpoint::write(&TrainedModel { classifier, vocabulary, labels, max_tokens: args.max_tokens }, &args.output)?;
    terminal.clear();
    if let Some(best) = history.best() {
        print(&format!(
            "epoch {} of {} was best: dev accuracy {:.4}\n",
            best.epoch, settings.epochs, best.dev_accuracy
        ))?;
    }
    Ok(Outcome::Done)
}

fn settings(args: &TrainArgs) -> anyhow::Result<FitSettings> {
    let optimizer = optimizer::find(&args.optimizer)?;
    let settings = FitSettings::new(args.max_lr.unwrap_or(optimizer.usual_rate()), args.epochs, args.seed)?;
    let rates = schedule::Settings { step_size: args.step_size, ..settings.rates };
    let schedule = schedule::find(&args.schedule)?;
    Ok(FitSettings { batch: args.batch, optimizer, schedule, rates, ..settings })
}

/// The log: a line for each epoch, there as soon as the epoch has ended.
struct Log {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Log {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot create `{}`", path.display()))?;
        Ok(Log { path: path.to_owned(), file: BufWriter::new(file) })
    }

    fn write(&mut self, epoch: &Epoch) -> rankfold::Result<()> {
        let line = serde_json::to_string(epoch).map_err(std::io::Error::from);
        let written = line.and_then(|line| writeln!(self.file, "{line}")).and_then(|()| self.file.flush());
        written.map_err(|error| rankfold::Error::io("cannot write", &self.path, error))
    }
}

struct Progress<'a> {
    terminal: &'a Terminal,
    log: Option<Log>,
}

impl FitObserver for Progress<'_> {
    fn update(&mut self, _done: u64, _of: u64, _loss: f64, _rate: f64) -> rankfold::Result<()> {
        self.terminal.advance(1);
        self.terminal.check()
    }

    fn epoch(&mut self, epoch: &Epoch, _training: &Training) -> rankfold::Result<()> {
        self.terminal.note(&format!(
            "epoch {:>3}  loss {:.4}  dev accuracy {:.4}  learning rate {:.3e}",
            epoch.epoch, epoch.loss, epoch.dev_accuracy, epoch.learning_rate
        ));
        self.log.as_mut().map_or(Ok(()), |log| log.write(epoch))
    }
}
