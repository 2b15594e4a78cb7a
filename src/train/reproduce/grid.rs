//! All runs of an experiment, in a fixed order.

use serde::{Deserialize, Serialize};

use super::method::{CLAIMED, Method, ONLINE};
use crate::schedule::SCHEDULES;
use crate::train::optimizer::OPTIMIZERS;

/// One run: what it is known by in journals and reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Name of the data set.
    pub data: String,
    /// Architecture.
    pub arch: String,
    /// Where random numbers start.
    pub seed: u64,
    /// Name of the method.
    pub method: String,
    /// The fraction that goes.
    pub reduction: Option<f64>,
    /// How it is trained after the table was replaced; `None` where it is not.
    pub training: Option<Training>,
}

/// How the compressed classifier is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Name of the optimizer.
    pub optimizer: String,
    /// Name of the schedule.
    pub schedule: String,
    /// The largest learning rate.
    pub max_lr: f64,
    /// Epochs in a row that may bring nothing better on dev before it ends; `None` where all are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
}

/// Epochs that CALR takes from one largest rate to the next.
pub(super) const CYCLE: u64 = 3;

/// Epochs in a row that may bring nothing better before a training ends: those of a cycle of CALR, so that every rate has
/// been tried once more.
pub(super) const PATIENCE: u64 = CYCLE;

impl Training {
    /// The paper's: CALR from 1e-3, with the optimizer that `retrain` takes unless told otherwise.
    pub fn paper() -> Self {
        Training { optimizer: "adam".to_owned(), schedule: "calr".to_owned(), max_lr: 1e-3, patience: Some(PATIENCE) }
    }
}

/// Runs of one trained classifier: those of one part.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Name of the data set.
    pub data: String,
    /// Architecture.
    pub arch: String,
    /// Where random numbers start.
    pub seed: u64,
    /// The runs.
    pub runs: Vec<Run>,
}

/// What an experiment is made of.
#[derive(Clone)]
pub struct Extent {
    /// Names of the data sets.
    pub data: Vec<String>,
    /// Architectures.
    pub archs: Vec<String>,
    /// Seeds 1 to this.
    pub seeds: u64,
    /// Methods.
    pub methods: Vec<Method>,
    /// Reductions, ascending.
    pub reductions: Vec<f64>,
    /// The reduction at which schedules and optimizers are compared, on the first architecture; `None` not to.
    pub schedules_at: Option<f64>,
}

/// What the usual rate of an optimizer is multiplied by in the comparison of schedules; the best on dev counts.
const RATES: [f64; 3] = [1.0 / 3.0, 1.0, 3.0];

/// Optimizers that every schedule is tried with: the plain one, and the one that `retrain` takes.
const SCHEDULED: [&str; 2] = ["sgd", "adam"];

/// Parts of an experiment, the first of which tells most.
#[derive(Clone, Copy)]
enum Part {
    /// The methods at the reduction of the paper's claim, and what has none.
    Claimed,
    /// The comparison of schedules and optimizers.
    Schedules,
    /// The other reductions.
    Others,
}

/// The groups, part by part and seed by seed, so that a journal that was cut short has whole parts of whole seeds.
pub fn groups(extent: &Extent) -> Vec<Group> {
    let mut groups = Vec::new();
    for part in [Part::Claimed, Part::Schedules, Part::Others] {
        for seed in 1..=extent.seeds {
            for arch in &extent.archs {
                for data in &extent.data {
                    let mut group = Group { data: data.clone(), arch: arch.clone(), seed, runs: Vec::new() };
                    group.runs = part.runs(&group, extent);
                    groups.extend((!group.runs.is_empty()).then_some(group));
                }
            }
        }
    }
    groups
}

impl Part {
    fn runs(self, group: &Group, extent: &Extent) -> Vec<Run> {
        let methods = method_runs(group, extent);
        let claimed = |run: &Run| run.reduction.is_none_or(|reduction| reduction == CLAIMED);
        let first = extent.archs.first() == Some(&group.arch);
        match self {
            Part::Claimed => methods.into_iter().filter(claimed).collect(),
            Part::Others => methods.into_iter().filter(|run| !claimed(run)).collect(),
            Part::Schedules => {
                let runs = extent.schedules_at.filter(|_| first).map(|reduction| schedule_runs(group, reduction));
                runs.into_iter().flatten().filter(|run| !methods.contains(run)).collect()
            }
        }
    }
}

fn run(group: &Group, method: &str, reduction: Option<f64>, training: Option<Training>) -> Run {
    Run {
        data: group.data.clone(),
        arch: group.arch.clone(),
        seed: group.seed,
        method: method.to_owned(),
        reduction,
        training,
    }
}

fn method_runs(group: &Group, extent: &Extent) -> Vec<Run> {
    let of = |method: &Method| {
        let training = method.retrained.then(Training::paper);
        let runs = method.reductions(&extent.reductions).into_iter();
        runs.map(|reduction| run(group, &method.name, reduction, training.clone())).collect::<Vec<_>>()
    };
    let first = extent.archs.first() == Some(&group.arch);
    extent.methods.iter().filter(|method| first || method.everywhere).flat_map(of).collect()
}

/// The compressed classifier trained by each schedule, and by each optimizer at a constant rate, all for as many updates:
/// schedules that fall to their end are good only there.
fn schedule_runs(group: &Group, reduction: f64) -> Vec<Run> {
    let mut runs = Vec::new();
    for optimizer in OPTIMIZERS {
        let scheduled = SCHEDULED.contains(&optimizer.name());
        for schedule in SCHEDULES.iter().filter(|schedule| scheduled || schedule.name() == "constant") {
            for rate in RATES {
                let training = Training {
                    optimizer: optimizer.name().to_owned(),
                    schedule: schedule.name().to_owned(),
                    max_lr: optimizer.usual_rate() * rate,
                    patience: None,
                };
                runs.push(run(group, ONLINE, Some(reduction), Some(training)));
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::reproduce::method::{UNCOMPRESSED, methods};

    fn extent() -> Extent {
        Extent {
            data: vec!["one".into(), "two".into()],
            archs: vec!["dan".into(), "lstm".into()],
            seeds: 2,
            methods: methods(),
            reductions: vec![0.5, 0.9],
            schedules_at: Some(0.9),
        }
    }

    #[test]
    fn every_run_has_a_name_of_its_own() {
        let runs: Vec<Run> = groups(&extent()).into_iter().flat_map(|group| group.runs).collect();
        let mut names: Vec<_> = runs.iter().map(|run| serde_json::to_string(run).unwrap()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), runs.len());
    }

    #[test]
    fn schedules_are_compared_on_the_first_architecture_at_one_reduction() {
        for arch in extent().archs {
            let runs: Vec<Run> =
                groups(&extent()).into_iter().filter(|group| group.arch == arch).flat_map(|group| group.runs).collect();
            let others: Vec<_> =
                runs.iter().filter(|run| run.training.as_ref().is_some_and(|one| *one != Training::paper())).collect();
            assert_eq!(others.is_empty(), arch != "dan");
            assert!(others.iter().all(|run| run.method == ONLINE && run.reduction == Some(0.9)));
            // All over the same number of updates.
            assert!(others.iter().all(|run| run.training.as_ref().is_some_and(|one| one.patience.is_none())));
            for schedule in SCHEDULES.iter().filter(|_| arch == "dan") {
                let named = |run: &&&Run| run.training.as_ref().is_some_and(|one| one.schedule == schedule.name());
                // Two optimizers and three rates, for each data set and seed.
                assert!(others.iter().filter(named).count() >= 6 * 4, "{}", schedule.name());
            }
        }
    }

    #[test]
    fn what_tells_most_comes_first_and_begins_with_the_uncompressed_classifier() {
        let groups = groups(&extent());
        // Two data sets, two architectures and two seeds, of which schedules take one architecture.
        assert_eq!(groups.len(), 8 + 4 + 8);
        for (index, group) in groups.iter().enumerate() {
            assert_eq!(group.runs[0].method == UNCOMPRESSED, index < 8);
            assert_eq!(group.runs.iter().all(|run| run.reduction.is_none_or(|p| p == CLAIMED)), index < 12);
            assert!(
                group.runs.iter().all(|run| (&run.data, &run.arch, run.seed) == (&group.data, &group.arch, group.seed))
            );
        }
    }

    #[test]
    fn codes_of_whole_tables_are_for_the_first_architecture() {
        let names = |arch: &str| {
            let groups = groups(&extent());
            let runs: Vec<Run> = groups.into_iter().filter(|group| group.arch == arch).flat_map(|g| g.runs).collect();
            methods().into_iter().filter(|method| runs.iter().any(|run| run.method == method.name)).collect::<Vec<_>>()
        };
        assert_eq!(names("dan").len(), methods().len());
        assert!(names("lstm").iter().all(|method| method.everywhere));
        assert!(names("lstm").len() >= 12);
    }
}
