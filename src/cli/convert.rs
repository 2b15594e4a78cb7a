//! `rankfold convert`.

use rankfold::checkpoint::Checkpoint;
use rankfold::convert::{Finished, convert};
use rankfold::observe::Observer;
use rankfold::report::text;

use super::Outcome;
use super::args::ConvertArgs;
use super::output::{Terminal, print, print_json};
use super::settings::replace;

pub(super) fn run(args: &ConvertArgs, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let request = args.request()?;
    let checkpoint = Checkpoint::open(&args.path)?;
    for warning in checkpoint.warnings() {
        terminal.warn(warning);
    }
    let Finished { manifest, manifest_sha256 } =
        convert(&checkpoint, &request, &args.output, replace(args.force), terminal)?;
    terminal.clear();
    if args.json {
        print_json(&manifest)?;
    } else {
        print(&text::finished(&args.output, &manifest, &manifest_sha256))?;
    }
    Ok(Outcome::Done)
}
