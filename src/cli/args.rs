//! Raw command-line values; `settings` resolves them.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use rankfold::convert::Rename;
use rankfold::plan::{Override, Size, Target};

use super::options::{CodecArgs, FactorDtype};

/// Compress the embedding tables of model checkpoints by low-rank factorization, and prove what was done.
#[derive(Debug, Parser)]
#[command(name = "rankfold", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 verification found a difference; \
4 a gate was not met; 130 interrupted.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) global: Global,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Worker threads; all cores unless given. The output does not depend on it
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// No progress and no warnings on standard error
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show tensors, embedding tables with the evidence for them, and what each reduction would cost
    Inspect(InspectArgs),
    /// Replace embedding tables by factor pairs and write a new checkpoint with a manifest
    Compress(Box<CompressArgs>),
    /// Re-hash an output and list every difference from its manifest
    Verify(VerifyArgs),
    /// Print the manifest of an output that verifies, as it is or as a statement to be signed
    Manifest(ManifestArgs),
    /// Write a checkpoint in another format, dtype, division into files, or under other names
    Convert(ConvertArgs),
    /// Multiply factor pairs out again: a stock checkpoint of the original names and shapes
    Restore(RestoreArgs),
    /// Measure methods on one table at equal bytes
    Compare(CompareArgs),
    /// Compare two checkpoints tensor by tensor
    Diff(DiffArgs),
    /// Print and draw learning rates by update: CALR and its rivals
    Schedule(ScheduleArgs),
    /// Train a classifier of sentences
    #[cfg(feature = "train")]
    Train(Box<super::train::TrainArgs>),
    /// Train a compressed classifier, and store it compressed as it was
    #[cfg(feature = "train")]
    Retrain(Box<super::retrain::RetrainArgs>),
    /// Measure a classifier, dense or compressed, on labelled sentences
    #[cfg(feature = "train")]
    Evaluate(super::evaluate::EvaluateArgs),
    /// The paper's experiment: train, compress, retrain with CALR, and measure against the rivals
    #[cfg(feature = "train")]
    Reproduce(super::reproduce::ReproduceArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A file of tensors, an index of shards, or a model directory
    pub(crate) path: PathBuf,

    /// Show these tensors as tables too
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,

    /// Read headers only: no singular values
    #[arg(long)]
    pub(crate) no_spectrum: bool,

    /// One JSON document on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Heading of the options of which there has to be exactly one.
const TARGET: &str = "Target (exactly one)";

/// Parses the value of the target option called `key`, so that one out of range is wrong usage.
fn target(key: &'static str) -> impl Fn(&str) -> Result<Target, rankfold::Error> + Clone + Send + Sync {
    move |value| Target::parse(key, value)
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("target").required(true).multiple(false)
    .args(["reduction", "rank", "bits", "energy", "max_error", "target_size", "block_type"])))]
pub(crate) struct CompressArgs {
    /// A file of tensors, an index of shards, or a model directory
    pub(crate) path: PathBuf,

    /// The directory to make
    #[arg(long, short, value_name = "OUT", required_unless_present = "dry_run")]
    pub(crate) output: Option<PathBuf>,

    /// Remove this fraction of each table: of its parameters with low-rank, k = floor((1 - P) V d / (V + d)); of its
    /// bytes, every part counted, with any other method
    #[arg(long, value_name = "P", help_heading = TARGET, value_parser = target("reduction"))]
    pub(crate) reduction: Option<Target>,

    /// This rank for each table
    #[arg(long, value_name = "K", help_heading = TARGET, value_parser = target("rank"))]
    pub(crate) rank: Option<Target>,

    /// Codes of this width: 2 to 8 or 16
    #[arg(long, value_name = "B", help_heading = TARGET, value_parser = target("bits"))]
    pub(crate) bits: Option<Target>,

    /// The fewest bytes that keep this fraction of the squared singular values
    #[arg(long, value_name = "F", help_heading = TARGET, value_parser = target("energy"))]
    pub(crate) energy: Option<Target>,

    /// The fewest bytes with at most this relative Frobenius error, measured
    #[arg(long, value_name = "E", help_heading = TARGET, value_parser = target("max-error"))]
    pub(crate) max_error: Option<Target>,

    /// At most this size of all weight files, headers included: `12MB`, `12MiB`, `90%` of the source
    #[arg(long, value_name = "SIZE", help_heading = TARGET, value_parser = target("target-size"))]
    pub(crate) target_size: Option<Target>,

    /// How tables are encoded; `auto` measures every method at the size that `--target-size` or `--reduction` allows
    /// and takes the one with the least error
    #[arg(long, value_name = "METHOD", default_value = "low-rank", value_parser = methods_and_auto())]
    pub(crate) method: String,

    #[command(flatten)]
    pub(crate) codec: CodecArgs,

    /// Take the tables whose names match, and no others
    #[arg(long, value_name = "GLOB", help_heading = "Tables")]
    pub(crate) include: Vec<String>,

    /// Leave tables whose names match alone
    #[arg(long, value_name = "GLOB", help_heading = "Tables")]
    pub(crate) exclude: Vec<String>,

    /// Another target for tables whose names match: `GLOB:rank=64`, `GLOB:bits=4`, `GLOB:reduction=.9`,
    /// `GLOB:energy=.99`, `GLOB:max-error=.1`; the last match counts
    #[arg(long = "override", value_name = "GLOB:TARGET", help_heading = "Tables")]
    pub(crate) overrides: Vec<Override>,

    /// Fail with exit code 4, writing nothing, if all weight files together would be larger
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<Size>,

    /// Who reads the tables: the `loader` that goes into the output; a place that the architecture has for a factor pair
    /// (`native`, or one by its name), so that stock libraries load it; `auto`: such a place where the values are the
    /// same, else the loader
    #[arg(long, value_name = "CARRIER", default_value = "loader", value_parser = rankfold::convert::carrier_choices())]
    pub(crate) carrier: String,

    /// Leave out the loader and, with `low-rank`, the fine-tuning program (Python), and do not name the loader in
    /// `config.json`
    #[arg(long)]
    pub(crate) no_stub: bool,

    /// Print the plan and stop
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// One JSON document on standard output: the plan with `--dry-run`, else the manifest
    #[arg(long)]
    pub(crate) json: bool,

    /// Replace an output that exists, once the new one is complete
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// A file of tensors, an index of shards, or a model directory
    #[arg(value_name = "IN")]
    pub(crate) path: PathBuf,

    /// The directory to make
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,

    /// The format to write
    #[arg(long, value_name = "FORMAT", default_value = "safetensors",
          value_parser = rankfold::format::WRITERS.iter().map(|format| format.name()).collect::<Vec<_>>())]
    pub(crate) to: String,

    /// Cast every tensor of F64, F32, F16 or BF16 to this dtype, and decode blocks of a GGUF to it
    #[arg(long, value_enum, ignore_case = true)]
    pub(crate) dtype: Option<FactorDtype>,

    /// Let elements beyond the range of the dtype become infinite
    #[arg(long, requires = "dtype")]
    pub(crate) allow_overflow: bool,

    /// Take the tensors whose names match, and no others
    #[arg(long, value_name = "GLOB")]
    pub(crate) tensors: Vec<String>,

    /// Rename a tensor, or with one `*` on each side all that fit: `bert.*=*`; the first that fits counts
    #[arg(long = "rename", value_name = "FROM=TO")]
    pub(crate) renames: Vec<Rename>,

    /// Divide the tensors into files of at most this size, as Hugging Face does: `5GB`, `500MiB`
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_shard_size: Option<Size>,

    /// Fail with exit code 4, writing nothing, if the cast of a tensor has a larger relative Frobenius error
    #[arg(long, value_name = "E", help_heading = "Gates")]
    pub(crate) max_error: Option<f64>,

    /// Fail with exit code 4, writing nothing, if all weight files together would be larger
    #[arg(long, value_name = "SIZE", help_heading = "Gates")]
    pub(crate) max_size: Option<Size>,

    /// One JSON document on standard output: the manifest
    #[arg(long)]
    pub(crate) json: bool,

    /// Replace an output that exists, once the new one is complete
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// An output of `compress`, `convert` or `restore`
    pub(crate) path: PathBuf,

    /// Also check against the checkpoint it was made from: digests, untouched tensors, and the stated errors
    #[arg(long, value_name = "PATH")]
    pub(crate) source: Option<PathBuf>,

    /// The weights of rows that `compress` was given, to measure the weighted error again; `zipf` is known without
    #[arg(long, value_name = "FILE|zipf", requires = "source")]
    pub(crate) row_weights: Option<String>,

    /// Also walk back to the original by digests: the checkpoints on the way, such as the compressed one and its
    /// source, in any order
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) chain: Vec<PathBuf>,

    /// The manifest's own SHA-256, as `compress` printed it
    #[arg(long, value_name = "HEX")]
    pub(crate) digest: Option<String>,

    /// Fail with exit code 4 if a table's relative Frobenius error is larger
    #[arg(long, value_name = "E", help_heading = "Gates")]
    pub(crate) max_error: Option<f64>,

    /// Fail with exit code 4 if all weight files together are larger
    #[arg(long, value_name = "SIZE", help_heading = "Gates")]
    pub(crate) max_size: Option<Size>,

    /// One JSON document on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ManifestArgs {
    /// An output of `compress`, `convert`, `restore` or the fine-tuning program
    pub(crate) path: PathBuf,

    /// An in-toto statement of OpenSSF Model Signing v1.0 in its place: every file with its digest, every tensor's as
    /// an annotation
    #[arg(long)]
    pub(crate) oms: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScheduleArgs {
    /// Which ones, side by side; `all` for every one
    #[arg(default_value = "calr", value_parser =
          rankfold::schedule::SCHEDULES.iter().map(|one| one.name()).chain(["all"]).collect::<Vec<_>>())]
    pub(crate) names: Vec<String>,

    /// The largest rate
    #[arg(long, value_name = "RATE")]
    pub(crate) max_lr: f64,

    /// The smallest rate; max-lr * decay^3 unless given
    #[arg(long, value_name = "RATE")]
    pub(crate) base_lr: Option<f64>,

    /// Half a cycle, in updates
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) step_size: u64,

    /// Updates in an epoch
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) steps_per_epoch: u64,

    /// What a decay multiplies by
    #[arg(long, value_name = "F", default_value_t = 0.1)]
    pub(crate) decay: f64,

    /// Epochs from one decay to the next
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) decay_every: u64,

    /// What `exp-range` multiplies by at each update
    #[arg(long, value_name = "F", default_value_t = 0.99994)]
    pub(crate) gamma: f64,

    /// Updates of the whole training; eight epochs unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) updates: Option<u64>,

    /// Print every N-th update; text prints about twenty unless given, CSV and JSON every one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) every: Option<u64>,

    /// How the rates are printed; only text comes with a drawing
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: RatesFormat,

    /// One JSON document on standard output; the same as `--format json`
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,

    /// Also draw the rates into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum RatesFormat {
    #[default]
    Text,
    Csv,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// An output of `compress`
    pub(crate) path: PathBuf,

    /// The directory to make
    #[arg(long, short, value_name = "DENSE")]
    pub(crate) output: PathBuf,

    /// One JSON document on standard output: the manifest
    #[arg(long)]
    pub(crate) json: bool,

    /// Replace an output that exists, once the new one is complete
    #[arg(long)]
    pub(crate) force: bool,
}

/// The names of all methods, for the parser.
fn methods() -> Vec<&'static str> {
    rankfold::codec::CODECS.iter().map(|codec| codec.name()).collect()
}

fn methods_and_auto() -> Vec<&'static str> {
    methods().into_iter().chain([rankfold::convert::AUTO]).collect()
}

/// Heading of the options of which there may be one.
const SIZES: &str = "Sizes (one of these)";

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("sizes_given").multiple(false).args(["reductions", "sizes", "bits_per_parameter"])))]
#[command(group(ArgGroup::new("format").multiple(false).args(["json", "markdown", "csv"])))]
pub(crate) struct CompareArgs {
    /// A safetensors file, a `*.safetensors.index.json`, or a model directory
    pub(crate) path: PathBuf,

    /// The table; the one that `compress` would take unless given
    #[arg(long, value_name = "GLOB")]
    pub(crate) table: Option<String>,

    /// The methods; all unless given
    #[arg(long, value_name = "METHODS", value_delimiter = ',', value_parser = methods())]
    pub(crate) methods: Vec<String>,

    /// Fractions of the table's bytes that go: `.5,.9`
    #[arg(long, value_name = "P", value_delimiter = ',', help_heading = SIZES)]
    pub(crate) reductions: Vec<f64>,

    /// Sizes of the encoded table, all parts counted: `12MB,8MiB,10%`
    #[arg(long, value_name = "SIZE", value_delimiter = ',', help_heading = SIZES)]
    pub(crate) sizes: Vec<Size>,

    /// Bits for each number of the table, all parts counted; 8,4,3.2,2,1.6,1 unless a size is given
    #[arg(long, value_name = "BITS", value_delimiter = ',', help_heading = SIZES)]
    pub(crate) bits_per_parameter: Vec<f64>,

    /// Rows whose nearest neighbours are looked for before and after
    #[arg(long, value_name = "ROWS", default_value_t = 1000, value_parser = sampled_rows)]
    pub(crate) sample: usize,

    #[command(flatten)]
    pub(crate) codec: CodecArgs,

    /// One JSON document on standard output
    #[arg(long)]
    pub(crate) json: bool,

    /// A Markdown table on standard output
    #[arg(long)]
    pub(crate) markdown: bool,

    /// Comma-separated values on standard output
    #[arg(long)]
    pub(crate) csv: bool,

    /// Also write a page with charts to this file; it needs nothing from the network
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// Parses a number of sampled rows. Similarities of all sampled rows to a block are held at once.
fn sampled_rows(text: &str) -> Result<usize, String> {
    const MOST: usize = 100_000;
    let rows: usize = text.parse().map_err(|error: std::num::ParseIntError| error.to_string())?;
    if rows <= MOST { Ok(rows) } else { Err(format!("at most {MOST} rows")) }
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A checkpoint, compressed or not
    pub(crate) before: PathBuf,

    /// The checkpoint to compare it with
    pub(crate) after: PathBuf,

    /// Fail with exit code 4 if the relative Frobenius error of a tensor is larger, or if a tensor is in one only,
    /// has another shape, or differs and is not made of floating-point numbers
    #[arg(long, value_name = "E", help_heading = "Gates", value_parser = error_bound)]
    pub(crate) max_error: Option<f64>,

    /// One JSON document on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Parses a bound on a relative error: a number of at least 0.
fn error_bound(text: &str) -> Result<f64, String> {
    let bound: f64 = text.parse().map_err(|error: std::num::ParseFloatError| error.to_string())?;
    if bound >= 0.0 { Ok(bound) } else { Err("expected a number of at least 0".to_owned()) }
}
