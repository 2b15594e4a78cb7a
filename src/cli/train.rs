//! `rankfold train`.

use std::path::PathBuf;

use clap::Args;
use rankfold::output::check_destination;
use rankfold::train::checkpoint::{self, TrainedModel};
use rankfold::train::data::{Casing, Dataset, Labels, Vocabulary, read, vectors};
use rankfold::train::model::{self, Embedding, Matrix, Sizes};
use rankfold::train::{Classifier, Scope};
use serde_json::json;

use super::Outcome;
use super::output::Terminal;
use super::settings::replace;
use super::training::TrainingArgs;

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// The network: dan or lstm
    #[arg(long, value_name = "NAME")]
    arch: String,

    #[command(flatten)]
    training: TrainingArgs,

    /// Word vectors to start the table with (GloVe or word2vec text); random numbers unless given
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,

    /// Width of a table that starts at random
    #[arg(long, value_name = "D", default_value_t = 300, conflicts_with = "vectors")]
    width: usize,

    /// Take words as written, upper and lower case apart
    #[arg(long)]
    keep_case: bool,

    /// Words of a sentence that count
    #[arg(long, value_name = "N", default_value_t = 40)]
    max_tokens: usize,

    /// Share of the numbers of a sentence's vector that training leaves out
    #[arg(long, value_name = "P", default_value_t = 0.5)]
    dropout: f64,
}

pub(super) fn run(args: &TrainArgs, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let TrainArgs { training, max_tokens, .. } = args;
    // Before minutes of training.
    check_destination(&training.output, replace(training.force))?;
    let settings = training.settings(Scope::All)?;
    let options = training.data.options();
    let (examples, dev_examples) = (read(&training.train, &options)?, read(&training.dev, &options)?);
    let casing = if args.keep_case { Casing::Keep } else { Casing::Lower };
    // A word that only dev has is worth a row where it starts from a vector.
    let unseen = dev_examples.iter().filter(|_| args.vectors.is_some());
    let vocabulary = Vocabulary::of(examples.iter().chain(unseen), casing);
    let labels = Labels::of(&examples);
    let train = Dataset::encode(&examples, &vocabulary, &labels, *max_tokens)?;
    let dev =
        Dataset::encode(&dev_examples, &vocabulary, &labels, *max_tokens).map_err(|error| error.at(&training.dev))?;
    let table = match &args.vectors {
        Some(path) => vectors::initial_table(path, &vocabulary, training.seed)?,
        None => vectors::random_table(&vocabulary, args.width, training.seed),
    };
    let architecture = model::find(&args.arch)?;
    let sizes = Sizes {
        columns: table.columns,
        hidden: architecture.hidden().to_vec(),
        classes: labels.len(),
        dropout: args.dropout,
    };
    let mut record = training.record(&settings, train.len(), terminal)?;
    record.insert("arch".into(), architecture.name().into());
    record.insert("dropout".into(), args.dropout.into());
    record.insert("max_tokens".into(), json!(max_tokens));
    record.insert("keep_case".into(), args.keep_case.into());
    record.insert("width".into(), json!(table.columns));
    let vectors = args.vectors.as_deref().map(|path| super::data::record(path, terminal)).transpose()?;
    record.insert("vectors".into(), json!(vectors));
    let embedding = Embedding::dense(Matrix::new(table.values, vocabulary.len(), table.columns)?);
    let mut classifier = Classifier::new(architecture, sizes, embedding, training.seed)?;
    let (history, kept) = training.fit(&mut classifier, (&train, &dev), &settings, &record, terminal)?;
    let model = TrainedModel { classifier, vocabulary, labels, max_tokens: *max_tokens };
    let finished = checkpoint::write(&model, record, &training.output, replace(training.force))?;
    training.finish(kept, &history, &finished, terminal)
}
