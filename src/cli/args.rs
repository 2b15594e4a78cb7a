//! Raw command-line values; `settings` resolves them.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use rankfold::plan::{Override, Size, Target};

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
    Compress(CompressArgs),
    /// Re-hash an output and list every difference from its manifest
    Verify(VerifyArgs),
    /// Multiply factor pairs out again: a stock checkpoint of the original names and shapes
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A safetensors file, a `*.safetensors.index.json`, or a model directory
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
    .args(["reduction", "rank", "energy", "max_error", "target_size"])))]
pub(crate) struct CompressArgs {
    /// A safetensors file, a `*.safetensors.index.json`, or a model directory
    pub(crate) path: PathBuf,

    /// The directory to make
    #[arg(long, short, value_name = "OUT", required_unless_present = "dry_run")]
    pub(crate) output: Option<PathBuf>,

    /// Remove this fraction of each table's parameters: k = floor((1 - P) V d / (V + d))
    #[arg(long, value_name = "P", help_heading = TARGET, value_parser = target("reduction"))]
    pub(crate) reduction: Option<Target>,

    /// This rank for each table
    #[arg(long, value_name = "K", help_heading = TARGET, value_parser = target("rank"))]
    pub(crate) rank: Option<Target>,

    /// The least rank that keeps this fraction of the squared singular values
    #[arg(long, value_name = "F", help_heading = TARGET, value_parser = target("energy"))]
    pub(crate) energy: Option<Target>,

    /// The least rank with at most this relative Frobenius error, measured
    #[arg(long, value_name = "E", help_heading = TARGET, value_parser = target("max-error"))]
    pub(crate) max_error: Option<Target>,

    /// At most this size of all weight files, headers included: `12MB`, `12MiB`, `90%` of the source
    #[arg(long, value_name = "SIZE", help_heading = TARGET, value_parser = target("target-size"))]
    pub(crate) target_size: Option<Target>,

    /// How tables are encoded
    #[arg(long, value_name = "METHOD", default_value = "low-rank",
          value_parser = rankfold::codec::CODECS.iter().map(|codec| codec.name()).collect::<Vec<_>>())]
    pub(crate) method: String,

    /// Dtype of the stored factors; that of the table unless given
    #[arg(long, value_enum, ignore_case = true)]
    pub(crate) dtype: Option<FactorDtype>,

    /// Where the singular values go: half to each factor, all left (to A) or all right (to B)
    #[arg(long, value_enum, default_value_t)]
    pub(crate) split: SplitArg,

    /// Take the tables whose names match, and no others
    #[arg(long, value_name = "GLOB", help_heading = "Tables")]
    pub(crate) include: Vec<String>,

    /// Leave tables whose names match alone
    #[arg(long, value_name = "GLOB", help_heading = "Tables")]
    pub(crate) exclude: Vec<String>,

    /// Another target for tables whose names match: `GLOB:rank=64`, `GLOB:reduction=.9`, `GLOB:energy=.99`,
    /// `GLOB:max-error=.1`; the last match counts
    #[arg(long = "override", value_name = "GLOB:TARGET", help_heading = "Tables")]
    pub(crate) overrides: Vec<Override>,

    /// Fail with exit code 4, writing nothing, if all weight files together would be larger
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<Size>,

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
pub(crate) struct VerifyArgs {
    /// An output of `compress` or `restore`
    pub(crate) path: PathBuf,

    /// Also check against the checkpoint it was made from: digests, untouched tensors, and the stated errors
    #[arg(long, value_name = "PATH")]
    pub(crate) source: Option<PathBuf>,

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

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FactorDtype {
    F64,
    F32,
    F16,
    Bf16,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum SplitArg {
    #[default]
    Balanced,
    Left,
    Right,
}
