//! Turns a target (a reduction, a rank, an energy, an error, a size) into an operating point for each table.
//!
//! The module knows no codec: a table is a [`Ladder`] of steps (bytes against squared error) and the outcome is a
//! [`Plan`], plain data that prints.
//!
//! # One budget for several tables
//! Minimize the summed squared error `sum_t e_t(s_t)` over one step `s_t` per table subject to
//! `sum_t b_t(s_t) <= budget`.
//!
//! *Low rank.* Rank k of table t costs `c_t k` bytes, with `c_t = (V + d) * element size` constant, and lowers the
//! squared error by `sigma_{t,k}^2`, which does not increase with k (Eckart-Young). So the gain per byte of one
//! table falls with k, and taking ranks in the order of `sigma_{t,k}^2 / c_t` takes each table's ranks in order.
//! *Exchange argument*: let G be what the greedy order has taken when its bytes are exactly the budget. Any other
//! choice within the budget differs by ranks removed from G and ranks added from outside; every rank in G gains at
//! least as much per byte as every rank outside; the bytes added are at most the bytes removed; so what is added
//! gains no more than what was removed. Hence greedy is optimal at every budget at which it stops exactly.
//!
//! *Any ladder, any budget.* The same argument on the lower convex hull of each ladder, with the last hull segment
//! taken in part, solves the linear relaxation, a lower bound on the error. [`allocate`] takes the greedy solution,
//! fills what bytes remain, and then closes the gap to the bound by branch and bound: per table the relaxed error
//! is convex in the bytes given to it, so the search walks outward from its minimum and stops on each side once the
//! bound is no better than the best solution known. It is exact unless the cap on nodes is hit (reported by
//! [`Allocation::proven`]), and never worse than greedy and fill.

mod allocate;
mod curve;
mod exact;
mod ladder;
mod number;
mod overrides;
mod rank;
mod show;
mod size;
mod target;

pub use allocate::{Allocation, allocate, fit_size};
pub use ladder::{Ladder, Step};
pub use number::bytes_within_reduction;
pub use overrides::{Override, Overrides};
pub use rank::{bytes_for_reduction, check_rank, largest_saving_rank, rank_for_reduction};
pub(crate) use show::bare;
pub use show::{Plan, TablePlan};
pub use size::Size;
pub use target::Target;
