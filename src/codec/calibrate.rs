//! Predictions that trying out some of them corrects.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "indices are those of the predictions that the caller gives"
)]

use crate::error::Result;

/// `predictions` times what trying out some of them, evenly spread, shows them to be off by, on lines between; all are
/// tried out where there are no more than `tries`.
///
/// # Errors
/// What `try_out` reports.
pub(super) fn calibrated(
    predictions: &[f64],
    tries: usize,
    mut try_out: impl FnMut(usize) -> Result<f64>,
) -> Result<Vec<f64>> {
    let last = predictions.len().saturating_sub(1);
    let tries = tries.clamp(1, predictions.len().max(1));
    let mut anchors = Vec::with_capacity(tries);
    if !predictions.is_empty() {
        for anchor in 0..tries {
            let at = anchor * last / (tries - 1).max(1);
            let found = try_out(at)?;
            anchors.push(Anchor {
                at,
                found,
                factor: if predictions[at] > 0.0 { found / predictions[at] } else { 1.0 },
            });
        }
    }
    Ok(predictions.iter().enumerate().map(|(at, prediction)| correct(&anchors, at, *prediction)).collect())
}

/// A prediction that was tried out.
struct Anchor {
    at: usize,
    found: f64,
    factor: f64,
}

/// The prediction at `at`, times the factor on the line between the anchors around it; what was found at an anchor.
fn correct(anchors: &[Anchor], at: usize, prediction: f64) -> f64 {
    let after = anchors.partition_point(|anchor| anchor.at < at);
    match (after.checked_sub(1).map(|before| &anchors[before]), anchors.get(after)) {
        (_, Some(anchor)) if anchor.at == at => anchor.found,
        (Some(before), Some(after)) => {
            let share = (at - before.at) as f64 / (after.at - before.at) as f64;
            prediction * (before.factor + (after.factor - before.factor) * share)
        }
        (Some(one), None) | (None, Some(one)) => prediction * one.factor,
        (None, None) => prediction,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_out_is_met_and_what_lies_between_is_on_a_line() {
        let corrected = calibrated(&[8.0, 4.0, 2.0, 1.0, 0.0], 3, |at| Ok([16.0, 0.0, 6.0, 0.0, 0.5][at])).unwrap();
        assert_eq!(corrected, [16.0, 10.0, 6.0, 2.0, 0.5]);
    }

    #[test]
    fn a_short_ladder_is_tried_out_whole() {
        for count in 0..4 {
            let found: Vec<f64> = (0..count).map(|at| at as f64 + 5.0).collect();
            assert_eq!(calibrated(&vec![1.0; count], 4, |at| Ok(found[at])).unwrap(), found);
        }
    }
}
