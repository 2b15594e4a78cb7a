//! One page with charts, which needs nothing but itself.

use std::fmt::Write;

use super::Experiment;
use super::blocks::{Block, blocks};
use crate::error::Result;
use crate::report::chart::palette;
use crate::report::page::{STYLE, escape};

/// Characters of a cell that is broken into lines.
const LONG: usize = 30;

/// The page.
///
/// # Errors
/// Where a chart cannot be drawn.
pub fn html(experiment: &Experiment) -> Result<String> {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>rankfold reproduce</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n<main>\n\
         <h1>The paper's experiment</h1>\n",
        palette()
    );
    for block in blocks(experiment) {
        match block {
            Block::Heading(title) => {
                let _ = writeln!(page, "<h2>{}</h2>", escape(&title));
            }
            Block::Text(paragraph) => {
                let _ = writeln!(page, "<p>{}</p>", code(&paragraph));
            }
            Block::List(items) => {
                page.push_str("<ul>\n");
                items.iter().for_each(|item| {
                    let _ = writeln!(page, "<li>{}</li>", code(item));
                });
                page.push_str("</ul>\n");
            }
            Block::Table { head, rows, left } => page.push_str(&table(&head, &rows, left)),
            Block::Chart(chart) => {
                if let Some(svg) = chart.draw()? {
                    let (svg, caption) = (svg.trim_end(), escape(chart.caption()));
                    let _ = writeln!(page, "<figure>\n{svg}\n<figcaption>{caption}</figcaption>\n</figure>");
                }
            }
        }
    }
    page.push_str("</main>\n</body>\n</html>\n");
    Ok(page)
}

fn table(head: &[String], rows: &[Vec<String>], left: usize) -> String {
    let cells = |tag: &str, row: &[String]| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let side = if column < left { "left" } else { "right" };
            // Sentences break; numbers and names do not.
            let wrap = if cell.chars().count() > LONG { "; white-space: normal; min-width: 15rem" } else { "" };
            format!("<{tag} style=\"text-align: {side}{wrap}\">{}</{tag}>", code(cell))
        });
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let rows: String = rows.iter().map(|row| cells("td", row)).collect();
    format!(
        "<div class=\"scroll\">\n<table>\n<thead>{}</thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n",
        cells("th", head)
    )
}

/// Text with what stands between backticks as code.
fn code(text: &str) -> String {
    let pieces = text.split('`').enumerate();
    let pieces = pieces.map(|(index, piece)| match index % 2 {
        0 => escape(piece),
        _ => format!("<code>{}</code>", escape(piece)),
    });
    pieces.collect()
}
