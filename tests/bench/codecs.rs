//! How fast every codec encodes and decodes, against copying the table in memory.
//!
//! `cargo bench --bench codecs [-- MODEL.safetensors TENSOR]` takes a table from a file, or makes one of 30,522 x 384
//! singles. For every codec it encodes the table at a few points of its ladder and decodes it row block by row block,
//! and prints the least seconds of some rounds, bytes of the dense table per second, and that over the speed of a copy
//! of the table by one thread, which is timed in turns with the others.

use std::path::Path;
use std::time::Instant;

use rankfold::checkpoint::Checkpoint;
use rankfold::codec::{CODECS, Demand, Options, Part, PartSink, Table};
use rankfold::observe::Silent;
use rankfold::tensor::{Dtype, MappedRows};

const ROUNDS: usize = 5;
/// Rows that are decoded at a time.
const ROWS: usize = 256;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    match &arguments[..] {
        [path, tensor] => {
            let checkpoint = Checkpoint::open(Path::new(path))?;
            let id = checkpoint.find(tensor).ok_or("no such tensor")?;
            let meta = checkpoint.meta(id);
            let (rows, columns) = meta.matrix().ok_or("not a table")?;
            run(&checkpoint.bytes(id)?, meta.dtype, rows, columns)
        }
        _ => {
            let (rows, columns) = (30_522, 384);
            let mut state = 0x9e37_79b9_7f4a_7c15_u64;
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
            };
            let bytes: Vec<u8> = (0..rows * columns).flat_map(|_| (next() + next() + next()).to_le_bytes()).collect();
            run(&bytes, Dtype::F32, rows, columns)
        }
    }
}

struct Collect(Vec<Vec<u8>>);

impl PartSink for Collect {
    fn write(&mut self, part: usize, bytes: &[u8]) -> rankfold::Result<()> {
        self.0[part].extend_from_slice(bytes);
        Ok(())
    }
}

fn run(bytes: &[u8], dtype: Dtype, rows: usize, columns: usize) -> Result<(), Failure> {
    let source = MappedRows::new(bytes, dtype, rows, columns)?;
    let mut copy = vec![1u8; bytes.len()];
    let threads = rayon::current_num_threads();
    println!("[{rows}, {columns}] {dtype}, {} bytes, {threads} threads to encode, 1 to decode", bytes.len());
    println!(
        "codec        setting                                             encode s  GB/s  copy   decode s  GB/s  copy"
    );
    for codec in CODECS {
        let table = Table { name: "table.weight", dtype, rows: &source };
        let analysis = match codec.analyze(&table, &Options::default(), Demand::Ladder, &Silent) {
            Ok(analysis) => analysis,
            Err(error) => {
                println!("{:<12} {error}", codec.name());
                continue;
            }
        };
        let count = analysis.points().len();
        // All of a short ladder, some of a long one.
        let step = if count > 10 { count.div_ceil(4) } else { 1 };
        for point in (0..count).step_by(step) {
            let setting = &analysis.points()[point].setting;
            let mut least = [f64::INFINITY; 3];
            let mut sink = Collect(Vec::new());
            for _ in 0..ROUNDS {
                time(&mut least[0], || {
                    copy.copy_from_slice(std::hint::black_box(bytes));
                    Ok(())
                })?;
                sink = Collect(vec![Vec::new(); analysis.points()[point].parts.len()]);
                time(&mut least[1], || Ok(analysis.encode(&source, point, &mut sink, &Silent).map(|_| ())?))?;
                let metas = &analysis.points()[point].parts;
                let parts: Vec<Part<'_>> =
                    metas.iter().zip(&sink.0).map(|(meta, bytes)| Part { meta, bytes }).collect();
                let decoded = codec.decode(setting, &parts)?;
                let mut block = vec![0.0f32; ROWS * columns];
                time(&mut least[2], || {
                    for start in (0..rows).step_by(ROWS) {
                        let end = rows.min(start + ROWS);
                        decoded.read_f32(start..end, &mut block[..(end - start) * columns])?;
                        std::hint::black_box(&block);
                    }
                    Ok(())
                })?;
            }
            drop(sink);
            let words: Vec<String> = setting.iter().map(|(key, value)| format!("{key} {value}")).collect();
            let speed = |seconds: f64| bytes.len() as f64 / seconds / 1e9;
            let [copied, encoded, decoded] = least;
            println!(
                "{:<12} {:<52} {encoded:7.3} {:5.2} {:5.2}   {decoded:7.3} {:5.2} {:5.2}",
                codec.name(),
                words.join(", ").replace('"', ""),
                speed(encoded),
                copied / encoded,
                speed(decoded),
                copied / decoded,
            );
        }
    }
    Ok(())
}

fn time(least: &mut f64, act: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let start = Instant::now();
    act()?;
    *least = least.min(start.elapsed().as_secs_f64());
    Ok(())
}
