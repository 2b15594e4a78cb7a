//! Every fuzz target on its seeds, on every input that once broke a promise, and on mutations of both: the same code
//! as under libFuzzer (`libfuzzer/`), without guidance by coverage, so that it runs with the ordinary tests.

mod mutate;
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use mutate::Mutations;
use targets::{Scratch, TARGETS, Target};

/// Mutated inputs that each target has at least.
const MUTATIONS: usize = 400;

/// How long each target is given mutated inputs, if that makes more of them.
const TIME: Duration = Duration::from_secs(2);

/// What the process may take at most, in KiB: no input here is longer than 40 KiB.
const MEMORY: u64 = 256 << 10;

/// Seeds and past failures of a target.
fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/crashers").join(target.name);
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.sort();
    let crashers = paths.iter().map(|path| fs::read(path).expect("an input can be read"));
    (target.seeds)().into_iter().chain(crashers).collect()
}

fn check(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("the target is listed");
    let scratch = Scratch::new();
    let run = |input: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| targets::run(target, &scratch, input))) {
            let path = std::env::temp_dir().join(format!("rankfold-fuzz-{name}"));
            fs::write(&path, input).expect("an input can be written");
            eprintln!("{name}: the input that did it is `{}`", path.display());
            resume_unwind(panic);
        }
    };
    let inputs = inputs(target);
    inputs.iter().for_each(|input| run(input));
    let mut mutations = Mutations::new(inputs);
    let (began, mut done) = (Instant::now(), 0);
    while done < MUTATIONS || began.elapsed() < TIME {
        run(&mutations.draw());
        done += 1;
    }
    eprintln!("{name}: {done} mutated inputs");
    let peak = peak_memory();
    assert!(peak < MEMORY, "{name}: {peak} KiB at the peak");
}

/// The most memory that this process had, in KiB.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it has the line");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number")
}

macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*

        #[test]
        fn every_target_has_a_test() {
            let tested = [$(stringify!($name)),*];
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), tested);
        }
    };
}

targets!(safetensors, pickle, pytorch, zip, npy, word_vectors, gguf, onnx, index, config, manifest, compress, decode);
