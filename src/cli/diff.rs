//! `rankfold diff`.

use rankfold::manifest;
use rankfold::observe::Observer;
use rankfold::{Error, ErrorKind, diff, report};

use super::Outcome;
use super::args::DiffArgs;
use super::output::{Terminal, print, print_json};

pub(super) fn run(args: &DiffArgs, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let (before, after) = (manifest::open(&args.before)?, manifest::open(&args.after)?);
    for warning in before.warnings().iter().chain(after.warnings()) {
        terminal.warn(warning);
    }
    let diff = diff::diff(&before, &after, terminal)?;
    terminal.clear();
    if args.json {
        print_json(&diff)?;
    } else {
        print(&report::diff(&diff))?;
    }
    let Some(bound) = args.max_error else { return Ok(Outcome::Done) };
    match diff.tensors.iter().find(|tensor| !tensor.is_within(bound)) {
        None => Ok(Outcome::Done),
        Some(tensor) => {
            let error = tensor.errors.as_ref().and_then(|errors| errors.relative_frobenius);
            Err(Error::new(ErrorKind::Gate, "a tensor differs by more than the bound")
                .at(&args.after)
                .tensor(&tensor.name)
                .expected(format!("a relative Frobenius error of at most {bound}"))
                .found(error.map_or_else(|| tensor.result.name().to_owned(), |error| error.to_string()))
                .into())
        }
    }
}
