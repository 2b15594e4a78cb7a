//! For a README.

use std::fmt::Write;

use super::{COLUMNS, HEADER, cells, is_weighted, table_line};
use crate::compare::Comparison;

/// Position of the weighted error, which is left out where there are no weights.
const WEIGHTED: usize = 6;

/// A Markdown table; the best method at each size is in bold.
pub fn markdown(comparison: &Comparison) -> String {
    let weighted = is_weighted(comparison);
    let shown = |column: &usize| weighted || *column != WEIGHTED;
    let line = |cells: [String; COLUMNS]| {
        let cells = cells.into_iter().enumerate().filter(|(column, _)| shown(column));
        let cells: Vec<_> = cells.map(|(_, cell)| escape(&cell)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = escape(&table_line(comparison));
    text.push_str("\n\n");
    text.push_str(&line(HEADER.map(str::to_owned)));
    let rules: Vec<_> = (0..COLUMNS).filter(shown).map(|column| if column > 2 { "---:" } else { "---" }).collect();
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
