//! What `compare` found: the same columns as text, Markdown and CSV, and a page with charts.

mod charts;
mod csv;
mod html;
mod markdown;
mod text;

pub use csv::csv;
pub use html::html;
pub use markdown::markdown;
pub use text::text;

use std::collections::BTreeMap;

use crate::codec::Setting;
use crate::compare::{AtSize, Comparison, Entry};

/// Number of columns.
const COLUMNS: usize = 16;

/// Heads of the columns of tables for people.
const HEADER: [&str; COLUMNS] = [
    "size",
    "method",
    "setting",
    "bytes",
    "bits/param",
    "rel. error",
    "weighted",
    "mean cos",
    "1% cos",
    "least cos",
    "max error",
    "10-NN kept",
    "overlap",
    "FLOPs/token",
    "1 row",
    "4096 rows",
];

/// What the columns are, where there is room to say so.
const MEANING: &str = "rel. error: ||W - W~||_F / ||W||_F; weighted: the same with row weights; cos: cosine of rows to \
their originals; max error: max |W - W~|; 10-NN kept: share of nearest neighbours that stay; overlap: eigenspace \
overlap score; FLOPs/token, 1 row, 4096 rows: cost of decoding; *: least error at that size";

/// Position of the weighted error, which is left out where there are no weights.
const WEIGHTED: usize = 6;

/// The columns that a comparison has.
fn shown(comparison: &Comparison) -> Vec<usize> {
    (0..COLUMNS).filter(|&column| column != WEIGHTED || comparison.row_weights.is_some()).collect()
}

/// Whether a column holds numbers.
fn is_number(column: usize) -> bool {
    column > 2
}

/// The cells of one method at one size, rounded for people; the best is marked.
fn cells(size: &AtSize, entry: &Entry) -> [String; COLUMNS] {
    let best = if size.best.as_ref() == Some(&entry.method) { " *" } else { "" };
    let name = format!("{}{best}", entry.method);
    let Some(found) = &entry.measurement else {
        let mut cells = std::array::from_fn(|_| "-".to_owned());
        cells[0] = size.budget.clone();
        cells[1] = name;
        cells[2] = "absent".to_owned();
        return cells;
    };
    [
        size.budget.clone(),
        name,
        setting(&found.setting),
        found.bytes.to_string(),
        format!("{:.3}", found.bits_per_parameter),
        error(found.relative_frobenius_error),
        found.weighted_relative_frobenius_error.map_or_else(|| "-".to_owned(), error),
        format!("{:.4}", found.cosine.mean),
        format!("{:.4}", found.cosine.first_percentile),
        format!("{:.4}", found.cosine.least),
        error(found.max_absolute_error),
        format!("{:.1} %", 100.0 * found.neighbours_kept),
        format!("{:.4}", found.eigenspace_overlap),
        found.flops_per_token.to_string(),
        duration(found.seconds.one_row),
        duration(found.seconds.batch),
    ]
}

/// The parameters of a codec as `key value`.
fn setting(setting: &Setting) -> String {
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        // Per-component lists are for JSON.
        serde_json::Value::Array(values) => format!("[{}]", values.len()),
        other => other.to_string(),
    };
    setting.iter().map(|(key, value)| format!("{key} {}", text(value))).collect::<Vec<_>>().join(", ")
}

/// An error with four significant digits.
fn error(value: f64) -> String {
    if value == 0.0 || value >= 1e-3 { format!("{value:.4}") } else { format!("{value:.2e}") }
}

/// Seconds with a unit and three significant digits.
fn duration(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s if s >= 1e-6 => (s * 1e6, "us"),
        s => (s * 1e9, "ns"),
    };
    let decimals = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$} {unit}")
}

/// One line about the table.
fn table_line(comparison: &Comparison) -> String {
    let table = &comparison.table;
    format!(
        "{} [{}, {}] {}, {} bytes; dense look-up: {} for 1 row, {} for 4096",
        table.name.escape_debug(),
        table.shape[0],
        table.shape[1],
        table.dtype,
        table.bytes,
        duration(table.seconds.one_row),
        duration(table.seconds.batch)
    )
}

/// One line about what rows count, where they do not count the same.
fn weights_line(comparison: &Comparison) -> Option<String> {
    let weights = comparison.row_weights.as_ref()?;
    Some(format!("rows have weights ({weights}): the best method is the one with the least weighted error"))
}

/// One line about the method to take at a size.
fn best_line(size: &AtSize) -> String {
    let place = format!("{} ({} bytes, {:.2} bits per parameter)", size.budget, size.bytes, size.bits_per_parameter);
    let best = size.entries.iter().find(|entry| size.best.as_ref() == Some(&entry.method));
    match best.and_then(|entry| Some((entry, entry.measurement.as_ref()?))) {
        Some((entry, found)) => {
            let plain = error(found.relative_frobenius_error);
            let errors = match found.weighted_relative_frobenius_error {
                Some(weighted) => format!("{} weighted, {plain} plain", error(weighted)),
                None => plain,
            };
            format!("{place}: {} with {errors}; Gaussian bound {}", entry.method, error(size.gaussian_bound))
        }
        None => format!("{place}: no method fits; Gaussian bound {}", error(size.gaussian_bound)),
    }
}

/// One line for each method and reason why it is absent, with the sizes.
fn absent_lines(comparison: &Comparison) -> Vec<String> {
    let mut sizes: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for size in &comparison.sizes {
        for entry in &size.entries {
            if let Some(reason) = &entry.absent {
                sizes.entry((&entry.method, reason)).or_default().push(&size.budget);
            }
        }
    }
    let line = |((method, reason), sizes): ((&str, &str), Vec<&str>)| {
        format!("{method} is absent at {}: {reason}", sizes.join("; "))
    };
    sizes.into_iter().map(line).collect()
}
