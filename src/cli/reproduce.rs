//! `rankfold reproduce`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use rankfold::output::{Replace, check_destination};
use rankfold::train::data::Encoding;
use rankfold::train::model::ARCHITECTURES;
use rankfold::train::reproduce::{self, Experiment, Request, methods, report};
use rankfold::{Error, ErrorKind};

use super::Outcome;
use super::output::{Terminal, print, print_json};

#[derive(Debug, Args)]
pub(crate) struct ReproduceArgs {
    /// Directory with a folder for each data set: `train.txt`, `test.txt`, and `dev.txt` or else a tenth of train
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Word vectors that tables start from: GloVe or word2vec text; random numbers unless given
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,

    /// The directory to make; what is done so far stands in OUT.journal beside it, where a killed run goes on
    #[arg(long, short, value_name = "OUT")]
    output: PathBuf,

    /// Seeds 1 to N; 5 unless given, 2 with --quick
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,

    /// Classifiers; all unless given, dan with --quick. Schedules are compared with the first
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser =
          ARCHITECTURES.iter().map(|one| one.name()).collect::<Vec<_>>())]
    archs: Vec<String>,

    /// Methods, and `schedules` for the comparison of schedules and optimizers; all unless given
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = method)]
    methods: Vec<String>,

    /// Epochs before the table is replaced, and again after it; 9 unless given, 5 with --quick
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    epochs: Option<u64>,

    /// What data files are in that are not UTF-8
    #[arg(long, value_name = "ENCODING", default_value = "utf-8", value_parser = Encoding::ALL.map(|(name, _)| name))]
    encoding: String,

    /// One classifier, one reduction, few methods, few epochs: within three minutes on two cores
    #[arg(long)]
    quick: bool,

    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

/// Names that `--methods` takes.
fn names() -> Vec<String> {
    methods().into_iter().map(|method| method.name).chain([SCHEDULES.to_owned()]).collect()
}

/// Parses a name that `--methods` takes: most are put together, and so no words of the parser's own.
fn method(name: &str) -> Result<String, Error> {
    let names = names();
    match names.iter().any(|own| own == name) {
        true => Ok(name.to_owned()),
        false => Err(Error::new(ErrorKind::Request, "no such method").expected(names.join(", "))),
    }
}

/// Reductions of the paper's tables, and two more below them.
const REDUCTIONS: [f64; 6] = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95];

/// The reduction at which schedules are compared, and the one of a quick look.
const SCHEDULES_AT: f64 = 0.9;

/// What `--methods` calls the comparison of schedules.
const SCHEDULES: &str = "schedules";

/// The methods of a quick look.
const QUICK_METHODS: [&str; 4] = ["uncompressed", "low-rank-retrained", "low-rank", "low-rank-offline"];

pub(super) fn run(args: &ReproduceArgs, terminal: &Terminal) -> anyhow::Result<Outcome> {
    // Before hours of work.
    check_destination(&args.output, Replace::Never).map_err(|error| error.hint("choose another name, or remove it"))?;
    let request = args.request()?;
    let journal = journal(&args.output)?;
    let experiment = reproduce::run(&request, &journal, terminal).map_err(|error| match error.kind() {
        ErrorKind::Interrupted => error.hint(format!("the same command goes on from `{}`", journal.display())),
        _ => error,
    })?;
    report::write(&experiment, &args.output)?;
    std::fs::remove_file(&journal).map_err(|error| Error::io("cannot remove the journal", &journal, error))?;
    terminal.clear();
    if args.json {
        print_json(&experiment)?;
    } else {
        print(&summary(&experiment, &args.output))?;
    }
    Ok(Outcome::Done)
}

/// `OUT.journal`, beside the report.
fn journal(output: &Path) -> anyhow::Result<PathBuf> {
    let mut name: OsString = match output.file_name() {
        Some(name) => name.to_owned(),
        None => anyhow::bail!("the report needs a name of its own"),
    };
    name.push(".journal");
    Ok(output.with_file_name(name))
}

impl ReproduceArgs {
    fn request(&self) -> anyhow::Result<Request> {
        let names: Vec<String> = match (&self.methods[..], self.quick) {
            ([], true) => QUICK_METHODS.map(str::to_owned).to_vec(),
            ([], false) => names(),
            (names, _) => names.to_vec(),
        };
        let all = ARCHITECTURES.iter().map(|one| one.name().to_owned());
        let archs = match (&self.archs[..], self.quick) {
            ([], quick) => all.take(if quick { 1 } else { usize::MAX }).collect(),
            (archs, _) => archs.to_vec(),
        };
        Ok(Request {
            data: self.data.clone(),
            vectors: self.vectors.clone(),
            encoding: self.encoding.parse()?,
            archs,
            seeds: self.seeds.unwrap_or(if self.quick { 2 } else { 5 }),
            schedules_at: names.iter().any(|name| name == SCHEDULES).then_some(SCHEDULES_AT),
            methods: names,
            reductions: if self.quick { vec![SCHEDULES_AT] } else { REDUCTIONS.to_vec() },
            epochs: self.epochs.unwrap_or(if self.quick { 5 } else { 9 }),
            workers: rayon::current_num_threads(),
        })
    }
}

fn summary(experiment: &Experiment, output: &Path) -> String {
    let mut text = String::new();
    for claim in &experiment.claims {
        let held = if claim.held { "held" } else { "did not hold" };
        text.push_str(&format!("{}, {}: {}: {held}\n  {}\n", claim.data, claim.arch, claim.claim, claim.figures));
    }
    let held = experiment.claims.iter().filter(|claim| claim.held).count();
    text.push_str(&format!("{held} of {} claims held in {} runs\n", experiment.claims.len(), experiment.runs));
    text.push_str(&format!("output: {}\n", output.display()));
    text
}
