//! What `config.json` says of vocabularies and ties.

use std::collections::VecDeque;

use serde_json::{Map, Value};

use super::families::{TIED_BY_DEFAULT, UNTIED_BY_DEFAULT};

/// Keys whose value is a number of tokens.
const VOCABULARY_KEYS: &[&str] = &[
    "vocab_size",
    "n_vocab",
    "padded_vocab_size",
    "text_vocab_size",
    "encoder_vocab_size",
    "decoder_vocab_size",
    "src_vocab_size",
    "tgt_vocab_size",
    "vocab_size_per_layer_input",
];

/// How deep configs of parts (`text_config`, `thinker_config.text_config`) are looked into.
const MAX_DEPTH: usize = 4;

/// Parts of a class name that say that the model ends in an output head over the vocabulary.
const HEAD_CLASSES: &[&str] = &["LMHead", "CausalLM", "MaskedLM", "ConditionalGeneration", "PreTraining", "MTModel"];

/// A vocabulary size and the path of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vocabulary {
    pub(super) key: String,
    pub(super) size: u64,
}

/// What the config says on tying head and table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TieClaim {
    pub(super) tied: bool,
    /// Said by a key rather than left to the default of the model type.
    pub(super) explicit: bool,
    /// In words.
    pub(super) text: String,
}

/// The facts of a config that matter here.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Shallowest first, each size once.
    pub(super) vocabularies: Vec<Vocabulary>,
    pub(super) tie: Option<TieClaim>,
    /// Whether the class that wrote the config ends in an output head; `None` where it names no class.
    pub(super) has_head: Option<bool>,
}

impl Facts {
    /// Reads the config and those of its parts; what does not have the expected type counts as absent.
    pub(super) fn read(config: &Value) -> Self {
        let mut facts = Facts::default();
        let mut explicit: Option<TieClaim> = None;
        let mut default: Option<TieClaim> = None;
        let mut queue: VecDeque<(String, &Map<String, Value>, usize)> = VecDeque::new();
        queue.extend(config.as_object().map(|object| (String::new(), object, 0)));
        while let Some((path, object, depth)) = queue.pop_front() {
            let found = facts.read_vocabularies(&path, object);
            // Configs of image and audio parts carry the key too; only the top and parts with tokens count.
            if found || depth == 0 {
                explicit = explicit.or_else(|| explicit_tie(&path, object));
                default = default.or_else(|| default_tie(object));
            }
            if depth < MAX_DEPTH {
                let parts = object.iter().filter_map(|(key, value)| Some((key, value.as_object()?)));
                queue.extend(parts.map(|(key, part)| (format!("{path}{key}."), part, depth + 1)));
            }
        }
        facts.tie = explicit.or(default);
        facts.has_head = config.get("architectures").and_then(Value::as_array).map(|classes| {
            let mut names = classes.iter().filter_map(Value::as_str);
            names.any(|name| HEAD_CLASSES.iter().any(|part| name.contains(part)))
        });
        facts
    }

    fn read_vocabularies(&mut self, path: &str, object: &Map<String, Value>) -> bool {
        let mut any = false;
        for key in VOCABULARY_KEYS {
            let Some(size) = object.get(*key).and_then(Value::as_u64).filter(|&size| size > 0) else { continue };
            any = true;
            if !self.vocabularies.iter().any(|known| known.size == size) {
                self.vocabularies.push(Vocabulary { key: format!("{path}{key}"), size });
            }
        }
        any
    }
}

fn explicit_tie(path: &str, object: &Map<String, Value>) -> Option<TieClaim> {
    let tied = object.get("tie_word_embeddings")?.as_bool()?;
    Some(TieClaim { tied, explicit: true, text: format!("{}tie_word_embeddings = {tied}", path.escape_debug()) })
}

fn default_tie(object: &Map<String, Value>) -> Option<TieClaim> {
    let model_type = object.get("model_type")?.as_str()?;
    let claim = |tied| {
        let text = format!("tie_word_embeddings = {tied} by default of model_type `{model_type}`");
        Some(TieClaim { tied, explicit: false, text })
    };
    match model_type {
        _ if TIED_BY_DEFAULT.contains(&model_type) => claim(true),
        _ if UNTIED_BY_DEFAULT.contains(&model_type) => claim(false),
        _ => None,
    }
}
