//! What a report says, block by block.

use super::charts::Chart;
use crate::train::reproduce::claims::test_of;
use crate::train::reproduce::findings::{Cell, ScheduleCell};
use crate::train::reproduce::{BATCH, Experiment, MAX_TOKENS, PATIENCE, PATIENT_UPDATES, WITHIN};

/// A piece of a report.
pub(super) enum Block<'e> {
    /// A title of a section.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// A list.
    List(Vec<String>),
    /// A table; columns after the first `left` are numbers.
    Table { head: Vec<String>, rows: Vec<Vec<String>>, left: usize },
    /// A chart, on a page only.
    Chart(Chart<'e>),
}

/// The whole report.
pub(super) fn blocks(experiment: &Experiment) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    blocks.extend(what_was_run(experiment));
    blocks.extend(claims(experiment));
    blocks.extend(accuracy(experiment));
    blocks.extend(smallest(experiment));
    blocks.extend(schedules(experiment));
    blocks.extend(cost(experiment));
    blocks.extend(methods(experiment));
    blocks
}

fn heading(text: &str) -> Block<'static> {
    Block::Heading(text.to_owned())
}

fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

fn what_was_run(experiment: &Experiment) -> Vec<Block<'_>> {
    let Experiment { machine, training, .. } = experiment;
    let vectors = match &experiment.vectors {
        Some(vectors) => format!("Vectors: `{}`, SHA-256 {}", vectors.name, vectors.sha256),
        None => "Tables start at random".to_owned(),
    };
    let facts = vec![
        format!("rankfold {} on {} ({} threads, {})", experiment.version, machine.processor, machine.threads, machine.system),
        format!(
            "{} runs: seeds 1 to {}, {}; {:.0} s of runs, {} at a time, each on one thread",
            experiment.runs,
            experiment.seeds,
            experiment.archs.join(" and "),
            experiment.seconds,
            experiment.workers
        ),
        format!(
            "{0} epochs before the table is replaced (Adam, constant rate 1e-3) and {0} after it ({1}, {2}, largest rate \
             {3:.0e}), either fewer where {PATIENCE} in a row, {PATIENT_UPDATES} updates or more, were no better on dev; \
             batches of {BATCH}, {MAX_TOKENS} words of a sentence; what is compressed before training gets both",
            experiment.epochs, training.optimizer, training.schedule, training.max_lr
        ),
        "The epoch of every run is chosen on dev (the classifier that was handed in counts as epoch 0); the test set is \
         looked at once, by the classifier of that epoch. Numbers are accuracies on test in percent, mean ± standard \
         deviation over seeds"
            .to_owned(),
        vectors,
    ];
    let head =
        strings(["data", "train", "dev", "test", "classes", "vocabulary", "with a vector", "words of a test sentence"]);
    let rows = experiment.data.iter().map(|data| {
        let drawn = if data.dev_was_drawn { " (drawn from train)" } else { "" };
        vec![
            data.name.clone(),
            data.train.to_string(),
            format!("{}{drawn}", data.dev),
            data.test.to_string(),
            data.classes.to_string(),
            data.vocabulary.to_string(),
            data.vectors_found.to_string(),
            format!("{:.1}", data.mean_tokens),
        ]
    });
    let digests = experiment.data.iter().flat_map(|data| {
        data.files.iter().map(|file| format!("`{}/{}`: SHA-256 {}", data.name, file.name, file.sha256))
    });
    vec![
        heading("What was run"),
        Block::List(facts),
        Block::Table { head, rows: rows.collect(), left: 1 },
        Block::List(digests.collect()),
    ]
}

fn claims(experiment: &Experiment) -> Vec<Block<'_>> {
    if experiment.claims.is_empty() {
        return Vec::new();
    }
    let rows = experiment.claims.iter().map(|claim| {
        let held = if claim.held { "held" } else { "did not hold" };
        vec![claim.claim.clone(), claim.data.clone(), claim.arch.clone(), held.to_owned(), claim.figures.clone()]
    });
    let held = experiment.claims.iter().filter(|claim| claim.held).count();
    vec![
        heading("Claims"),
        Block::Text(format!("{held} of {} held in these runs.", experiment.claims.len())),
        Block::Table { head: strings(["claim", "data", "model", "held", "figures"]), rows: rows.collect(), left: 5 },
    ]
}

/// Methods of a task with their cells, in order.
pub(super) fn lines<'e>(experiment: &'e Experiment, data: &str, arch: &str) -> Vec<(&'e str, Vec<&'e Cell>)> {
    let of_task = |cell: &&Cell| (cell.data.as_str(), cell.arch.as_str()) == (data, arch);
    let mut lines: Vec<(&str, Vec<&Cell>)> = Vec::new();
    for cell in experiment.findings.cells.iter().filter(of_task) {
        match lines.last_mut() {
            Some((name, cells)) if *name == cell.method => cells.push(cell),
            _ => lines.push((&cell.method, vec![cell])),
        }
    }
    lines
}

fn accuracy(experiment: &Experiment) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    for (data, arch) in experiment.findings.tasks() {
        blocks.push(Block::Heading(format!("Accuracy on {data} with {arch}")));
        blocks.push(Block::Chart(Chart::accuracy(experiment, data, arch)));
        blocks.push(Block::Chart(Chart::codecs(experiment, data, arch)));
        blocks.push(Block::Chart(Chart::size(experiment, data, arch)));
        let mut head = strings(["method", "times smaller", "whole or given bits"]);
        head.extend(experiment.reductions.iter().map(|reduction| format!("p = {reduction}")));
        let rows = lines(experiment, data, arch).into_iter().map(|(name, cells)| {
            let find = |reduction: Option<f64>| cells.iter().find(|cell| cell.reduction == reduction);
            let times = cells.iter().map(|cell| cell.times_smaller);
            let (least, most) = times.fold((f64::INFINITY, 0.0f64), |(a, b), one| (a.min(one), b.max(one)));
            let times = if most - least < 0.05 { format!("{most:.1}") } else { format!("{least:.1} to {most:.1}") };
            let mut row = vec![name.to_owned(), times];
            let columns = std::iter::once(None).chain(experiment.reductions.iter().copied().map(Some));
            row.extend(columns.map(|reduction| find(reduction).map_or_else(String::new, |cell| test_of(cell))));
            row
        });
        let rows = rows.collect();
        blocks.push(Block::Table { head, rows, left: 1 });
    }
    blocks
}

fn smallest(experiment: &Experiment) -> Vec<Block<'_>> {
    if experiment.findings.smallest.is_empty() {
        return Vec::new();
    }
    let rows = experiment.findings.smallest.iter().map(|cell| {
        let whole = experiment.findings.cell(&cell.data, &cell.arch, "uncompressed", None);
        vec![
            cell.data.clone(),
            cell.arch.clone(),
            cell.method.clone(),
            cell.reduction.map_or_else(String::new, |reduction| reduction.to_string()),
            format!("{:.0}", cell.bytes),
            format!("{:.1}", cell.times_smaller),
            format!("{:.2} ± {:.2}", cell.dev.mean, cell.dev.deviation),
            test_of(cell),
            whole.map_or_else(String::new, |whole| format!("{:+.2}", cell.test.mean - whole.test.mean)),
        ]
    });
    vec![
        heading("The smallest table"),
        Block::Text(format!(
            "Of all methods and sizes the smallest embedding whose mean accuracy on dev is at most {WITHIN} point below \
             that of the uncompressed classifier."
        )),
        Block::Table {
            head: strings(["data", "model", "method", "p", "bytes", "times smaller", "dev", "test", "against whole"]),
            rows: rows.collect(),
            left: 3,
        },
    ]
}

/// The name of a way of training.
pub(super) fn way(cell: &ScheduleCell) -> String {
    format!("{} {}", cell.training.optimizer, cell.training.schedule)
}

fn schedules(experiment: &Experiment) -> Vec<Block<'_>> {
    let cells = &experiment.findings.schedules;
    if cells.is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![
        heading("Schedules and optimizers"),
        Block::Text(
            "The factor pair retrained for the same number of updates from the same start, none ended early. Every way was \
             tried at its usual rate, a third and three times of it; shown is the rate with the best mean accuracy on dev. \
             The best on dev stands first."
                .to_owned(),
        ),
    ];
    for (data, arch) in experiment.findings.tasks() {
        let own = |cell: &&ScheduleCell| (cell.data.as_str(), cell.arch.as_str()) == (data, arch);
        let cells: Vec<_> = cells.iter().filter(own).collect();
        let Some(best) = cells.first() else { continue };
        let place = cells.iter().position(|cell| cell.training.schedule == "calr");
        blocks.push(Block::Text(match place {
            Some(0) => format!("On {data} with {arch} CALR is the best of {} ways.", cells.len()),
            Some(place) => format!(
                "On {data} with {arch} CALR is not the best: {} is; CALR at its best stands in place {} of {}.",
                way(best),
                place + 1,
                cells.len()
            ),
            None => format!("On {data} with {arch} there was no run with CALR."),
        }));
        blocks.push(Block::Chart(Chart::learning_curves(&cells, data, arch)));
        blocks.push(Block::Chart(Chart::learning_rates(&cells, data, arch)));
        let rows = cells.iter().map(|cell| {
            vec![
                cell.training.optimizer.clone(),
                cell.training.schedule.clone(),
                format!("{:.1e}", cell.training.max_lr),
                format!("{:.2} ± {:.2}", cell.dev.mean, cell.dev.deviation),
                format!("{:.2} ± {:.2}", cell.final_dev.mean, cell.final_dev.deviation),
                format!("{:.2} ± {:.2}", cell.test.mean, cell.test.deviation),
            ]
        });
        let rows = rows.collect();
        let head = strings(["optimizer", "schedule", "largest rate", "best dev", "final dev", "test"]);
        blocks.push(Block::Table { head, rows, left: 2 });
    }
    blocks
}

fn cost(experiment: &Experiment) -> Vec<Block<'_>> {
    let rows = experiment.costs.iter().map(|cost| {
        let (flops, time) = (cost.flops, cost.microseconds);
        vec![
            cost.data.clone(),
            cost.arch.clone(),
            cost.form.clone(),
            cost.embedding_parameters.to_string(),
            cost.embedding_bytes.to_string(),
            cost.network_parameters.to_string(),
            "0".to_owned(),
            flops.product.to_string(),
            flops.dequantization.to_string(),
            flops.network.to_string(),
            format!("{:.1} + {:.1}", time.sentence_look_up, time.sentence_network),
            format!("{:.0} + {:.0}", time.batch_look_up, time.batch_network),
        ]
    });
    let mut blocks = vec![
        heading("Cost"),
        Block::Text(format!(
            "Floating-point operations of a sentence of the mean length by formula: looking up moves numbers and computes \
             none, the product with B takes 2 k d for each word, codes one multiplication for each number. Beside them \
             microseconds for one sentence and for {BATCH}, one thread, medians: words' vectors from what is stored + the \
             network behind them."
        )),
    ];
    for (data, arch) in experiment.findings.tasks() {
        blocks.push(Block::Chart(Chart::cost(experiment, data, arch)));
    }
    let head = strings([
        "data",
        "model",
        "table",
        "parameters",
        "bytes",
        "network parameters",
        "look-up FLOPs",
        "product FLOPs",
        "dequantization FLOPs",
        "network FLOPs",
        "sentence µs",
        "batch µs",
    ]);
    blocks.push(Block::Table { head, rows: rows.collect(), left: 3 });
    blocks
}

fn methods(experiment: &Experiment) -> Vec<Block<'_>> {
    let list = experiment.methods.iter().map(|method| format!("`{}`: {}", method.name, method.summary));
    let mut blocks = vec![heading("Methods"), Block::List(list.collect())];
    if !experiment.findings.absent.is_empty() {
        let absent = experiment.findings.absent.iter().map(|absent| {
            let size = absent.reduction_percent.map_or_else(String::new, |percent| format!(" at {percent} %"));
            format!("`{}` on {}{size}: {}", absent.method, absent.data, absent.reason)
        });
        blocks.push(heading("What is missing"));
        blocks.push(Block::List(absent.collect()));
    }
    blocks
}
