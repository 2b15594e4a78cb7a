//! How fast every codec looks at a table, encodes and decodes it, against copying the table in memory.
//!
//! `cargo bench --bench codecs -- [MODEL.safetensors TENSOR | ROWS COLUMNS] [CODEC ...]` takes a table from a file, or
//! makes one of as many seeded singles, 30,522 x 384 unless told otherwise, whose columns have unlike variances. Of every
//! codec, or of those named, it takes the settings that a few targets resolve to (of a table of 256 MiB or more the first),
//! and prints the least seconds of some rounds (as many as fit in five seconds, five at most), bytes of the dense table per
//! second, and that over the speed of a copy of the table by one thread, which is timed in turns with the others. Analysis
//! and encoding use all threads, decoding one, 256 rows at a time.

use std::path::Path;
use std::time::{Duration, Instant};

use rankfold::checkpoint::Checkpoint;
use rankfold::codec::{CODECS, Codec, Demand, DirectTarget, Options, Part, PartSink, Setting, Table};
use rankfold::observe::Silent;
use rankfold::tensor::{Dtype, MappedRows};

const ROUNDS: usize = 5;
const LONG_ENOUGH: Duration = Duration::from_secs(5);
/// Bytes of a table that takes minutes for each setting.
const LARGE: usize = 1 << 28;
/// Rows that are decoded at a time.
const ROWS: usize = 256;
/// Bytes of the block that a copy writes to: far more than caches hold, far less than a large table.
const COPY: usize = 1 << 28;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let (names, others): (Vec<String>, Vec<String>) =
        arguments.into_iter().partition(|argument| CODECS.iter().any(|codec| codec.name() == argument));
    match &others[..] {
        [path, tensor] if path.parse::<usize>().is_err() => {
            let checkpoint = Checkpoint::open(Path::new(path))?;
            let id = checkpoint.find(tensor).ok_or("no such tensor")?;
            let meta = checkpoint.meta(id);
            let (rows, columns) = meta.matrix().ok_or("not a table")?;
            run(&checkpoint.bytes(id)?, meta.dtype, (rows, columns), &names)
        }
        [rows, columns] => made((rows.parse()?, columns.parse()?), &names),
        [] => made((30_522, 384), &names),
        other => Err(format!("not a table: {other:?}").into()),
    }
}

/// Runs on a table of seeded numbers.
fn made((rows, columns): (usize, usize), names: &[String]) -> Result<(), Failure> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let mut bytes = Vec::with_capacity(rows * columns * 4);
    for _ in 0..rows {
        for column in 0..columns {
            let value = (next() + next() + next()) / (1.0 + 8.0 * column as f32 / columns as f32);
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
    run(&bytes, Dtype::F32, (rows, columns), names)
}

struct Collect(Vec<Vec<u8>>);

impl PartSink for Collect {
    fn write(&mut self, part: usize, bytes: &[u8]) -> rankfold::Result<()> {
        self.0[part].extend_from_slice(bytes);
        Ok(())
    }
}

/// The settings of the first kind of target that the codec takes.
fn settings(codec: &dyn Codec, table: &Table<'_>, options: &Options) -> Vec<Setting> {
    let columns = table.rows.shape().1;
    let kinds: [&[DirectTarget]; 4] = [
        &[DirectTarget::Bits(3), DirectTarget::Bits(4), DirectTarget::Bits(8)],
        &[DirectTarget::Bits(16)],
        &[DirectTarget::Rank(columns / 4), DirectTarget::Rank(columns / 2)],
        &[DirectTarget::Reduction(0.95), DirectTarget::Reduction(0.9)],
    ];
    // One kind after the other, since resolving a reduction may take a look at the whole table.
    let mut resolved = kinds.into_iter().map(|kind| -> Vec<Setting> {
        kind.iter().filter_map(|&target| codec.resolve(table, options, target).ok()).collect()
    });
    resolved.find(|settings| !settings.is_empty()).unwrap_or_default()
}

fn run(bytes: &[u8], dtype: Dtype, (rows, columns): (usize, usize), names: &[String]) -> Result<(), Failure> {
    let source = MappedRows::new(bytes, dtype, rows, columns)?;
    let table = Table { name: "table.weight", dtype, rows: &source };
    let options = Options::default();
    let mut copy = vec![1u8; bytes.len().min(COPY)];
    let threads = rayon::current_num_threads();
    println!(
        "[{rows}, {columns}] {dtype}, {} bytes, {threads} threads to analyze and encode, 1 to decode",
        bytes.len()
    );
    println!("codec, setting, error: seconds, GB/s and share of a copy to analyze | to encode | to decode");
    for codec in CODECS.iter().filter(|codec| names.is_empty() || names.iter().any(|name| name == codec.name())) {
        let mut settings = settings(*codec, &table, &options);
        if bytes.len() >= LARGE {
            settings.truncate(1);
        }
        for setting in settings {
            let mut least = [f64::INFINITY; 4];
            let mut error = 0.0;
            let begun = Instant::now();
            for round in 0..ROUNDS {
                if round > 0 && begun.elapsed() > LONG_ENOUGH {
                    break;
                }
                time(&mut least[0], || {
                    for bytes in std::hint::black_box(bytes).chunks(COPY) {
                        copy[..bytes.len()].copy_from_slice(bytes);
                        std::hint::black_box(&copy);
                    }
                    Ok(())
                })?;
                let analysis =
                    time(&mut least[1], || Ok(codec.analyze(&table, &options, Demand::Only(&setting), &Silent)?))?;
                let metas = &analysis.points()[0].parts;
                let mut sink = Collect(vec![Vec::new(); metas.len()]);
                let measured = time(&mut least[2], || Ok(analysis.encode(&source, 0, &mut sink, &Silent)?))?;
                error = measured.relative_frobenius_error();
                let parts: Vec<Part<'_>> =
                    metas.iter().zip(&sink.0).map(|(meta, bytes)| Part { meta, bytes }).collect();
                let decoded = codec.decode(&setting, &parts)?;
                let mut block = vec![0.0f32; ROWS * columns];
                time(&mut least[3], || {
                    for start in (0..rows).step_by(ROWS) {
                        let end = rows.min(start + ROWS);
                        decoded.read_f32(start..end, &mut block[..(end - start) * columns])?;
                        std::hint::black_box(&block);
                    }
                    Ok(())
                })?;
            }
            let words: Vec<String> = setting.iter().map(|(key, value)| format!("{key} {value}")).collect();
            let [copied, timed @ ..] = least;
            let speeds = timed.map(|seconds| {
                let speed = bytes.len() as f64 / seconds / 1e9;
                format!("{seconds:8.3} s {speed:6.2} {:6.3}", copied / seconds)
            });
            let words = words.join(", ").replace('"', "");
            println!("{}, {words}, {error:.4}: {}", codec.name(), speeds.join(" | "));
        }
    }
    Ok(())
}

fn time<T>(least: &mut f64, act: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let start = Instant::now();
    let made = act()?;
    *least = least.min(start.elapsed().as_secs_f64());
    Ok(made)
}
