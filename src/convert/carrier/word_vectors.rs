//! Word vectors as a model of sentence-transformers: a StaticEmbedding, whose tokens are the words, and a Dense.

use std::path::Path;

use serde_json::json;

use super::sentence_transformers::dense_of;
use super::{Carrier, Encoded, Placed, Slot, only_pair};
use crate::checkpoint::Checkpoint;
use crate::convert::words;
use crate::error::Result;
use crate::format::word_vectors::TABLE;

/// StaticEmbedding and Dense, of word vectors.
pub(super) struct WordVectors;

/// The folders of the modules. The first one is named where the tokenizer is written, and both where the Python class
/// of word vectors looks for its factors.
pub(in crate::convert) const STATIC: &str = "0_StaticEmbedding";
const DENSE: &str = "1_Dense";

impl Carrier for WordVectors {
    fn name(&self) -> &'static str {
        "sentence-transformers"
    }

    fn summary(&self) -> &'static str {
        "word vectors as sentence-transformers' StaticEmbedding and a Dense, with a tokenizer of the words"
    }

    fn fits(&self, checkpoint: &Checkpoint) -> bool {
        words::own(checkpoint).is_some()
    }

    fn place(&self, _checkpoint: &Checkpoint, tables: &[Encoded<'_>]) -> Result<Placed> {
        let table = only_pair(tables, TABLE)?;
        let module = |number: usize, folder: &str, name: &str| {
            let kind = format!("sentence_transformers.models.{name}");
            json!({ "idx": number, "name": number.to_string(), "path": folder, "type": kind })
        };
        let modules = json!([module(0, STATIC, "StaticEmbedding"), module(1, DENSE, "Dense")]);
        let weights = |folder: &str| Some(Path::new(folder).join("model.safetensors"));
        Ok(Placed {
            slots: vec![vec![
                Slot { file: weights(STATIC), ..Slot::new(0, TABLE) },
                Slot { file: weights(DENSE), ..Slot::new(1, "linear.weight") },
            ]],
            config: Vec::new(),
            files: vec![
                ("modules.json".into(), format!("{modules:#}\n")),
                (Path::new(DENSE).join("config.json"), format!("{:#}\n", dense_of(table))),
            ],
        })
    }
}
