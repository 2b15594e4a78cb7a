//! One page with charts and a table to sort, which needs nothing but itself.

use std::fmt::Write;

use super::{COLUMNS, HEADER, MEANING, absent_lines, best_line, cells, charts, shown, table_line, weights_line};
use crate::compare::{AtSize, Comparison, Entry};
use crate::error::Result;
use crate::report::chart::palette;
use crate::report::page::{STYLE, escape};

const SCRIPT: &str = include_str!("page.js");

/// The page.
///
/// # Errors
/// Where a chart cannot be drawn.
pub fn html(comparison: &Comparison) -> Result<String> {
    let name = escape(&comparison.table.name.escape_debug().to_string());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'\">\n\
         <title>rankfold compare: {name}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n<main>\n\
         <h1>Methods at equal bytes</h1>\n<p>{}</p>\n",
        palette(),
        escape(&table_line(comparison))
    );
    page.push_str("<h2>Best at each size</h2>\n<ul>\n");
    for size in &comparison.sizes {
        let _ = writeln!(page, "<li>{}</li>", escape(&best_line(size)));
    }
    page.push_str("</ul>\n");
    if let Some(weights) = weights_line(comparison) {
        let _ = writeln!(page, "<p>{}</p>", escape(&weights));
    }
    page.push_str(&figure(
        "Rate and distortion",
        &charts::rate_distortion(comparison)?,
        "Lower and further left is better. The dashed line is the least error that any code can have for Gaussian rows \
         of this spectrum (reverse water-filling), the basis not counted.",
    ));
    if comparison.row_weights.is_some() {
        page.push_str(&figure(
            "Rate and weighted distortion",
            &charts::rate_weighted_distortion(comparison)?,
            "The same with every row counted by its weight; the bound says nothing of this error.",
        ));
    }
    page.push_str(&figure(
        "Errors of rows",
        &charts::row_errors(comparison)?,
        "How many rows have which relative error under the best method at each size.",
    ));
    page.push_str(&figure(
        "Spectrum",
        &charts::spectrum(comparison)?,
        "The singular values of the table: the faster they fall, the more low rank can save.",
    ));
    page.push_str(&table(comparison));
    page.push_str("<h2>Methods</h2>\n<dl>\n");
    for method in &comparison.methods {
        let [name, summary, reference] = [&method.name, &method.summary, &method.reference].map(|text| escape(text));
        let _ = writeln!(page, "<dt>{name}</dt><dd>{summary}.<br><small>{reference}</small></dd>");
    }
    let _ = write!(page, "</dl>\n</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    Ok(page)
}

fn figure(title: &str, svg: &str, caption: &str) -> String {
    format!("<h2>{title}</h2>\n<figure>\n{}\n<figcaption>{caption}</figcaption>\n</figure>\n", svg.trim_end())
}

fn table(comparison: &Comparison) -> String {
    let shown = shown(comparison);
    let mut text = String::from("<h2>All measures</h2>\n<div class=\"scroll\">\n<table>\n<thead><tr>");
    for head in shown.iter().map(|&column| HEADER[column]) {
        let _ = write!(text, "<th scope=\"col\"><button type=\"button\">{head}</button></th>");
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for size in &comparison.sizes {
        for entry in &size.entries {
            let best = size.best.as_ref() == Some(&entry.method);
            text.push_str(if best { "<tr class=\"best\">" } else { "<tr>" });
            let (cells, values) = (cells(size, entry), values(size, entry));
            for &column in &shown {
                let value = values[column].map_or_else(String::new, |value| format!(" data-value=\"{value}\""));
                let _ = write!(text, "<td{value}>{}</td>", escape(&cells[column]));
            }
            text.push_str("</tr>\n");
        }
    }
    let sample = comparison.sample;
    let _ = writeln!(
        text,
        "</tbody>\n</table>\n</div>\n<p><small>{}. Neighbours: {} of each of {} rows, seed {}. A click on a head sorts \
         by it.</small></p>",
        escape(MEANING),
        sample.neighbours,
        sample.rows,
        sample.seed
    );
    for line in absent_lines(comparison) {
        let _ = writeln!(text, "<p><small>{}</small></p>", escape(&line));
    }
    text
}

/// What the columns are sorted by, where that is not their text.
fn values(size: &AtSize, entry: &Entry) -> [Option<f64>; COLUMNS] {
    let mut values = [None; COLUMNS];
    values[0] = Some(size.bytes as f64);
    if let Some(found) = &entry.measurement {
        let numbers = [
            Some(found.bytes as f64),
            Some(found.bits_per_parameter),
            Some(found.relative_frobenius_error),
            found.weighted_relative_frobenius_error,
            Some(found.cosine.mean),
            Some(found.cosine.first_percentile),
            Some(found.cosine.least),
            Some(found.max_absolute_error),
            Some(found.neighbours_kept),
            Some(found.eigenspace_overlap),
            Some(found.flops_per_token as f64),
            Some(found.seconds.one_row),
            Some(found.seconds.batch),
        ];
        values[3..].copy_from_slice(&numbers);
    }
    values
}
