//! Two checkpoints tensor by tensor, each dense, compressed by this program, or anybody's.
//!
//! A compressed table is compared in its decoded form under its dense name, and so are the tensors that were stored
//! once with it; its parts are not listed. So is a table of another program that a codec of this one reads.

mod foreign;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rayon::prelude::*;
use serde::Serialize;

use crate::checkpoint::{Checkpoint, TensorId};
use crate::error::{Error, Result};
use crate::manifest::{MANIFEST_NAME, Manifest, TableRecord, decode};
use crate::observe::Observer;
use crate::tensor::{Dtype, MappedRows, Rows, read_as_stored};

use foreign::Foreign;

/// Values of a block.
const BLOCK_VALUES: usize = 1 << 17;
/// Blocks between two looks at the observer; their sums are added in order.
const BLOCKS_AT_ONCE: usize = 64;

/// Every tensor of either checkpoint, sorted by name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diff {
    /// The tensors.
    pub tensors: Vec<TensorDiff>,
}

/// One name, and what the two checkpoints have under it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorDiff {
    /// Full name.
    pub name: String,
    /// What the first checkpoint has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Side>,
    /// What the second one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Side>,
    /// How they compare.
    pub result: Verdict,
    /// How far apart the numbers are; absent where they are not numbers of one shape that can be subtracted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Errors>,
}

/// A tensor as one of the checkpoints has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// Element type; of a compressed table that of the dense one.
    pub dtype: Dtype,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// The method that it was decoded with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// How two tensors of one name compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Same dtype, shape and bytes; of a decoded table, the same numbers.
    Equal,
    /// Same shape, other content or dtype.
    Different,
    /// Another shape.
    Reshaped,
    /// The second checkpoint lacks it.
    OnlyBefore,
    /// The first checkpoint lacks it.
    OnlyAfter,
}

impl Verdict {
    /// The word of reports.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Equal => "equal",
            Verdict::Different => "different",
            Verdict::Reshaped => "reshaped",
            Verdict::OnlyBefore => "only in the first",
            Verdict::OnlyAfter => "only in the second",
        }
    }
}

/// Distances of the second tensor x~ from the first x.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Errors {
    /// `||x - x~|| / ||x||`; absent where x is zeros and x~ is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative_frobenius: Option<f64>,
    /// Root of the mean squared difference.
    pub rmse: f64,
    /// `max |x - x~|`.
    pub max_absolute: f64,
    /// Cosine of both as vectors; absent where one is zeros.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f64>,
    /// Numbers whose difference is not finite (a NaN or an infinity in one of them, not the same in both). They are
    /// left out of everything else.
    pub not_finite: u64,
}

impl TensorDiff {
    /// Whether the two are the same within a relative Frobenius error of `bound`. What is in one checkpoint only, has
    /// another shape, or differs in content that cannot be subtracted is within no bound.
    pub fn is_within(&self, bound: f64) -> bool {
        match (self.result, &self.errors) {
            (Verdict::Equal, _) => true,
            (Verdict::Different, Some(errors)) => {
                errors.not_finite == 0 && errors.relative_frobenius.is_some_and(|found| found <= bound)
            }
            _ => false,
        }
    }
}

/// Compares `after` with `before`.
///
/// # Errors
/// Where a manifest is malformed or a tensor cannot be decoded; [`crate::ErrorKind::Interrupted`].
pub fn diff(before: &Checkpoint, after: &Checkpoint, observer: &dyn Observer) -> Result<Diff> {
    let encoded = [encoded(before)?, encoded(after)?];
    let foreign = [(before, &encoded[0]), (after, &encoded[1])].map(|(checkpoint, manifest)| match manifest {
        Some(_) => Vec::new(),
        None => foreign::tables(checkpoint),
    });
    let one = listed(before, encoded[0].as_ref(), &foreign[0]);
    let other = listed(after, encoded[1].as_ref(), &foreign[1]);
    let names: BTreeSet<&str> = one.keys().chain(other.keys()).copied().collect();
    let elements = |tensor: &Tensor| tensor.shape().iter().fold(1u64, |total, &one| total.saturating_mul(one as u64));
    observer.stage("compare", "tensors", one.values().map(elements).fold(0, u64::saturating_add));
    let mut tensors = Vec::with_capacity(names.len());
    for name in names {
        observer.check()?;
        let (one, other) = (one.get(name), other.get(name));
        let (result, errors) = match (one, other) {
            (Some(one), Some(other)) => {
                let compared = compare(one, other, observer).map_err(|error| error.tensor(name))?;
                observer.advance(elements(one));
                compared
            }
            (Some(_), None) => (Verdict::OnlyBefore, None),
            (None, _) => (Verdict::OnlyAfter, None),
        };
        let (before, after) = (one.map(Tensor::side), other.map(Tensor::side));
        tensors.push(TensorDiff { name: name.to_owned(), before, after, result, errors });
    }
    Ok(Diff { tensors })
}

/// A tensor that the user sees.
#[derive(Clone, Copy)]
struct Tensor<'c> {
    checkpoint: &'c Checkpoint,
    content: Content<'c>,
}

#[derive(Clone, Copy)]
enum Content<'c> {
    Stored(TensorId),
    Encoded(&'c TableRecord),
    Foreign(&'c Foreign),
}

impl Tensor<'_> {
    fn dtype(&self) -> Dtype {
        match self.content {
            Content::Stored(id) => self.checkpoint.meta(id).dtype,
            Content::Encoded(table) => table.dtype,
            Content::Foreign(table) => table.dtype,
        }
    }

    fn shape(&self) -> &[usize] {
        match self.content {
            Content::Stored(id) => &self.checkpoint.meta(id).shape,
            Content::Encoded(table) => &table.shape,
            Content::Foreign(table) => &table.shape,
        }
    }

    fn side(&self) -> Side {
        let method = match self.content {
            Content::Stored(_) => None,
            Content::Encoded(table) => Some(table.method.clone()),
            Content::Foreign(table) => Some(table.method().to_owned()),
        };
        Side { dtype: self.dtype(), shape: self.shape().to_vec(), method }
    }

    fn bytes(&self) -> Result<Option<Cow<'_, [u8]>>> {
        match self.content {
            Content::Stored(id) => self.checkpoint.bytes(id).map(Some),
            Content::Encoded(_) | Content::Foreign(_) => Ok(None),
        }
    }
}

/// The manifest of a checkpoint whose tables this program encoded.
fn encoded(checkpoint: &Checkpoint) -> Result<Option<Manifest>> {
    if !checkpoint.is_directory() || !checkpoint.root().join(MANIFEST_NAME).exists() {
        return Ok(None);
    }
    let (manifest, _) = Manifest::read(checkpoint.root())?;
    Ok(Some(manifest).filter(|manifest| manifest.operation.encodes()))
}

/// The tensors of a checkpoint by name, with encoded tables in place of their parts.
fn listed<'c>(
    checkpoint: &'c Checkpoint,
    manifest: Option<&'c Manifest>,
    foreign: &'c [Foreign],
) -> BTreeMap<&'c str, Tensor<'c>> {
    let tables = manifest.map_or(&[][..], |manifest| &manifest.tables);
    let carrier = manifest.and_then(|manifest| manifest.carrier.as_ref());
    let transposed = carrier.iter().flat_map(|carrier| carrier.transposed.keys());
    let parts = tables.iter().flat_map(|table| &table.parts).chain(transposed).map(String::as_str);
    let parts: BTreeSet<&str> = parts.chain(foreign.iter().flat_map(|table| table.parts(checkpoint))).collect();
    let stored = checkpoint.tensors().filter(|(_, meta)| !parts.contains(meta.name.as_str()));
    let stored = stored.map(|(id, meta)| (meta.name.as_str(), Content::Stored(id)));
    let encoded = tables.iter().flat_map(|table| {
        let names = table.tied.iter().chain([&table.name]);
        names.map(move |name| (name.as_str(), Content::Encoded(table)))
    });
    let foreign = foreign.iter().map(|table| (table.name.as_str(), Content::Foreign(table)));
    let all = stored.chain(encoded).chain(foreign);
    all.map(|(name, content)| (name, Tensor { checkpoint, content })).collect()
}

fn compare(one: &Tensor<'_>, other: &Tensor<'_>, observer: &dyn Observer) -> Result<(Verdict, Option<Errors>)> {
    if one.shape() != other.shape() {
        return Ok((Verdict::Reshaped, None));
    }
    let bytes = [one.bytes()?, other.bytes()?];
    if let [Some(before), Some(after)] = &bytes
        && one.dtype() == other.dtype()
        && before == after
    {
        return Ok((Verdict::Equal, None));
    }
    // As columns of numbers, so that a block is a block whatever the shape; decoded rows can only be read whole.
    let columns = match bytes {
        [Some(_), Some(_)] => 1,
        _ => one.shape().last().copied().unwrap_or(1),
    };
    let (Some(before), Some(after)) = (rows(one, &bytes[0], columns)?, rows(other, &bytes[1], columns)?) else {
        return Ok((Verdict::Different, None));
    };
    let sums = Sums::over(before.as_ref(), after.as_ref(), observer)?;
    let same_content = sums.error == 0.0 && sums.not_finite == 0;
    if same_content && one.dtype() == other.dtype() && bytes.contains(&None) {
        return Ok((Verdict::Equal, None));
    }
    Ok((Verdict::Different, Some(sums.errors())))
}

/// A tensor as rows of `columns` numbers, where it holds numbers that can be subtracted.
fn rows<'t>(
    tensor: &Tensor<'t>,
    bytes: &'t Option<Cow<'_, [u8]>>,
    columns: usize,
) -> Result<Option<Box<dyn Rows + 't>>> {
    match (tensor.content, bytes) {
        (Content::Encoded(table), _) => decode(table, tensor.checkpoint).map(Some),
        (Content::Foreign(table), _) => table.rows(tensor.checkpoint).map(Some),
        (Content::Stored(_), Some(bytes)) if tensor.dtype().is_table_float() => {
            let count = bytes.len() / tensor.dtype().bytes() / columns.max(1);
            let rows = MappedRows::new(bytes, tensor.dtype(), count, columns)?;
            Ok(Some(Box::new(rows)))
        }
        _ => Ok(None),
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: u64,
    norm: f64,
    other_norm: f64,
    dot: f64,
    error: f64,
    max_absolute: f64,
    not_finite: u64,
}

impl Sums {
    fn over(before: &dyn Rows, after: &dyn Rows, observer: &dyn Observer) -> Result<Sums> {
        let (rows, columns) = before.shape();
        if after.shape() != (rows, columns) {
            return Err(Error::new(crate::ErrorKind::Malformed, "the decoded table has another shape"));
        }
        let block = (BLOCK_VALUES / columns.max(1)).max(1);
        let blocks: Vec<_> = (0..rows).step_by(block).map(|start| start..rows.min(start + block)).collect();
        let mut total = Sums::default();
        for blocks in blocks.chunks(BLOCKS_AT_ONCE) {
            observer.check()?;
            let found: Vec<Sums> =
                blocks.par_iter().map(|range| Sums::of(before, after, range.clone())).collect::<Result<_>>()?;
            found.iter().for_each(|sums| total.add(sums));
        }
        Ok(total)
    }

    fn of(before: &dyn Rows, after: &dyn Rows, range: Range<usize>) -> Result<Sums> {
        let count = range.len() * before.shape().1;
        let (mut one, mut other) = (vec![0.0f64; count], vec![0.0f64; count]);
        read_as_stored(before, range.clone(), &mut one)?;
        read_as_stored(after, range, &mut other)?;
        let mut sums = Sums { count: count as u64, ..Sums::default() };
        for (&x, &y) in one.iter().zip(&other) {
            let difference = x - y;
            if difference.is_finite() {
                sums.norm += x * x;
                sums.other_norm += y * y;
                sums.dot += x * y;
                sums.error += difference * difference;
                sums.max_absolute = sums.max_absolute.max(difference.abs());
            } else if x != y && !(x.is_nan() && y.is_nan()) {
                sums.not_finite += 1;
            }
        }
        Ok(sums)
    }

    fn add(&mut self, other: &Sums) {
        self.count += other.count;
        self.norm += other.norm;
        self.other_norm += other.other_norm;
        self.dot += other.dot;
        self.error += other.error;
        self.max_absolute = self.max_absolute.max(other.max_absolute);
        self.not_finite += other.not_finite;
    }

    fn errors(&self) -> Errors {
        let cosine = self.dot / (self.norm.sqrt() * self.other_norm.sqrt());
        let relative = match (self.norm == 0.0, self.error == 0.0) {
            (_, true) => Some(0.0),
            (true, false) => None,
            (false, false) => Some((self.error / self.norm).sqrt()),
        };
        Errors {
            relative_frobenius: relative,
            rmse: if self.count == 0 { 0.0 } else { (self.error / self.count as f64).sqrt() },
            max_absolute: self.max_absolute,
            cosine: cosine.is_finite().then(|| cosine.clamp(-1.0, 1.0)),
            not_finite: self.not_finite,
        }
    }
}
