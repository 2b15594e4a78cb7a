//! For docs and a README.

use std::fmt::Write;

use super::Experiment;
use super::blocks::{Block, blocks};

/// The report without charts.
pub fn markdown(experiment: &Experiment) -> String {
    let mut text = String::from("# The paper's experiment\n");
    for block in blocks(experiment) {
        text.push('\n');
        match block {
            Block::Heading(title) => {
                let _ = writeln!(text, "## {}", escape(&title));
            }
            Block::Text(paragraph) => {
                let _ = writeln!(text, "{}", escape(&paragraph));
            }
            Block::List(items) => items.iter().for_each(|item| {
                let _ = writeln!(text, "- {}", escape(item));
            }),
            Block::Table { head, rows, left } => {
                let line = |cells: &[String]| {
                    let cells: Vec<_> = cells.iter().map(|cell| escape(cell)).collect();
                    format!("| {} |\n", cells.join(" | "))
                };
                text.push_str(&line(&head));
                let rules: Vec<_> = (0..head.len()).map(|column| if column < left { "---" } else { "---:" }).collect();
                let _ = writeln!(text, "|{}|", rules.join("|"));
                rows.iter().for_each(|row| text.push_str(&line(row)));
            }
            // Two line breaks become one again.
            Block::Chart(_) => {
                text.pop();
            }
        }
    }
    text
}

/// Keeps a cell a cell and a name a name; code stays code.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}
