//! What `inspect` found, as text for a terminal.

use std::fmt::Write;

use super::columns;
use crate::inspect::{Inspection, SpectrumReport, TableReport};

/// Tensors, then each table with its evidence, its spectrum and its reductions.
pub fn inspection(inspection: &Inspection) -> String {
    let mut text = String::new();
    let header = ["tensor", "dtype", "shape", "bytes", "share"].map(String::from);
    let rows = inspection.tensors.iter().map(|tensor| {
        [
            tensor.name.escape_debug().to_string(),
            tensor.dtype.to_string(),
            format!("{:?}", tensor.shape),
            tensor.bytes.to_string(),
            format!("{:.2}%", 100.0 * tensor.share),
        ]
    });
    let rows: Vec<_> = [header].into_iter().chain(rows).collect();
    text.push_str(&columns(&rows, [false, false, false, true, true]));
    let _ = writeln!(
        text,
        "{} tensors, {} weight file{}, {} bytes",
        inspection.tensors.len(),
        inspection.files.len(),
        if inspection.files.len() == 1 { "" } else { "s" },
        inspection.weights_bytes
    );
    if inspection.tables.is_empty() {
        text.push_str("\nno embedding table; name one with `--include GLOB`\n");
    }
    for table in &inspection.tables {
        text.push('\n');
        text.push_str(&table_text(table));
    }
    text
}

fn table_text(table: &TableReport) -> String {
    let candidate = &table.candidate;
    let fate = match (&candidate.same_as, candidate.taken_by_default) {
        (Some(name), _) => format!("stored once, as {}", name.escape_debug()),
        (None, true) => "taken by default".to_owned(),
        (None, false) => "left alone unless included by name".to_owned(),
    };
    let mut text = format!("{}: {} table, {fate}\n", candidate.name.escape_debug(), candidate.role.name());
    for evidence in &candidate.evidence {
        let _ = writeln!(text, "  - {evidence}");
    }
    for tie in &candidate.tied {
        let _ = writeln!(text, "  - tied: {} ({}) has the same bytes", tie.name.escape_debug(), tie.role.name());
    }
    if let Some(spectrum) = &table.spectrum {
        text.push_str(&spectrum_text(spectrum));
    }
    if !table.reductions.is_empty() {
        let header = ["  reduction p", "rank", "bytes", "relative Frobenius error"].map(String::from);
        let rows = table.reductions.iter().map(|reduction| {
            [
                format!("{:.2}", reduction.reduction),
                reduction.rank.to_string(),
                reduction.bytes.to_string(),
                format!("{:.4}", reduction.relative_frobenius_error),
            ]
        });
        let rows: Vec<_> = [header].into_iter().chain(rows).collect();
        text.push_str(&columns(&rows, [true; 4]));
    }
    text
}

fn spectrum_text(spectrum: &SpectrumReport) -> String {
    let count = spectrum.singular_values.len();
    let first = spectrum.singular_values.first().copied().unwrap_or_default();
    let last = spectrum.singular_values.last().copied().unwrap_or_default();
    let ranks: Vec<_> =
        spectrum.ranks.iter().map(|rank| format!("{}% in {}", 100.0 * rank.energy, rank.rank)).collect();
    format!(
        "  singular values: {count}, from {first:.4e} to {last:.4e}; norm {:.4e}, stable rank {:.1}\n  energy: {}\n",
        spectrum.norm,
        spectrum.stable_rank,
        ranks.join(", ")
    )
}
