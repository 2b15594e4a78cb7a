//! Arguments, settings, streams, and one file per command.

mod args;
mod compare;
mod compress;
mod convert;
#[cfg(feature = "train")]
mod data;
mod diff;
#[cfg(feature = "train")]
mod evaluate;
mod inspect;
mod manifest;
mod options;
mod output;
#[cfg(feature = "train")]
mod reproduce;
mod restore;
#[cfg(feature = "train")]
mod retrain;
mod schedule;
mod settings;
mod signals;
#[cfg(feature = "train")]
mod train;
#[cfg(feature = "train")]
mod training;
mod verify;

use std::process::ExitCode;

use clap::Parser;
use rankfold::{Error, ErrorKind};

use args::{Cli, Command};
use output::Terminal;
use signals::Signals;

/// Exit codes; `docs/commands/exit-codes.md` is their contract. Wrong usage (2) ends in the parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
    Different,
    GateNotMet,
    Signal(u8),
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        ExitCode::from(match outcome {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::Different => 3,
            Outcome::GateNotMet => 4,
            Outcome::Signal(number) => 128 + number,
        })
    }
}

/// Parses the arguments, runs the command, reports, and gives the exit code.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return report(&error, None).into(),
    };
    let terminal = Terminal::new(signals.clone(), cli.global.quiet);
    let ready = start_threads(cli.global.threads).and_then(|()| Ok(rankfold::linalg::limit_isa()?));
    let result = ready.and_then(|()| match &cli.command {
        Command::Inspect(args) => inspect::run(args, &terminal),
        Command::Compress(args) => compress::run(args, &terminal),
        Command::Convert(args) => convert::run(args, &terminal),
        Command::Verify(args) => verify::run(args, &terminal),
        Command::Manifest(args) => manifest::run(args, &terminal),
        Command::Restore(args) => restore::run(args, &terminal),
        Command::Compare(args) => compare::run(args, &terminal),
        Command::Diff(args) => diff::run(args, &terminal),
        Command::Schedule(args) => schedule::run(args),
        #[cfg(feature = "train")]
        Command::Train(args) => train::run(args, &terminal),
        #[cfg(feature = "train")]
        Command::Retrain(args) => retrain::run(args, &terminal),
        #[cfg(feature = "train")]
        Command::Evaluate(args) => evaluate::run(args),
        #[cfg(feature = "train")]
        Command::Reproduce(args) => reproduce::run(args, &terminal),
    });
    terminal.clear();
    // Whatever was found out of zeros in place of a file's end is worth nothing.
    let result = result.and_then(|outcome| Ok(rankfold::format::truncation::check().map(|()| outcome)?));
    result.unwrap_or_else(|error| report(&error, signals.received())).into()
}

fn start_threads(threads: Option<u16>) -> anyhow::Result<()> {
    let threads = threads.map_or(0, usize::from);
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?)
}

/// Prints the error with its causes and its hint, and gives the outcome it stands for.
fn report(error: &anyhow::Error, signal: Option<u8>) -> Outcome {
    let ours = error.downcast_ref::<Error>();
    eprintln!("error: {error:#}");
    if let Some(hint) = ours.and_then(Error::hint_text) {
        eprintln!("hint: {hint}");
    }
    match (ours.map(Error::kind), signal) {
        (Some(ErrorKind::Interrupted), Some(number)) => Outcome::Signal(number),
        (Some(ErrorKind::Gate), _) => Outcome::GateNotMet,
        _ => Outcome::Failed,
    }
}
