//! A tokenizer whose tokens are the words of word vectors, as the `tokenizers` library of Hugging Face reads it.
//!
//! A token of the WordLevel model of that library that is not in its vocabulary is an error, unless the vocabulary has a
//! token that stands for it, which word vectors have not. This is a BPE without merges instead: every word of a text gets
//! a mark in front, and so has every token; a marked word is taken whole where it is a token, and is no token at all
//! otherwise, since its characters are none.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::format::Vocabulary;

/// What stands in front of a word: for private use, so that no text has it, where a word that begins with the usual `▁`
/// would be taken for one that is marked.
const MARK: char = '\u{e000}';

/// The text of `tokenizer.json`. Of a word that repeats the first row counts; words that no text has, because they are
/// empty, not UTF-8, or have blanks or the mark in them, are left out.
pub(super) fn of(vocabulary: &dyn Vocabulary) -> Result<String> {
    let mut seen = HashSet::new();
    let mut tokens = String::new();
    let mut row = 0u64;
    vocabulary.for_each(&mut |word| {
        let own = row;
        row += 1;
        let Some(word) = std::str::from_utf8(word).ok().filter(|word| is_of_text(word)) else { return Ok(()) };
        if seen.insert(word.to_owned()) {
            let separator = if tokens.is_empty() { "" } else { "," };
            let token = Value::from(format!("{MARK}{word}"));
            tokens.push_str(&format!("{separator}{token}:{own}"));
        }
        Ok::<(), Error>(())
    })?;
    let mark = MARK.to_string();
    let document = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                { "type": "WhitespaceSplit" },
                { "type": "Metaspace", "replacement": mark, "prepend_scheme": "always", "split": false },
            ],
        },
        "post_processor": null,
        "decoder": { "type": "Metaspace", "replacement": mark, "prepend_scheme": "always", "split": false },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": true,
            "vocab": {},
            "merges": [],
        },
    });
    // The vocabulary is put into its place as text: as a value it would be sorted and take many times the memory.
    Ok(document.to_string().replacen("\"vocab\":{}", &format!("\"vocab\":{{{tokens}}}"), 1) + "\n")
}

/// Whether a word can stand between blanks.
fn is_of_text(word: &str) -> bool {
    !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c == MARK)
}
