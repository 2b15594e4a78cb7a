//! The block that an output's `config.json` gains.
//!
//! The file is edited as text: every byte that was there stays (number spellings, key order, duplicate keys that a
//! parser would fold), and taking the block out again gives the original file.

use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::manifest::TableRecord;
use crate::stub;

/// The key under which transformers looks for the method; its loaders refuse what they do not know.
const PREFERRED_KEY: &str = "quantization_config";
/// The key where the preferred one is taken: the model is quantized by some other method already.
const FALLBACK_KEY: &str = "rankfold";

/// The block for `tables`: the method by the name that loaders dispatch on, and what each table became.
pub(crate) fn block(tables: &[TableRecord]) -> Value {
    let tables: Map<String, Value> = tables
        .iter()
        .map(|table| {
            let record = json!({
                "method": table.method,
                "setting": table.setting,
                "shape": table.shape,
                "dtype": table.dtype,
                "parts": table.parts,
                "tied": table.tied,
            });
            (table.name.clone(), record)
        })
        .collect();
    json!({ "quant_method": "rankfold", "version": 1, "tables": tables })
}

/// Where transformers looks for code that it may run where the user trusts it.
const CODE_KEY: &str = "auto_map";

/// Whether an output may name its loader to transformers: the configuration is one of that library and names no code
/// of its own.
pub(crate) fn takes_loader(config: &str) -> bool {
    let members: Option<Map<String, Value>> = serde_json::from_str(config).ok();
    members.is_some_and(|members| members.contains_key("model_type") && !members.contains_key(CODE_KEY))
}

/// `config` with the loader's `auto_map` as the last member of its object.
pub(crate) fn name_loader(config: &str) -> String {
    let (body, tail) = split_at_last_brace(config);
    // An object that takes the loader has a member already.
    format!("{body}{}{tail}", member(CODE_KEY, &stub::auto_map(), false))
}

/// `config` with `block` as the last member of its object.
///
/// # Errors
/// [`ErrorKind::Malformed`] where `config` is not a JSON object, [`ErrorKind::Unsupported`] where both keys are taken.
pub(crate) fn insert(config: &str, block: &Value) -> Result<String> {
    let members: Map<String, Value> = serde_json::from_str(config)
        .map_err(|error| Error::new(ErrorKind::Malformed, "not a JSON object").found(error.to_string()))?;
    let key = [PREFERRED_KEY, FALLBACK_KEY].into_iter().find(|key| !members.contains_key(*key)).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "the configuration has a block of this program already")
            .hint("start from the original checkpoint, or `rankfold restore` this one first")
    })?;
    let (body, tail) = split_at_last_brace(config);
    Ok(format!("{body}{}{tail}", member(key, block, members.is_empty())))
}

/// `config` without the members that [`insert`] added for `block` and [`name_loader`] before it; `None` where the
/// block is not there as it was added.
pub(crate) fn remove(config: &str, block: &Value) -> Option<String> {
    let (body, tail) = split_at_last_brace(config);
    let body = [PREFERRED_KEY, FALLBACK_KEY]
        .into_iter()
        .flat_map(|key| [false, true].map(|only| member(key, block, only)))
        .find_map(|member| body.strip_suffix(member.as_str()))?;
    let loader = member(CODE_KEY, &stub::auto_map(), false);
    Some(format!("{}{tail}", body.strip_suffix(loader.as_str()).unwrap_or(body)))
}

/// `config`, written by another program, without the blocks of this one; `None` where it is not an object.
pub(crate) fn remove_reformatted(config: &str) -> Option<String> {
    let mut members: Map<String, Value> = serde_json::from_str(config).ok()?;
    let is_ours = |value: &Value| value.get("quant_method").and_then(Value::as_str) == Some("rankfold");
    for key in [PREFERRED_KEY, FALLBACK_KEY] {
        if members.get(key).is_some_and(is_ours) {
            members.remove(key);
        }
    }
    if members.get(CODE_KEY) == Some(&stub::auto_map()) {
        members.remove(CODE_KEY);
    }
    Some(format!("{:#}\n", Value::Object(members)))
}

/// The text of an object up to its last member, and what follows: white space, the closing brace, white space.
fn split_at_last_brace(object: &str) -> (&str, &str) {
    let end = object.rfind('}').unwrap_or(object.len());
    object.split_at(object[..end].trim_end().len())
}

fn member(key: &str, block: &Value, only: bool) -> String {
    // Alternate display of a JSON value indents by two; one level deeper it stands in the object.
    let text = format!("{block:#}").replace('\n', "\n  ");
    format!("{}\n  \"{key}\": {text}", if only { "" } else { "," })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Value {
        json!({ "quant_method": "rankfold", "tables": { "a.weight": { "setting": { "rank": 3 } } } })
    }

    #[test]
    fn the_rest_of_the_file_stays_byte_for_byte() {
        let config = "{\n  \"z\": 1e-12,\n  \"a\": [1, 2]\n}\n";
        let edited = insert(config, &example()).expect("an object");
        assert!(edited.starts_with("{\n  \"z\": 1e-12,\n  \"a\": [1, 2],\n  \"quantization_config\": {"));
        assert!(edited.ends_with("}\n}\n"));
        let parsed: Value = serde_json::from_str(&edited).expect("still JSON");
        assert_eq!(parsed["quantization_config"], example());
    }

    #[test]
    fn removal_gives_the_original_back() {
        for config in ["{}", "{ }\n", "{\"a\":1}", "{\n\t\"a\": \"}\"\n}\n\n", "{\"quantization_config\": {}}"] {
            let edited = insert(config, &example()).expect("an object");
            serde_json::from_str::<Value>(&edited).expect("still JSON");
            let restored = remove(&edited, &example()).expect("the block is there");
            assert_eq!(restored, config);
        }
    }

    #[test]
    fn removal_takes_the_name_of_the_loader_too() {
        let config = "{\n  \"model_type\": \"bert\"\n}\n";
        assert!(takes_loader(config));
        let named = name_loader(config);
        assert!(!takes_loader(&named), "it has one now");
        let edited = insert(&named, &example()).expect("an object");
        let parsed: Value = serde_json::from_str(&edited).expect("still JSON");
        assert_eq!(parsed["auto_map"]["AutoModel"], "rankfold_loader.RankfoldAutoModel");
        assert_eq!(remove(&edited, &example()).as_deref(), Some(config));
        let reformatted = serde_json::to_string(&parsed).expect("JSON");
        assert_eq!(remove_reformatted(&reformatted).as_deref(), Some(config));
    }

    #[test]
    fn code_of_the_models_own_stays_named() {
        assert!(!takes_loader("{\"model_type\": \"own\", \"auto_map\": {}}"));
        assert!(!takes_loader("{\"hidden_size\": 3}"));
    }

    #[test]
    fn a_file_without_the_block_has_nothing_to_remove() {
        assert_eq!(remove("{\"a\": 1}", &example()), None);
    }

    #[test]
    fn a_model_that_is_quantized_already_keeps_its_own_block() {
        let edited = insert("{\"quantization_config\": {\"quant_method\": \"gptq\"}}", &example()).expect("an object");
        let parsed: Value = serde_json::from_str(&edited).expect("still JSON");
        assert_eq!(parsed["quantization_config"]["quant_method"], "gptq");
        assert_eq!(parsed["rankfold"], example());
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        assert!(insert("[1]", &example()).is_err());
        assert!(insert("{", &example()).is_err());
    }
}
