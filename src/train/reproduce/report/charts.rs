//! The charts of an experiment, as SVG.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::blocks::{lines, way};
use crate::codec::{CODECS, Codec, LowRank};
use crate::error::Result;
use crate::report::chart::{
    INK, LEADER, Label, NAMES, WIDTH, draw, draw_axes, failed, font, framed, mark, series, tick, write_labels,
};
use crate::train::reproduce::method::{NOT_RETRAINED, OFFLINE, OFFLINE_FACTORS, ONLINE, UNCOMPRESSED, fixed_point};
use crate::train::reproduce::{Cell, Cost, Experiment, ScheduleCell};

/// Ways of training whose curves are drawn; more would hide each other.
const CURVES: usize = 8;

/// A chart that can be drawn.
pub(super) enum Chart<'e> {
    /// Lines with error bars.
    Lines(LineChart),
    /// Bars of the costs of a classifier.
    Bars(BarChart<'e>),
}

/// Lines over two axes.
pub(super) struct LineChart {
    title: String,
    caption: String,
    x: Axis,
    y: Axis,
    lines: Vec<Line>,
}

struct Axis {
    description: &'static str,
    /// Numbers are logarithms to base ten of what is shown.
    logarithmic: bool,
}

struct Line {
    name: String,
    points: Vec<Point>,
}

#[derive(Clone, Copy)]
struct Point {
    x: f64,
    y: f64,
    deviation: f64,
}

/// The costs of one classifier with each form of its table.
pub(super) struct BarChart<'e> {
    title: String,
    costs: Vec<&'e Cost>,
}

const fn linear(description: &'static str) -> Axis {
    Axis { description, logarithmic: false }
}

const fn logarithmic(description: &'static str) -> Axis {
    Axis { description, logarithmic: true }
}

fn cell_line(name: &str, cells: &[&Cell], x: impl Fn(&Cell) -> f64) -> Line {
    let point = |cell: &&Cell| Point { x: x(cell), y: cell.test.mean, deviation: cell.test.deviation };
    Line { name: name.to_owned(), points: cells.iter().map(point).collect() }
}

impl<'e> Chart<'e> {
    /// Accuracy against reduction: the paper's methods.
    pub(super) fn accuracy(experiment: &'e Experiment, data: &str, arch: &str) -> Self {
        let names = [ONLINE, NOT_RETRAINED, OFFLINE, OFFLINE_FACTORS, "low-rank-random"].map(str::to_owned);
        let names: Vec<_> = names.into_iter().chain([fixed_point(true), fixed_point(false)]).collect();
        Chart::against_reduction(experiment, data, arch, &names, "the methods of the paper")
    }

    /// Accuracy against reduction: the codecs of the converter.
    pub(super) fn codecs(experiment: &'e Experiment, data: &str, arch: &str) -> Self {
        let codecs = CODECS.iter().map(|codec| codec.name().to_owned()).filter(|name| name != LowRank.name());
        let names: Vec<_> = std::iter::once(ONLINE.to_owned()).chain(codecs).collect();
        Chart::against_reduction(experiment, data, arch, &names, "codecs without retraining at the same bytes")
    }

    fn against_reduction(experiment: &Experiment, data: &str, arch: &str, names: &[String], what: &str) -> Self {
        let methods = lines(experiment, data, arch);
        let find = |name: &str| methods.iter().find(|(method, _)| *method == name);
        let mut drawn: Vec<Line> = names
            .iter()
            .filter_map(|name| find(name))
            .map(|(name, cells)| cell_line(name, cells, |cell| cell.reduction.unwrap_or(0.0)))
            .collect();
        if let (Some((_, whole)), Some(least)) = (find(UNCOMPRESSED), experiment.reductions.first())
            && let (Some(cell), Some(most)) = (whole.first(), experiment.reductions.last())
        {
            let at = |x: f64| Point { x, y: cell.test.mean, deviation: 0.0 };
            drawn.push(Line { name: UNCOMPRESSED.to_owned(), points: vec![at(*least), at(*most)] });
        }
        Chart::Lines(LineChart {
            title: format!("accuracy on test against reduction on {data} with {arch}: {what}"),
            caption: format!(
                "Accuracy on test against the fraction of the table that goes: {what}. Bars are one standard \
                              deviation over seeds."
            ),
            x: linear("reduction p"),
            y: linear("accuracy on test in %"),
            lines: drawn,
        })
    }

    /// Accuracy against the bytes of the embedding.
    pub(super) fn size(experiment: &'e Experiment, data: &str, arch: &str) -> Self {
        let names = [ONLINE, "low-rank-8-bit", "low-rank-4-bit"].map(str::to_owned).into_iter();
        let codecs = CODECS.iter().map(|codec| codec.name()).filter(|name| *name != LowRank.name());
        let retrained: Vec<_> = names.chain(codecs.map(|name| format!("{name}-retrained"))).collect();
        let methods = lines(experiment, data, arch);
        let chosen = methods.into_iter().filter(|(name, _)| retrained.iter().any(|wanted| wanted == name));
        let mut drawn: Vec<Line> =
            chosen.map(|(name, cells)| cell_line(name, &cells, |cell| cell.times_smaller.log10())).collect();
        drawn.iter_mut().for_each(|line| line.points.sort_by(|a, b| a.x.total_cmp(&b.x)));
        Chart::Lines(LineChart {
            title: format!("accuracy on test against the size of the embedding on {data} with {arch}"),
            caption: "Accuracy on test against how many times smaller the embedding is, after retraining, every part \
                      counted. Bars are one standard deviation over seeds."
                .to_owned(),
            x: logarithmic("times smaller"),
            y: linear("accuracy on test in %"),
            lines: drawn,
        })
    }

    /// Accuracy on dev by epoch of the best ways of training.
    pub(super) fn learning_curves(cells: &[&ScheduleCell], data: &str, arch: &str) -> Self {
        Chart::by_epoch(
            cells,
            linear("accuracy on dev in %"),
            |epoch| 100.0 * epoch.dev_accuracy,
            || {
                (
                    format!("accuracy on dev by epoch on {data} with {arch}"),
                    "Accuracy on dev by epoch of retraining, means over seeds: the best ways on dev, and CALR."
                        .to_owned(),
                )
            },
        )
    }

    /// Learning rates by epoch of the same.
    pub(super) fn learning_rates(cells: &[&ScheduleCell], data: &str, arch: &str) -> Self {
        Chart::by_epoch(
            cells,
            logarithmic("learning rate"),
            |epoch| epoch.lr.max(1e-9).log10(),
            || {
                (
                    format!("learning rate by epoch on {data} with {arch}"),
                    "The learning rate of the last update of each epoch, for the same.".to_owned(),
                )
            },
        )
    }

    fn by_epoch(
        cells: &[&ScheduleCell],
        y: Axis,
        of: impl Fn(&crate::train::reproduce::Epoch) -> f64,
        texts: impl FnOnce() -> (String, String),
    ) -> Self {
        // The best ways, and CALR wherever it stands.
        let chosen = cells.iter().enumerate().filter(|(place, cell)| {
            let first_calr = cells.iter().position(|cell| cell.training.schedule == "calr");
            *place < CURVES - 1 || (first_calr == Some(*place) && !cell.curve.is_empty())
        });
        let lines = chosen.take(CURVES).map(|(_, cell)| Line {
            name: way(cell),
            points: (1..)
                .zip(&cell.curve)
                .map(|(epoch, at)| Point { x: f64::from(epoch), y: of(at), deviation: 0.0 })
                .collect(),
        });
        let (title, caption) = texts();
        Chart::Lines(LineChart { title, caption, x: linear("epoch"), y, lines: lines.collect() })
    }

    /// Microseconds of a batch by form of the table.
    pub(super) fn cost(experiment: &'e Experiment, data: &str, arch: &str) -> Self {
        let own = |cost: &&Cost| (cost.data.as_str(), cost.arch.as_str()) == (data, arch);
        let costs = experiment.costs.iter().filter(own).collect();
        Chart::Bars(BarChart { title: format!("time for a batch on {data} with {arch}"), costs })
    }

    pub(super) fn caption(&self) -> &str {
        match self {
            Chart::Lines(chart) => &chart.caption,
            Chart::Bars(_) => {
                "Microseconds for a batch on one thread: words' vectors (filled) and the network (outlined)."
            }
        }
    }

    /// The SVG; `None` where there is nothing to draw.
    pub(super) fn draw(&self) -> Result<Option<String>> {
        match self {
            Chart::Lines(chart) if chart.lines.iter().all(|line| line.points.is_empty()) => Ok(None),
            Chart::Bars(chart) if chart.costs.is_empty() => Ok(None),
            Chart::Lines(chart) => chart.draw().map(Some),
            Chart::Bars(chart) => chart.draw().map(Some),
        }
    }
}

/// The extent of numbers with some room, not of no length.
fn extent(numbers: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let finite = numbers.filter(|number| number.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), one| (low.min(one), high.max(one)));
    if low > high {
        return 0.0..1.0;
    }
    // A single number in the middle of a tenth of its size.
    let room = if high > low { 0.05 * (high - low) } else { (0.05 * high.abs()).max(1e-3) };
    low - room..high + room
}

impl LineChart {
    fn draw(&self) -> Result<String> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = extent(points().map(|point| point.x));
        let y = extent(points().flat_map(|point| [point.y - point.deviation, point.y + point.deviation]));
        let label = |axis: &Axis| {
            let logarithmic = axis.logarithmic;
            move |value: &f64| if logarithmic { tick(&10f64.powf(*value)) } else { tick(value) }
        };
        draw(&self.title, |area| {
            let mut chart = framed(area, NAMES + 40).build_cartesian_2d(x, y).map_err(failed)?;
            draw_axes(&mut chart, (self.x.description, &label(&self.x)), (self.y.description, &label(&self.y)))?;
            let mut labels = Vec::new();
            for (index, line) in self.lines.iter().enumerate() {
                let color = series(index);
                let points: Vec<_> = line.points.iter().map(|point| (point.x, point.y)).collect();
                for point in line.points.iter().filter(|point| point.deviation > 0.0) {
                    let ends = [-1.0, 1.0].map(|side| (point.x, point.y + side * point.deviation));
                    chart.draw_series([PathElement::new(ends.to_vec(), color.stroke_width(1))]).map_err(failed)?;
                }
                let marks = points.iter().map(|&at| EmptyElement::at(at) + Polygon::new(mark(index), color.filled()));
                chart.draw_series(marks).map_err(failed)?;
                if let Some(end) = points.last() {
                    labels.push(Label { text: line.name.clone(), color, at: chart.backend_coord(end) });
                }
                chart.draw_series([PathElement::new(points, color.stroke_width(2))]).map_err(failed)?;
            }
            write_labels(area, labels)
        })
    }
}

impl BarChart<'_> {
    /// Lengths are proportional within the chart; each bar has its numbers beside it.
    fn draw(&self) -> Result<String> {
        const LEFT: i32 = 20;
        const STEP: i32 = 76;
        const HEIGHT: i32 = 26;
        let most = self.costs.iter().map(|cost| cost.microseconds.batch_look_up + cost.microseconds.batch_network);
        let most = most.fold(1e-9, f64::max);
        let room = f64::from(WIDTH) - 2.0 * f64::from(LEFT);
        draw(&self.title, |area| {
            for ((index, cost), top) in self.costs.iter().enumerate().zip((30..).step_by(STEP as usize)) {
                let (look_up, network) = (cost.microseconds.batch_look_up, cost.microseconds.batch_network);
                let length = |time: f64| (room * time / most).round() as i32;
                let text = format!("{}: {look_up:.0} + {network:.0} µs, {} bytes", cost.form, cost.embedding_bytes);
                let style = font(&INK).pos(Pos::new(HPos::Left, VPos::Bottom));
                area.draw(&Text::new(text, (LEFT, top), style)).map_err(failed)?;
                let (top, split) = (top + 4, LEFT + length(look_up));
                let filled = [(LEFT, top), (split, top + HEIGHT)];
                area.draw(&Rectangle::new(filled, series(index).filled())).map_err(failed)?;
                let outlined = [(split, top), (split + length(network), top + HEIGHT)];
                area.draw(&Rectangle::new(outlined, series(index).stroke_width(2))).map_err(failed)?;
            }
            let base = 30 + STEP * self.costs.len() as i32;
            area.draw(&PathElement::new(vec![(LEFT, base), (LEFT + room as i32, base)], LEADER)).map_err(failed)
        })
    }
}
