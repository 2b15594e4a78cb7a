//! `rankfold restore`.

use rankfold::convert::{Finished, restore};

use super::Outcome;
use super::args::RestoreArgs;
use super::output::{Terminal, print, print_json};
use super::settings::replace;
use rankfold::report::text;

pub(super) fn run(args: &RestoreArgs, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let Finished { manifest, manifest_sha256 } = restore(&args.path, &args.output, replace(args.force), terminal)?;
    terminal.clear();
    if args.json {
        print_json(&manifest)?;
    } else {
        print(&text::finished(&args.output, &manifest, &manifest_sha256))?;
    }
    Ok(Outcome::Done)
}
