//! Compresses the embedding tables of model checkpoints by low-rank factorization, and proves what was done.
//!
//! Data flows one way: [`checkpoint`] opens (memory map, headers only), [`locate`] finds the embedding tables with
//! evidence, [`plan`] turns a target into a rank for each, [`convert`] runs the plan through a [`codec`] and writes
//! the output with its [`manifest`].
//!
//! The method is that of Acharya, Goel, Metallinou and Dhillon, "Online Embedding Compression for Text
//! Classification using Low Rank Matrix Factorization", AAAI 2019, arXiv 1811.00641.

// No input may end the program with a panic. Tests may panic, which is how they fail.
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::get_unwrap,
        clippy::panic,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

pub mod checkpoint;
pub mod codec;
pub mod compare;
pub mod convert;
pub mod diff;
mod error;
pub mod format;
pub mod inspect;
mod json;
pub mod linalg;
pub mod locate;
pub mod manifest;
pub mod observe;
pub mod output;
pub mod plan;
mod random;
pub mod report;
pub mod schedule;
pub mod stub;
pub mod tensor;
#[cfg(feature = "train")]
pub mod train;

pub use error::{Error, ErrorKind, Result};
