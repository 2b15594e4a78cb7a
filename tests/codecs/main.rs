//! Codecs, and the factorization that some of them rest on: contracts, references that are slow and obvious, hostile parts.

#[path = "../support/mod.rs"]
mod support;

mod contract;
mod every_codec;
mod factorization;
mod fixed_point;
mod low_rank_fixed;
mod product;
mod round_trip;
mod row_weights;
mod transform;
