//! `rankfold retrain`.

use std::path::PathBuf;

use clap::Args;
use rankfold::output::check_destination;
use rankfold::train::Scope;
use rankfold::train::checkpoint::Parent;
use rankfold::train::data::{Dataset, read};

use super::Outcome;
use super::output::Terminal;
use super::settings::replace;
use super::training::TrainingArgs;

#[derive(Debug, Args)]
pub(crate) struct RetrainArgs {
    /// What `compress` made of a classifier that `train` made, or an earlier output of this command
    path: PathBuf,

    #[command(flatten)]
    training: TrainingArgs,

    /// Leave the network behind the table as it is
    #[arg(long)]
    embedding_only: bool,
}

pub(super) fn run(args: &RetrainArgs, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let RetrainArgs { path, training, .. } = args;
    // Before minutes of training.
    check_destination(&training.output, replace(training.force))?;
    let scope = if args.embedding_only { Scope::Embedding } else { Scope::All };
    let settings = training.settings(scope)?;
    let parent = Parent::open(path)?;
    let options = training.data.options();
    let encode = |path: &PathBuf| {
        let (examples, model) = (read(path, &options)?, parent.model());
        let dataset = Dataset::encode(&examples, &model.vocabulary, &model.labels, model.max_tokens);
        dataset.map_err(|error| error.at(path))
    };
    let (train, dev) = (encode(&training.train)?, encode(&training.dev)?);
    let mut record = training.record(&settings, train.len(), terminal)?;
    record.insert("parent".into(), parent.manifest_sha256().into());
    let mut classifier = parent.classifier(settings.steps_per_epoch(train.len()))?;
    let start = classifier.clone();
    let (mut history, kept) = training.fit(&mut classifier, (&train, &dev), &settings, &record, terminal)?;
    if history.best().is_none_or(|best| best.dev_accuracy <= history.start_dev_accuracy) {
        // The classifier as it was handed in counts as epoch 0.
        history.best_epoch = 0;
        classifier = start;
    }
    let finished = parent.write(&classifier, record, &training.output, replace(training.force), terminal)?;
    training.finish(kept, &history, &finished, terminal)
}
