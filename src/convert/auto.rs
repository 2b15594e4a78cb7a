//! The method with the least error at a size, found by measuring all of them.
//!
//! The operating points of every codec make one ladder, on which the plan chooses as it does for one codec. Then, table
//! by table, each codec stands at its last point that fits beside what was chosen for the other tables, is encoded to
//! a temporary file and decoded again; the least measured error wins.

use super::compress::{Chosen, Prepared};
use crate::codec::{self, Analysis, CODECS, Codec, Demand, Measured, Point, Table};
use crate::compare::Encoded;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Errors, RunnerUp};
use crate::observe::Observer;
use crate::plan::Target;

/// The name that stands for all methods.
pub const AUTO: &str = "auto";

/// Operating points, each with the codec that offers it.
pub(super) type Offers = Vec<(&'static dyn Codec, Point)>;

/// The codecs that compete for the request `method`: one, or all of them.
pub(super) fn codecs(method: &str) -> Result<Vec<&'static dyn Codec>> {
    if method == AUTO { Ok(CODECS.to_vec()) } else { Ok(vec![codec::find(method)?]) }
}

/// Refuses targets that set no size: at which methods would be compared otherwise.
pub(super) fn check(target: Target) -> Result<()> {
    match target {
        Target::Size(_) | Target::Reduction(_) => Ok(()),
        other => Err(Error::new(ErrorKind::Request, "methods can only be compared at a size")
            .expected("`--target-size` or `--reduction`")
            .found(other.to_string())
            .hint("name a method, or ask for a size")),
    }
}

/// The squared norm of a table and the points of all codecs on one ladder. A codec that has none for this table does
/// not compete.
///
/// # Errors
/// The first refusal where no codec has any; what is wrong with the table itself.
pub(super) fn merge(
    codecs: &[&'static dyn Codec],
    mut analyze: impl FnMut(&'static dyn Codec) -> Result<Box<dyn Analysis>>,
) -> Result<(f64, Offers)> {
    let (mut squared_norm, mut points) = (0.0, Vec::new());
    let mut refusal = None;
    for &codec in codecs {
        match analyze(codec) {
            Ok(analysis) => {
                squared_norm = analysis.squared_norm();
                points.extend(analysis.points().iter().map(|point| (codec, point.clone())));
            }
            Err(error) if matches!(error.kind(), ErrorKind::Request | ErrorKind::Unsupported) => {
                refusal = refusal.or(Some(error));
            }
            Err(error) => return Err(error),
        }
    }
    match refusal {
        Some(refusal) if points.is_empty() => Err(refusal),
        _ => {
            // Stable: of equal bytes the codec that comes first.
            points.sort_by_key(|(_, point): &(_, Point)| point.bytes());
            Ok((squared_norm, points))
        }
    }
}

/// Puts every table at the point with the least measured error, and records what lost.
pub(super) fn contest(prepared: &mut Prepared<'_>, observer: &dyn Observer) -> Result<()> {
    for index in 0..prepared.tables.len() {
        let mut measured = Vec::new();
        for point in candidates(prepared, index)? {
            match measure(prepared, &prepared.tables[index], point, observer) {
                Ok(found) => measured.push((point, found)),
                // The table is finite, since it was analyzed: this encoding of it left the range of its dtype.
                Err(error) if error.kind() == ErrorKind::NonFinite => observer.warn(&error.to_string()),
                Err(error) => {
                    let id = prepared.tables[index].id;
                    let meta = prepared.checkpoint.meta(id);
                    return Err(error.at(prepared.checkpoint.shard_path(id)).tensor(&meta.name));
                }
            }
        }
        let table = &mut prepared.tables[index];
        measured.sort_by(|(a, first), (b, second)| {
            let bytes = |point: &usize| table.points[*point].bytes();
            first.squared_error.total_cmp(&second.squared_error).then(bytes(a).cmp(&bytes(b)))
        });
        let mut measured = measured.into_iter();
        let Some((winner, _)) = measured.next() else {
            return Err(Error::new(ErrorKind::NonFinite, "no method can store the table"));
        };
        table.point = winner;
        table.runners_up = measured.map(|(point, found)| runner_up(table, point, found)).collect();
    }
    Ok(())
}

/// The last point of each codec that fits the budget.
fn candidates(prepared: &Prepared<'_>, index: usize) -> Result<Vec<usize>> {
    let table = &prepared.tables[index];
    let mut candidates = Vec::new();
    for codec in CODECS {
        let own = (0..table.points.len()).rev().filter(|&point| table.codecs[point].name() == codec.name());
        match table.target {
            Target::Size(size) => {
                let limit = size.bytes(prepared.plan.weights_before);
                for point in own.filter(|&point| table.points[point].bytes() <= limit) {
                    let mut points = prepared.points();
                    points[index] = point;
                    if prepared.weights_after(&points)? <= limit {
                        candidates.push(point);
                        break;
                    }
                }
            }
            _ => candidates.extend(own.take(1)),
        }
    }
    Ok(candidates)
}

/// The error of a point, measured on what it would write.
fn measure(prepared: &Prepared<'_>, table: &Chosen<'_>, point: usize, observer: &dyn Observer) -> Result<Measured> {
    let meta = prepared.checkpoint.meta(table.id);
    let (codec, rows) = (table.codecs[point], table.rows.as_ref());
    let view = Table { name: &meta.name, dtype: meta.dtype, rows };
    observer.stage(codec.name(), &meta.name, meta.elements().unwrap_or_default());
    let demand = Demand::Only(&table.points[point].setting);
    let analysis = codec.analyze(&view, &prepared.request.options, demand, observer)?;
    let encoded = Encoded::new(analysis.as_ref(), rows, 0, observer)?;
    codec::measure(rows, encoded.decode(codec)?.as_ref(), observer)
}

fn runner_up(table: &Chosen<'_>, point: usize, found: Measured) -> RunnerUp {
    RunnerUp {
        method: table.codecs[point].name().to_owned(),
        setting: table.points[point].setting.clone(),
        bytes: table.points[point].bytes(),
        errors: Errors {
            relative_frobenius: found.relative_frobenius_error(),
            weighted_relative_frobenius: found.weighted.map(|sums| sums.relative_frobenius_error()),
            max_absolute: found.max_absolute_error,
        },
    }
}
