//! `rankfold evaluate`.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use rankfold::output::write_file;
use rankfold::train::checkpoint::{self, TrainedModel};
use rankfold::train::data::{Dataset, read};
use rankfold::train::evaluate;
use rankfold::train::model::{Batch, largest};
use serde_json::json;

use super::Outcome;
use super::data::DataArgs;
use super::output::{print, print_json};

#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    /// A directory that `train` made, or what `compress` made of one
    pub(crate) path: PathBuf,

    /// Labelled sentences: `LABEL SENTENCE` lines, .tsv, .csv or .jsonl
    #[arg(long, value_name = "FILE")]
    pub(crate) data: PathBuf,

    #[command(flatten)]
    format: DataArgs,

    /// Write one JSON object a sentence to this new file: its label, the label given, and the logits
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,

    /// One JSON document on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

pub(super) fn run(args: &EvaluateArgs) -> anyhow::Result<Outcome> {
    let model = checkpoint::open(&args.path)?;
    let examples = read(&args.data, &args.format.options())?;
    let dataset = Dataset::encode(&examples, &model.vocabulary, &model.labels, model.max_tokens)
        .map_err(|error| error.at(&args.data))?;
    let start = Instant::now();
    let scores = evaluate(&model.classifier, &dataset)?;
    let speed = dataset.len() as f64 / start.elapsed().as_secs_f64().max(1e-9);
    let labels = model.labels.names();
    if let Some(path) = &args.predictions {
        write_file(path, predictions(&model, &dataset)?.as_bytes())?;
    }
    if args.json {
        print_json(&json!({ "labels": labels, "scores": scores, "sentences_per_second": speed }))?;
        return Ok(Outcome::Done);
    }
    let mut text = format!(
        "accuracy   {:.4} of {} sentences\nmacro-F1   {:.4}\nspeed      {speed:.0} sentences a second\n\
         confusion  a row for each label, a column for each label given\n",
        scores.accuracy, scores.sentences, scores.macro_f1
    );
    for (label, row) in labels.iter().zip(&scores.confusion) {
        let cells: String = row.iter().map(|count| format!("{count:>8}")).collect();
        writeln!(text, "  {:<12}{cells}", label.escape_debug())?;
    }
    print(&text)?;
    Ok(Outcome::Done)
}

/// A line for each sentence.
fn predictions(model: &TrainedModel, dataset: &Dataset) -> anyhow::Result<String> {
    let labels = model.labels.names();
    let mut text = String::new();
    for sentence in 0..dataset.len() {
        let logits = model.classifier.logits(Batch::new(dataset, &[sentence]))?.concat();
        let line = json!({
            "label": labels[dataset.labels[sentence] as usize],
            "given": labels[largest(&logits) as usize],
            "logits": logits,
        });
        writeln!(text, "{line}")?;
    }
    Ok(text)
}
