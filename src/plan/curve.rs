//! A ladder reduced to the steps worth taking, its lower convex hull, and the relaxation of several of them.

use std::ops::Range;

use super::ladder::Ladder;

/// The steps of one table that each lower the error, with what the convex hull says at each.
#[derive(Debug)]
pub(super) struct Curve {
    /// Index in the ladder.
    pub(super) step: Vec<usize>,
    /// Strictly increasing.
    pub(super) bytes: Vec<u64>,
    /// Strictly decreasing.
    pub(super) error: Vec<f64>,
    /// The lower convex hull at `bytes`: at most `error`, equal at vertices.
    pub(super) floor: Vec<f64>,
    /// Positions of the hull's vertices; the first and the last position are among them.
    pub(super) vertices: Vec<usize>,
}

impl Curve {
    /// The curve of the steps `range` of `ladder`, which must not be empty.
    pub(super) fn new(ladder: &Ladder, range: Range<usize>) -> Self {
        let mut curve = Curve { step: vec![], bytes: vec![], error: vec![], floor: vec![], vertices: vec![] };
        for (index, step) in ladder.steps().iter().enumerate().take(range.end).skip(range.start) {
            match (curve.bytes.last(), curve.error.last()) {
                (_, Some(&error)) if step.squared_error >= error => continue,
                (Some(&bytes), _) if bytes == step.bytes => curve.pop(),
                _ => {}
            }
            curve.step.push(index);
            curve.bytes.push(step.bytes);
            curve.error.push(step.squared_error);
        }
        curve.find_hull();
        curve
    }

    fn pop(&mut self) {
        self.step.pop();
        self.bytes.pop();
        self.error.pop();
    }

    /// Number of steps.
    pub(super) fn len(&self) -> usize {
        self.step.len()
    }

    /// Bytes and error at position `at`.
    pub(super) fn at(&self, at: usize) -> (u64, f64) {
        (self.bytes[at], self.error[at])
    }

    /// The last position that takes at most `bytes`, if any.
    pub(super) fn last_within(&self, bytes: u64) -> Option<usize> {
        self.bytes.partition_point(|&own| own <= bytes).checked_sub(1)
    }

    /// Andrew's monotone chain, lower side, then linear interpolation between its vertices.
    fn find_hull(&mut self) {
        for at in 0..self.len() {
            while let [.., before, last] = self.vertices[..] {
                if self.slope(before, last) < self.slope(last, at) {
                    break;
                }
                self.vertices.pop();
            }
            self.vertices.push(at);
        }
        self.floor = self.error.clone();
        for pair in self.vertices.windows(2) {
            let slope = self.slope(pair[0], pair[1]);
            for at in pair[0] + 1..pair[1] {
                let line = self.error[pair[0]] + slope * (self.bytes[at] - self.bytes[pair[0]]) as f64;
                self.floor[at] = line.min(self.error[at]);
            }
        }
    }

    /// Error per byte between two positions; negative.
    fn slope(&self, from: usize, to: usize) -> f64 {
        (self.error[to] - self.error[from]) / (self.bytes[to] - self.bytes[from]) as f64
    }
}

/// A segment of a hull: `bytes` more lower the error by `gain`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// Which curve.
    pub(super) curve: usize,
    /// The vertex that it leads to, as a position of the curve.
    pub(super) to: usize,
    pub(super) bytes: u64,
    pub(super) gain: f64,
}

/// The hull segments of `curves`, the best gain per byte first, each curve's own in order.
pub(super) fn segments<'c>(curves: impl IntoIterator<Item = &'c Curve>) -> Vec<Segment> {
    let mut segments: Vec<Segment> = curves
        .into_iter()
        .enumerate()
        .flat_map(|(curve, own)| {
            own.vertices.windows(2).map(move |pair| Segment {
                curve,
                to: pair[1],
                bytes: own.bytes[pair[1]] - own.bytes[pair[0]],
                gain: own.error[pair[0]] - own.error[pair[1]],
            })
        })
        .collect();
    // Stable: of equal rates the earlier table first; within a table rates decrease strictly up to rounding.
    segments.sort_by(|a, b| (b.gain / b.bytes as f64).total_cmp(&(a.gain / a.bytes as f64)));
    segments
}

/// The linear relaxation of some curves: the least error at any number of bytes, hull segments taken in part.
#[derive(Debug)]
pub(super) struct Relaxation {
    /// Bytes of the smallest steps together.
    pub(super) least_bytes: u64,
    error_at_least: f64,
    /// Bytes and gain summed up to and including each segment.
    summed: Vec<(u64, f64)>,
}

impl Relaxation {
    /// The relaxation of `curves` together.
    pub(super) fn new<'c>(curves: impl IntoIterator<Item = &'c Curve> + Clone) -> Self {
        let (mut bytes, mut gain) = (0u64, 0.0);
        let summed = segments(curves.clone())
            .iter()
            .map(|segment| {
                bytes = bytes.saturating_add(segment.bytes);
                gain += segment.gain;
                (bytes, gain)
            })
            .collect();
        let least = curves.into_iter().map(|curve| curve.at(0));
        let (least_bytes, error_at_least) =
            least.fold((0u64, 0.0), |sum, first| (sum.0.saturating_add(first.0), sum.1 + first.1));
        Relaxation { least_bytes, error_at_least, summed }
    }

    /// The least relaxed error within `bytes`; infinite where not even the smallest steps fit.
    pub(super) fn error_within(&self, bytes: u64) -> f64 {
        let Some(spare) = bytes.checked_sub(self.least_bytes) else { return f64::INFINITY };
        let next = self.summed.partition_point(|&(bytes, _)| bytes <= spare);
        let (taken, gain) = next.checked_sub(1).map_or((0, 0.0), |last| self.summed[last]);
        let part = match self.summed.get(next) {
            Some(&(up_to, total)) => (total - gain) * ((spare - taken) as f64 / (up_to - taken) as f64),
            None => 0.0,
        };
        self.error_at_least - gain - part
    }
}
