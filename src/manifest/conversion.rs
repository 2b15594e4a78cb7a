//! Checks an output of `convert` against the checkpoint it was made from.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::source::same_elements;
use super::{Change, ConversionRecord, Errors, Manifest, Subject, Verification, hex};
use crate::checkpoint::{Checkpoint, TensorId};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::tensor::Cast;

/// Notes every tensor of `output` that does not follow from `source` as `manifest` says. Casts are done again: they
/// are exactly defined.
pub(super) fn check(
    manifest: &Manifest,
    source: &Checkpoint,
    output: &Checkpoint,
    result: &mut Verification,
    observer: &dyn Observer,
) -> Result<()> {
    let records: BTreeMap<&str, _> =
        manifest.conversions.iter().map(|record| (record.source.as_str(), record)).collect();
    let left_out: BTreeSet<&str> = manifest.left_out.iter().map(String::as_str).collect();
    let mut accounted = BTreeSet::new();
    for (before, meta) in source.tensors().filter(|(_, meta)| !left_out.contains(meta.name.as_str())) {
        observer.check()?;
        let record = records.get(meta.name.as_str()).copied();
        let own = record.map_or(meta.name.as_str(), |record| record.name.as_str());
        let name = manifest.stored_once.get(&meta.name).map_or(own, String::as_str);
        accounted.insert(name);
        let Some(after) = output.find(name) else {
            result.note(Subject::Tensor, name, Change::Missing, "the source has it");
            continue;
        };
        let found = output.meta(after);
        let expected = record.map_or(meta.dtype, |record| record.dtype_after);
        if (expected, &meta.shape) != (found.dtype, &found.shape) {
            let detail = format!("expected {expected} {:?}, found {} {:?}", meta.shape, found.dtype, found.shape);
            result.note(Subject::Tensor, name, Change::Changed, detail);
        } else if found.dtype == meta.dtype {
            if !same_elements((source, before), (output, after))? {
                result.note(Subject::Tensor, name, Change::Changed, "other bytes than in the source");
            }
        } else if let Some(record) = record {
            check_cast(record, (source, before), (output, after), result)?;
        }
    }
    for (_, meta) in output.tensors().filter(|(_, meta)| !accounted.contains(meta.name.as_str())) {
        result.note(Subject::Tensor, &meta.name, Change::Extra, "the source lacks it");
    }
    Ok(())
}

fn check_cast(
    record: &ConversionRecord,
    (source, before): (&Checkpoint, TensorId),
    (output, after): (&Checkpoint, TensorId),
    result: &mut Verification,
) -> Result<()> {
    let numbers = record.dtype_before.decoded().unwrap_or(record.dtype_before);
    let mut cast = Cast::new(numbers, record.dtype_after, true);
    let (mut hasher, mut out) = (Sha256::new(), Vec::new());
    let shard = source.shards().get(before.shard).ok_or_else(|| Error::new(ErrorKind::Malformed, "no such shard"))?;
    shard.reader().stream_decoded(before.index, &mut |bytes| {
        for piece in bytes.chunks(Cast::PIECE) {
            out.clear();
            cast.push(piece, &mut out)?;
            hasher.update(&out);
        }
        Ok(())
    })?;
    if hex(&hasher.finalize()) != output.digest(after)? {
        result.note(Subject::Tensor, &record.name, Change::Changed, "other bytes than the cast of the source");
    }
    let measured = Errors {
        relative_frobenius: cast.relative_frobenius_error(),
        max_absolute: cast.max_absolute_error,
        weighted_relative_frobenius: None,
    };
    if record.errors != Some(measured) || record.overflowed != cast.overflowed {
        let detail = format!(
            "errors: {:?} and {} overflows are stated, {measured:?} and {} are measured",
            record.errors, record.overflowed, cast.overflowed
        );
        result.note(Subject::Tensor, &record.name, Change::Changed, detail);
    }
    Ok(())
}
