//! Runs one target under libFuzzer: `RANKFOLD_FUZZ=NAME rankfold-fuzz CORPUS [OPTIONS]`. With `RANKFOLD_FUZZ_SEEDS`
//! set to a folder, it writes the seeds of the target there and ends.
#![no_main]

#[path = "../../targets/mod.rs"]
mod targets;

use std::sync::OnceLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use targets::{Scratch, TARGETS, Target};

fn target() -> &'static Target {
    static CHOSEN: OnceLock<&Target> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let name = std::env::var("RANKFOLD_FUZZ").unwrap_or_default();
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        let found = TARGETS.iter().find(|target| target.name == name);
        found.unwrap_or_else(|| panic!("RANKFOLD_FUZZ is `{name}`: expected one of {}", names.join(", ")))
    })
}

fuzz_target!(
    init: {
        if let Some(folder) = std::env::var_os("RANKFOLD_FUZZ_SEEDS") {
            for (number, seed) in (target().seeds)().iter().enumerate() {
                std::fs::write(std::path::Path::new(&folder).join(format!("seed-{number}")), seed).expect("a seed can be written");
            }
            std::process::exit(0);
        }
    },
    |input: &[u8]| -> Corpus {
        thread_local!(static SCRATCH: Scratch = Scratch::new());
        SCRATCH.with(|scratch| targets::run(target(), scratch, input));
        Corpus::Keep
    }
);
