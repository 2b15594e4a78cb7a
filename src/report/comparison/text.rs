//! For a terminal.

use std::fmt::Write;

use super::{HEADER, MEANING, absent_lines, best_line, cells, is_number, shown, table_line, weights_line};
use crate::compare::Comparison;
use crate::report::columns;

/// The table with every measure, then why methods are absent, then the best method at each size.
pub fn text(comparison: &Comparison) -> String {
    let mut text = table_line(comparison);
    text.push('\n');
    let entries = comparison.sizes.iter().flat_map(|size| size.entries.iter().map(move |entry| cells(size, entry)));
    let shown = shown(comparison);
    let rows: Vec<Vec<String>> = [HEADER.map(str::to_owned)]
        .into_iter()
        .chain(entries)
        .map(|cells| shown.iter().map(|&column| cells[column].clone()).collect())
        .collect();
    text.push_str(&columns(&rows, shown.iter().copied().map(is_number).collect::<Vec<_>>()));
    for line in absent_lines(comparison) {
        let _ = writeln!(text, "{line}");
    }
    text.push_str("\nbest\n");
    for size in &comparison.sizes {
        let _ = writeln!(text, "  {}", best_line(size));
    }
    let _ = writeln!(text, "\n{MEANING}");
    if let Some(line) = weights_line(comparison) {
        let _ = writeln!(text, "{line}");
    }
    let sample = comparison.sample;
    let _ = writeln!(text, "neighbours: {} of each of {} rows, seed {}", sample.neighbours, sample.rows, sample.seed);
    text
}
