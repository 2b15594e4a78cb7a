//! What `diff` found, as text for a terminal.

use std::fmt::Write;

use super::columns;
use crate::diff::{Diff, Side, TensorDiff, Verdict};

/// A line for each tensor, then the counts.
pub fn diff(diff: &Diff) -> String {
    let header = ["tensor", "dtype", "shape", "result", "rel. error", "RMSE", "max error", "cosine"].map(String::from);
    let rows: Vec<_> = [header].into_iter().chain(diff.tensors.iter().map(cells)).collect();
    let mut text = columns(&rows, [false, false, false, false, true, true, true, true]);
    for tensor in &diff.tensors {
        if let Some(errors) = tensor.errors.filter(|errors| errors.not_finite > 0) {
            let name = tensor.name.escape_debug();
            let _ = writeln!(text, "{name}: {} differences are not finite and left out", errors.not_finite);
        }
    }
    let counts = [Verdict::Equal, Verdict::Different, Verdict::Reshaped, Verdict::OnlyBefore, Verdict::OnlyAfter];
    let counts = counts.into_iter().filter_map(|verdict| {
        let count = diff.tensors.iter().filter(|tensor| tensor.result == verdict).count();
        (count > 0).then(|| format!("{count} {}", verdict.name()))
    });
    let counts: Vec<_> = counts.collect();
    let _ = writeln!(text, "{} tensors: {}", diff.tensors.len(), counts.join(", "));
    text
}

fn cells(tensor: &TensorDiff) -> [String; 8] {
    let show = |of: &dyn Fn(&Side) -> String| match (&tensor.before, &tensor.after) {
        (Some(before), Some(after)) if of(before) != of(after) => format!("{} | {}", of(before), of(after)),
        (Some(one), _) | (None, Some(one)) => of(one),
        (None, None) => String::new(),
    };
    let dtype = |side: &Side| match &side.method {
        Some(method) => format!("{} ({method})", side.dtype),
        None => side.dtype.to_string(),
    };
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), error);
    let errors = tensor.errors.as_ref();
    [
        tensor.name.escape_debug().to_string(),
        show(&dtype),
        show(&|side| format!("{:?}", side.shape)),
        tensor.result.name().to_owned(),
        number(errors.and_then(|errors| errors.relative_frobenius)),
        number(errors.map(|errors| errors.rmse)),
        number(errors.map(|errors| errors.max_absolute)),
        errors.and_then(|errors| errors.cosine).map_or_else(|| "-".to_owned(), |cosine| format!("{cosine:.6}")),
    ]
}

fn error(value: f64) -> String {
    if value == 0.0 || (1e-3..1e5).contains(&value) { format!("{value:.6}") } else { format!("{value:.3e}") }
}
