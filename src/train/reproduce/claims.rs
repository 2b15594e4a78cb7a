//! What the paper claims, held against the findings.

use serde::Serialize;

use super::findings::{Cell, Findings, ScheduleCell, WITHIN};
use super::method::{NOT_RETRAINED, OFFLINE, OFFLINE_FACTORS, ONLINE, UNCOMPRESSED, fixed_point};

/// Sizes that the smallest table is held against: how many times smaller.
const TIMES_SMALLER: f64 = 40.0;

/// A claim, on one data set with one architecture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Claim {
    /// Data set.
    pub data: String,
    /// Architecture.
    pub arch: String,
    /// What is claimed.
    pub claim: String,
    /// Whether it held in these runs.
    pub held: bool,
    /// The numbers that say so.
    pub figures: String,
}

/// Every claim that the runs allow to judge.
pub fn claims(findings: &Findings) -> Vec<Claim> {
    let mut claims = Vec::new();
    for (data, arch) in findings.tasks() {
        let task = Task { findings, data, arch };
        for (reduction, points) in [(0.9, 0.5), (0.9, 1.0), (0.95, 1.5)] {
            claims.extend(task.near_uncompressed(reduction, points));
        }
        for reduction in [0.9, 0.95] {
            for rival in [OFFLINE, OFFLINE_FACTORS, NOT_RETRAINED, &fixed_point(false), &fixed_point(true)] {
                claims.extend(task.above(rival, reduction));
            }
        }
        claims.extend(task.best_schedule());
        claims.extend(task.smallest());
    }
    claims
}

struct Task<'a> {
    findings: &'a Findings,
    data: &'a str,
    arch: &'a str,
}

/// `mean ± deviation`.
pub(super) fn test_of(cell: &Cell) -> String {
    format!("{:.2} ± {:.2}", cell.test.mean, cell.test.deviation)
}

impl Task<'_> {
    fn cell(&self, method: &str, reduction: Option<f64>) -> Option<&Cell> {
        self.findings.cell(self.data, self.arch, method, reduction)
    }

    fn claim(&self, claim: String, held: bool, figures: String) -> Claim {
        Claim { data: self.data.to_owned(), arch: self.arch.to_owned(), claim, held, figures }
    }

    fn near_uncompressed(&self, reduction: f64, points: f64) -> Option<Claim> {
        let (whole, pair) = (self.cell(UNCOMPRESSED, None)?, self.cell(ONLINE, Some(reduction))?);
        let lost = whole.test.mean - pair.test.mean;
        let claim = format!("`{ONLINE}` at p = {reduction} is within {points} points of the uncompressed classifier");
        let figures = format!("{} against {}: {lost:+.2} points lost", test_of(pair), test_of(whole));
        Some(self.claim(claim, lost <= points, figures))
    }

    /// Better than `rival` by more than the larger of the two standard deviations over seeds; one seed has none, and
    /// judges nothing.
    fn above(&self, rival: &str, reduction: f64) -> Option<Claim> {
        let pair = self.cell(ONLINE, Some(reduction))?;
        let other = self.cell(rival, Some(reduction)).filter(|cell| cell.test.count > 1)?;
        let (gain, deviation) = (pair.test.mean - other.test.mean, pair.test.deviation.max(other.test.deviation));
        let claim = format!("`{ONLINE}` at p = {reduction} beats `{rival}` by more than the standard deviation");
        let figures = format!("{} against {}: {gain:+.2} points", test_of(pair), test_of(other));
        Some(self.claim(claim, gain > deviation, figures))
    }

    fn best_schedule(&self) -> Option<Claim> {
        let own = |cell: &&ScheduleCell| (cell.data.as_str(), cell.arch.as_str()) == (self.data, self.arch);
        let cells: Vec<_> = self.findings.schedules.iter().filter(own).collect();
        let calr = cells.iter().find(|cell| cell.training.schedule == "calr")?;
        let best = cells.first()?;
        let name = |cell: &ScheduleCell| {
            let ScheduleCell { training, dev, .. } = cell;
            format!("{} {} {:.0e}: {:.2} on dev", training.optimizer, training.schedule, training.max_lr, dev.mean)
        };
        let place = 1 + cells.iter().position(|cell| cell == calr)?;
        let held = place == 1;
        let figures = format!("best {}; best with CALR {}, place {place} of {}", name(best), name(calr), cells.len());
        Some(self.claim("CALR is the best way to retrain the factor pair".to_owned(), held, figures))
    }

    fn smallest(&self) -> Option<Claim> {
        let own = |cell: &&Cell| (cell.data.as_str(), cell.arch.as_str()) == (self.data, self.arch);
        let cell = self.findings.smallest.iter().find(own)?;
        let whole = self.cell(UNCOMPRESSED, None)?;
        let lost = whole.test.mean - cell.test.mean;
        let size = cell.reduction.map_or_else(String::new, |reduction| format!(" at p = {reduction}"));
        let claim =
            format!("beyond the paper: a table {TIMES_SMALLER} times smaller, chosen on dev, within {WITHIN} point");
        let figures = format!(
            "`{}`{size}: {:.1} times smaller, {} on test, {lost:+.2} points lost",
            cell.method,
            cell.times_smaller,
            test_of(cell)
        );
        Some(self.claim(claim, cell.times_smaller >= TIMES_SMALLER && lost <= WITHIN, figures))
    }
}
