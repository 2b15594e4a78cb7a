//! Whole conversions of a checkpoint, and what has to hold of them.

use std::path::Path;

use rankfold::checkpoint::Checkpoint;
use rankfold::codec::{CODECS, Options};
use rankfold::convert::{ConversionRequest, Request, compress, convert, restore};
use rankfold::manifest::{verify, verify_source};
use rankfold::observe::Silent;
use rankfold::output::Replace;
use rankfold::plan::Target as Goal;

use super::{Scratch, Target};

/// A mutated checkpoint through every method: the first two bytes choose method and target, the rest is the header and
/// after a zero byte the data of a safetensors file.
pub(super) const COMPRESS: Target = Target { name: "compress", seeds, run };

fn seeds() -> Vec<Vec<u8>> {
    let file = table_file();
    (0..CODECS.len() as u8)
        .flat_map(|method| (0..4).map(move |goal| [method, goal]))
        .map(|choice| [&choice[..], &file].concat())
        .collect()
}

/// Header and data of a checkpoint whose token table is [40, 8], apart from a zero byte.
pub(super) fn table_file() -> Vec<u8> {
    let header = r#"{"embeddings.word_embeddings.weight":{"dtype":"F32","shape":[40,8],"data_offsets":[0,1280]},"pooler.bias":{"dtype":"F16","shape":[4],"data_offsets":[1280,1288]}}"#;
    let number = |at: u32| ((at.wrapping_mul(2_654_435_769) >> 8) as f32 / (1u32 << 24) as f32) - 0.5;
    let data: Vec<u8> = (0..320).flat_map(|at| number(at).to_le_bytes()).chain([0; 8]).collect();
    [header.as_bytes(), &[0], &data].concat()
}

/// The safetensors file whose header ends at the first zero byte of `text`.
pub(super) fn safetensors(text: &[u8]) -> Vec<u8> {
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    let (header, data) = (&text[..end], text.get(end + 1..).unwrap_or_default());
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

fn run(scratch: &Scratch, input: &[u8]) {
    let Some(([method, goal], text)) = input.split_first_chunk::<2>() else { return };
    let method = CODECS[usize::from(*method) % CODECS.len()].name();
    scratch.write("source/model.safetensors", &safetensors(text));
    scratch.write("source/config.json", br#"{"model_type":"bert","vocab_size":40,"hidden_size":8}"#);
    let goal = match goal % 4 {
        0 => ("reduction", "0.5"),
        1 => ("max-error", "0.3"),
        2 => ("target-size", "80%"),
        _ => ("energy", "0.7"),
    };
    let goal = Goal::parse(goal.0, goal.1).expect("it is a target");
    check_compression(scratch, &scratch.path("source"), method, goal);
}

/// Compresses `source`, where that can be done, and holds the result against it.
pub(super) fn check_compression(scratch: &Scratch, source: &Path, method: &str, target: Goal) {
    let Ok(checkpoint) = Checkpoint::open(source) else { return };
    let request = Request {
        target,
        method: method.to_owned(),
        options: Options::default(),
        include: Vec::new(),
        exclude: Vec::new(),
        overrides: Vec::new(),
        max_size: None,
        stub: false,
        carrier: "loader".to_owned(),
    };
    let out = scratch.path("out");
    if compress(&checkpoint, &request, &out, Replace::Never, &Silent).is_err() {
        assert!(!out.exists(), "a failed compression leaves nothing");
        return;
    }
    check_output(&out, source);
    let dense = scratch.path("dense");
    restore(&out, &dense, Replace::Never, &Silent).expect("what was compressed is restored");
    check_output(&dense, &out);
}

/// Converts `source`, where it opens and can be converted, and holds the result against it.
pub(super) fn check_conversion(scratch: &Scratch, source: &Path) {
    let Ok(checkpoint) = Checkpoint::open(source) else { return };
    for (id, meta) in checkpoint.tensors() {
        if let Ok(bytes) = checkpoint.bytes(id) {
            assert_eq!(Some(bytes.len() as u64), meta.bytes(), "bytes of tensor `{}`", meta.name);
        }
    }
    let request = ConversionRequest {
        format: "safetensors".to_owned(),
        dtype: None,
        tensors: Vec::new(),
        renames: Vec::new(),
        max_shard_size: None,
        allow_overflow: false,
        max_error: None,
        max_size: None,
    };
    let out = scratch.path("converted");
    match convert(&checkpoint, &request, &out, Replace::Never, &Silent) {
        Ok(_) => check_output(&out, source),
        Err(_) => assert!(!out.exists(), "a failed conversion leaves nothing"),
    }
}

fn check_output(out: &Path, source: &Path) {
    let (manifest, mut verification) = verify(out, &Silent).expect("what was written can be verified");
    let manifest = manifest.expect("there is a manifest");
    verify_source(&manifest, out, source, None, &mut verification, &Silent).expect("it can be held against its source");
    assert!(verification.differences.is_empty(), "{:?}", verification.differences);
}
