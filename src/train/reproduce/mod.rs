//! The paper's experiment: classifiers trained, compressed, retrained with CALR, and measured against rivals under the
//! same budget of updates.
//!
//! ```text
//! request -> data sets -> groups of runs -> journal -> findings -> claims, cost -> report
//! ```
//!
//! A run is known by its name alone ([`Run`]) and draws its random numbers from its seed, so that the order of runs, the
//! number of workers, and kills in between change no number. The epoch of every run is chosen on dev, and the test set is
//! looked at once, by the classifier of that epoch. (The published code chose the epoch on test.)

mod claims;
mod classifiers;
mod cost;
mod data_set;
mod findings;
mod grid;
mod journal;
mod known;
mod machine;
mod method;
mod outcome;
pub mod report;
mod statistics;
mod work;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use claims::{Claim, claims};
pub use cost::{Cost, Flops, Latency};
pub use data_set::{DataFacts, FileFacts};
pub use findings::{Absent, Cell, Findings, ScheduleCell, WITHIN};
pub use grid::{Extent, Group, Run, Training, groups};
pub use journal::Entry;
pub use machine::Machine;
pub use method::{Form, Method, Origin, Size, methods};
pub use outcome::{Epoch, Measured, Outcome};
pub use statistics::Summary;

use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::train::data::Encoding;
use classifiers::{Classifiers, PATIENT_UPDATES};
use data_set::DataSet;
use grid::PATIENCE;
use journal::Journal;

/// Words of a sentence that count, as in the paper.
pub const MAX_TOKENS: usize = 40;

/// Sentences in an update, as in the paper.
pub const BATCH: usize = 50;

/// What to run.
#[derive(Clone)]
pub struct Request {
    /// Directory with a folder for each data set.
    pub data: PathBuf,
    /// Word vectors; the tables start at random without.
    pub vectors: Option<PathBuf>,
    /// What the bytes of data files are that are not UTF-8.
    pub encoding: Encoding,
    /// Names of architectures.
    pub archs: Vec<String>,
    /// Seeds 1 to this.
    pub seeds: u64,
    /// Names of methods; the uncompressed classifier takes part in any case.
    pub methods: Vec<String>,
    /// Reductions, ascending.
    pub reductions: Vec<f64>,
    /// Epochs before the table is replaced, and again after it.
    pub epochs: u64,
    /// The reduction at which schedules and optimizers are compared; `None` not to.
    pub schedules_at: Option<f64>,
    /// Runs at a time.
    pub workers: usize,
}

impl Request {
    fn takes(&self, method: &Method) -> bool {
        method.name == method::UNCOMPRESSED || self.methods.contains(&method.name)
    }
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Experiment {
    /// Version of this program.
    pub version: String,
    /// Where it ran.
    pub machine: Machine,
    /// Seconds of all runs together, those before a restart included.
    pub seconds: f64,
    /// Runs at a time.
    pub workers: usize,
    /// Runs.
    pub runs: usize,
    /// Seeds 1 to this.
    pub seeds: u64,
    /// Architectures.
    pub archs: Vec<String>,
    /// Epochs before the table is replaced, and again after it.
    pub epochs: u64,
    /// Reductions.
    pub reductions: Vec<f64>,
    /// How the compressed classifiers are trained.
    pub training: Training,
    /// Vectors.
    pub vectors: Option<FileFacts>,
    /// Data sets.
    pub data: Vec<DataFacts>,
    /// Methods with what they are.
    pub methods: Vec<MethodFacts>,
    /// What was found.
    pub findings: Findings,
    /// What the paper claims of it.
    pub claims: Vec<Claim>,
    /// What classifiers cost.
    pub costs: Vec<Cost>,
    /// Every run.
    #[serde(skip)]
    pub entries: Vec<Entry>,
}

/// A method in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MethodFacts {
    /// Its name.
    pub name: String,
    /// One line.
    pub summary: String,
}

/// What the numbers of runs depend on besides their names; the first line of a journal.
#[derive(Serialize)]
struct Identity<'a> {
    version: &'a str,
    epochs: u64,
    vectors: &'a Option<FileFacts>,
    data: Vec<(&'a str, &'a [FileFacts])>,
}

/// Runs the experiment; runs that the journal at `journal` has are not done again, and those done are added to it.
///
/// # Errors
/// Those of reading data and vectors, of the runs, and of the journal; [`ErrorKind::Interrupted`], after which the same
/// call goes on.
pub fn run(request: &Request, journal: &Path, observer: &dyn Observer) -> Result<Experiment> {
    check(request)?;
    let folders = data_set::folders(&request.data)?;
    observer.stage("read", "data", folders.len() as u64);
    let open = |folder: &PathBuf| {
        let data = DataSet::open(folder, request.encoding, request.vectors.as_deref(), observer);
        observer.advance(1);
        data
    };
    let data = folders.iter().map(open).collect::<Result<Vec<_>>>()?;
    let vectors = request.vectors.as_deref().map(|path| FileFacts::of(path, observer)).transpose()?;
    let version = env!("CARGO_PKG_VERSION");
    let identity = Identity {
        version,
        epochs: request.epochs,
        vectors: &vectors,
        data: data.iter().map(|data| (data.facts.name.as_str(), data.facts.files.as_slice())).collect(),
    };
    let identity = serde_json::to_string(&identity)
        .map_err(|error| Error::new(ErrorKind::Unsupported, "the experiment has no name").caused_by(error))?;
    let journal = Journal::open(journal, &identity)?;
    let extent = Extent {
        data: data.iter().map(|data| data.facts.name.clone()).collect(),
        archs: request.archs.clone(),
        seeds: request.seeds,
        methods: methods().into_iter().filter(|method| request.takes(method)).collect(),
        reductions: request.reductions.clone(),
        schedules_at: request.schedules_at,
    };
    let groups = groups(&extent);
    let planned: Vec<Run> = groups.iter().flat_map(|group| group.runs.clone()).collect();
    // Every method, since the uncompressed one is always run.
    let all = methods();
    let laboratory = Classifiers { data: &data, methods: &all, epochs: request.epochs, observer };
    work::work(&laboratory, groups, &journal, request.workers, observer)?;
    // A journal may hold more: runs of methods that this request leaves out.
    let by_run = journal.entries();
    let entries: Vec<Entry> =
        planned.iter().filter_map(|run| by_run.iter().find(|entry| entry.run == *run).cloned()).collect();
    observer.stage("measure", "cost", (data.len() * request.archs.len()) as u64);
    let mut costs = Vec::new();
    for arch in &request.archs {
        for data in &data {
            observer.check()?;
            costs.extend(cost::costs(data, arch)?);
            observer.advance(1);
        }
    }
    let findings = Findings::of(&extent, &entries);
    Ok(Experiment {
        version: version.to_owned(),
        machine: Machine::this(),
        seconds: entries.iter().map(Entry::seconds).sum(),
        workers: request.workers,
        runs: entries.len(),
        seeds: request.seeds,
        archs: request.archs.clone(),
        epochs: request.epochs,
        reductions: request.reductions.clone(),
        training: Training::paper(),
        vectors,
        data: data.into_iter().map(|data| data.facts).collect(),
        methods: extent
            .methods
            .iter()
            .map(|method| MethodFacts { name: method.name.clone(), summary: method.summary.clone() })
            .collect(),
        claims: claims(&findings),
        findings,
        costs,
        entries,
    })
}

fn check(request: &Request) -> Result<()> {
    let wrong = |name: &str, expected: &str, found: String| {
        Err(Error::new(ErrorKind::Request, format!("`{name}` is out of range")).expected(expected).found(found))
    };
    if request.seeds == 0 {
        return wrong("seeds", "at least 1", "0".to_owned());
    }
    if request.epochs == 0 {
        return wrong("epochs", "at least 1", "0".to_owned());
    }
    match request.reductions.iter().chain(&request.schedules_at).find(|p| !(0.0..1.0).contains(*p)) {
        Some(reduction) => wrong("reduction", "at least 0 and less than 1", reduction.to_string()),
        None => request.archs.iter().try_for_each(|arch| crate::train::model::find(arch).map(|_| ())),
    }
}
