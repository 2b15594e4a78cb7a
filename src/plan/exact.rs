//! Branch and bound over the tables, with the relaxation as the bound.

use super::allocate::Choice;
use super::curve::{Curve, Relaxation};

/// Beyond this many tables the relaxations of every suffix would cost more than they bring.
const MAX_TABLES: usize = 8;
/// Evaluations of the bound before the search gives up: some tens of milliseconds.
const MAX_NODES: usize = 1 << 18;
/// Solutions that are better by less than this fraction are not looked for: it is below rounding.
const INDIFFERENCE: f64 = 1e-13;

/// The best choice within `budget`, starting from `known`, and whether it is proven to be the best.
pub(super) fn improve(curves: &[Curve], budget: u64, known: Choice) -> (Choice, bool) {
    if curves.iter().map(Curve::len).all(|len| len == 1) {
        return (known, true);
    }
    if curves.len() > MAX_TABLES {
        let bound = Relaxation::new(curves).error_within(budget);
        let proven = known.error * (1.0 - INDIFFERENCE) <= bound;
        return (known, proven);
    }
    // Coarse tables first: the last table takes what is left, so it should be the one that wastes least.
    let mut order: Vec<usize> = (0..curves.len()).collect();
    let grain = |table: usize| {
        let curve = &curves[table];
        (curve.bytes[curve.len() - 1] - curve.bytes[0]) / (curve.len() as u64)
    };
    order.sort_by_key(|&table| std::cmp::Reverse(grain(table)));
    let rest =
        (1..=order.len()).map(|from| Relaxation::new(order[from..].iter().map(|&table| &curves[table]))).collect();
    let mut search = Search { curves, order, rest, at: known.at.clone(), known, nodes: 0 };
    search.descend(0, budget, 0.0);
    let proven = search.nodes < MAX_NODES;
    // Summed again in the order of the tables, so that the result does not depend on the path.
    (Choice::new(curves, search.known.at), proven)
}

struct Search<'c> {
    curves: &'c [Curve],
    /// Tables in the order in which they are decided.
    order: Vec<usize>,
    /// Relaxation of all tables after each depth.
    rest: Vec<Relaxation>,
    known: Choice,
    at: Vec<usize>,
    nodes: usize,
}

impl Search<'_> {
    fn descend(&mut self, depth: usize, spare: u64, error: f64) {
        let table = self.order[depth];
        let curve = &self.curves[table];
        let Some(available) = spare.checked_sub(self.rest[depth].least_bytes) else { return };
        let Some(last) = curve.last_within(available) else { return };
        if depth + 1 == self.order.len() {
            let error = error + curve.error[last];
            if error < self.known.error * (1.0 - INDIFFERENCE) {
                self.at[table] = last;
                self.known = Choice { at: self.at.clone(), bytes: 0, error };
            }
            return;
        }
        let bound = |search: &mut Self, at: usize| {
            search.nodes += 1;
            error + curve.floor[at] + search.rest[depth].error_within(spare - curve.bytes[at])
        };
        // The bound is convex in the bytes of this table: halve to its minimum, then walk outward on both sides.
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = low + (high - low) / 2;
            if bound(self, middle) <= bound(self, middle + 1) { high = middle } else { low = middle + 1 }
        }
        let mut up = Some((low, bound(self, low)));
        let mut down = low.checked_sub(1).map(|at| (at, bound(self, at)));
        while self.nodes < MAX_NODES {
            let upward = match (up, down) {
                (Some((_, above)), Some((_, below))) => above <= below,
                (None, None) => return,
                (above, _) => above.is_some(),
            };
            let Some((at, least)) = (if upward { up } else { down }) else { return };
            if least >= self.known.error * (1.0 - INDIFFERENCE) {
                return;
            }
            if least - curve.floor[at] + curve.error[at] < self.known.error {
                self.at[table] = at;
                self.descend(depth + 1, spare - curve.bytes[at], error + curve.error[at]);
            }
            if upward {
                up = (at < last).then(|| (at + 1, bound(self, at + 1)));
            } else {
                down = at.checked_sub(1).map(|at| (at, bound(self, at)));
            }
        }
    }
}
