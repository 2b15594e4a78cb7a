//! Times the factorization of one table of singles: `factorize FILE ROWS COLUMNS RANK RUNS`.
//!
//! Prints one JSON line a run; `tests/bench/factorize.py` makes the tables,
//! runs this in turns with the other routes, and compares. With a sixth argument, writes A and B transposed to
//! `ARGUMENT.a` and `ARGUMENT.b` after the timed runs.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use rankfold::codec::Split;
use rankfold::linalg::{self, Factor, Pair, Values};
use rankfold::observe::Silent;
use rankfold::tensor::{Dtype, MappedRows, Precision, Rows};
use rustix::time::{ClockId, clock_gettime};

fn main() -> anyhow::Result<()> {
    // Cargo passes `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [path, rows, columns, rank, runs, rest @ ..] = &arguments[..] else {
        anyhow::bail!("usage: factorize FILE ROWS COLUMNS RANK RUNS [PREFIX]");
    };
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {path}"))?;
    // SAFETY: the benchmark's own table, which nothing writes to while it runs.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    let table = MappedRows::new(&map, Dtype::F32, rows.parse()?, columns.parse()?)?;
    let pair = Pair { rank: rank.parse()?, split: Split::Left, stored: Precision::Single };
    let mut factors = Default::default();
    for _ in 0..runs.parse::<usize>()? {
        factors = run(&table, &pair)?;
    }
    if let [prefix, ..] = rest {
        std::fs::write(Path::new(prefix).with_extension("a"), &factors[0])?;
        std::fs::write(Path::new(prefix).with_extension("b"), &factors[1])?;
    }
    Ok(())
}

/// Processor time of all threads so far, in seconds.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// One timed run; returns the bytes of A and of B transposed.
fn run(table: &MappedRows<'_>, pair: &Pair) -> anyhow::Result<[Vec<u8>; 2]> {
    let (start, processor) = (Instant::now(), processor_time());
    let factorization = linalg::factorize(table, Some(pair.rank), &Silent)?;
    let (height, width) = table.shape();
    let mut factors = [height, width].map(|rows| Vec::with_capacity(rows * pair.rank * size_of::<f32>()));
    let round = |values: Values<'_>, bytes: &mut Vec<u8>| {
        match values {
            Values::Single(values) => values.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
            Values::Double(values) => values.iter_mut().for_each(|value| {
                bytes.extend((*value as f32).to_le_bytes());
                *value = f64::from(*value as f32);
            }),
        }
        Ok(())
    };
    let mut sink = |factor, bytes: &[u8]| {
        factors[usize::from(factor == Factor::Right)].extend_from_slice(bytes);
        Ok(())
    };
    let measured = factorization.encode(table, pair, &round, &mut sink, &Silent)?;
    let (seconds, processor) = (start.elapsed().as_secs_f64(), processor_time() - processor);
    println!(
        r#"{{"seconds": {seconds:.6}, "processor": {processor:.6}, "relative_error": {:e}}}"#,
        measured.relative_frobenius_error()
    );
    Ok(factors)
}
