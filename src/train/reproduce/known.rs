//! Outcomes that runs of one classifier share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::grid::Training;
use super::outcome::Outcome;
use crate::codec::Setting;
use crate::error::Result;

/// All that the outcome of a run depends on beside the classifier that it starts from, where the table is replaced by codes.
/// The largest codes that fit are often the same at several reductions: fixed point takes 8 bits at p = .5, .6 and .7.
#[derive(Clone, PartialEq)]
pub(super) struct Codes {
    pub(super) codec: &'static str,
    pub(super) setting: Setting,
    pub(super) training: Option<Training>,
}

/// Outcomes of the runs that were done.
#[derive(Default)]
pub(super) struct Known(Mutex<Vec<(Codes, Outcome)>>);

impl Known {
    /// The outcome that belongs to `codes`: that of an earlier run, or else what `find` finds. Threads that ask for the same
    /// at once each find it, and find the same.
    pub(super) fn or_find(&self, codes: &Codes, find: impl FnOnce() -> Result<Outcome>) -> Result<Outcome> {
        let earlier = self.done().iter().find(|(known, _)| known == codes).map(|(_, outcome)| outcome.clone());
        if let Some(outcome) = earlier {
            return Ok(outcome);
        }
        let outcome = find()?;
        self.done().push((codes.clone(), outcome.clone()));
        Ok(outcome)
    }

    fn done(&self) -> MutexGuard<'_, Vec<(Codes, Outcome)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    fn codes(codec: &'static str, bits: u32, training: Option<Training>) -> Codes {
        let setting = [("bits".to_owned(), bits.into())].into_iter().collect();
        Codes { codec, setting, training }
    }

    #[test]
    fn only_equal_codes_with_equal_training_are_found_once() {
        let (known, mut found) = (Known::default(), Vec::new());
        let asked = [
            codes("fixed-point", 8, None),
            codes("fixed-point", 8, None),
            codes("fixed-point", 6, None),
            codes("fixed-point", 8, Some(Training::paper())),
            codes("fixed-point", 8, Some(Training { max_lr: 1.0, ..Training::paper() })),
            codes("fixed-point", 8, Some(Training::paper())),
        ];
        let outcomes: Vec<_> = (0..)
            .zip(asked)
            .map(|(number, codes)| {
                let find = || {
                    found.push(number);
                    Ok(Outcome::Absent(number.to_string()))
                };
                known.or_find(&codes, find).unwrap()
            })
            .collect();
        assert_eq!(found, [0, 2, 3, 4]);
        let of = ["0", "0", "2", "3", "4", "3"];
        assert!(outcomes.iter().zip(of).all(|(outcome, of)| *outcome == Outcome::Absent(of.to_owned())));
    }

    #[test]
    fn a_run_that_failed_is_not_known() {
        let known = Known::default();
        let failed =
            known.or_find(&codes("transform", 4, None), || Err(Error::new(ErrorKind::Io, "the power went out")));
        assert!(failed.is_err());
        let outcome = known.or_find(&codes("transform", 4, None), || Ok(Outcome::Absent("done".to_owned())));
        assert_eq!(outcome.unwrap(), Outcome::Absent("done".to_owned()));
    }
}
