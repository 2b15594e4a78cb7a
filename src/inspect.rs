//! What a checkpoint holds, which of it are embedding tables, and what each reduction of them would cost.

use serde::Serialize;

use crate::checkpoint::{Checkpoint, Shard, TensorId};
use crate::error::{Error, Result};
use crate::linalg::{self, Spectrum};
use crate::locate::{Candidate, Selection};
use crate::observe::Observer;
use crate::plan::{largest_saving_rank, rank_for_reduction};
use crate::tensor::Dtype;

/// The reductions of the table that `inspect` shows.
pub const REDUCTIONS: [f64; 10] = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95];
/// The fractions of the energy whose ranks are shown.
pub const ENERGIES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// Everything that `inspect` reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The weight files, relative to the checkpoint.
    pub files: Vec<String>,
    /// Bytes of all weight files, headers included.
    pub weights_bytes: u64,
    /// Every tensor, in the order of the files.
    pub tensors: Vec<TensorReport>,
    /// The tensors that may be embedding tables.
    pub tables: Vec<TableReport>,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorReport {
    /// Full name.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Bytes of its elements.
    pub bytes: u64,
    /// Its bytes over those of all tensors.
    pub share: f64,
}

/// One candidate for an embedding table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableReport {
    /// What it is and why.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// Its singular values in short; absent where they were not asked for, or where it is a copy of another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spectrum: Option<SpectrumReport>,
    /// What each reduction would give; empty where the spectrum is absent.
    pub reductions: Vec<ReductionReport>,
}

/// Singular values in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpectrumReport {
    /// `||W||_F`.
    pub norm: f64,
    /// All singular values, descending.
    pub singular_values: Vec<f64>,
    /// `||W||_F^2 / sigma_1^2`: how many directions as strong as the first would hold the energy.
    pub stable_rank: f64,
    /// The least rank that retains a fraction of the energy.
    pub ranks: Vec<EnergyRank>,
}

/// The least rank that retains a fraction of the energy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EnergyRank {
    /// The fraction.
    pub energy: f64,
    /// The rank.
    pub rank: usize,
}

/// What a reduction of a table would give.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReductionReport {
    /// The fraction p of the parameters that goes.
    pub reduction: f64,
    /// The rank k = floor((1 - p) V d / (V + d)).
    pub rank: usize,
    /// Bytes of the factor pair in the table's own dtype.
    pub bytes: u64,
    /// The best relative Frobenius error at that rank.
    pub relative_frobenius_error: f64,
}

/// Inspects `checkpoint`; tables that a glob of `include` names are shown too; `with_spectrum` also computes singular values, which reads every table.
///
/// # Errors
/// [`crate::ErrorKind::NonFinite`] where a table has a NaN or an infinity; [`crate::ErrorKind::Interrupted`].
pub fn inspect(
    checkpoint: &Checkpoint,
    include: &[String],
    with_spectrum: bool,
    observer: &dyn Observer,
) -> Result<Inspection> {
    let bytes_of = |bytes: Option<u64>| bytes.unwrap_or_default();
    let total: u64 = checkpoint.tensors().map(|(_, meta)| bytes_of(meta.bytes())).sum();
    let tensors = checkpoint.tensors().map(|(_, meta)| TensorReport {
        name: meta.name.clone(),
        dtype: meta.dtype,
        shape: meta.shape.clone(),
        bytes: bytes_of(meta.bytes()),
        share: if total == 0 { 0.0 } else { bytes_of(meta.bytes()) as f64 / total as f64 },
    });
    let tables = candidates(checkpoint, include)?.into_iter().map(|(id, candidate)| {
        if !with_spectrum || candidate.same_as.is_some() || candidate.shape.contains(&0) {
            return Ok(TableReport { candidate, spectrum: None, reductions: Vec::new() });
        }
        report(checkpoint, id, candidate, observer)
    });
    Ok(Inspection {
        files: checkpoint.shards().iter().map(|shard| shard.path().to_string_lossy().into_owned()).collect(),
        weights_bytes: checkpoint.shards().iter().map(Shard::bytes).sum(),
        tensors: tensors.collect(),
        tables: tables.collect::<Result<_>>()?,
    })
}

/// The candidates, and what the user names besides.
fn candidates(checkpoint: &Checkpoint, include: &[String]) -> Result<Vec<(TensorId, Candidate)>> {
    let mut candidates = checkpoint.candidates()?;
    if !include.is_empty() {
        let named = checkpoint.select(&Selection::new(include, &[])?)?;
        let known: Vec<TensorId> = candidates.iter().map(|(id, _)| *id).collect();
        let named = named.into_iter().map(|one| (one.table, one.candidate));
        candidates.extend(named.filter(|(id, _)| !known.contains(id)));
        candidates.sort_by_key(|(id, _)| *id);
    }
    Ok(candidates)
}

fn report(checkpoint: &Checkpoint, id: TensorId, candidate: Candidate, observer: &dyn Observer) -> Result<TableReport> {
    let [height, width] = candidate.shape;
    let place = |error: Error| error.at(checkpoint.shard_path(id)).tensor(&candidate.name);
    observer.stage("analyze", &candidate.name, (height * width) as u64);
    let rows = checkpoint.rows(id).map_err(place)?;
    let spectrum = linalg::spectrum(rows.as_ref(), observer).map_err(place)?;
    let dtype = candidate.dtype;
    // A factor pair has no block type, and what it would take is for the dtype to say that is chosen then.
    let largest = if dtype.is_table_float() { largest_saving_rank(height, width, dtype, dtype) } else { 0 };
    let reductions = REDUCTIONS.into_iter().filter_map(|reduction| {
        let rank = rank_for_reduction(reduction, height, width).ok().filter(|&rank| rank <= largest)?;
        Some(ReductionReport {
            reduction,
            rank,
            bytes: (rank * (height + width) * dtype.bytes()) as u64,
            relative_frobenius_error: spectrum.relative_frobenius_error(rank),
        })
    });
    Ok(TableReport { reductions: reductions.collect(), spectrum: Some(in_short(&spectrum)), candidate })
}

fn in_short(spectrum: &Spectrum) -> SpectrumReport {
    let tails = spectrum.squared_errors();
    let total = tails.first().copied().unwrap_or_default();
    let largest = spectrum.energies.first().copied().unwrap_or_default();
    let ranks = ENERGIES.map(|energy| {
        let enough = |&dropped: &f64| dropped <= (1.0 - energy) * total;
        EnergyRank { energy, rank: tails.iter().position(enough).unwrap_or(spectrum.energies.len()) }
    });
    SpectrumReport {
        norm: spectrum.squared_norm.sqrt(),
        singular_values: spectrum.energies.iter().map(|energy| energy.max(0.0).sqrt()).collect(),
        stable_rank: if largest == 0.0 { 0.0 } else { spectrum.squared_norm / largest },
        ranks: ranks.to_vec(),
    }
}
