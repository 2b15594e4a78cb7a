//! Runs on several threads, each run on one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::grid::{Group, Run};
use super::journal::{Entry, Journal};
use super::outcome::Outcome;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;

/// Does runs. What runs of one classifier share is made once, by the first of them.
pub(super) trait Laboratory: Sync {
    /// What the runs of all groups of one classifier share: that it was trained without compression.
    type Start: Send + Sync;

    /// Makes it.
    fn start(&self, group: &Group) -> Result<Self::Start>;

    /// Does one run.
    fn run(&self, start: &Self::Start, run: &Run) -> Result<Outcome>;
}

/// A group at work.
struct Active<S> {
    group: Group,
    start: Arc<SharedStart<S>>,
}

/// The start of all groups of one classifier, once it is made. It holds a table, and goes with the last run.
type SharedStart<S> = OnceLock<Result<S, String>>;

/// Does every run of `groups` that `journal` lacks, `workers` at a time. The numbers do not depend on how many there
/// are, nor on which runs were done before: a run depends on its group's start and its own name alone.
///
/// # Errors
/// The first that a run reports; what was finished is in the journal. [`ErrorKind::Interrupted`].
pub(super) fn work<L: Laboratory>(
    laboratory: &L,
    groups: Vec<Group>,
    journal: &Journal,
    workers: usize,
    observer: &dyn Observer,
) -> Result<()> {
    let queue = queue(groups, journal, workers);
    observer.stage("run", "experiment", queue.len() as u64);
    let queue = Mutex::new(queue);
    let failed = Mutex::new(None);
    let stopped = || observer.is_cancelled() || lock(&failed).is_some();
    let worker = || {
        while !stopped() {
            let Some((active, run)) = lock(&queue).pop_front() else { return };
            match one(laboratory, &active, &run) {
                Ok(outcome) => {
                    if let Err(error) = journal.add(Entry { run, outcome }) {
                        lock(&failed).get_or_insert(error);
                    }
                    observer.advance(1);
                }
                Err(error) => {
                    lock(&failed).get_or_insert(error);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..workers.max(1) {
            scope.spawn(|| match rayon::ThreadPoolBuilder::new().num_threads(1).build() {
                // Codecs spread their work over the pool that they are called in: one thread a run.
                Ok(pool) => pool.install(worker),
                Err(error) => {
                    let error = Error::new(ErrorKind::Io, "cannot start a thread").caused_by(error);
                    lock(&failed).get_or_insert(error);
                }
            });
        }
    });
    match lock(&failed).take() {
        // A start that was interrupted is a wish to end, too.
        Some(error) => observer.check().and(Err(error)),
        None => observer.check(),
    }
}

fn one<L: Laboratory>(laboratory: &L, active: &Active<L::Start>, run: &Run) -> Result<Outcome> {
    let start = active.start.get_or_init(|| laboratory.start(&active.group).map_err(|error| format!("{error:#}")));
    let in_run = |error: &dyn std::fmt::Display| {
        let place = format!("run `{}` on `{}` with `{}`, seed {}", run.method, run.data, run.arch, run.seed);
        Error::new(ErrorKind::Unsupported, format!("{place} failed")).found(error.to_string())
    };
    match start {
        Ok(start) => laboratory.run(start, run).map_err(|error| match error.kind() {
            ErrorKind::Interrupted => error,
            _ => in_run(&error).caused_by(error),
        }),
        Err(error) => Err(in_run(error)),
    }
}

/// The runs to do. As many groups as there are workers take turns, so that each worker makes the start of another.
fn queue<S>(groups: Vec<Group>, journal: &Journal, workers: usize) -> VecDeque<(Arc<Active<S>>, Run)> {
    let mut starts: BTreeMap<_, Arc<SharedStart<S>>> = BTreeMap::new();
    let mut lists: VecDeque<(Arc<Active<S>>, VecDeque<Run>)> = groups
        .into_iter()
        .map(|mut group| {
            let runs = std::mem::take(&mut group.runs).into_iter().filter(|run| !journal.has(run)).collect();
            let start = starts.entry((group.data.clone(), group.arch.clone(), group.seed)).or_default().clone();
            (Arc::new(Active { group, start }), runs)
        })
        .collect();
    let mut queue = VecDeque::new();
    let mut active: Vec<_> = lists.drain(..workers.max(1).min(lists.len())).collect();
    while !active.is_empty() {
        for (group, runs) in &mut active {
            queue.extend(runs.pop_front().map(|run| (group.clone(), run)));
        }
        active.retain(|(_, runs)| !runs.is_empty());
        while active.len() < workers.max(1) {
            let Some(next) = lists.pop_front() else { break };
            active.push(next);
        }
    }
    queue
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::observe::Silent;
    use crate::random::Random;
    use crate::train::reproduce::outcome::Measured;

    /// Draws numbers in place of training, and fails after some runs.
    struct Dice {
        runs_left: AtomicUsize,
        starts: AtomicUsize,
    }

    fn dice(runs: usize) -> Dice {
        Dice { runs_left: AtomicUsize::new(runs), starts: AtomicUsize::new(0) }
    }

    impl Laboratory for Dice {
        type Start = u64;

        fn start(&self, group: &Group) -> Result<u64> {
            self.starts.fetch_add(1, Ordering::SeqCst);
            Ok(Random::new(group.seed ^ group.data.len() as u64).bits())
        }

        fn run(&self, start: &u64, run: &Run) -> Result<Outcome> {
            let left = self.runs_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            left.map_err(|_| Error::new(ErrorKind::Io, "the power went out"))?;
            let seed = start ^ run.reduction.map_or(0, f64::to_bits) ^ run.method.len() as u64;
            let drawn = Random::new(seed).uniform();
            Ok(Outcome::Measured(Box::new(Measured {
                dev_accuracy: drawn,
                final_dev_accuracy: drawn / 3.0,
                test_accuracy: drawn / 7.0,
                epoch: 1,
                parameters: 2,
                bytes: 3,
                setting: String::new(),
                flops_per_token: 4,
                curve: Vec::new(),
                seconds: 0.0,
            })))
        }
    }

    /// The second group of one classifier comes after those of others.
    fn groups() -> Vec<Group> {
        let group = |data: &str, seed, names: [(&str, Option<f64>); 3]| {
            let run = |method: &str, reduction| Run {
                data: data.to_owned(),
                arch: "dan".to_owned(),
                seed,
                method: method.to_owned(),
                reduction,
                training: None,
            };
            let runs = names.into_iter().map(|(method, reduction)| run(method, reduction)).collect();
            Group { data: data.to_owned(), arch: "dan".to_owned(), seed, runs }
        };
        let first = [("whole", None), ("half", Some(0.5)), ("tenth", Some(0.9))];
        let later = [("more", None), ("half", Some(0.6)), ("tenth", Some(0.95))];
        vec![group("one", 1, first), group("three", 1, first), group("one", 2, first), group("one", 1, later)]
    }

    /// Works until `runs` are done, and gives what the journal holds.
    fn entries(path: &Path, runs: usize, workers: usize) -> (Result<()>, Vec<Entry>, usize) {
        let (laboratory, journal) = (dice(runs), Journal::open(path, "{}").unwrap());
        let result = work(&laboratory, groups(), &journal, workers, &Silent);
        let mut entries = journal.entries();
        entries.sort_by_key(|entry| format!("{:?}", entry.run));
        (result, entries, laboratory.starts.into_inner())
    }

    #[test]
    fn a_killed_experiment_ends_at_the_same_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let (done, whole, starts) = entries(&directory.path().join("whole"), usize::MAX, 1);
        done.expect("nothing stops it");
        assert_eq!((whole.len(), starts), (12, 3));
        let path = directory.path().join("killed");
        for runs in [4, 1] {
            let (done, ..) = entries(&path, runs, 2);
            assert!(done.expect_err("it is stopped").to_string().contains("the power went out"));
            // A kill in the middle of a line.
            let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
            std::io::Write::write_all(&mut file, b"{\"run\":{\"data\":\"o").unwrap();
        }
        let (done, resumed, _) = entries(&path, usize::MAX, 2);
        done.expect("nothing stops it");
        assert_eq!(resumed, whole);
        let (done, again, starts) = entries(&path, 0, 2);
        done.expect("nothing is left to do");
        assert_eq!((again, starts), (whole, 0));
    }

    #[test]
    fn a_journal_of_another_experiment_or_in_use_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let open = Journal::open(&path, "{\"epochs\":1}").unwrap();
        let message = |experiment| Journal::open(&path, experiment).expect_err("it is refused").to_string();
        assert!(message("{\"epochs\":1}").contains("another process"));
        drop(open);
        assert!(message("{\"epochs\":2}").contains("another experiment"));
        std::fs::write(&path, "{}\n{\"run\":1}\n").unwrap();
        assert!(message("{}").contains("line 2 is no run"));
    }
}
