//! sentence-transformers: a StaticEmbedding k wide, followed by a Dense without bias and activation.
//!
//! A StaticEmbedding is the mean of the vectors of a text's tokens, and the mean of rows of A times B is the mean of
//! rows of A B. Modules after it see vectors of the width that they know.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Carrier, Encoded, Placed, Slot, inexact, only_pair, rank};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;

/// StaticEmbedding and Dense.
pub(super) struct SentenceTransformers;

const MODULES: &str = "modules.json";
const TABLE: &str = "embedding.weight";

impl Carrier for SentenceTransformers {
    fn name(&self) -> &'static str {
        "sentence-transformers"
    }

    fn summary(&self) -> &'static str {
        "sentence-transformers' StaticEmbedding followed by a Dense without bias and activation"
    }

    fn fits(&self, checkpoint: &Checkpoint) -> bool {
        modules(checkpoint).is_ok_and(|modules| modules.is_some_and(|modules| is_static(&modules)))
    }

    fn is_only_way(&self) -> bool {
        true
    }

    fn place(&self, checkpoint: &Checkpoint, tables: &[Encoded<'_>]) -> Result<Placed> {
        let table = only_pair(tables, TABLE)?;
        let Some(mut modules) = modules(checkpoint)?.filter(|modules| is_static(modules)) else {
            return Err(inexact("the model has no StaticEmbedding as its first module"));
        };
        let folder = free_folder(checkpoint);
        let dense = json!({
            "idx": 1, "name": "1", "path": folder, "type": "sentence_transformers.models.Dense",
        });
        modules.insert(1, dense.as_object().cloned().unwrap_or_default());
        // Names are keys: numbers, unless someone gave others.
        for (number, module) in modules.iter_mut().enumerate().skip(2) {
            let is_number = module.get("name").and_then(Value::as_str).is_some_and(|name| name.parse::<u32>().is_ok());
            module.insert("idx".into(), number.into());
            if is_number {
                module.insert("name".into(), number.to_string().into());
            }
        }
        let text = |value: Value| format!("{value:#}\n");
        let weights = Some(Path::new(&folder).join("model.safetensors"));
        Ok(Placed {
            slots: vec![vec![Slot::new(0, TABLE), Slot { file: weights, ..Slot::new(1, "linear.weight") }]],
            config: Vec::new(),
            files: vec![
                (PathBuf::from(MODULES), text(modules.into_iter().map(Value::Object).collect())),
                (Path::new(&folder).join("config.json"), text(dense_of(table))),
            ],
        })
    }
}

/// The configuration of a Dense that holds the second factor.
pub(super) fn dense_of(table: &Encoded<'_>) -> Value {
    json!({
        "in_features": rank(table),
        "out_features": table.shape[1],
        "bias": false,
        "activation_function": "torch.nn.modules.linear.Identity",
    })
}

/// The list of modules, where the checkpoint has one.
fn modules(checkpoint: &Checkpoint) -> Result<Option<Vec<Map<String, Value>>>> {
    if !checkpoint.files().any(|file| file == Path::new(MODULES)) {
        return Ok(None);
    }
    let path = checkpoint.root().join(MODULES);
    let modules = serde_json::from_slice(&limits::read(&path, limits::MAX_JSON)?);
    modules.map(Some).map_err(|error| {
        Error::new(ErrorKind::Malformed, "not a list of modules").at(path).found(error.to_string()).caused_by(error)
    })
}

fn is_static(modules: &[Map<String, Value>]) -> bool {
    let first = modules.first().and_then(|module| module.get("type")).and_then(Value::as_str);
    first.is_some_and(|kind| kind.ends_with(".StaticEmbedding"))
}

/// A folder that no file of the checkpoint is in, as sentence-transformers would name it.
fn free_folder(checkpoint: &Checkpoint) -> String {
    let name = |number: usize| format!("{number}_Dense");
    let is_free = |name: &String| !checkpoint.files().any(|file| file.starts_with(name));
    // There are fewer files than numbers.
    (1..).map(name).find(is_free).unwrap_or_default()
}
