//! Whether words that differ in case alone are one word.

use std::borrow::Cow;

/// How words are spelled before they are looked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Casing {
    /// In lower case. The usual vectors (GloVe of 6 billion words, uncased word pieces) have no others, and the first
    /// word of a sentence would else be another word than the same one behind it.
    #[default]
    Lower,
    /// As written.
    Keep,
}

impl Casing {
    /// `word` as it is looked up.
    pub fn apply(self, word: &str) -> Cow<'_, str> {
        match self {
            Casing::Lower if word.chars().any(char::is_uppercase) => Cow::Owned(word.to_lowercase()),
            _ => Cow::Borrowed(word),
        }
    }
}
