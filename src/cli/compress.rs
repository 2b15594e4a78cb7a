//! `rankfold compress`.

use rankfold::checkpoint::Checkpoint;
use rankfold::convert::{Finished, Prepared, compress};
use rankfold::observe::Observer;
use rankfold::output::check_destination;
use rankfold::report::text;

use super::Outcome;
use super::args::CompressArgs;
use super::output::{Terminal, print, print_json};
use super::settings::replace;

pub(super) fn run(args: &CompressArgs, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let request = args.request()?;
    let checkpoint = Checkpoint::open(&args.path)?;
    for warning in checkpoint.warnings() {
        terminal.warn(warning);
    }
    // The parser asks for an output unless nothing is to be written.
    let Some(output) = args.output.as_deref().filter(|_| !args.dry_run) else {
        let prepared = Prepared::new(&checkpoint, &request, terminal)?;
        terminal.clear();
        if args.json {
            print_json(prepared.plan())?
        } else {
            print(&prepared.plan().to_string())?
        }
        return Ok(Outcome::Done);
    };
    // Before minutes of computing, not after.
    check_destination(output, replace(args.force))?;
    let Finished { manifest, manifest_sha256 } =
        compress(&checkpoint, &request, output, replace(args.force), terminal)?;
    terminal.clear();
    if args.json {
        print_json(&manifest)?
    } else {
        print(&text::finished(output, &manifest, &manifest_sha256))?
    }
    Ok(Outcome::Done)
}
