//! Optimal scalar quantizers for the distribution of a component (Lloyd 1957/1982, Max 1960).

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an encoder: levels and samples are numbered by itself; measured"
)]

/// Bins of a distribution.
pub(super) const BINS: usize = 2048;

/// Rounds of Lloyd's iteration, which leave a percent of the error of 16 normal levels; the trellis refits anyway.
const ROUNDS: usize = 16;

/// A weighted distribution of numbers of a known scale, in bins that widen away from zero: about a thousandth of the
/// scale wide at zero, a hundredth at three times the scale, and the last bins reach to infinity.
pub(super) struct Distribution {
    scale: f64,
    mass: Vec<f64>,
    moment: Vec<f64>,
    energy: f64,
}

/// Sums over the bins before each one.
pub(super) struct Summed<'a> {
    distribution: &'a Distribution,
    mass: Vec<f64>,
    moment: Vec<f64>,
}

impl Distribution {
    /// Empty; `scale` is the expected root mean square.
    pub(super) fn new(scale: f64) -> Self {
        Distribution {
            scale: scale.max(f64::MIN_POSITIVE),
            mass: vec![0.0; BINS],
            moment: vec![0.0; BINS],
            energy: 0.0,
        }
    }

    /// Counts `value` with `weight`.
    #[inline]
    pub(super) fn add(&mut self, value: f64, weight: f64) {
        let bin = self.bin(value).min(BINS - 1);
        self.mass[bin] += weight;
        self.moment[bin] += weight * value;
        self.energy += weight * value * value;
    }

    /// Weighted sum of squares.
    pub(super) fn energy(&self) -> f64 {
        self.energy
    }

    /// The bin of `value`; [`BINS`] above all.
    #[inline]
    fn bin(&self, value: f64) -> usize {
        let scaled = value / self.scale;
        let place = scaled / (1.0 + scaled.abs());
        ((place + 1.0) * (BINS / 2) as f64) as usize
    }

    fn lower_edge(&self, bin: f64) -> f64 {
        let place = bin / (BINS / 2) as f64 - 1.0;
        self.scale * place / (1.0 - place.abs())
    }

    /// Ready for quantizers.
    pub(super) fn summed(&self) -> Summed<'_> {
        Summed { distribution: self, mass: prefix(&self.mass), moment: prefix(&self.moment) }
    }
}

fn prefix(values: &[f64]) -> Vec<f64> {
    let sums = values.iter().scan(0.0, |sum, value| {
        *sum += value;
        Some(*sum)
    });
    std::iter::once(0.0).chain(sums).collect()
}

impl Summed<'_> {
    /// `count` levels, ascending, and their squared error.
    pub(super) fn quantizer(&self, count: usize) -> (Vec<f64>, f64) {
        let mut levels = self.start(count);
        let mut edges = vec![0; count + 1];
        for _ in 0..ROUNDS {
            self.edges(&levels, &mut edges);
            for (level, edge) in levels.iter_mut().zip(edges.windows(2)) {
                let mass = self.mass[edge[1]] - self.mass[edge[0]];
                if mass > 0.0 {
                    *level = (self.moment[edge[1]] - self.moment[edge[0]]) / mass;
                }
            }
            levels.sort_by(f64::total_cmp);
        }
        self.edges(&levels, &mut edges);
        let kept: f64 = levels
            .iter()
            .zip(edges.windows(2))
            .map(|(level, edge)| {
                let mass = self.mass[edge[1]] - self.mass[edge[0]];
                let moment = self.moment[edge[1]] - self.moment[edge[0]];
                level * (2.0 * moment - level * mass)
            })
            .sum();
        (levels, (self.distribution.energy - kept).max(0.0))
    }

    /// First bins of the cells of `levels`; the bin with the middle of two levels belongs to the upper one.
    fn edges(&self, levels: &[f64], edges: &mut [usize]) {
        for (edge, pair) in edges.iter_mut().skip(1).zip(levels.windows(2)) {
            *edge = self.distribution.bin((pair[0] + pair[1]) / 2.0).min(BINS);
        }
        if let Some(last) = edges.last_mut() {
            *last = BINS;
        }
    }

    /// Levels spread by the cube root of the density, the optimum for many levels (Panter and Dite 1951).
    fn start(&self, count: usize) -> Vec<f64> {
        let distribution = self.distribution;
        let widths = (0..BINS).map(|bin| {
            // The outermost bins are unbounded; they get the width of their neighbours.
            let bin = bin.clamp(1, BINS - 2) as f64;
            distribution.lower_edge(bin + 1.0) - distribution.lower_edge(bin)
        });
        let spread: Vec<f64> =
            distribution.mass.iter().zip(widths).map(|(mass, width)| (mass * width * width).cbrt()).collect();
        let sums = prefix(&spread);
        let total = sums[BINS];
        (0..count)
            .map(|level| {
                let target = total * (level as f64 + 0.5) / count as f64;
                let bin = sums.partition_point(|&sum| sum <= target).clamp(1, BINS) - 1;
                let within = if spread[bin] > 0.0 { (target - sums[bin]) / spread[bin] } else { 0.5 };
                distribution.lower_edge((bin as f64 + within).clamp(1.0, (BINS - 1) as f64))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A standard normal distribution from its quantiles.
    fn normal() -> Distribution {
        let mut distribution = Distribution::new(1.0);
        let step = 1e-4;
        for at in -60_000..=60_000 {
            let x = f64::from(at) * step;
            distribution.add(x, (-x * x / 2.0).exp() * step / (2.0 * std::f64::consts::PI).sqrt());
        }
        distribution
    }

    #[test]
    fn the_errors_of_a_normal_distribution_are_those_of_max() {
        let normal = normal();
        let summed = normal.summed();
        // J. Max, "Quantizing for minimum distortion", IRE Transactions on Information Theory 6 (1960), table I.
        for (count, expected) in [(1, 1.0), (2, 0.3634), (4, 0.1175), (8, 0.03454), (16, 0.009497), (32, 0.002499)] {
            let (levels, error) = summed.quantizer(count);
            assert_eq!(levels.len(), count);
            // Lloyd's iteration is stopped early: many levels are still a little off.
            assert!((error / expected - 1.0).abs() < 3e-2, "{count} levels: {error}, expected {expected}");
        }
    }

    #[test]
    fn as_many_values_as_levels_leave_no_error() {
        let mut distribution = Distribution::new(1.0);
        for (value, weight) in [(-1.0, 2.0), (0.0, 3.0), (0.5, 1.0), (4.0, 0.1)] {
            distribution.add(value, weight);
        }
        let (_, error) = distribution.summed().quantizer(8);
        assert!(error < 1e-9, "{error}");
    }

    #[test]
    fn an_empty_distribution_has_levels_without_error() {
        let (levels, error) = Distribution::new(0.0).summed().quantizer(4);
        assert_eq!((levels.len(), error), (4, 0.0));
        assert!(levels.iter().all(|level| level.is_finite()));
    }
}
