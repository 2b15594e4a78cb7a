//! Every byte of the small files, and a sample of those of the weights.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use rankfold::manifest::Subject;
use safetensors::SafeTensors;

use crate::Output;

/// Changed bytes of the weights.
const SAMPLE: u64 = 10_000;
const WEIGHTS: &str = "model.safetensors";

/// Changes bit `bit` of byte `place`, looks, and changes it back.
fn with_flip<T>(file: &File, place: u64, bit: u32, look: impl FnOnce() -> T) -> T {
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << bit], place).unwrap();
    let found = look();
    file.write_all_at(&byte, place).unwrap();
    found
}

#[test]
fn every_byte_of_the_small_files_counts() {
    let output = Output::new();
    let mut count = 0;
    for name in output.files().iter().filter(|name| *name != WEIGHTS) {
        let file = File::options().read(true).write(true).open(output.file(name)).unwrap();
        for place in 0..file.metadata().unwrap().len() {
            let found = with_flip(&file, place, (place % 8) as u32, || output.is_found(name));
            assert!(found, "byte {place} of `{name}`");
            count += 1;
        }
    }
    eprintln!("{count} bytes of small files changed, 0 missed");
    assert_eq!(output.differences(), [], "all is as it was");
}

#[test]
fn bytes_of_the_weights_count_and_their_tensor_is_named() {
    let output = Output::new();
    let content = fs::read(output.file(WEIGHTS)).unwrap();
    let (header, _) = SafeTensors::read_metadata(&content).unwrap();
    let file = File::options().read(true).write(true).open(output.file(WEIGHTS)).unwrap();
    let mut state = 2019u64;
    for _ in 0..SAMPLE {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (place, bit) = ((state >> 16) % content.len() as u64, (state >> 60) as u32 % 8);
        with_flip(&file, place, bit, || {
            assert!(output.is_found(WEIGHTS), "byte {place}");
            if place >= header as u64 + 8 {
                let differences = output.differences();
                let tensors = differences.iter().filter(|one| one.subject == Subject::Tensor).count();
                assert_eq!(tensors, 1, "byte {place} is one of one tensor: {differences:?}");
            }
        });
    }
    eprintln!("{SAMPLE} bytes of weights changed, 0 missed");
    assert_eq!(output.differences(), [], "all is as it was");
}

#[test]
fn a_file_cut_off_or_made_longer_is_named() {
    let output = Output::new();
    for name in output.files() {
        let content = fs::read(output.file(&name)).unwrap();
        for changed in [&content[..content.len() - 1], &[], &[&*content, b"\n"].concat()] {
            fs::write(output.file(&name), changed).unwrap();
            assert!(output.is_found(&name), "`{name}` with {} bytes", changed.len());
        }
        fs::write(output.file(&name), content).unwrap();
    }
    assert_eq!(output.differences(), []);
}

#[test]
fn two_tensors_of_one_shape_that_are_exchanged_are_both_named() {
    let output = Output::new();
    let content = fs::read(output.file(WEIGHTS)).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&content).unwrap();
    let tensors = SafeTensors::deserialize(&content).unwrap().tensors();
    let mut pairs = 0;
    for (at, (first, one)) in tensors.iter().enumerate() {
        for (second, other) in &tensors[at + 1..] {
            if one.shape() != other.shape() || one.dtype() != other.dtype() || one.data() == other.data() {
                continue;
            }
            let mut changed = content.clone();
            for (name, data) in [(first, other.data()), (second, one.data())] {
                let (start, end) = metadata.info(name).unwrap().data_offsets;
                changed[header + 8 + start..header + 8 + end].copy_from_slice(data);
            }
            fs::write(output.file(WEIGHTS), changed).unwrap();
            let differences = output.differences();
            let mut named: Vec<_> = differences.iter().filter(|one| one.subject == Subject::Tensor).collect();
            named.retain(|difference| [first, second].contains(&&difference.name));
            assert_eq!(named.len(), 2, "`{first}` and `{second}`: {differences:?}");
            pairs += 1;
        }
    }
    assert!(pairs > 3, "{pairs} pairs");
    eprintln!("{pairs} pairs of tensors exchanged, 0 missed");
}
