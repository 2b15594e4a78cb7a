//! `rankfold inspect`.

use rankfold::checkpoint::Checkpoint;
use rankfold::inspect::inspect;
use rankfold::observe::Observer;
use rankfold::report;

use super::Outcome;
use super::args::InspectArgs;
use super::output::{Terminal, print, print_json};

pub(super) fn run(args: &InspectArgs, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let checkpoint = Checkpoint::open(&args.path)?;
    for warning in checkpoint.warnings() {
        terminal.warn(warning);
    }
    let inspection = inspect(&checkpoint, &args.include, !args.no_spectrum, terminal)?;
    terminal.clear();
    if args.json {
        print_json(&inspection)?
    } else {
        print(&report::inspection(&inspection))?
    }
    Ok(Outcome::Done)
}
