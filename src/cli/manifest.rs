//! `rankfold manifest`.

use std::path::Path;

use rankfold::manifest::{Manifest, statement, verify};
use rankfold::{Error, ErrorKind};

use super::Outcome;
use super::args::ManifestArgs;
use super::output::{Terminal, print, print_json};

pub(super) fn run(args: &ManifestArgs, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let (manifest, verification) = verify(&args.path, terminal)?;
    terminal.clear();
    for difference in &verification.differences {
        eprintln!("{difference}");
    }
    // What is printed may be signed, so it has to be true of the directory.
    let (Some(manifest), Some(sha256), []) = (manifest, verification.manifest_sha256, &*verification.differences)
    else {
        return Ok(Outcome::Different);
    };
    if args.oms {
        print_json(&statement(&name_of(&args.path)?, &manifest, &sha256))?;
    } else {
        print(&Manifest::to_text(&manifest)?)?;
    }
    Ok(Outcome::Done)
}

/// The name that a directory has, whatever path led to it.
fn name_of(path: &Path) -> anyhow::Result<String> {
    let full = path.canonicalize().map_err(|error| Error::io("cannot open", path, error))?;
    let name = full.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    Ok(name.ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "the directory's name cannot stand in a statement")
            .at(path)
            .expected("a name in UTF-8")
    })?)
}
