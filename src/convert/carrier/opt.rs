//! OPT: word vectors of their own width, with a projection behind the table and another before the head.
//!
//! Zhang and others, "OPT: Open Pre-trained Transformer Language Models", arXiv 2205.01068. A model whose
//! `word_embed_proj_dim` is not its `hidden_size` has `project_in` [d, k] and `project_out` [k, d]; the head, tied to
//! the table, is [V, k]. A with B transposed and B are just that: h B^T A^T is h W^T.

use serde_json::Value;

use super::{Carrier, Encoded, Placed, Slot, inexact, is_model, members, only_pair, rank, refuse_projected};
use crate::checkpoint::Checkpoint;
use crate::error::Result;

/// `project_in` and `project_out` of OPT.
pub(super) struct Opt;

const TABLE: &str = "decoder.embed_tokens.weight";
const WIDTH: &str = "word_embed_proj_dim";

impl Carrier for Opt {
    fn name(&self) -> &'static str {
        "opt"
    }

    fn summary(&self) -> &'static str {
        "transformers' OPTForCausalLM: `word_embed_proj_dim`, `project_in`, `project_out`"
    }

    fn fits(&self, checkpoint: &Checkpoint) -> bool {
        is_model(checkpoint, "opt")
    }

    fn place(&self, checkpoint: &Checkpoint, tables: &[Encoded<'_>]) -> Result<Placed> {
        let table = only_pair(tables, TABLE)?;
        let Some(members) = members(checkpoint) else { return Err(inexact("no `config.json`")) };
        refuse_projected(members, WIDTH, table)?;
        // Without the head `project_out` would narrow the hidden states that are the output, and any other head.
        let classes = members.get("architectures").and_then(Value::as_array);
        if !classes.is_some_and(|classes| classes.iter().all(|class| class == "OPTForCausalLM")) {
            return Err(inexact("only a model with the output head keeps its output")
                .expected("`architectures` of `OPTForCausalLM`")
                .found(members.get("architectures").unwrap_or(&Value::Null).to_string()));
        }
        let is_tied = members.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(true);
        let own_head = checkpoint.find("lm_head.weight").is_some() && !table.tied.contains(&"lm_head.weight");
        if !is_tied || own_head {
            return Err(inexact("the output head is not tied to the table, and its input would be narrowed"));
        }
        let prefix = table.name.strip_suffix("embed_tokens.weight").unwrap_or_default();
        let slots = vec![
            Slot::new(0, table.name),
            Slot::new(1, format!("{prefix}project_in.weight")),
            Slot { transposed: true, ..Slot::new(1, format!("{prefix}project_out.weight")) },
        ];
        Ok(Placed { slots: vec![slots], config: vec![(WIDTH, rank(table).into())], files: Vec::new() })
    }
}
