//! Text in aligned columns.

/// Lines of `rows` with every column as wide as its widest cell; columns named in `right` are set flush right.
pub fn columns<R: AsRef<[String]>>(rows: &[R], right: impl AsRef<[bool]>) -> String {
    let right = right.as_ref();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.as_ref().get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..right.len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, &width), &right) in row.as_ref().iter().zip(&widths).zip(right) {
            let cell = if right { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
            line.push_str(&cell);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
