//! DeBERTa-v2 and -v3: `embedding_size` narrower than `hidden_size`, and `embed_proj` behind the embeddings.
//!
//! He, Liu, Gao, Chen, "DeBERTa: Decoding-enhanced BERT with Disentangled Attention", ICLR 2021. Positions and token
//! types are added before `embed_proj`, so there must be none of them.

use serde_json::Value;

use super::{Carrier, Encoded, Placed, Slot, inexact, is_model, members, only_pair, rank, refuse_projected};
use crate::checkpoint::Checkpoint;
use crate::error::Result;

/// `embed_proj` of DeBERTa-v2.
pub(super) struct DebertaV2;

const TABLE: &str = "embeddings.word_embeddings.weight";
const WIDTH: &str = "embedding_size";
/// What all tensors of heads over the vocabulary have in their names, whichever version wrote them.
const HEAD: &str = "predictions.";

impl Carrier for DebertaV2 {
    fn name(&self) -> &'static str {
        "deberta-v2"
    }

    fn summary(&self) -> &'static str {
        "transformers' DeBERTa-v2 and -v3 without positions and token types at the input: `embedding_size`, `embed_proj`"
    }

    fn fits(&self, checkpoint: &Checkpoint) -> bool {
        is_model(checkpoint, "deberta-v2")
    }

    fn place(&self, checkpoint: &Checkpoint, tables: &[Encoded<'_>]) -> Result<Placed> {
        let table = only_pair(tables, TABLE)?;
        let Some(members) = members(checkpoint) else { return Err(inexact("no `config.json`")) };
        refuse_projected(members, WIDTH, table)?;
        if members.get("position_biased_input") != Some(&Value::Bool(false)) {
            return Err(inexact("positions are added to the word vectors before they are projected")
                .expected("`position_biased_input` of false")
                .found(members.get("position_biased_input").map_or("none, which is true".into(), Value::to_string)));
        }
        if let Some(types) = members.get("type_vocab_size").and_then(Value::as_u64).filter(|&types| types > 0) {
            return Err(inexact("token types are added to the word vectors before they are projected")
                .expected("`type_vocab_size` of 0")
                .found(types.to_string()));
        }
        let head = checkpoint.tensors().find(|(_, meta)| meta.name.contains(HEAD));
        if let Some(name) =
            head.map(|(_, meta)| &meta.name).or(table.tied.first().map(|&name| name.to_owned()).as_ref())
        {
            return Err(inexact("an output head over the vocabulary has the width of the word vectors")
                .expected("an encoder without a head over the vocabulary")
                .found(format!("`{name}`")));
        }
        let prefix = table.name.strip_suffix("word_embeddings.weight").unwrap_or_default();
        let slots = vec![Slot::new(0, table.name), Slot::new(1, format!("{prefix}embed_proj.weight"))];
        Ok(Placed { slots: vec![slots], config: vec![(WIDTH, rank(table).into())], files: Vec::new() })
    }
}
