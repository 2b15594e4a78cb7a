//! What `config.json` says of a classifier.

use serde_json::{Map, Value, json};

use super::TrainedModel;
use crate::error::{Error, ErrorKind, Result};
use crate::train::data::{Casing, Labels, PADDING, UNKNOWN};
use crate::train::model::{ARCHITECTURES, Architecture, Sizes};

/// The most words of a sentence that a configuration may ask for.
const MAX_TOKENS: u64 = 1 << 20;

/// The text of the configuration of `model`.
pub(super) fn text(model: &TrainedModel) -> String {
    let sizes = model.classifier.sizes();
    let names = (0..).zip(model.labels.names());
    let labels: Map<String, Value> =
        names.map(|(number, name): (u32, _)| (number.to_string(), name.as_str().into())).collect();
    let config = json!({
        "model_type": model.classifier.architecture().model_type(),
        "vocab_size": model.vocabulary.len(),
        "embedding_size": sizes.columns,
        "hidden_sizes": sizes.hidden,
        "dropout": sizes.dropout,
        "max_tokens": model.max_tokens,
        "do_lower_case": model.vocabulary.casing() == Casing::Lower,
        "pad_token_id": PADDING,
        "unk_token_id": UNKNOWN,
        "id2label": labels,
    });
    format!("{config:#}\n")
}

/// What a configuration says.
pub(super) struct Configuration {
    pub(super) architecture: &'static dyn Architecture,
    pub(super) sizes: Sizes,
    pub(super) labels: Labels,
    pub(super) max_tokens: usize,
    pub(super) casing: Casing,
}

impl Configuration {
    /// Reads the configuration of a classifier.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where it is of another model; [`ErrorKind::Malformed`], with the key, where something
    /// is missing or out of range.
    pub(super) fn parse(config: &Value) -> Result<Self> {
        let model_type = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let architecture = ARCHITECTURES.iter().copied().find(|one| one.model_type() == model_type);
        let Some(architecture) = architecture else {
            let known: Vec<_> = ARCHITECTURES.iter().map(|one| format!("`{}`", one.model_type())).collect();
            return Err(Error::new(ErrorKind::Unsupported, "not a classifier that `rankfold train` made")
                .expected(format!("a `model_type` of {}", known.join(" or ")))
                .found(format!("`{}`", model_type.escape_debug())));
        };
        let missing = |key: &str, expected: &str| {
            let found = config.get(key).map_or("nothing".to_owned(), Value::to_string);
            Error::new(ErrorKind::Malformed, format!("`{key}` is missing or out of range"))
                .expected(expected)
                .found(found.chars().take(80).collect::<String>())
        };
        let count = |value: &Value| value.as_u64().and_then(|count| usize::try_from(count).ok());
        let hidden = config.get("hidden_sizes").and_then(Value::as_array);
        let hidden = hidden.and_then(|sizes| sizes.iter().map(count).collect::<Option<Vec<_>>>());
        let names = config.get("id2label").and_then(Value::as_object);
        let names = names.and_then(|names| {
            let name = |number: usize| names.get(&number.to_string())?.as_str().map(str::to_owned);
            (0..names.len()).map(name).collect::<Option<Vec<_>>>()
        });
        let labels = Labels::new(names.ok_or_else(|| missing("id2label", "a name for each number from 0"))?)?;
        let max_tokens =
            config.get("max_tokens").and_then(Value::as_u64).filter(|most| (1..=MAX_TOKENS).contains(most));
        let columns = config.get("embedding_size").and_then(count);
        let sizes = Sizes {
            columns: columns.ok_or_else(|| missing("embedding_size", "a whole number"))?,
            hidden: hidden.ok_or_else(|| missing("hidden_sizes", "whole numbers"))?,
            classes: labels.len(),
            dropout: config.get("dropout").and_then(Value::as_f64).ok_or_else(|| missing("dropout", "a number"))?,
        };
        let max_tokens = max_tokens.ok_or_else(|| missing("max_tokens", &format!("1 to {MAX_TOKENS}")))?;
        let casing = match config.get("do_lower_case").map(|value| value.as_bool()) {
            Some(Some(true)) => Casing::Lower,
            Some(Some(false)) => Casing::Keep,
            _ => return Err(missing("do_lower_case", "true or false")),
        };
        Ok(Configuration { architecture, sizes, labels, max_tokens: max_tokens as usize, casing })
    }
}
