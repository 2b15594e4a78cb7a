//! `rankfold schedule`.

use rankfold::output::write_file;
use rankfold::report::rates::{Rates, csv, json, svg, text};
use rankfold::schedule::{SCHEDULES, Settings, find};

use super::Outcome;
use super::args::{RatesFormat, ScheduleArgs};
use super::output::{print, print_json};

/// Rows of text unless `--every` says otherwise.
const ROWS: u64 = 20;
/// Points of a curve in a drawing.
const POINTS: u64 = 4000;

pub(super) fn run(args: &ScheduleArgs) -> anyhow::Result<Outcome> {
    let settings = settings(args);
    settings.check()?;
    let schedules = if args.names.iter().any(|name| name == "all") {
        SCHEDULES.to_vec()
    } else {
        args.names.iter().map(|name| find(name)).collect::<Result<_, _>>()?
    };
    let rates = |every: u64| Rates::new(&schedules, settings, every);
    if let Some(path) = &args.svg {
        write_file(path, svg(&rates(settings.updates.div_ceil(POINTS))).as_bytes())?;
    }
    match if args.json { RatesFormat::Json } else { args.format } {
        RatesFormat::Text => {
            let rows = rates(args.every.unwrap_or(settings.updates.div_ceil(ROWS)));
            print(&text(&rows, &rates(settings.updates.div_ceil(POINTS))))?;
        }
        RatesFormat::Csv => print(&csv(&rates(args.every.unwrap_or(1))))?,
        RatesFormat::Json => print_json(&json(&rates(args.every.unwrap_or(1))))?,
    }
    Ok(Outcome::Done)
}

fn settings(args: &ScheduleArgs) -> Settings {
    Settings {
        max_lr: args.max_lr,
        base_lr: args.base_lr.unwrap_or(args.max_lr * args.decay.powf(3.0)),
        step_size: args.step_size,
        steps_per_epoch: args.steps_per_epoch,
        decay: args.decay,
        decay_every: args.decay_every,
        gamma: args.gamma,
        updates: args.updates.unwrap_or(args.steps_per_epoch.saturating_mul(8).min(10_000_000)),
    }
}
