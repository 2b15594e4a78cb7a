//! Checks an output against the checkpoint it was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::verify::file_change;
use super::{Change, Manifest, Operation, Subject, TableRecord, Verification};
use crate::checkpoint::{Checkpoint, TensorId};
use crate::codec::{self, Measured, RowWeights};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::tensor::{Rows, TensorMeta};

/// Relative difference between a stated and a recomputed error that is put down to another order of summation or
/// another processor.
const TOLERANCE: f64 = 1e-5;
/// Errors below this fraction of the table's norm are rounding of the arithmetic that measures them.
const FLOOR: f64 = 1e-6;

/// Adds to `result` every way in which `output` does not follow from `source` as `manifest` says.
///
/// # Errors
/// Where either cannot be read.
pub fn verify_source(
    manifest: &Manifest,
    output: &Path,
    source: &Path,
    row_weights: Option<&RowWeights>,
    result: &mut Verification,
    observer: &dyn Observer,
) -> Result<()> {
    if manifest.operation == Operation::Train {
        return Err(Error::new(ErrorKind::Request, "the output was trained and has no source checkpoint")
            .at(output)
            .hint("compare the digests under `request` with `sha256sum` of the data files"));
    }
    let row_weights = recorded_weights(manifest, row_weights)?;
    let source = super::open(source)?;
    let output = super::open(output)?;
    check_files(manifest, &source, result, observer)?;
    check_manifest(manifest, &source, result)?;
    match manifest.operation {
        Operation::Convert => super::conversion::check(manifest, &source, &output, result, observer)?,
        Operation::Compress | Operation::Restore => {
            check_untouched(manifest, &source, &output, result, observer)?;
            check_transposed(manifest, &output, result)?;
        }
        Operation::Retrain | Operation::Train => {
            // Training changed what it would, and how far is stated for people, not to be held against anything.
            result.differences.sort();
            return Ok(());
        }
    }
    for table in &manifest.tables {
        observer.stage("measure", &table.name, table.shape[0] as u64);
        check_table(manifest.operation, table, &source, &output, row_weights, result, observer)
            .map_err(|error| error.tensor(&table.name))?;
    }
    result.differences.sort();
    Ok(())
}

fn check_files(
    manifest: &Manifest,
    source: &Checkpoint,
    result: &mut Verification,
    observer: &dyn Observer,
) -> Result<()> {
    observer.stage("verify", "source", manifest.source.files.iter().map(|file| file.bytes).sum());
    for record in &manifest.source.files {
        let path = source.root().join(&record.path);
        if let Some((change, detail)) = file_change(&path, record, observer)? {
            result.note(Subject::SourceFile, &record.path, change, detail);
        }
    }
    let known: BTreeSet<&Path> = manifest.source.files.iter().map(|file| Path::new(&file.path)).collect();
    for path in source.files() {
        if !known.contains(path) && !super::is_record(path) {
            result.note(Subject::SourceFile, &path.to_string_lossy(), Change::Extra, "");
        }
    }
    Ok(())
}

/// A source that was itself an output has the manifest that is named as the parent.
fn check_manifest(manifest: &Manifest, source: &Checkpoint, result: &mut Verification) -> Result<()> {
    let (Operation::Retrain, Some(expected)) = (manifest.operation, &manifest.source.manifest_sha256) else {
        return Ok(());
    };
    let (_, bytes) = Manifest::read(source.root())?;
    let found = super::digest(&bytes);
    if found != *expected {
        let detail = format!("expected sha256 {expected}, found {found}");
        result.note(Subject::SourceFile, super::MANIFEST_NAME, Change::Changed, detail);
    }
    Ok(())
}

/// Every tensor but the tables, their parts and their tied copies is in both checkpoints, with the same bytes.
fn check_untouched(
    manifest: &Manifest,
    source: &Checkpoint,
    output: &Checkpoint,
    result: &mut Verification,
    observer: &dyn Observer,
) -> Result<()> {
    let tables = &manifest.tables;
    // What a restored table was read from is told by the manifest of its source.
    let carrier = match manifest.operation {
        Operation::Restore => Manifest::read(source.root()).ok().and_then(|(parent, _)| parent.carrier),
        _ => manifest.carrier.clone(),
    };
    let touched: BTreeSet<&str> = tables
        .iter()
        .flat_map(|table| table.parts.iter().chain(&table.tied).chain([&table.name]))
        .chain(carrier.iter().flat_map(|carrier| carrier.transposed.keys()))
        .map(String::as_str)
        .collect();
    let names: BTreeSet<&str> = source.tensors().chain(output.tensors()).map(|(_, meta)| meta.name.as_str()).collect();
    for name in names.difference(&touched) {
        observer.check()?;
        let stored = manifest.stored_once.get(*name).map_or(*name, String::as_str);
        match (source.find(name), output.find(name).or_else(|| output.find(stored))) {
            (Some(before), Some(after)) => {
                if !same_kind(source.meta(before), output.meta(after)) {
                    let (before, after) = (source.meta(before), output.meta(after));
                    let detail = format!(
                        "untouched, but {} {:?} in the source and {} {:?} here",
                        before.dtype, before.shape, after.dtype, after.shape
                    );
                    result.note(Subject::Tensor, name, Change::Changed, detail);
                } else if !same_elements((source, before), (output, after))? {
                    result.note(Subject::Tensor, name, Change::Changed, "untouched, but other bytes in the source");
                }
            }
            (Some(_), None) => result.note(Subject::Tensor, name, Change::Missing, "the source has it"),
            (None, _) => result.note(Subject::Tensor, name, Change::Extra, "the source lacks it"),
        }
    }
    Ok(())
}

/// Every tensor that a carrier stored beside a part is the part with rows and columns exchanged.
fn check_transposed(manifest: &Manifest, output: &Checkpoint, result: &mut Verification) -> Result<()> {
    for (name, part) in manifest.carrier.iter().flat_map(|carrier| &carrier.transposed) {
        let exchanged = match (output.find(name), output.find(part)) {
            (Some(name), Some(part)) => is_transposed((output, part), (output, name))?,
            _ => false,
        };
        if !exchanged {
            result.note(
                Subject::Tensor,
                name,
                Change::Changed,
                format!("not `{part}` with rows and columns exchanged"),
            );
        }
    }
    Ok(())
}

/// Whether the elements of the second matrix are those of the first with rows and columns exchanged. Factors are small.
#[expect(clippy::arithmetic_side_effects, reason = "rows and columns are those of a matrix whose bytes were counted")]
fn is_transposed(first: (&Checkpoint, TensorId), second: (&Checkpoint, TensorId)) -> Result<bool> {
    let meta = |(checkpoint, id): (&Checkpoint, TensorId)| checkpoint.meta(id).clone();
    let (one, other) = (meta(first), meta(second));
    let (Some((rows, columns)), Some(shape)) = (one.matrix(), other.matrix()) else { return Ok(false) };
    if shape != (columns, rows) || one.dtype != other.dtype {
        return Ok(false);
    }
    let size = one.dtype.bytes();
    let (one, other) = (first.0.bytes(first.1)?, second.0.bytes(second.1)?);
    let (mut one, other) = (one.chunks_exact(size), |at: usize| other.get(at * size..(at + 1) * size));
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| column * rows + row));
    Ok(places.into_iter().all(|at| one.next().is_some_and(|element| other(at) == Some(element))))
}

fn same_kind(left: &TensorMeta, right: &TensorMeta) -> bool {
    (left.dtype, &left.shape) == (right.dtype, &right.shape)
}

/// Whether two tensors of one dtype and shape have the same elements, in memory that does not grow with them.
pub(crate) fn same_elements(left: (&Checkpoint, TensorId), right: (&Checkpoint, TensorId)) -> Result<bool> {
    let plain = |(checkpoint, id): (&Checkpoint, TensorId)| checkpoint.is_mapped(id);
    if plain(left) && plain(right) {
        return Ok(left.0.bytes(left.1)? == right.0.bytes(right.1)?);
    }
    Ok(left.0.digest(left.1)? == right.0.digest(right.1)?)
}

/// Rows and columns that are compared at a time, so that both sides stay in the cache.
const TILE: usize = 64;

/// Whether two matrices have the same elements, the second transposed. Those that are not stored as they are do not count.
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "rows and columns are those of a matrix whose bytes were counted"
)]
pub(crate) fn same_transposed(table: (&Checkpoint, TensorId), copy: (&Checkpoint, TensorId)) -> Result<bool> {
    let (one, other) = (table.0.meta(table.1), copy.0.meta(copy.1));
    let (Some((rows, columns)), Some(turned)) = (one.matrix(), other.matrix()) else { return Ok(false) };
    let width = one.dtype.bytes();
    if (one.dtype, turned) != (other.dtype, (columns, rows)) || !one.dtype.is_table_float() {
        return Ok(false);
    }
    if !(table.0.is_mapped(table.1) && copy.0.is_mapped(copy.1)) {
        return Ok(false);
    }
    let (one, other) = (table.0.bytes(table.1)?, copy.0.bytes(copy.1)?);
    let same_tile = |row: usize, column: usize| {
        (row..rows.min(row + TILE)).all(|row| {
            (column..columns.min(column + TILE)).all(|column| {
                one[(row * columns + column) * width..][..width] == other[(column * rows + row) * width..][..width]
            })
        })
    };
    Ok((0..rows).step_by(TILE).all(|row| (0..columns).step_by(TILE).all(|column| same_tile(row, column))))
}

fn check_table(
    operation: Operation,
    table: &TableRecord,
    source: &Checkpoint,
    output: &Checkpoint,
    row_weights: Option<&RowWeights>,
    result: &mut Verification,
    observer: &dyn Observer,
) -> Result<()> {
    // A restored table is dense, and its source is the encoded one.
    let (dense_side, encoded_side) = match operation {
        Operation::Compress | Operation::Convert | Operation::Retrain | Operation::Train => (source, output),
        Operation::Restore => (output, source),
    };
    let Some(dense) = dense_side.find(&table.name) else {
        result.note(Subject::Table, &table.name, Change::Missing, "the dense checkpoint lacks it");
        return Ok(());
    };
    for tied in &table.tied {
        let same = match dense_side.find(tied) {
            Some(id) => {
                let (copy, dense) = ((dense_side, id), (dense_side, dense));
                same_kind(dense_side.meta(id), dense_side.meta(dense.1)) && same_elements(copy, dense)?
                    || same_transposed(dense, copy)?
            }
            None => false,
        };
        if !same {
            let detail = format!("`{tied}` is recorded as tied but is not the same tensor");
            result.note(Subject::Table, &table.name, Change::Changed, detail);
        }
    }
    let parts: BTreeMap<_, _> = table.parts.iter().map(|part| (part.as_str(), encoded_side.find(part))).collect();
    if let Some((part, _)) = parts.iter().find(|(_, id)| id.is_none()) {
        result.note(Subject::Table, &table.name, Change::Changed, format!("no tensor `{part}` to decode"));
        return Ok(());
    }
    if dense_side.meta(dense).matrix() != Some((table.shape[0], table.shape[1])) {
        let detail = format!("shape: expected {:?}, found {:?}", dense_side.meta(dense).shape, table.shape);
        result.note(Subject::Table, &table.name, Change::Changed, detail);
        return Ok(());
    }
    let weights = row_weights.map(|weights| weights.of_rows(table.shape[0])).transpose()?;
    let measured = measure(table, dense_side, dense, encoded_side, weights.as_deref(), observer)?;
    let norm = measured.squared_norm.sqrt();
    let stated = [
        ("relative_frobenius", table.errors.relative_frobenius, measured.relative_frobenius_error(), 1.0),
        ("max_absolute", table.errors.max_absolute, measured.max_absolute_error, norm),
    ];
    // Without the weights nothing can be said of the weighted error.
    let weighted = table.errors.weighted_relative_frobenius.zip(measured.weighted);
    let weighted =
        weighted.map(|(stated, found)| ("weighted_relative_frobenius", stated, found.relative_frobenius_error(), 1.0));
    for (name, stated, found, scale) in stated.into_iter().chain(weighted) {
        if (stated - found).abs() > TOLERANCE * stated.abs().max(found.abs()) + FLOOR * scale || !found.is_finite() {
            let detail = format!("errors.{name}: {stated} is stated, {found} is measured");
            result.note(Subject::Table, &table.name, Change::Changed, detail);
        }
    }
    Ok(())
}

/// The weights that the manifest names: those given, where their digest fits, or Zipf's.
fn recorded_weights<'w>(manifest: &Manifest, given: Option<&'w RowWeights>) -> Result<Option<&'w RowWeights>> {
    let recorded = manifest.request.get("row_weights").and_then(|name| name.as_str());
    match (recorded, given) {
        (Some("zipf"), None) => Ok(Some(&RowWeights::Zipf)),
        (_, None) => Ok(None),
        (Some(recorded), Some(given)) if recorded == given.to_string() => Ok(Some(given)),
        (recorded, Some(given)) => {
            Err(Error::new(ErrorKind::Request, "the row weights are not those that the manifest names")
                .expected(recorded.unwrap_or("none").to_owned())
                .found(given.to_string()))
        }
    }
}

fn measure(
    table: &TableRecord,
    dense_side: &Checkpoint,
    dense: TensorId,
    encoded_side: &Checkpoint,
    weights: Option<&[f64]>,
    observer: &dyn Observer,
) -> Result<Measured> {
    let rows = dense_side.rows(dense)?;
    let decoded = decode(table, encoded_side)?;
    codec::measure_weighted(rows.as_ref(), decoded.as_ref(), weights, observer)
}

/// The rows of an encoded table whose parts are in `checkpoint`.
///
/// # Errors
/// [`ErrorKind::Unsupported`] where the method is unknown, [`ErrorKind::Malformed`] where parts are missing or do not
/// fit.
pub fn decode<'c>(table: &TableRecord, checkpoint: &'c Checkpoint) -> Result<Box<dyn Rows + 'c>> {
    let codec = codec::find(&table.method)?;
    let parts = table
        .parts
        .iter()
        .map(|part| {
            checkpoint.find(part).map(|id| checkpoint.part(id)).transpose()?.ok_or_else(|| {
                Error::new(ErrorKind::Malformed, "part is missing")
                    .at(checkpoint.root())
                    .tensor(part)
                    .expected(format!("a part of table `{}`", table.name))
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let rows = codec.decode(&table.setting, &parts).map_err(|error| error.at(checkpoint.root()).tensor(&table.name))?;
    let (found_rows, found_columns) = rows.shape();
    if [found_rows, found_columns] != table.shape {
        return Err(Error::new(ErrorKind::Malformed, "the parts do not give the table's shape")
            .at(checkpoint.root())
            .tensor(&table.name)
            .expected(format!("{:?}", table.shape))
            .found(format!("[{found_rows}, {found_columns}]")));
    }
    Ok(rows)
}
