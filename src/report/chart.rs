//! What all charts have in common: SVG whose colours stand for roles, marks, and names beside lines.
//!
//! The style sheet of a page gives the colours their values in light and dark. Every line has its name beside it and
//! a shape of its own for its marks, so that colour is never needed.

use std::f64::consts::TAU;
use std::fmt::Write;

use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Error, ErrorKind, Result};

/// Text and axes.
pub(crate) const INK: RGBColor = RGBColor(0, 0, 1);
/// Grid lines.
const GRID: RGBColor = RGBColor(0, 0, 2);
/// The bound; dashed.
pub(crate) const BOUND: RGBColor = RGBColor(0, 0, 3);
/// Lines from a mark to its name.
pub(crate) const LEADER: RGBColor = RGBColor(0, 0, 4);
/// Colours of lines before they repeat.
const SERIES: u8 = 8;
const FIRST_SERIES: u8 = 16;

/// The colour of line `index`.
pub(crate) fn series(index: usize) -> RGBColor {
    RGBColor(0, 0, FIRST_SERIES + (index % usize::from(SERIES)) as u8)
}

pub(crate) const WIDTH: u32 = 960;
pub(crate) const HEIGHT: u32 = 480;
/// Room for names on the right.
pub(crate) const NAMES: u32 = 190;
const FONT: i32 = 16;
/// Between two names.
pub(crate) const LINE_HEIGHT: i32 = 18;
pub(crate) type Area<'s> = DrawingArea<SVGBackend<'s>, Shift>;

pub(crate) fn failed<E: std::error::Error + Send + Sync + 'static>(error: E) -> Error {
    Error::new(ErrorKind::Unsupported, "the chart cannot be drawn").caused_by(error)
}

/// Draws one chart; `title` is read out in its place.
pub(crate) fn draw(title: &str, paint: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        paint(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{title}\" "), 1))
}

/// A chart with axes below and on the left, and `right` pixels beside it.
pub(crate) fn framed<'a, 's>(area: &'a Area<'s>, right: u32) -> ChartBuilder<'a, 'a, SVGBackend<'s>> {
    let mut builder = ChartBuilder::on(area);
    builder.margin(10).margin_right(right).x_label_area_size(44).y_label_area_size(72);
    builder
}

/// How a number is written on an axis.
type Tick<'t> = &'t dyn Fn(&f64) -> String;

/// Draws the grid, the axes, and what they show: `x` and `y`, each a description and how its numbers are written.
pub(crate) fn draw_axes<X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    x: (&str, Tick<'_>),
    y: (&str, Tick<'_>),
) -> Result<()>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(font(&INK))
        .axis_desc_style(font(&INK))
        .x_desc(x.0)
        .y_desc(y.0)
        .x_label_formatter(&x.1)
        .y_label_formatter(&y.1)
        .draw()
        .map_err(failed)
}

pub(crate) fn font(color: &RGBColor) -> TextStyle<'static> {
    ("sans-serif", FONT).into_font().color(color)
}

/// The corners of the mark of method `index`, around the origin.
pub(crate) fn mark(index: usize) -> Vec<(i32, i32)> {
    let regular = |corners: u32, radius: f64, turn: f64| {
        let corner = move |i: u32| {
            let angle = TAU * (f64::from(i) / f64::from(corners) + turn);
            ((radius * angle.sin()).round() as i32, (-radius * angle.cos()).round() as i32)
        };
        (0..corners).map(corner).collect::<Vec<_>>()
    };
    match index % 8 {
        0 => regular(24, 5.5, 0.0),
        1 => regular(4, 7.0, 0.125),
        2 => regular(3, 8.0, 0.0),
        3 => regular(4, 8.0, 0.0),
        4 => regular(3, 8.0, 0.5),
        5 => vec![
            (-2, -7),
            (2, -7),
            (2, -2),
            (7, -2),
            (7, 2),
            (2, 2),
            (2, 7),
            (-2, 7),
            (-2, 2),
            (-7, 2),
            (-7, -2),
            (-2, -2),
        ],
        6 => regular(6, 7.0, 0.0),
        _ => vec![(0, -9), (2, -2), (9, 0), (2, 2), (0, 9), (-2, 2), (-9, 0), (-2, -2)],
    }
}

/// A name that belongs at a height, and the place that it names.
pub(crate) struct Label {
    /// The name.
    pub(crate) text: String,
    /// Its colour.
    pub(crate) color: RGBColor,
    /// What it names.
    pub(crate) at: (i32, i32),
}

/// Writes names right of what they name, moved apart where they would overlap.
pub(crate) fn write_labels(area: &Area<'_>, mut labels: Vec<Label>) -> Result<()> {
    labels.sort_by_key(|label| label.at.1);
    let mut heights: Vec<i32> = Vec::with_capacity(labels.len());
    for label in &labels {
        let least = heights.last().map_or(i32::MIN, |last| last + LINE_HEIGHT);
        heights.push(label.at.1.max(least));
    }
    // The lowest may have been pushed off the page: move back up.
    let mut most = HEIGHT as i32 - 3 * LINE_HEIGHT;
    for height in heights.iter_mut().rev() {
        *height = (*height).min(most);
        most = *height - LINE_HEIGHT;
    }
    for (label, height) in labels.iter().zip(heights) {
        let (x, y) = label.at;
        let start = (x + 26, height);
        area.draw(&PathElement::new(vec![(x + 10, y), (start.0 - 3, start.1)], LEADER)).map_err(failed)?;
        let style = font(&label.color).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(label.text.clone(), start, style)).map_err(failed)?;
    }
    Ok(())
}

/// A number on an axis.
pub(crate) fn tick(value: &f64) -> String {
    if *value == 0.0 || (1e-3..1e5).contains(value) {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.0e}")
    }
}

/// Gives the colours of the charts, which stand for roles, their values.
pub(crate) fn palette() -> String {
    let mut style = String::new();
    let roles = [(INK, "ink"), (GRID, "grid"), (BOUND, "ink"), (LEADER, "leader")];
    let series = (0..usize::from(SERIES)).map(|index| (series(index), format!("series-{index}")));
    let roles = roles.into_iter().map(|(color, name)| (color, name.to_owned())).chain(series);
    for (color, name) in roles {
        let hex = format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2);
        let _ = writeln!(style, "svg [stroke=\"{hex}\"] {{ stroke: var(--{name}); }}");
        let _ = writeln!(style, "svg [fill=\"{hex}\"] {{ fill: var(--{name}); }}");
        if color == BOUND {
            let _ = writeln!(style, "svg [stroke=\"{hex}\"] {{ stroke-dasharray: 7 5; }}");
        }
    }
    style
}
