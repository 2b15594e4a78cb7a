//! The paper's experiment on small data that was made for the purpose.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rankfold::ErrorKind;
use rankfold::observe::{Observer, Silent};
use rankfold::train::data::Encoding;
use rankfold::train::reproduce::{Entry, Experiment, Outcome, Request, report, run};
use serde_json::Value;

/// Sentences of fifty words, of which ten tell the label; and vectors that know nothing.
fn write_data(directory: &Path) {
    let mut state = 1u64;
    let mut below = |count: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % count
    };
    for (name, count) in [("train", 300), ("test", 100)] {
        let mut text = String::new();
        for number in 0..count {
            let label = number % 2;
            text.push_str(&format!("{label} w{}", 2 * below(5) + label));
            (0..3 + below(5)).for_each(|_| text.push_str(&format!(" w{}", 10 + below(40))));
            text.push('\n');
        }
        let folder = directory.join("data/made");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.txt")), text).unwrap();
    }
    let vectors: String = (0..50)
        .map(|word| {
            let numbers: Vec<_> = (0..16).map(|_| format!("{}", below(2000) as f64 / 1000.0 - 1.0)).collect();
            format!("w{word} {}\n", numbers.join(" "))
        })
        .collect();
    std::fs::write(directory.join("vectors.txt"), vectors).unwrap();
}

fn request(directory: &Path, archs: &[&str], methods: &[&str]) -> Request {
    Request {
        data: directory.join("data"),
        vectors: Some(directory.join("vectors.txt")),
        encoding: Encoding::Utf8,
        archs: archs.iter().map(|&name| name.to_owned()).collect(),
        seeds: 2,
        methods: methods.iter().map(|&name| name.to_owned()).collect(),
        reductions: vec![0.5, 0.9],
        epochs: 3,
        schedules_at: None,
        workers: 2,
    }
}

/// The runs without what differs from one time to the next.
fn numbers(experiment: &Experiment) -> Vec<Entry> {
    let mut entries = experiment.entries.clone();
    for entry in &mut entries {
        if let Outcome::Measured(measured) = &mut entry.outcome {
            measured.seconds = 0.0;
        }
    }
    entries
}

/// Stops after some runs.
struct StopsAfter(AtomicUsize);

impl Observer for StopsAfter {
    fn advance(&self, _units: u64) {
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

#[test]
fn an_interrupted_experiment_goes_on_to_the_same_numbers_whatever_the_number_of_workers() {
    let directory = tempfile::tempdir().unwrap();
    write_data(directory.path());
    let methods = ["low-rank-retrained", "low-rank-offline", "fixed-point", "low-rank-8-bit"];
    let request = request(directory.path(), &["dan", "lstm"], &methods);
    let whole = run(&Request { workers: 1, ..request.clone() }, &directory.path().join("whole"), &Silent).unwrap();
    // Bytes of the vectors and the data set count as units too.
    let journal = directory.path().join("journal");
    let stops = StopsAfter(AtomicUsize::new(1 << 20));
    stops.0.store(8 + units_before_the_first_run(directory.path()), Ordering::SeqCst);
    let error = run(&request, &journal, &stops).expect_err("it is interrupted");
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    let lines = std::fs::read_to_string(&journal).unwrap().lines().count();
    assert!((2..whole.runs).contains(&lines), "{lines} lines after some runs");
    let resumed = run(&request, &journal, &Silent).unwrap();
    assert_eq!(numbers(&resumed), numbers(&whole));
    // Factors are encoded at the larger of the two reductions alone.
    assert_eq!(whole.runs, 2 * 2 * (1 + 3 * 2 + 1));
}

/// Calls of `advance` while files are digested and read.
fn units_before_the_first_run(directory: &Path) -> usize {
    let files =
        [directory.join("data/made/train.txt"), directory.join("data/made/test.txt"), directory.join("vectors.txt")];
    files.iter().map(|path| (std::fs::metadata(path).unwrap().len() as usize).div_ceil(1 << 18)).sum::<usize>() + 1
}

#[test]
fn retraining_wins_back_what_compression_lost_and_sizes_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    write_data(directory.path());
    let methods = [
        "low-rank-retrained",
        "low-rank",
        "low-rank-random",
        "fixed-point-8",
        "fixed-point-16-retrained",
        "transform",
        "cast",
    ];
    let request = Request { epochs: 40, ..request(directory.path(), &["dan"], &methods) };
    let experiment = run(&request, &directory.path().join("journal"), &Silent).unwrap();
    let cell = |method: &str, reduction| {
        let cell = experiment.findings.cell("made", "dan", method, reduction);
        cell.unwrap_or_else(|| panic!("{method} has a cell at {reduction:?}"))
    };
    let whole = cell("uncompressed", None);
    assert!(whole.test.mean > 80.0, "words tell the label: {}", whole.test.mean);
    assert_eq!(whole.bytes, (52 * 16 * 4) as f64);
    let (pair, bare) = (cell("low-rank-retrained", Some(0.9)), cell("low-rank", Some(0.9)));
    assert!(pair.dev.mean >= bare.dev.mean, "epoch 0 is the classifier that was not retrained");
    assert_eq!(pair.bytes, ((52 + 16) * 4) as f64, "rank 1");
    assert_eq!(cell("fixed-point-8", None).bytes, (52 * 16 + 52 * 2) as f64);
    let sixteen = cell("fixed-point-16-retrained", None);
    assert_eq!(sixteen.bytes, (52 * 16 * 2 + 52 * 2 + 16) as f64, "packed codes have their shape beside them");
    assert!(sixteen.dev.mean >= whole.dev.mean, "16 bits lose nothing, and epoch 0 is what was encoded");
    for encoded in experiment.findings.cells.iter().filter(|cell| cell.method == "transform") {
        let pair = cell("low-rank", encoded.reduction);
        assert!(encoded.bytes <= pair.bytes, "transform takes no more bytes than the pair at {:?}", encoded.reduction);
    }
    let cast = |absent: &&rankfold::train::reproduce::Absent| absent.method == "cast";
    let mut missing = experiment.findings.absent.iter().filter(cast).map(|absent| absent.reduction_percent);
    assert!(missing.any(|percent| percent == Some(90)), "16 bits are no tenth of 32");
    assert_eq!(experiment.data[0].dev, 30, "a tenth of train");
}

#[test]
fn schedules_and_optimizers_are_compared_at_one_reduction() {
    let directory = tempfile::tempdir().unwrap();
    write_data(directory.path());
    let request = Request { epochs: 1, seeds: 1, schedules_at: Some(0.9), ..request(directory.path(), &["dan"], &[]) };
    let experiment = run(&request, &directory.path().join("journal"), &Silent).unwrap();
    let ways: Vec<_> = experiment.findings.schedules.iter().map(|cell| &cell.training).collect();
    for schedule in rankfold::schedule::SCHEDULES {
        assert!(ways.iter().any(|way| way.schedule == schedule.name()), "{}", schedule.name());
    }
    for optimizer in rankfold::train::optimizer::OPTIMIZERS {
        assert!(ways.iter().any(|way| way.optimizer == optimizer.name()), "{}", optimizer.name());
    }
    assert!(experiment.findings.schedules.is_sorted_by(|a, b| a.dev.mean >= b.dev.mean));
    let text = report::markdown(&experiment);
    assert!(text.contains("| optimizer | schedule | largest rate | best dev | final dev | test |"), "{text}");
}

#[test]
fn the_command_writes_reports_that_need_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    write_data(directory.path());
    let out = directory.path().join("report");
    let mut command = crate::support::rankfold(["reproduce", "--quick", "--epochs", "2", "--json", "--data"]);
    command.arg(directory.path().join("data")).arg("-o").arg(&out);
    command.arg("--vectors").arg(directory.path().join("vectors.txt"));
    let output = command.assert().success().get_output().stdout.clone();
    let printed: Value = serde_json::from_slice(&output).unwrap();
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    assert_eq!(printed, serde_json::from_str::<Value>(&read("report.json")).unwrap());
    assert_eq!(crate::support::tree::names(&out), ["report.html", "report.json", "report.md", "runs.jsonl"]);
    assert_eq!(read("runs.jsonl").lines().count(), printed["runs"].as_u64().unwrap() as usize);
    assert!(!directory.path().join("report.journal").exists());
    let page = read("report.html");
    assert!(page.matches("<svg role=\"img\"").count() >= 3, "accuracy, size and cost are drawn");
    for reference in ["http:", "https:", "src=", "<link", "@import"] {
        let rest = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!rest.contains(reference), "{reference}");
    }
    let text = read("report.md");
    for line in text.lines().filter(|line| line.starts_with('|')) {
        assert!(line.ends_with('|'), "{line}");
    }
    for (figure, place) in [("claims", "## Claims"), ("digest", "SHA-256"), ("machine", "threads")] {
        assert!(text.contains(place), "{figure}");
    }
}

#[test]
fn requests_that_make_no_experiment_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    write_data(directory.path());
    let good = request(directory.path(), &["dan"], &[]);
    let message = |request: Request| {
        run(&request, &directory.path().join("journal"), &Silent).expect_err("it is refused").to_string()
    };
    assert!(message(Request { seeds: 0, ..good.clone() }).contains("`seeds` is out of range"));
    assert!(message(Request { epochs: 0, ..good.clone() }).contains("`epochs` is out of range"));
    assert!(message(Request { reductions: vec![1.0], ..good.clone() }).contains("`reduction` is out of range"));
    assert!(message(Request { archs: vec!["cnn".into()], ..good.clone() }).contains("no such architecture"));
    std::fs::remove_file(directory.path().join("data/made/test.txt")).unwrap();
    assert!(message(good).contains("the data set has no test file"));
}
