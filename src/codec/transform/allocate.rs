//! Which component gets the next bit.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an encoder: components are numbered by itself"
)]

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::basis::MORE_BITS;
use super::codebook::level_count;
use super::gains::GAIN_BITS;
use super::layout::Extent;
use super::{BITS, MOST_BITS};

/// Squared error of a component at each number of bits from none.
pub(super) type Errors = [f64; MOST_BITS as usize + 1];

/// A point on the way: how many bits were given out, in which extent, at which error of the components together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Milestone {
    pub(super) given: usize,
    pub(super) extent: Extent,
    pub(super) squared_error: f64,
    pub(super) bytes: u64,
}

/// The order in which the components get their bits.
pub(super) struct Path {
    /// The component of each bit.
    given: Vec<u32>,
    /// Where rows end on whole bytes, by increasing bytes.
    pub(super) milestones: Vec<Milestone>,
}

/// A component that could get a bit, by what that gains for what it costs.
#[derive(PartialEq)]
struct Offer {
    rate: f64,
    component: u32,
}

impl Eq for Offer {}

impl Ord for Offer {
    fn cmp(&self, other: &Self) -> Ordering {
        // Of equal offers the earlier component's is the greater.
        self.rate.total_cmp(&other.rate).then(other.component.cmp(&self.component))
    }
}

impl PartialOrd for Offer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Path {
    /// Gives bits one by one to the component whose error falls most for the bytes it costs, codes, levels and basis
    /// counted, until `limit` bytes are reached or nothing is gained any more.
    ///
    /// Errors of a component fall in steps that get smaller, so that the greedy way is the best for the bytes it
    /// takes: discrete reverse water-filling (Fox, "Discrete optimization via marginal analysis", 1966).
    pub(super) fn new(errors: &[Errors], shape: (usize, usize), limit: u64) -> Path {
        let mut path = Path { given: Vec::new(), milestones: Vec::new() };
        let mut bits = vec![0u8; errors.len()];
        let mut row_bits = GAIN_BITS;
        let mut error: f64 = errors.iter().rev().map(|errors| errors[0]).sum();
        let nothing = path.milestone(shape, &bits, error);
        let offer = |component: u32, bits: u8| -> Option<Offer> {
            let errors = &errors[component as usize];
            let gain = errors[usize::from(bits)] - errors.get(usize::from(bits) + 1)?;
            (gain > 0.0).then_some(Offer { rate: gain / cost(component as usize, bits, shape), component })
        };
        let mut offers: BinaryHeap<Offer> = (0..errors.len() as u32).filter_map(|one| offer(one, 0)).collect();
        while let Some(Offer { component, .. }) = offers.pop() {
            let at = component as usize;
            error -= errors[at][usize::from(bits[at])] - errors[at][usize::from(bits[at]) + 1];
            bits[at] += 1;
            row_bits += 1;
            path.given.push(component);
            offers.extend(offer(component, bits[at]));
            // A row takes whole bytes; what remains when every gain is taken is a step too.
            if row_bits.is_multiple_of(8) || offers.is_empty() {
                let milestone = path.milestone(shape, &bits, error);
                if milestone.bytes >= limit {
                    break;
                }
                path.milestones.push(milestone);
            }
        }
        // What there is when nothing can be gained.
        if path.milestones.is_empty() && nothing.bytes < limit {
            path.milestones.push(nothing);
        }
        path
    }

    fn milestone(&self, (height, width): (usize, usize), bits: &[u8], error: f64) -> Milestone {
        let kept: Vec<u8> = bits.iter().copied().filter(|&bits| bits > 0).collect();
        let extent = Extent::of(height, width, &kept);
        Milestone { given: self.given.len(), extent, squared_error: error.max(0.0), bytes: extent.bytes() }
    }

    /// Bits of each component at a milestone: `(component, bits)` of those that are kept, in order.
    pub(super) fn bits(&self, milestone: &Milestone) -> Vec<(usize, u8)> {
        let mut bits = Vec::new();
        for &component in self.given.iter().take(milestone.given) {
            let component = component as usize;
            if bits.len() <= component {
                bits.resize(component + 1, 0u8);
            }
            bits[component] += 1;
        }
        bits.into_iter().enumerate().filter(|(_, bits)| BITS.contains(bits)).collect()
    }
}

/// Bytes that one more bit of a component costs, codes counted by the bit. Its reflection is as long as when all
/// components before it are kept, which is nearly so: they have more energy.
fn cost(component: usize, bits: u8, (height, width): (usize, usize)) -> f64 {
    let entries = width.saturating_sub(1 + component) as f64;
    let (levels, more) = match bits {
        // Two scales and the number of bits come with the first.
        0 => (level_count(1), f64::from(1 + MORE_BITS) * entries / 8.0 + 9.0),
        _ => (level_count(bits + 1) - level_count(bits), entries / 8.0),
    };
    height as f64 / 8.0 + 2.0 * levels as f64 + more
}
