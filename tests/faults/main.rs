//! Whatever happens, the final name is absent or complete, nothing else stays behind for ever, and no manifest lies.

#[path = "../support/mod.rs"]
mod support;

mod destinations;
mod disks;
mod extremes;
mod kills;
mod names;
mod sandbox;
mod sources;
