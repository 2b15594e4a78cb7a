//! Times the factorization of one table of singles: `factorize FILE ROWS COLUMNS RANK RUNS`.
//!
//! Prints one JSON line a run: seconds of the whole and of its two passes over the table, and the rates of the passes in
//! GF/s with symmetric work counted once. `tests/bench/factorize.py` makes the tables, runs this in turns with the other
//! routes, and compares. With a sixth argument, writes A and B transposed to `ARGUMENT.a` and `ARGUMENT.b` after the timed
//! runs. `PRODUCTS=single` keeps it from whole numbers and from the matrix unit.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Context;
use rankfold::codec::Split;
use rankfold::linalg::{self, Factor, Pair, Products, Values};
use rankfold::observe::{Observer, Silent};
use rankfold::tensor::{Dtype, MappedRows, Precision, Rows};
use rustix::time::{ClockId, clock_gettime};

fn main() -> anyhow::Result<()> {
    linalg::limit_isa()?;
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

/// When how many entries of the table were begun.
#[derive(Default)]
struct Marks(Mutex<Vec<(Instant, u64)>>);

impl Observer for Marks {
    fn advance(&self, entries: u64) {
        self.0.lock().expect("no mark panics").push((Instant::now(), entries));
    }
}

impl Marks {
    /// Entries a second from the first mark to the last, which begins a chunk that is not counted.
    fn rate(self) -> f64 {
        let marks = self.0.into_inner().expect("no mark panics");
        let (Some((first, _)), Some((last, _))) = (marks.first(), marks.last()) else { return 0.0 };
        let entries: u64 = marks[..marks.len() - 1].iter().map(|(_, entries)| entries).sum();
        entries as f64 / last.duration_since(*first).as_secs_f64()
    }
}

/// Processor time of all threads so far, in seconds.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// One timed run; returns the bytes of A and of B transposed.
fn run(table: &MappedRows<'_>, pair: &Pair) -> anyhow::Result<[Vec<u8>; 2]> {
    let (start, processor) = (Instant::now(), processor_time());
    let gram = Marks::default();
    let products = match std::env::var("PRODUCTS").as_deref() {
        Ok("single") => Products::Single,
        _ => Products::default(),
    };
    let factorization = linalg::factorize(table, Some(pair.rank), products, &gram)?;
    let factorized = start.elapsed().as_secs_f64();
    let (height, width) = table.shape();
    let mut factors = [height, width].map(|rows| Vec::with_capacity(rows * pair.rank * size_of::<f32>()));
    let round = |values: Values<'_>, bytes: &mut Vec<u8>| {
        match values {
            Values::Single(values) => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
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
    // An entry takes part in d products of the Gram matrix, half of them counted, and in k of A and k of A B.
    let gram_rate = gram.rate() * width as f64 * 1e-9;
    let encode_rate = (4 * height * width * pair.rank) as f64 / (seconds - factorized) * 1e-9;
    println!(
        r#"{{"seconds": {seconds:.6}, "processor": {processor:.6}, "factorized": {factorized:.6}, "gram_rate": {gram_rate:.1}, "encode_rate": {encode_rate:.1}, "relative_error": {:e}}}"#,
        measured.relative_frobenius_error()
    );
    Ok(factors)
}
