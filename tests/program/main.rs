//! The program from outside, and what lies between formats and codecs: tables that are found, plans, targets, comparisons.

#[path = "../support/mod.rs"]
mod support;

mod auto;
mod cli;
mod compare;
mod diff;
mod edges;
mod fixtures;
mod locate;
mod memory;
mod plan;
mod real_minilm;
mod targets;
