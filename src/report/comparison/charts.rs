//! The charts of the page, as SVG.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::compare::{BINS_PER_DECADE, Comparison, Measurement};
use crate::error::Result;
use crate::report::chart::{
    BOUND, INK, LINE_HEIGHT, Label, NAMES, WIDTH, draw, draw_axes, failed, font, framed, mark, series, tick,
    write_labels,
};

/// Nothing smaller is drawn on a logarithmic axis.
const SMALLEST: f64 = 1e-8;

/// The extent of positive numbers on a logarithmic axis, with some room.
fn extent(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = values
        .filter(|value| value.is_finite() && *value >= SMALLEST)
        .fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    if low <= high { low / 1.4..high * 1.4 } else { 0.1..1.0 }
}

/// Bits per parameter against the relative error: a line for each method, and the Gaussian bound.
pub(super) fn rate_distortion(comparison: &Comparison) -> Result<String> {
    let bound = comparison.gaussian_bound.iter();
    let bound = bound.map(|one| (one.bits_per_parameter, one.relative_frobenius_error)).collect();
    rates(comparison, "relative Frobenius error", &|found| Some(found.relative_frobenius_error), bound)
}

/// Bits per parameter against the weighted error, of which no bound is known.
pub(super) fn rate_weighted_distortion(comparison: &Comparison) -> Result<String> {
    rates(comparison, "weighted relative error", &|found| found.weighted_relative_frobenius_error, Vec::new())
}

/// Bits per parameter against `error`, called `name`; with `bound`, where there is one.
fn rates(
    comparison: &Comparison,
    name: &str,
    error: &dyn Fn(&Measurement) -> Option<f64>,
    bound: Vec<(f64, f64)>,
) -> Result<String> {
    let lines: Vec<Vec<(f64, f64)>> =
        comparison.methods.iter().map(|method| points(comparison, &method.name, error)).collect();
    let rates = comparison.sizes.iter().map(|size| size.bits_per_parameter);
    let largest = rates.clone().fold(1.0, f64::max);
    let smallest_size = rates.fold(largest, f64::min);
    // Between the smallest size and the origin the bound says nothing new.
    let bound: Vec<_> = bound.into_iter().filter(|point| point.0 >= 0.5 * smallest_size).collect();
    let errors = lines.iter().flatten().chain(&bound).map(|point| point.1);
    let range = extent(errors.chain([1.0]));
    draw(&format!("bits per parameter against {name} of each method"), |area| {
        let mut chart =
            framed(area, NAMES).build_cartesian_2d(0.0..largest * 1.03, range.clone().log_scale()).map_err(failed)?;
        draw_axes(&mut chart, ("bits per parameter, all parts counted", &tick), (name, &tick))?;
        let mut labels = Vec::new();
        if let Some(&end) = bound.last() {
            labels.push(Label {
                text: "Gaussian bound".to_owned(),
                color: INK,
                at: chart.backend_coord(&(end.0, end.1.max(range.start))),
            });
        }
        chart.draw_series([PathElement::new(bound, BOUND.stroke_width(2))]).map_err(failed)?;
        for (index, line) in lines.into_iter().enumerate() {
            let line: Vec<_> = line.into_iter().map(|(bits, error)| (bits, error.max(range.start))).collect();
            let color = series(index);
            let marks = line.iter().map(|&at| EmptyElement::at(at) + Polygon::new(mark(index), color.filled()));
            chart.draw_series(marks).map_err(failed)?;
            if let (Some(&end), Some(method)) = (line.last(), comparison.methods.get(index)) {
                labels.push(Label { text: method.name.clone(), color, at: chart.backend_coord(&end) });
            }
            chart.draw_series([PathElement::new(line, color.stroke_width(2))]).map_err(failed)?;
        }
        write_labels(area, labels)
    })
}

/// What a method reached, by bits; one point where several sizes led to the same.
fn points(comparison: &Comparison, method: &str, error: &dyn Fn(&Measurement) -> Option<f64>) -> Vec<(f64, f64)> {
    let entries = comparison.sizes.iter().flat_map(|size| &size.entries).filter(|entry| entry.method == method);
    let found = entries.filter_map(|entry| entry.measurement.as_ref());
    let mut points: Vec<_> = found.filter_map(|one| Some((one.bits_per_parameter, error(one)?))).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points.dedup();
    points
}

/// The singular values.
pub(super) fn spectrum(comparison: &Comparison) -> Result<String> {
    let values = &comparison.table.singular_values;
    let range = extent(values.iter().copied());
    // More points than pixels show nothing more.
    let step = values.len().div_ceil(WIDTH as usize).max(1);
    let line: Vec<_> =
        values.iter().enumerate().step_by(step).map(|(i, value)| ((i + 1) as f64, value.max(range.start))).collect();
    draw("singular values of the table in descending order", |area| {
        let mut chart =
            framed(area, 30).build_cartesian_2d(0.0..values.len().max(1) as f64, range.log_scale()).map_err(failed)?;
        draw_axes(&mut chart, ("number of the singular value", &tick), ("singular value", &tick))?;
        chart.draw_series([PathElement::new(line, INK.stroke_width(2))]).map_err(failed)?;
        Ok(())
    })
}

/// How the relative errors of rows are distributed under the best method at each size.
pub(super) fn row_errors(comparison: &Comparison) -> Result<String> {
    let bins = &comparison.row_error_bins;
    let best = comparison.sizes.iter().filter_map(|size| {
        let entry = size.entries.iter().find(|entry| size.best.as_ref() == Some(&entry.method))?;
        let found = entry.measurement.as_ref()?;
        let total = found.row_errors.iter().sum::<u64>().max(1) as f64;
        let shares: Vec<f64> = found.row_errors.iter().map(|&count| 100.0 * count as f64 / total).collect();
        Some((format!("{:.2} bits: {}", found.bits_per_parameter, entry.method), shares))
    });
    let mut best: Vec<(String, Vec<f64>)> = best.collect();
    // Two sizes may lead to one point.
    best.dedup();
    // The first bin, errors of zero, has no place on a logarithmic axis.
    let used =
        |bin: &usize| *bin > 0 && best.iter().any(|(_, shares)| shares.get(*bin).is_some_and(|&share| share > 0.0));
    // From a whole power of ten, so that the axis has at least two marks.
    let first = (0..bins.len()).find(used).unwrap_or(1).saturating_sub(1) / BINS_PER_DECADE * BINS_PER_DECADE + 1;
    let last = ((0..bins.len()).rev().find(used).unwrap_or(1) + 2).min(bins.len().saturating_sub(1)).max(first + 1);
    let edge = |bin: usize| bins.get(bin).copied().unwrap_or(10.0);
    let highest = best.iter().flat_map(|(_, shares)| shares.iter().skip(1)).fold(1.0f64, |high, &one| high.max(one));
    draw("distribution of the relative errors of rows under the best method at each size", |area| {
        let mut chart = framed(area, 30)
            .build_cartesian_2d((edge(first)..edge(last)).log_scale(), 0.0..highest * 1.25)
            .map_err(failed)?;
        draw_axes(
            &mut chart,
            (&format!("relative error of a row, {BINS_PER_DECADE} bins to a factor of ten"), &tick),
            ("share of rows in %", &tick),
        )?;
        let mut peaks: Vec<((i32, i32), String, RGBColor)> = Vec::new();
        for (index, (name, shares)) in best.into_iter().enumerate() {
            let bars = (first..last).map(|bin| (edge(bin), edge(bin + 1), shares.get(bin).copied().unwrap_or(0.0)));
            let outline: Vec<_> = bars.flat_map(|(low, high, share)| [(low, share), (high, share)]).collect();
            let peak =
                outline.iter().copied().fold((edge(first), 0.0f64), |top, one| if one.1 > top.1 { one } else { top });
            peaks.push((chart.backend_coord(&peak), name, series(index)));
            chart.draw_series([PathElement::new(outline, series(index).stroke_width(2))]).map_err(failed)?;
        }
        // Names stand above their peaks; one that would cover another goes above it.
        let mut placed: Vec<(i32, i32)> = Vec::new();
        peaks.sort_by_key(|(at, ..)| std::cmp::Reverse(at.1));
        for ((x, y), name, color) in peaks {
            let half = 4 * name.chars().count() as i32;
            let x = x.clamp(80 + half, WIDTH as i32 - 30 - half);
            let mut at = (x, y - 8);
            while placed.iter().any(|&(left, top)| (left - at.0).abs() < 2 * half && (top - at.1).abs() < LINE_HEIGHT) {
                at.1 -= 4;
            }
            placed.push(at);
            let style = font(&color).pos(Pos::new(HPos::Center, VPos::Bottom));
            area.draw(&Text::new(name, (at.0, at.1.max(LINE_HEIGHT)), style)).map_err(failed)?;
        }
        Ok(())
    })
}
