//! The documents around weights: index, configuration, manifest.

use std::fs;

use rankfold::checkpoint::Checkpoint;
use rankfold::convert::{ConversionRequest, convert};
use rankfold::manifest::{MANIFEST_NAME, verify};
use rankfold::observe::Silent;
use rankfold::output::Replace;
use rankfold::plan::Target as Goal;

use super::checkpoint::{check_compression, check_conversion, safetensors, table_file};
use super::{Scratch, Target, fixture};

/// An index beside two shards.
pub(super) const INDEX: Target = Target {
    name: "index",
    seeds: || {
        let whole =
            br#"{"metadata":{"total_size":10},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#;
        vec![whole.to_vec(), fixture("llama-bf16-sharded/model.safetensors.index.json")]
    },
    run: |scratch, input| {
        for (shard, tensor) in [(1, "a"), (2, "b")] {
            let text = format!(r#"{{"{tensor}":{{"dtype":"U8","shape":[5],"data_offsets":[0,5]}}}}"#);
            let file = safetensors(&[text.as_bytes(), b"\0hello"].concat());
            scratch.write(&format!("source/model-{shard}.safetensors"), &file);
        }
        scratch.write("source/model.safetensors.index.json", input);
        check_conversion(scratch, &scratch.path("source"));
    },
};

/// A configuration beside a table.
pub(super) const CONFIG: Target = Target {
    name: "config",
    seeds: || {
        let names = ["bert-tied", "gpt2-f16", "llama-bf16-sharded", "t5-shared", "sentence-transformers"];
        names.iter().map(|name| fixture(&format!("{name}/config.json"))).collect()
    },
    run: |scratch, input| {
        scratch.write("source/model.safetensors", &safetensors(&table_file()));
        scratch.write("source/config.json", input);
        check_compression(scratch, &scratch.path("source"), "low-rank", Goal::Rank(1));
    },
};

/// A manifest in place of that of an output: any other than its own is found out.
pub(super) const MANIFEST: Target = Target {
    name: "manifest",
    seeds: || {
        let scratch = Scratch::new();
        make_output(&scratch);
        vec![fs::read(scratch.path("out").join(MANIFEST_NAME)).expect("it was written")]
    },
    run: |scratch, input| {
        make_output(scratch);
        let manifest = scratch.path("out").join(MANIFEST_NAME);
        let own = fs::read(&manifest).expect("it was written");
        fs::write(&manifest, input).expect("it can be written");
        if let Ok((_, verification)) = verify(&scratch.path("out"), &Silent) {
            assert_eq!(verification.differences.is_empty(), own == input, "{:?}", verification.differences);
        }
    },
};

fn make_output(scratch: &Scratch) {
    let source = scratch.write("source/model.safetensors", &safetensors(&table_file()));
    let checkpoint = Checkpoint::open(&source).expect("it is sound");
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
    convert(&checkpoint, &request, &scratch.path("out"), Replace::Never, &Silent).expect("it is converted");
}
