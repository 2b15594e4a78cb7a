//! How fast word vectors in text are read: `cargo bench --bench word_vectors -- FILE [THREADS]`.
//!
//! Opens FILE (finding its lines) and decodes every row, on THREADS threads (1), and prints the least seconds of
//! several rounds and the megabytes a second that they are.

use std::path::PathBuf;
use std::time::Instant;

const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let path: PathBuf = arguments.next().ok_or("which file?")?.into();
    let threads = arguments.next().map_or(Ok(1), |text| text.parse())?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let megabytes = path.metadata()?.len() as f64 / 1e6;
    let (mut opening, mut decoding, mut values) = (f64::INFINITY, f64::INFINITY, 0);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let reader = rankfold::format::open(&path)?;
        opening = opening.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        values = 0;
        reader.stream(0, &mut |piece| {
            values += piece.len() / 4;
            Ok(())
        })?;
        decoding = decoding.min(start.elapsed().as_secs_f64());
    }
    let speed = megabytes / (opening + decoding);
    println!("{megabytes:.0} MB, {values} numbers, {threads} threads: open {opening:.3} s, decode {decoding:.3} s");
    println!("{speed:.0} MB/s, {:.0} MB/s a thread", speed / threads as f64);
    Ok(())
}
