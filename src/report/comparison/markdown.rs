//! For a README.

use std::fmt::Write;

use super::{COLUMNS, HEADER, cells, is_number, shown, table_line, weights_line};
use crate::compare::Comparison;

/// A Markdown table; the best method at each size is in bold.
pub fn markdown(comparison: &Comparison) -> String {
    let shown = shown(comparison);
    let line = |cells: [String; COLUMNS]| {
        let cells: Vec<_> = shown.iter().map(|&column| escape(&cells[column])).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = escape(&table_line(comparison));
    text.push_str("\n\n");
    if let Some(weights) = weights_line(comparison) {
        let _ = writeln!(text, "{}\n", escape(&weights));
    }
    text.push_str(&line(HEADER.map(str::to_owned)));
    let rules: Vec<_> = shown.iter().map(|&column| if is_number(column) { "---:" } else { "---" }).collect();
    let _ = writeln!(text, "|{}|", rules.join("|"));
    for size in &comparison.sizes {
        for entry in &size.entries {
            let mut cells = cells(size, entry);
            if let Some(name) = cells[1].strip_suffix(" *") {
                cells[1] = format!("**{name}**");
            }
            text.push_str(&line(cells));
        }
    }
    text
}

/// Keeps a cell a cell; emphasis is ours alone.
fn escape(cell: &str) -> String {
    cell.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;").replace('_', "\\_").replace('`', "\\`")
}
