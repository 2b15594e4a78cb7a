//! The outcome as plain data: what `--dry-run` prints and the manifest records.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::tensor::Dtype;

/// What will be done to one table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TablePlan {
    /// Full name of the tensor.
    pub name: String,
    /// `[V, d]`.
    pub shape: [usize; 2],
    /// Element type in the source.
    pub dtype: Dtype,
    /// Element type of what is stored.
    pub stored_dtype: Dtype,
    /// Name of the codec.
    pub method: String,
    /// The codec's parameters (`{"rank": 37}`).
    pub setting: Map<String, Value>,
    /// Bytes of data in the source: the table and the tied copies that are stored there.
    pub bytes_before: u64,
    /// Bytes of data afterwards.
    pub bytes_after: u64,
    /// Parameters of the table, tied copies not counted.
    pub parameters_before: u64,
    /// Parameters stored afterwards.
    pub parameters_after: u64,
    /// Floating-point operations per looked-up token in the source: 0 for a plain look-up.
    pub flops_per_token_before: u64,
    /// Floating-point operations per looked-up token afterwards: 2 k d for a factor pair.
    pub flops_per_token_after: u64,
    /// `||W - decode||_F / ||W||_F` as predicted.
    pub relative_frobenius_error: f64,
    /// Whether rows count by their weights in it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub weighted: bool,
    /// Sum of kept squared singular values over the sum of all; absent where the method has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retained_energy: Option<f64>,
    /// Tensors with the same bytes that are stored once, as this table.
    pub tied: Vec<String>,
}

/// What will be done to a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The target as resolved (`reduction 0.9`).
    pub target: String,
    /// The tables that are encoded, in the order of the source.
    pub tables: Vec<TablePlan>,
    /// Bytes of all weights of the source, headers included.
    pub weights_before: u64,
    /// Bytes of all weights of the output, headers included.
    pub weights_after: u64,
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "target: {}", self.target)?;
        let header = [
            "table",
            "shape",
            "dtype",
            "method",
            "setting",
            "parameters",
            "bytes",
            "FLOPs/token",
            "rel. error",
            "energy",
        ];
        let mut rows = vec![header.map(String::from)];
        rows.extend(self.tables.iter().map(TablePlan::cells));
        write_aligned(out, &rows)?;
        for table in self.tables.iter().filter(|table| !table.tied.is_empty()) {
            let tied: Vec<_> = table.tied.iter().map(|name| name.escape_debug().to_string()).collect();
            writeln!(out, "stored once: `{}` serves `{}` too", table.name.escape_debug(), tied.join("`, `"))?;
        }
        write!(out, "weights: {}", change(self.weights_before, self.weights_after))?;
        match self.weights_before {
            0 => writeln!(out, " bytes"),
            before => writeln!(out, " bytes ({:.1}%)", 100.0 * self.weights_after as f64 / before as f64),
        }
    }
}

impl TablePlan {
    fn cells(&self) -> [String; 10] {
        let setting: Vec<_> = self.setting.iter().map(|(key, value)| format!("{key}={}", bare(value))).collect();
        let dtype = match self.dtype == self.stored_dtype {
            true => self.dtype.to_string(),
            false => format!("{} -> {}", self.dtype, self.stored_dtype),
        };
        [
            self.name.escape_debug().to_string(),
            format!("[{}, {}]", self.shape[0], self.shape[1]),
            dtype,
            self.method.clone(),
            setting.join(" "),
            change(self.parameters_before, self.parameters_after),
            change(self.bytes_before, self.bytes_after),
            change(self.flops_per_token_before, self.flops_per_token_after),
            format!("{:.6}{}", self.relative_frobenius_error, if self.weighted { " (weighted)" } else { "" }),
            self.retained_energy.map_or_else(|| "-".into(), |energy| format!("{energy:.6}")),
        ]
    }
}

/// A parameter without the quotes of JSON.
pub(crate) fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| text.escape_debug().to_string())
}

fn change(before: u64, after: u64) -> String {
    format!("{before} -> {after}")
}

fn write_aligned(out: &mut fmt::Formatter<'_>, rows: &[[String; 10]]) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..10).map(width).collect();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
