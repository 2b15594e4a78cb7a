//! What the runs say together: a cell for each method and size, the best of the schedules, the smallest table.

use std::collections::BTreeMap;

use serde::Serialize;

use super::grid::{Extent, Training};
use super::journal::Entry;
use super::method::{ONLINE, UNCOMPRESSED};
use super::outcome::{Epoch, Measured, Outcome};
use super::statistics::Summary;

/// A method at one size, on one data set with one architecture, over all seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Data set.
    pub data: String,
    /// Architecture.
    pub arch: String,
    /// Method.
    pub method: String,
    /// The fraction that was to go.
    pub reduction: Option<f64>,
    /// Accuracy on test at the epoch chosen on dev, in percent.
    pub test: Summary,
    /// Accuracy on dev at that epoch, in percent.
    pub dev: Summary,
    /// Accuracy on dev after the last epoch, in percent.
    pub final_dev: Summary,
    /// Bytes of the embedding, the mean over seeds.
    pub bytes: f64,
    /// Numbers stored for the embedding, the mean over seeds.
    pub parameters: f64,
    /// How many times smaller than the table the embedding is.
    pub times_smaller: f64,
    /// Seconds of a run, the mean over seeds.
    pub seconds: f64,
}

/// A way of training the factor pair at one reduction, over all seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScheduleCell {
    /// Data set.
    pub data: String,
    /// Architecture.
    pub arch: String,
    /// Optimizer, schedule, and the largest rate: of the rates tried the one with the best mean accuracy on dev.
    pub training: Training,
    /// Rates that were tried.
    pub rates: Vec<f64>,
    /// Accuracy on test at the epoch chosen on dev, in percent.
    pub test: Summary,
    /// Best accuracy on dev, in percent.
    pub dev: Summary,
    /// Accuracy on dev after the last epoch, in percent.
    pub final_dev: Summary,
    /// Loss, dev accuracy (a share of 1) and learning rate by epoch, the means over seeds.
    pub curve: Vec<Epoch>,
}

/// A method that has no such size.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Absent {
    /// Data set.
    pub data: String,
    /// Method.
    pub method: String,
    /// The fraction that was to go, in percent.
    pub reduction_percent: Option<u64>,
    /// Why.
    pub reason: String,
}

/// Everything that the runs say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Findings {
    /// Methods, in the order of data sets, architectures, methods and reductions.
    pub cells: Vec<Cell>,
    /// Schedules and optimizers, the best on dev first, where more than one way was tried.
    pub schedules: Vec<ScheduleCell>,
    /// The smallest embedding whose dev accuracy is within a point of the uncompressed one's, for each data set and
    /// architecture.
    pub smallest: Vec<Cell>,
    /// What is missing and why.
    pub absent: Vec<Absent>,
}

/// How far below the uncompressed classifier the smallest table may be, in points.
pub const WITHIN: f64 = 1.0;

impl Findings {
    /// What `entries` say of the experiment `extent`.
    pub fn of(extent: &Extent, entries: &[Entry]) -> Self {
        let cells = cells(extent, entries);
        let smallest = smallest(extent, &cells);
        let mut absent: Vec<_> = entries.iter().filter_map(absent).collect();
        absent.sort();
        absent.dedup();
        Findings { schedules: schedules(extent, entries), smallest, absent, cells }
    }

    /// The cell of a method at a reduction.
    pub fn cell(&self, data: &str, arch: &str, method: &str, reduction: Option<f64>) -> Option<&Cell> {
        self.cells.iter().find(|cell| {
            (cell.data.as_str(), cell.arch.as_str(), cell.method.as_str()) == (data, arch, method)
                && cell.reduction == reduction
        })
    }

    /// Data sets and architectures that have cells, in order.
    pub fn tasks(&self) -> Vec<(&str, &str)> {
        let mut tasks: Vec<_> = self.cells.iter().map(|cell| (cell.data.as_str(), cell.arch.as_str())).collect();
        tasks.dedup();
        tasks
    }
}

fn absent(entry: &Entry) -> Option<Absent> {
    let Outcome::Absent(reason) = &entry.outcome else { return None };
    Some(Absent {
        data: entry.run.data.clone(),
        method: entry.run.method.clone(),
        reduction_percent: entry.run.reduction.map(|reduction| (reduction * 100.0).round() as u64),
        reason: reason.clone(),
    })
}

fn measured(entry: &Entry) -> Option<&Measured> {
    match &entry.outcome {
        Outcome::Measured(measured) => Some(measured),
        Outcome::Absent(_) => None,
    }
}

fn percent(runs: &[&Measured], of: impl Fn(&Measured) -> f64) -> Option<Summary> {
    Summary::of(&runs.iter().map(|run| 100.0 * of(run)).collect::<Vec<_>>())
}

fn mean(runs: &[&Measured], of: impl Fn(&Measured) -> f64) -> f64 {
    runs.iter().map(|run| of(run)).sum::<f64>() / runs.len().max(1) as f64
}

fn cells(extent: &Extent, entries: &[Entry]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for data in &extent.data {
        for arch in &extent.archs {
            let task: Vec<_> =
                entries.iter().filter(|entry| (&entry.run.data, &entry.run.arch) == (data, arch)).collect();
            let dense = task.iter().filter(|entry| entry.run.method == UNCOMPRESSED).find_map(|entry| measured(entry));
            let dense = dense.map_or(0.0, |measured| measured.bytes as f64);
            for method in &extent.methods {
                let training = method.retrained.then(Training::paper);
                for reduction in method.reductions(&extent.reductions) {
                    let of_cell = |entry: &&&Entry| {
                        entry.run.method == method.name
                            && entry.run.reduction == reduction
                            && entry.run.training == training
                    };
                    let runs: Vec<_> = task.iter().filter(of_cell).filter_map(|entry| measured(entry)).collect();
                    let [Some(test), Some(dev), Some(final_dev)] = [
                        percent(&runs, |run| run.test_accuracy),
                        percent(&runs, |run| run.dev_accuracy),
                        percent(&runs, |run| run.final_dev_accuracy),
                    ] else {
                        continue;
                    };
                    let bytes = mean(&runs, |run| run.bytes as f64);
                    cells.push(Cell {
                        data: data.clone(),
                        arch: arch.clone(),
                        method: method.name.clone(),
                        reduction,
                        test,
                        dev,
                        final_dev,
                        bytes,
                        parameters: mean(&runs, |run| run.parameters as f64),
                        times_smaller: dense / bytes,
                        seconds: mean(&runs, |run| run.seconds),
                    });
                }
            }
        }
    }
    cells
}

fn smallest(extent: &Extent, cells: &[Cell]) -> Vec<Cell> {
    let mut smallest = Vec::new();
    for data in &extent.data {
        for arch in &extent.archs {
            let task = || cells.iter().filter(|cell| (&cell.data, &cell.arch) == (data, arch));
            let Some(whole) = task().find(|cell| cell.method == UNCOMPRESSED) else { continue };
            let near = task().filter(|cell| cell.dev.mean >= whole.dev.mean - WITHIN);
            smallest.extend(near.min_by(|a, b| a.bytes.total_cmp(&b.bytes)).cloned());
        }
    }
    smallest
}

fn schedules(extent: &Extent, entries: &[Entry]) -> Vec<ScheduleCell> {
    let Some(reduction) = extent.schedules_at else { return Vec::new() };
    // By optimizer and schedule, then by the bits of the rate, which orders positive numbers.
    type Rates<'e> = BTreeMap<u64, (&'e Training, Vec<&'e Measured>)>;
    let mut found = Vec::new();
    for data in &extent.data {
        for arch in &extent.archs {
            let mut ways: BTreeMap<(&str, &str), Rates<'_>> = BTreeMap::new();
            for entry in entries {
                let run = &entry.run;
                let here = (&run.data, &run.arch) == (data, arch) && run.method == ONLINE;
                // Of those with patience it is not known what all their updates would have brought.
                let whole = run.training.as_ref().filter(|training| training.patience.is_none());
                let (true, Some(training), Some(measured)) =
                    (here && run.reduction == Some(reduction), whole, measured(entry))
                else {
                    continue;
                };
                let rates = ways.entry((&training.optimizer, &training.schedule)).or_default();
                rates.entry(training.max_lr.to_bits()).or_insert((training, Vec::new())).1.push(measured);
            }
            let mut cells: Vec<_> = ways
                .into_values()
                .filter_map(|rates| best_rate(data, arch, &rates.into_values().collect::<Vec<_>>()))
                .collect();
            cells.sort_by(|a, b| b.dev.mean.total_cmp(&a.dev.mean));
            // One way is no comparison: an architecture that is retrained by the paper's setting alone says nothing here.
            if cells.len() > 1 {
                found.extend(cells);
            }
        }
    }
    found
}

/// The cell of the rate with the best mean accuracy on dev; of equal ones the smallest rate.
fn best_rate(data: &str, arch: &str, rates: &[(&Training, Vec<&Measured>)]) -> Option<ScheduleCell> {
    let dev = |runs: &[&Measured]| mean(runs, |run| run.dev_accuracy);
    let (training, runs) = rates.iter().rev().max_by(|(_, a), (_, b)| dev(a).total_cmp(&dev(b)))?;
    Some(ScheduleCell {
        data: data.to_owned(),
        arch: arch.to_owned(),
        training: (*training).clone(),
        rates: rates.iter().map(|(training, _)| training.max_lr).collect(),
        test: percent(runs, |run| run.test_accuracy)?,
        dev: percent(runs, |run| run.dev_accuracy)?,
        final_dev: percent(runs, |run| run.final_dev_accuracy)?,
        curve: mean_curve(runs),
    })
}

fn mean_curve(runs: &[&Measured]) -> Vec<Epoch> {
    let epochs = runs.iter().map(|run| run.curve.len()).min().unwrap_or(0);
    let at = |epoch: usize| {
        let mean = |of: fn(&Epoch) -> f64| mean(runs, |run| of(&run.curve[epoch]));
        Epoch { loss: mean(|e| e.loss), dev_accuracy: mean(|e| e.dev_accuracy), lr: mean(|e| e.lr) }
    };
    (0..epochs).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::reproduce::grid::Run;
    use crate::train::reproduce::method::methods;

    fn entry(
        seed: u64,
        method: &str,
        reduction: Option<f64>,
        training: Option<Training>,
        accuracy: f64,
        bytes: u64,
    ) -> Entry {
        let run = Run { data: "d".into(), arch: "dan".into(), seed, method: method.into(), reduction, training };
        let curve = vec![Epoch { loss: 1.0, dev_accuracy: accuracy, lr: 0.1 }];
        Entry {
            run,
            outcome: Outcome::Measured(Box::new(Measured {
                dev_accuracy: accuracy,
                final_dev_accuracy: accuracy,
                test_accuracy: accuracy / 2.0,
                epoch: 1,
                parameters: bytes / 4,
                bytes,
                setting: String::new(),
                flops_per_token: 0,
                curve,
                seconds: 1.0,
            })),
        }
    }

    fn extent() -> Extent {
        Extent {
            data: vec!["d".into()],
            archs: vec!["dan".into()],
            seeds: 2,
            methods: methods(),
            reductions: vec![0.5, 0.9],
            schedules_at: Some(0.9),
        }
    }

    #[test]
    fn cells_are_means_over_seeds_and_the_smallest_is_chosen_on_dev() {
        let paper = || Some(Training::paper());
        let entries = [
            entry(1, UNCOMPRESSED, None, None, 0.80, 1000),
            entry(2, UNCOMPRESSED, None, None, 0.82, 1000),
            entry(1, ONLINE, Some(0.5), paper(), 0.81, 500),
            entry(2, ONLINE, Some(0.5), paper(), 0.80, 500),
            entry(1, ONLINE, Some(0.9), paper(), 0.79, 100),
            entry(2, ONLINE, Some(0.9), paper(), 0.78, 100),
        ];
        let findings = Findings::of(&extent(), &entries);
        let cell = findings.cell("d", "dan", ONLINE, Some(0.5)).unwrap();
        assert!((cell.dev.mean - 80.5).abs() < 1e-9 && (cell.test.mean - 40.25).abs() < 1e-9);
        assert_eq!((cell.test.count, cell.times_smaller), (2, 2.0));
        assert_eq!(findings.smallest.len(), 1);
        assert_eq!((findings.smallest[0].method.as_str(), findings.smallest[0].reduction), (ONLINE, Some(0.5)));
        assert_eq!(findings.tasks(), [("d", "dan")]);
    }

    #[test]
    fn the_rate_of_a_schedule_is_the_best_on_dev_and_not_on_test() {
        let training = |schedule: &str, max_lr| {
            Some(Training { optimizer: "adam".into(), schedule: schedule.into(), max_lr, patience: None })
        };
        let mut flattering = entry(1, ONLINE, Some(0.9), training("cosine", 1e-2), 0.6, 1);
        let Outcome::Measured(measured) = &mut flattering.outcome else { unreachable!() };
        measured.test_accuracy = 0.99;
        let entries = [
            flattering,
            entry(1, ONLINE, Some(0.9), training("cosine", 1e-3), 0.7, 1),
            entry(1, ONLINE, Some(0.9), training("calr", 1e-3), 0.8, 1),
            entry(1, ONLINE, Some(0.5), training("calr", 1e-3), 0.9, 1),
            entry(1, ONLINE, Some(0.9), Some(Training::paper()), 0.9, 1),
        ];
        let found = Findings::of(&extent(), &entries).schedules;
        let names: Vec<_> = found.iter().map(|cell| (cell.training.schedule.as_str(), cell.training.max_lr)).collect();
        assert_eq!(names, [("calr", 1e-3), ("cosine", 1e-3)]);
        assert_eq!(found[1].rates, [1e-3, 1e-2]);
        assert!((found[1].test.mean - 35.0).abs() < 1e-9);
    }

    #[test]
    fn a_schedule_that_has_no_rival_is_not_called_the_best() {
        let calr = Training { patience: None, ..Training::paper() };
        let alone = [entry(1, ONLINE, Some(0.9), Some(calr), 0.8, 1)];
        assert!(Findings::of(&extent(), &alone).schedules.is_empty());
    }

    #[test]
    fn what_is_absent_is_listed_once_with_its_reason() {
        let absent = |seed| Entry {
            outcome: Outcome::Absent("too small".into()),
            ..entry(seed, "cast", Some(0.9), None, 0.0, 0)
        };
        let findings = Findings::of(&extent(), &[absent(1), absent(2)]);
        assert_eq!(findings.absent.len(), 1);
        assert_eq!((findings.absent[0].reduction_percent, findings.absent[0].reason.as_str()), (Some(90), "too small"));
        assert!(findings.cells.is_empty());
    }
}
