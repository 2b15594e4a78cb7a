//! `rankfold verify`.

use rankfold::codec::RowWeights;
use rankfold::manifest::{Change, Difference, Manifest, Subject, verify, verify_chain, verify_source};
use rankfold::report::text;
use rankfold::{Error, ErrorKind};

use super::Outcome;
use super::args::VerifyArgs;
use super::output::{Terminal, print, print_json};

pub(super) fn run(args: &VerifyArgs, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let (manifest, mut verification) = verify(&args.path, terminal)?;
    if let (Some(source), Some(manifest)) = (&args.source, &manifest) {
        let row_weights = args.row_weights.as_deref().map(RowWeights::open).transpose()?;
        verify_source(manifest, &args.path, source, row_weights.as_ref(), &mut verification, terminal)?;
    }
    if let (Some(manifest), false) = (&manifest, args.chain.is_empty()) {
        verify_chain(manifest, &args.path, &args.chain, &mut verification, terminal)?;
    }
    if let (Some(expected), Some(found)) = (&args.digest, &verification.manifest_sha256)
        && !expected.eq_ignore_ascii_case(found)
    {
        let detail = format!("expected sha256 {expected}, found {found}");
        verification.differences.push(Difference {
            subject: Subject::File,
            name: rankfold::manifest::MANIFEST_NAME.into(),
            change: Change::Changed,
            detail,
        });
    }
    terminal.clear();
    if args.json {
        print_json(&verification)?;
    } else {
        print(&text::verification(&args.path, &verification))?;
    }
    if !verification.differences.is_empty() {
        return Ok(Outcome::Different);
    }
    manifest.map_or(Ok(Outcome::Different), |manifest| {
        gates(args, &manifest)?;
        Ok(Outcome::Done)
    })
}

/// Holds the numbers of the manifest, which were found true as far as was asked, against the bounds.
fn gates(args: &VerifyArgs, manifest: &Manifest) -> Result<(), Error> {
    if let Some(bound) = args.max_error {
        let over = manifest.tables.iter().find(|table| table.errors.relative_frobenius > bound);
        if let Some(table) = over {
            return Err(Error::new(ErrorKind::Gate, "the error of a table is above the bound")
                .at(&args.path)
                .tensor(&table.name)
                .expected(format!("a relative Frobenius error of at most {bound}"))
                .found(table.errors.relative_frobenius.to_string()));
        }
    }
    if let Some(size) = args.max_size {
        let limit = size.bytes(manifest.weights_bytes.before);
        if manifest.weights_bytes.after > limit {
            return Err(Error::new(ErrorKind::Gate, "the weights are larger than the bound")
                .at(&args.path)
                .expected(format!("at most {limit} bytes"))
                .found(manifest.weights_bytes.after.to_string()));
        }
    }
    Ok(())
}
