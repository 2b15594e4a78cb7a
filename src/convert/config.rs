//! The block that an output's `config.json` gains.
//!
//! The file is edited as text: every byte that was there stays (number spellings, key order, duplicate keys that a
//! parser would fold), and taking the block out again gives the original file.

use serde_json::{Map, Value, json};

use crate::codec::{self, Native};
use crate::error::{Error, ErrorKind, Result};
use crate::json::Members;
use crate::manifest::TableRecord;
use crate::stub;

/// The key under which transformers looks for the method; its loaders refuse what they do not know.
const PREFERRED_KEY: &str = "quantization_config";
/// The key where the preferred one is taken: the model is quantized by some other method already.
const FALLBACK_KEY: &str = "rankfold";

/// What the configuration gains for `tables`: what each table became, and the block that loaders dispatch on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Additions {
    /// The block of another program that loads some of the tables.
    native: Option<Value>,
    /// Ours.
    own: Value,
    /// Whether a loader has to know of ours, since some table is not what it looks like.
    dispatch: bool,
}

impl Additions {
    /// Ours has the method by the name that loaders dispatch on, unless compressed-tensors reads some table, or
    /// unless every table is a plain tensor still. A table that neither reads fails on the shape of what is stored.
    ///
    /// Where the tables are `carried`, nobody has to dispatch on anything.
    pub(crate) fn new(tables: &[TableRecord], carried: bool) -> Result<Self> {
        let natives = tables.iter().map(|table| Ok(codec::find(&table.method)?.native(&table.setting, table.shape[1])));
        let natives: Vec<Option<Native>> = natives.collect::<Result<_>>()?;
        let groups = tables.iter().zip(&natives).filter_map(|(table, native)| match native {
            Some(Native::CompressedTensors(group)) => Some((table.name.as_str(), group)),
            _ => None,
        });
        let native = compressed_tensors(groups);
        let dispatch = !carried && native.is_none() && natives.iter().any(|native| *native != Some(Native::Plain));
        Ok(Additions { native, own: own(tables), dispatch })
    }

    /// The members for a configuration in which `taken` tells the keys that are there already.
    fn members(&self, taken: impl Fn(&str) -> bool) -> Result<Vec<(&'static str, &Value)>> {
        let refuse = |summary: &str, hint: &str| Err(Error::new(ErrorKind::Unsupported, summary).hint(hint));
        if taken(FALLBACK_KEY) {
            return refuse(
                "the configuration has a block of this program already",
                "start from the original checkpoint, or `rankfold restore` this one first",
            );
        }
        match &self.native {
            Some(_) if taken(PREFERRED_KEY) => refuse(
                "the model is quantized already, and a loader would not learn of these codes",
                "choose another width with `--bits`, or another `--method`",
            ),
            Some(native) => Ok(vec![(PREFERRED_KEY, native), (FALLBACK_KEY, &self.own)]),
            None if self.dispatch && !taken(PREFERRED_KEY) => Ok(vec![(PREFERRED_KEY, &self.own)]),
            None => Ok(vec![(FALLBACK_KEY, &self.own)]),
        }
    }
}

/// The block of compressed-tensors with the tables of `groups`, if there are any.
fn compressed_tensors<'a>(groups: impl Iterator<Item = (&'a str, &'a Value)>) -> Option<Value> {
    let mut merged: Vec<(&Value, Vec<String>)> = Vec::new();
    for (name, group) in groups {
        let target = module_pattern(name);
        match merged.iter_mut().find(|(known, _)| *known == group) {
            Some((_, targets)) => targets.push(target),
            None => merged.push((group, vec![target])),
        }
    }
    let formats: Vec<&Value> = merged.iter().filter_map(|(group, _)| group.get("format")).collect();
    let first = *formats.first()?;
    let format = if formats.iter().all(|format| *format == first) { first.clone() } else { "mixed-precision".into() };
    let groups: Map<String, Value> = merged
        .iter()
        .enumerate()
        .filter_map(|(number, (group, targets))| {
            let mut group = group.as_object()?.clone();
            group.insert("targets".into(), json!(targets));
            Some((format!("group_{number}"), Value::Object(group)))
        })
        .collect();
    Some(json!({
        "quant_method": "compressed-tensors",
        "format": format,
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": [],
        "dequantize": true,
    }))
}

/// The module of a table as compressed-tensors finds it. Loaders put the prefix of a base model before a name, or take
/// it away, so the first word of the path need not be there and others may precede it.
fn module_pattern(name: &str) -> String {
    let module = name.strip_suffix(".weight").unwrap_or(name);
    let literal = |text: &str| {
        let escape = |character: char| match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => character.to_string(),
            other => format!("\\{other}"),
        };
        text.chars().map(escape).collect::<String>()
    };
    match module.split_once('.') {
        Some((first, rest)) => format!("re:(.*\\.)?({}\\.)?{}$", literal(first), literal(rest)),
        None => format!("re:(.*\\.)?{}$", literal(module)),
    }
}

/// `config` with these members set, their values changed in place or added at the end; every other byte stays.
///
/// # Errors
/// [`ErrorKind::Malformed`] where `config` is not a JSON object.
pub(crate) fn set(config: &str, values: &[(&'static str, Value)]) -> Result<String> {
    let mut text = config.to_owned();
    for (key, value) in values {
        let members = Members::parse(&text, "configuration")?;
        // Of several of one name the last counts.
        let old = members.0.iter().rev().find(|(name, _)| name == key).map(|(_, old)| old.get());
        // The text of a value is a piece of the whole.
        let start = old.map(|old| (old.as_ptr() as usize - text.as_ptr() as usize, old.len()));
        let only = members.0.is_empty();
        match start {
            Some((start, length)) => text.replace_range(start..start + length, &value.to_string()),
            None => {
                let (body, tail) = split_at_last_brace(&text);
                text = format!("{body}{}{tail}", member(key, value, only));
            }
        }
    }
    Ok(text)
}

/// What each table became.
fn own(tables: &[TableRecord]) -> Value {
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

/// Whether an output may name its loader to transformers: the configuration is one of that library, and names neither
/// code of its own nor another method, which would be followed instead.
pub(crate) fn takes_loader(config: &str) -> bool {
    let members: Option<Map<String, Value>> = serde_json::from_str(config).ok();
    let is_free = |key| members.as_ref().is_some_and(|members| !members.contains_key(key));
    !is_free("model_type") && is_free(CODE_KEY) && is_free(PREFERRED_KEY)
}

/// `config` with the loader's `auto_map` as the last member of its object.
pub(crate) fn name_loader(config: &str) -> String {
    let (body, tail) = split_at_last_brace(config);
    // An object that takes the loader has a member already.
    format!("{body}{}{tail}", member(CODE_KEY, &stub::auto_map(), false))
}

/// `config` with `additions` as the last members of its object.
///
/// # Errors
/// [`ErrorKind::Malformed`] where `config` is not a JSON object, [`ErrorKind::Unsupported`] where the keys are taken.
pub(crate) fn insert(config: &str, additions: &Additions) -> Result<String> {
    let members: Map<String, Value> = serde_json::from_str(config)
        .map_err(|error| Error::new(ErrorKind::Malformed, "not a JSON object").found(error.to_string()))?;
    let (body, tail) = split_at_last_brace(config);
    let added = text(&additions.members(|key| members.contains_key(key))?, members.is_empty());
    Ok(format!("{body}{added}{tail}"))
}

/// `config` without what [`insert`] added for `additions` and [`name_loader`] before it; `None` where the former is not
/// there as it was added.
pub(crate) fn remove(config: &str, additions: &Additions) -> Option<String> {
    let (body, tail) = split_at_last_brace(config);
    let none: fn(&str) -> bool = |_| false;
    let preferred: fn(&str) -> bool = |key| key == PREFERRED_KEY;
    let body = [none, preferred]
        .into_iter()
        .filter_map(|taken| additions.members(taken).ok())
        .flat_map(|members| [false, true].map(|only| text(&members, only)))
        .find_map(|added| body.strip_suffix(added.as_str()))?;
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

/// `members` as they stand at the end of an object, `only` them in it or not.
fn text(members: &[(&str, &Value)], only: bool) -> String {
    members.iter().enumerate().map(|(number, (key, block))| member(key, block, only && number == 0)).collect()
}

fn member(key: &str, block: &Value, only: bool) -> String {
    // Alternate display of a JSON value indents by two; one level deeper it stands in the object.
    let text = format!("{block:#}").replace('\n', "\n  ");
    format!("{}\n  \"{key}\": {text}", if only { "" } else { "," })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Additions {
        Additions { native: None, own: block(), dispatch: true }
    }

    fn block() -> Value {
        json!({ "quant_method": "rankfold", "tables": { "a.weight": { "setting": { "rank": 3 } } } })
    }

    #[test]
    fn the_rest_of_the_file_stays_byte_for_byte() {
        let config = "{\n  \"z\": 1e-12,\n  \"a\": [1, 2]\n}\n";
        let edited = insert(config, &example()).expect("an object");
        assert!(edited.starts_with("{\n  \"z\": 1e-12,\n  \"a\": [1, 2],\n  \"quantization_config\": {"));
        assert!(edited.ends_with("}\n}\n"));
        let parsed: Value = serde_json::from_str(&edited).expect("still JSON");
        assert_eq!(parsed["quantization_config"], block());
    }

    #[test]
    fn a_member_is_changed_in_its_place_and_added_at_the_end() {
        let config = "{\n  \"a\" : 1e3,\n  \"b\": {\"a\": 2},\n  \"c\":[1]\n}\n";
        let edited = set(config, &[("a", 7.into()), ("d", false.into())]).expect("an object");
        assert_eq!(edited, "{\n  \"a\" : 7,\n  \"b\": {\"a\": 2},\n  \"c\":[1],\n  \"d\": false\n}\n");
        assert_eq!(set("{\"a\": 1, \"a\": 2}", &[("a", 3.into())]).expect("an object"), "{\"a\": 1, \"a\": 3}");
        assert_eq!(set("{}", &[("a", 3.into())]).expect("an object"), "{\n  \"a\": 3}");
        assert!(set("[1]", &[("a", 3.into())]).is_err());
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
        assert!(!takes_loader("{\"model_type\": \"bert\", \"quantization_config\": {}}"));
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
        assert_eq!(parsed["rankfold"], block());
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        assert!(insert("[1]", &example()).is_err());
        assert!(insert("{", &example()).is_err());
    }
}
