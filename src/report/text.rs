//! Reports as text for a terminal.

use std::fmt::Write;
use std::path::Path;

use crate::manifest::{Manifest, Operation, TableRecord, Verification};
use crate::plan::bare;

use super::columns;

/// What `compress`, `restore`, `convert`, `train` or `retrain` made.
pub fn finished(output: &Path, manifest: &Manifest, manifest_sha256: &str) -> String {
    let mut text = match manifest.operation {
        Operation::Compress | Operation::Retrain => compressed(&manifest.tables),
        Operation::Restore => restored(&manifest.tables),
        Operation::Convert => converted(manifest),
        Operation::Train => String::new(),
    };
    for table in manifest.tables.iter().filter(|table| !table.tied.is_empty()) {
        let mut names = table.tied.clone();
        names.push(table.name.clone());
        let names: Vec<_> = names.iter().map(|name| name.escape_debug().to_string()).collect();
        let times = match manifest.operation {
            Operation::Compress | Operation::Convert | Operation::Retrain | Operation::Train => "stored once",
            Operation::Restore => "the same table",
        };
        let _ = writeln!(text, "{times}: {}", names.join(", "));
    }
    for (name, kept) in &manifest.stored_once {
        let _ = writeln!(text, "stored once: {}, {}", name.escape_debug(), kept.escape_debug());
    }
    let weights = manifest.weights_bytes;
    let share = if weights.before == 0 { 100.0 } else { 100.0 * weights.after as f64 / weights.before as f64 };
    let _ = match manifest.operation {
        Operation::Train => writeln!(text, "weights: {} bytes", weights.after),
        _ => writeln!(text, "weights: {} bytes ({share:.1}%)", change(weights.before, weights.after)),
    };
    let _ = writeln!(text, "manifest: sha256 {manifest_sha256}");
    let _ = writeln!(text, "output: {}", output.display().to_string().escape_debug());
    text
}

fn converted(manifest: &Manifest) -> String {
    let mut text = String::new();
    if !manifest.conversions.is_empty() {
        let header = ["tensor", "from", "dtype", "relative error"].map(String::from);
        let rows = manifest.conversions.iter().map(|record| {
            let renamed = record.source != record.name;
            let cast = record.dtype_before != record.dtype_after;
            [
                record.name.escape_debug().to_string(),
                if renamed { record.source.escape_debug().to_string() } else { String::new() },
                if cast { format!("{} -> {}", record.dtype_before, record.dtype_after) } else { String::new() },
                record.errors.map_or(String::new(), |errors| format!("{:.6}", errors.relative_frobenius)),
            ]
        });
        let rows: Vec<_> = [header].into_iter().chain(rows).collect();
        text.push_str(&columns(&rows, [false, false, false, true]));
    }
    for record in manifest.conversions.iter().filter(|record| record.overflowed > 0) {
        let _ = writeln!(
            text,
            "overflow: {} elements of {} are infinite now",
            record.overflowed,
            record.name.escape_debug()
        );
    }
    if !manifest.left_out.is_empty() {
        let _ = writeln!(text, "left out: {} tensors", manifest.left_out.len());
    }
    text
}

fn compressed(tables: &[TableRecord]) -> String {
    let header = ["table", "shape", "method", "setting", "bytes", "relative error"].map(String::from);
    let rows = tables.iter().map(|table| {
        let setting: Vec<_> = table.setting.iter().map(|(key, value)| format!("{key} {}", bare(value))).collect();
        [
            table.name.escape_debug().to_string(),
            format!("[{}, {}]", table.shape[0], table.shape[1]),
            table.method.clone(),
            setting.join(", "),
            change(table.bytes_before, table.bytes_after),
            match table.errors.weighted_relative_frobenius {
                None => format!("{:.6}", table.errors.relative_frobenius),
                Some(weighted) => format!("{:.6}, weighted {weighted:.6}", table.errors.relative_frobenius),
            },
        ]
    });
    let rows: Vec<_> = [header].into_iter().chain(rows).collect();
    columns(&rows, [false, false, false, false, true, true])
}

fn restored(tables: &[TableRecord]) -> String {
    let header = ["table", "shape", "dtype", "from", "bytes"].map(String::from);
    let rows = tables.iter().map(|table| {
        [
            table.name.escape_debug().to_string(),
            format!("[{}, {}]", table.shape[0], table.shape[1]),
            table.dtype.to_string(),
            table.method.clone(),
            change(table.bytes_before, table.bytes_after),
        ]
    });
    let rows: Vec<_> = [header].into_iter().chain(rows).collect();
    columns(&rows, [false, false, false, false, true])
}

/// The result of `verify`.
pub fn verification(output: &Path, verification: &Verification) -> String {
    let mut text = String::new();
    for difference in &verification.differences {
        let _ = writeln!(text, "{difference}");
    }
    if let Some(sha256) = &verification.manifest_sha256 {
        let _ = writeln!(text, "manifest: sha256 {sha256}");
    }
    // One step from a source is what every output is; a longer way, or one that was walked, is worth telling.
    if verification.chain.len() > 2 || verification.chain.iter().any(|link| link.path.is_some()) {
        for link in &verification.chain {
            let place = link.path.as_ref().map(|path| format!(" in {}", path.display().to_string().escape_debug()));
            let sha256 = link.sha256.as_deref().unwrap_or("unknown");
            let _ = writeln!(text, "{}: sha256 {sha256}{}", link.step, place.unwrap_or_default());
        }
    }
    let place = output.display().to_string();
    let _ = writeln!(
        text,
        "{}: {} files and {} tensors checked, {}",
        place.escape_debug(),
        verification.files,
        verification.tensors,
        match verification.differences.len() {
            0 => "no difference".to_owned(),
            1 => "1 difference".to_owned(),
            count => format!("{count} differences"),
        }
    );
    text
}

fn change(before: u64, after: u64) -> String {
    format!("{before} -> {after}")
}
