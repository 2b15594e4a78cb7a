//! For spreadsheets and scripts (RFC 4180), numbers in full.

use super::setting;
use crate::compare::Comparison;

/// Names of the columns, in the units of the JSON document.
const HEADER: &str = "budget,budget_bytes,method,best,absent,setting,bytes,bits_per_parameter,relative_frobenius_error,\
weighted_relative_frobenius_error,cosine_mean,cosine_first_percentile,cosine_least,max_absolute_error,neighbours_kept,\
eigenspace_overlap,flops_per_token,seconds_one_row,seconds_4096_rows,gaussian_bound";

/// One line for each method at each size; cells of an absent method are empty.
pub fn csv(comparison: &Comparison) -> String {
    let mut text = format!("{HEADER}\n");
    for size in &comparison.sizes {
        for entry in &size.entries {
            let best = size.best.as_ref() == Some(&entry.method);
            let mut cells = vec![
                size.budget.clone(),
                size.bytes.to_string(),
                entry.method.clone(),
                best.to_string(),
                entry.absent.clone().unwrap_or_default(),
            ];
            match &entry.measurement {
                Some(found) => {
                    let weighted = found.weighted_relative_frobenius_error;
                    cells.push(setting(&found.setting));
                    cells.push(found.bytes.to_string());
                    cells.push(found.bits_per_parameter.to_string());
                    cells.push(found.relative_frobenius_error.to_string());
                    cells.push(weighted.map_or_else(String::new, |value| value.to_string()));
                    cells.extend(
                        [
                            found.cosine.mean,
                            found.cosine.first_percentile,
                            found.cosine.least,
                            found.max_absolute_error,
                            found.neighbours_kept,
                            found.eigenspace_overlap,
                        ]
                        .map(|value| value.to_string()),
                    );
                    cells.push(found.flops_per_token.to_string());
                    cells.push(found.seconds.one_row.to_string());
                    cells.push(found.seconds.batch.to_string());
                }
                None => cells.extend(std::iter::repeat_n(String::new(), 14)),
            }
            cells.push(size.gaussian_bound.to_string());
            text.push_str(&cells.iter().map(|cell| quote(cell)).collect::<Vec<_>>().join(","));
            text.push('\n');
        }
    }
    text
}

fn quote(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}
