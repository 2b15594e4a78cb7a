//! Several methods on one table at equal bytes, measured on what each would write.
//!
//! Every method is analyzed once. At each size it stands at the last point of its ladder that is no larger, is encoded
//! there to a temporary file, and is decoded from it again for everything that is measured.

mod budget;
mod findings;
mod latency;
mod quality;
mod sample;
mod store;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use crate::checkpoint::{Checkpoint, Selected, TensorId};
use crate::codec::{Codec, Demand, Options, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg;
use crate::locate::Selection;
use crate::observe::Observer;
use crate::tensor::Rows;

pub use budget::{Budget, DEFAULT_BITS};
pub use findings::{AtSize, Bound, Comparison, Entry, Measurement, MethodFacts, Sample, TableFacts};
pub use latency::{BATCH, Latency, latency};
pub use quality::{BINS_PER_DECADE, Cosines, Quality, quality, row_error_bins};
pub use store::Encoded;

/// Neighbours of each sampled row that are looked for.
pub const NEIGHBOURS: usize = 10;

/// What to compare.
pub struct Request {
    /// Glob of the table; the one taken by default unless given.
    pub table: Option<String>,
    /// The methods, in the order of the report.
    pub methods: Vec<&'static dyn Codec>,
    /// The codecs' options. Their seed is that of the sample and of the rows that are timed too; with their weights of
    /// rows errors are measured beside the plain ones.
    pub options: Options,
    /// The sizes, in the order of the report.
    pub budgets: Vec<Budget>,
    /// Rows whose neighbours are looked for.
    pub sampled_rows: usize,
}

/// Compares the methods of `request` on a table of `checkpoint`.
///
/// # Errors
/// [`ErrorKind::Selection`] where not exactly one table is meant; [`ErrorKind::Request`] where a size is out of range
/// or there are not as many weights as rows; [`ErrorKind::NonFinite`] where the table has a NaN or an infinity; [`ErrorKind::Interrupted`]; what codecs report.
pub fn compare(checkpoint: &Checkpoint, request: &Request, observer: &dyn Observer) -> Result<Comparison> {
    request.budgets.iter().try_for_each(Budget::check)?;
    let id = the_table(checkpoint, request.table.as_deref())?;
    let meta = checkpoint.meta(id);
    let rows = checkpoint.rows(id)?;
    let table = Table { name: &meta.name, dtype: meta.dtype, rows: rows.as_ref() };
    compare_table(&table, request, observer).map_err(|error| error.at(checkpoint.shard_path(id)).tensor(&meta.name))
}

/// The one table that is meant.
fn the_table(checkpoint: &Checkpoint, glob: Option<&str>) -> Result<TensorId> {
    let include: Vec<String> = glob.map(str::to_owned).into_iter().collect();
    let selected = checkpoint.select(&Selection::new(&include, &[])?)?;
    match &selected[..] {
        [Selected { table, .. }] => Ok(*table),
        several => {
            let name = |one: &Selected| format!("`{}`", checkpoint.meta(one.table).name.escape_debug());
            let names: Vec<_> = several.iter().map(name).collect();
            Err(Error::new(ErrorKind::Selection, "one table is compared at a time")
                .at(checkpoint.root())
                .expected("one table")
                .found(names.join(", "))
                .hint("pick one with `--table GLOB`"))
        }
    }
}

/// Compares the methods of `request` on `table`, whatever it comes from.
///
/// # Errors
/// Those of [`compare`], without the selection.
pub fn compare_table(table: &Table<'_>, request: &Request, observer: &dyn Observer) -> Result<Comparison> {
    let (height, width) = table.rows.shape();
    let parameters = height as u64 * width as u64;
    let dense = parameters.saturating_mul(table.dtype.bytes() as u64);
    let seed = request.options.seed;
    let row_weights = request.options.weights_of(height);
    let row_weights = row_weights.map_err(|error| error.hint("a file of weights belongs to one table"))?;
    observer.stage("analyze", table.name, parameters);
    let spectrum = linalg::spectrum(table.rows, observer)?;
    let queries = sample::distinct(request.sampled_rows, height, seed);
    let original = Original {
        rows: table.rows,
        row_weights,
        neighbours: linalg::nearest(table.rows, &queries, NEIGHBOURS, observer)?,
        queries,
        parameters,
        seed,
    };
    let bits_of = |bytes: u64| 8.0 * bytes as f64 / parameters as f64;
    let mut sizes: Vec<AtSize> = request
        .budgets
        .iter()
        .map(|budget| {
            let bytes = budget.bytes(parameters, dense);
            AtSize {
                budget: budget.to_string(),
                bytes,
                bits_per_parameter: bits_of(bytes),
                gaussian_bound: spectrum.gaussian_bound(width, bits_of(bytes)),
                best: None,
                entries: Vec::new(),
            }
        })
        .collect();
    for &codec in &request.methods {
        let budgets: Vec<u64> = sizes.iter().map(|size| size.bytes).collect();
        let entries = climb(table, codec, &request.options, &budgets, &original, observer)?;
        sizes.iter_mut().zip(entries).for_each(|(size, entry)| size.entries.push(entry));
    }
    for size in &mut sizes {
        size.best = best(&size.entries);
    }
    let largest = sizes.iter().map(|size| size.bits_per_parameter).fold(1.0, f64::max);
    let curve = (0..=64).map(|step| largest * f64::from(step) / 64.0);
    Ok(Comparison {
        table: TableFacts {
            name: table.name.to_owned(),
            dtype: table.dtype,
            shape: [height, width],
            bytes: dense,
            singular_values: spectrum.energies.iter().map(|energy| energy.max(0.0).sqrt()).collect(),
            seconds: latency(table.rows, seed)?,
        },
        row_weights: request.options.row_weights.as_ref().map(|weights| weights.to_string()),
        sample: Sample { rows: original.queries.len(), neighbours: NEIGHBOURS, seed },
        methods: request.methods.iter().map(|codec| MethodFacts::of(*codec)).collect(),
        gaussian_bound: curve
            .map(|bits| Bound {
                bits_per_parameter: bits,
                relative_frobenius_error: spectrum.gaussian_bound(width, bits),
            })
            .collect(),
        row_error_bins: row_error_bins(),
        sizes,
    })
}

/// What is computed of the table once.
struct Original<'a> {
    rows: &'a dyn Rows,
    row_weights: Option<Vec<f64>>,
    queries: Vec<usize>,
    neighbours: Vec<Vec<usize>>,
    parameters: u64,
    seed: u64,
}

/// One method at every size. Where two sizes lead to one point, it is measured once.
fn climb(
    table: &Table<'_>,
    codec: &'static dyn Codec,
    options: &Options,
    budgets: &[u64],
    original: &Original<'_>,
    observer: &dyn Observer,
) -> Result<Vec<Entry>> {
    let absent = |reason: String| Entry { method: codec.name().to_owned(), absent: Some(reason), measurement: None };
    let unweighted;
    let options = if options.row_weights.is_some() && !codec.weighs_rows() {
        observer.warn(&format!("`{}` minimizes the plain error, whatever the weights of rows", codec.name()));
        unweighted = Options { row_weights: None, ..options.clone() };
        &unweighted
    } else {
        options
    };
    observer.stage(codec.name(), table.name, original.parameters);
    let analysis = match codec.analyze(table, options, Demand::Ladder, observer) {
        Ok(analysis) => analysis,
        // The method has nothing to offer for this table; others may have.
        Err(error) if matches!(error.kind(), ErrorKind::Request | ErrorKind::Unsupported) => {
            return Ok(budgets.iter().map(|_| absent(error.to_string())).collect());
        }
        Err(error) => return Err(error),
    };
    let mut measured = BTreeMap::new();
    let mut entries = Vec::with_capacity(budgets.len());
    for &budget in budgets {
        let within = analysis.points().partition_point(|point| point.bytes() <= budget);
        let Some(index) = within.checked_sub(1) else {
            let smallest = analysis.points().first().map_or(0, |point| point.bytes());
            entries.push(absent(format!("its smallest point takes {smallest} bytes")));
            continue;
        };
        let entry = match measured.entry(index) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(slot) => {
                let outcome = Encoded::new(analysis.as_ref(), table.rows, index, observer)
                    .and_then(|encoded| original.measure(codec, &encoded, observer));
                slot.insert(match outcome {
                    Ok(measurement) => {
                        Entry { method: codec.name().to_owned(), absent: None, measurement: Some(measurement) }
                    }
                    // The table itself was found finite: the encoded form left the range of its dtype.
                    Err(error) if error.kind() == ErrorKind::NonFinite => absent(error.to_string()),
                    Err(error) => return Err(error),
                })
            }
        };
        entries.push(entry.clone());
    }
    Ok(entries)
}

impl Original<'_> {
    fn measure(&self, codec: &dyn Codec, encoded: &Encoded, observer: &dyn Observer) -> Result<Measurement> {
        let decoded = encoded.decode(codec)?;
        let point = encoded.point();
        let quality = quality(self.rows, decoded.as_ref(), self.row_weights.as_deref(), observer)?;
        let found = linalg::nearest(decoded.as_ref(), &self.queries, NEIGHBOURS, observer)?;
        Ok(Measurement {
            setting: point.setting.clone(),
            bytes: point.bytes(),
            bits_per_parameter: 8.0 * point.bytes() as f64 / self.parameters as f64,
            relative_frobenius_error: quality.relative_frobenius,
            weighted_relative_frobenius_error: quality.weighted_relative_frobenius,
            max_absolute_error: quality.max_absolute,
            cosine: quality.cosine,
            neighbours_kept: share_kept(&self.neighbours, &found),
            eigenspace_overlap: linalg::eigenspace_overlap(self.rows, decoded.as_ref(), observer)?,
            flops_per_token: point.flops_per_token,
            seconds: latency(decoded.as_ref(), self.seed)?,
            row_errors: quality.row_errors,
        })
    }
}

/// The share of the entries of `before` that are in the list of the same query in `after`; 1 where there is none.
fn share_kept(before: &[Vec<usize>], after: &[Vec<usize>]) -> f64 {
    let total: usize = before.iter().map(Vec::len).sum();
    let kept = before.iter().zip(after).map(|(before, after)| before.iter().filter(|row| after.contains(row)).count());
    if total == 0 { 1.0 } else { kept.sum::<usize>() as f64 / total as f64 }
}

fn best(entries: &[Entry]) -> Option<String> {
    let measured = entries.iter().filter_map(|entry| Some((entry, entry.measurement.as_ref()?)));
    let least = measured.min_by(|(_, one), (_, other)| {
        one.minimized_error().total_cmp(&other.minimized_error()).then(one.bytes.cmp(&other.bytes))
    });
    least.map(|(entry, _)| entry.method.clone())
}
