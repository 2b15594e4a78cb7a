//! `rankfold compare`.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rankfold::checkpoint::Checkpoint;
use rankfold::codec::{self, CODECS};
use rankfold::compare::{Budget, Comparison, DEFAULT_BITS, Request, compare};
use rankfold::observe::Observer;
use rankfold::report::comparison;
use rankfold::{Error, ErrorKind};

use super::Outcome;
use super::args::CompareArgs;
use super::output::{Terminal, print, print_json};

pub(super) fn run(args: &CompareArgs, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let request = args.request()?;
    let checkpoint = Checkpoint::open(&args.path)?;
    for warning in checkpoint.warnings() {
        terminal.warn(warning);
    }
    let comparison = compare(&checkpoint, &request, terminal)?;
    terminal.clear();
    if let Some(path) = &args.html {
        write_page(path, &comparison)?;
    }
    if args.json {
        print_json(&comparison)?;
    } else if args.markdown {
        print(&comparison::markdown(&comparison))?;
    } else if args.csv {
        print(&comparison::csv(&comparison))?;
    } else {
        print(&comparison::text(&comparison))?;
    }
    Ok(Outcome::Done)
}

impl CompareArgs {
    fn request(&self) -> anyhow::Result<Request> {
        let methods = match &self.methods[..] {
            [] => CODECS.to_vec(),
            names => names.iter().map(|name| codec::find(name)).collect::<Result<_, _>>()?,
        };
        let reductions = self.reductions.iter().copied().map(Budget::Reduction);
        let sizes = self.sizes.iter().copied().map(Budget::Size);
        let bits = self.bits_per_parameter.iter().copied().map(Budget::BitsPerParameter);
        let mut budgets: Vec<_> = reductions.chain(sizes).chain(bits).collect();
        if budgets.is_empty() {
            budgets.extend(DEFAULT_BITS.map(Budget::BitsPerParameter));
        }
        Ok(Request {
            table: self.table.clone(),
            methods,
            options: self.codec.options()?,
            budgets,
            sampled_rows: self.sample,
        })
    }
}

/// Writes the page to a file that appears when it is complete.
fn write_page(path: &Path, comparison: &Comparison) -> anyhow::Result<()> {
    let page = comparison::html(comparison)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let refused = |error| Error::io("cannot write", path, error);
    if path.is_dir() {
        return Err(Error::new(ErrorKind::Output, "a directory is in the place of the page").at(path).into());
    }
    let mut file = tempfile::Builder::new()
        .prefix(".rankfold-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(parent)
        .map_err(refused)?;
    file.write_all(page.as_bytes()).map_err(refused)?;
    file.as_file().sync_all().map_err(refused)?;
    file.persist(path).map_err(|error| refused(error.error))?;
    Ok(())
}
