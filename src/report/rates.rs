//! Learning rates as text with a drawing, CSV, JSON and SVG.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::schedule::{Schedule, Settings};

/// Rates of some schedules at every n-th update.
pub struct Rates {
    settings: Settings,
    updates: Vec<u64>,
    curves: Vec<Curve>,
}

struct Curve {
    name: &'static str,
    reference: &'static str,
    rates: Vec<f64>,
}

impl Rates {
    /// The rates of `schedules` at every `every`-th update of the training, from the first.
    pub fn new(schedules: &[&dyn Schedule], settings: Settings, every: u64) -> Self {
        let every = usize::try_from(every.max(1)).unwrap_or(usize::MAX);
        let updates: Vec<u64> = (0..settings.updates).step_by(every).collect();
        let curves = schedules.iter().map(|schedule| Curve {
            name: schedule.name(),
            reference: schedule.reference(),
            rates: updates.iter().map(|&t| schedule.rate(&settings, t)).collect(),
        });
        Rates { settings, curves: curves.collect(), updates }
    }
}

/// A table of `rows` and below it a drawing of each curve of `drawn`.
pub fn text(rows: &Rates, drawn: &Rates) -> String {
    let mut text = table(rows);
    for curve in &drawn.curves {
        let _ = write!(text, "\n{}: {}\n{}", curve.name, curve.reference, drawing(&curve.rates, &drawn.settings));
    }
    text
}

fn table(rows: &Rates) -> String {
    let mut text = format!("{:>10}  {:>6}", "update", "epoch");
    for curve in &rows.curves {
        let _ = write!(text, "  {:>15}", curve.name);
    }
    text.push('\n');
    for (index, t) in rows.updates.iter().enumerate() {
        let _ = write!(text, "{t:>10}  {:>6}", t / rows.settings.steps_per_epoch);
        for rate in rows.curves.iter().filter_map(|curve| curve.rates.get(index)) {
            let _ = write!(text, "  {rate:>15.6e}");
        }
        text.push('\n');
    }
    text
}

/// Columns of a drawing on a terminal.
const COLUMNS: usize = 64;
/// Lines of a drawing on a terminal.
const LINES: usize = 10;

/// A curve of signs: in each column the span of the rates of its updates.
fn drawing(rates: &[f64], settings: &Settings) -> String {
    let columns = COLUMNS.min(rates.len().max(1));
    let line_of = |rate: f64| ((rate / settings.max_lr * (LINES - 1) as f64).round() as usize).min(LINES - 1);
    let mut grid = vec![vec![' '; columns]; LINES];
    for column in 0..columns {
        let span = rates.get(column * rates.len() / columns..(column + 1) * rates.len() / columns).unwrap_or_default();
        let lowest = span.iter().copied().map(line_of).min().unwrap_or(0);
        let highest = span.iter().copied().map(line_of).max().unwrap_or(0);
        for cell in grid.iter_mut().skip(lowest).take(highest - lowest + 1).filter_map(|line| line.get_mut(column)) {
            *cell = '*';
        }
    }
    let mut text = String::new();
    for (number, line) in grid.iter().enumerate().rev() {
        let label = settings.max_lr * number as f64 / (LINES - 1) as f64;
        let _ = writeln!(text, "{label:>9.2e} |{}", line.iter().collect::<String>().trim_end());
    }
    let _ = writeln!(text, "{:>9} +{}", "", "-".repeat(columns));
    let _ = writeln!(text, "{:>9}  0{:>width$}", "", settings.updates, width = columns.saturating_sub(1));
    text
}

/// One line an update, one column a schedule.
pub fn csv(rates: &Rates) -> String {
    let mut text = String::from("update,epoch");
    for curve in &rates.curves {
        let _ = write!(text, ",{}", curve.name);
    }
    text.push('\n');
    for (index, t) in rates.updates.iter().enumerate() {
        let _ = write!(text, "{t},{}", t / rates.settings.steps_per_epoch);
        for rate in rates.curves.iter().filter_map(|curve| curve.rates.get(index)) {
            let _ = write!(text, ",{rate:e}");
        }
        text.push('\n');
    }
    text
}

/// The settings, and for each schedule its name, reference and rates.
pub fn json(rates: &Rates) -> Value {
    let curves = rates
        .curves
        .iter()
        .map(|curve| json!({ "name": curve.name, "reference": curve.reference, "rates": curve.rates }));
    json!({
        "settings": rates.settings,
        "updates": rates.updates,
        "schedules": curves.collect::<Vec<_>>(),
    })
}

/// Colours that people tell apart whatever their eyes (Okabe and Ito 2008), black last.
const COLOURS: &[&str] = &["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
/// Dashes for the second and third round of colours.
const DASHES: &[&str] = &["none", "6 3", "2 2"];

/// A drawing with axes and a legend.
pub fn svg(rates: &Rates) -> String {
    let (width, height, left, top) = (800.0, 360.0, 80.0, 20.0);
    let legend = top + height + 50.0;
    let whole = legend + 18.0 * rates.curves.len() as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 {whole}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>Learning rate by update</title>\n<rect width=\"900\" height=\"{whole}\" \
         fill=\"#ffffff\"/>\n"
    );
    for part in 0..=4 {
        let share = f64::from(part) / 4.0;
        let (x, y) = (left + share * width, top + (1.0 - share) * height);
        let rate = rates.settings.max_lr * share;
        let update = (rates.settings.updates as f64 * share).round();
        let (right, bottom) = (left + width, top + height);
        let _ = writeln!(text, "<line x1=\"{left}\" y1=\"{y}\" x2=\"{right}\" y2=\"{y}\" stroke=\"#dddddd\"/>");
        let (before, middle, below) = (left - 8.0, y + 4.0, bottom + 18.0);
        let _ = writeln!(text, "<text x=\"{before}\" y=\"{middle}\" text-anchor=\"end\">{rate:.2e}</text>");
        let _ = writeln!(text, "<text x=\"{x}\" y=\"{below}\" text-anchor=\"middle\">{update}</text>");
    }
    for (number, curve) in rates.curves.iter().enumerate() {
        let colour = COLOURS.get(number % COLOURS.len()).unwrap_or(&"#000000");
        let dashes = DASHES.get(number / COLOURS.len() % DASHES.len()).unwrap_or(&"none");
        let points = rates.updates.iter().zip(&curve.rates).map(|(&t, rate)| {
            let x = left + t as f64 / rates.settings.updates as f64 * width;
            let y = top + (1.0 - rate / rates.settings.max_lr) * height;
            format!("{x:.2},{y:.2}")
        });
        let stroke = format!("fill=\"none\" stroke=\"{colour}\" stroke-dasharray=\"{dashes}\" stroke-width=\"1.5\"");
        let _ = writeln!(text, "<polyline {stroke} points=\"{}\"/>", points.collect::<Vec<_>>().join(" "));
        let (y, end, label) = (legend + 18.0 * number as f64, left + 30.0, left + 38.0);
        let _ = writeln!(text, "<line x1=\"{left}\" y1=\"{y}\" x2=\"{end}\" y2=\"{y}\" {stroke}/>");
        let _ = writeln!(text, "<text x=\"{label}\" y=\"{}\">{}: {}</text>", y + 4.0, curve.name, curve.reference);
    }
    text.push_str("</svg>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{SCHEDULES, find};

    fn settings() -> Settings {
        Settings { updates: 100, steps_per_epoch: 30, step_size: 10, ..Settings::new(1e-3) }
    }

    #[test]
    fn csv_has_a_line_an_update_and_loses_no_digit() {
        let schedule = find("calr").expect("it is there");
        let csv = csv(&Rates::new(&[schedule], settings(), 1));
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!((lines.len(), lines[0]), (101, "update,epoch,calr"));
        for (t, line) in lines[1..].iter().enumerate() {
            let rate: f64 = line.rsplit(',').next().expect("a field").parse().expect("a number");
            assert_eq!(rate, schedule.rate(&settings(), t as u64));
        }
    }

    #[test]
    fn a_drawing_shows_a_triangle_with_its_top_in_the_middle() {
        let settings = Settings { step_size: 50, ..settings() };
        let rates = Rates::new(&[find("triangular").expect("it is there")], settings, 1);
        let drawing = drawing(&rates.curves[0].rates, &settings);
        let top = drawing.lines().next().expect("a line");
        let bottom = drawing.lines().nth(LINES - 1).expect("a line");
        let left_of_top = top.split('|').nth(1).expect("the plot").find('*').expect("the peak");
        assert!((COLUMNS / 3..COLUMNS * 2 / 3).contains(&left_of_top), "{drawing}");
        assert!(bottom.split('|').nth(1).expect("the plot").starts_with('*'), "{drawing}");
    }

    #[test]
    fn svg_has_a_curve_and_a_legend_for_each_schedule() {
        let svg = svg(&Rates::new(SCHEDULES, settings(), 1));
        assert_eq!(svg.matches("<polyline").count(), SCHEDULES.len());
        assert!(SCHEDULES.iter().all(|schedule| svg.contains(&format!(">{}: ", schedule.name()))));
        assert!(!svg.contains("NaN"));
    }
}
