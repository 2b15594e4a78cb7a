//! `rankfold compress`.

use rankfold::checkpoint::Checkpoint;
use rankfold::convert::{Finished, Prepared};
use rankfold::observe::Observer;

use super::Outcome;
use super::args::CompressArgs;
use super::output::{Terminal, print, print_json};
use super::settings::replace;
use rankfold::report::text;

pub(super) fn run(args: &CompressArgs, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let request = args.request()?;
    let checkpoint = Checkpoint::open(&args.path)?;
    for warning in checkpoint.warnings() {
        terminal.warn(warning);
    }
    if !args.dry_run {
        // Before minutes of computing, not after.
        rankfold::output::check_destination(&args.output, replace(args.force))?;
    }
    let prepared = Prepared::new(&checkpoint, &request, terminal)?;
    if args.dry_run {
        terminal.clear();
        if args.json {
            print_json(prepared.plan())?
        } else {
            print(&prepared.plan().to_string())?
        }
        return Ok(Outcome::Done);
    }
    let Finished { manifest, manifest_sha256 } = prepared.run(&args.output, replace(args.force), terminal)?;
    terminal.clear();
    if args.json {
        print_json(&manifest)?;
    } else {
        print(&text::finished(&args.output, &manifest, &manifest_sha256))?;
    }
    Ok(Outcome::Done)
}
