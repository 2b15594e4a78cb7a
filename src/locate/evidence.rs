//! What speaks for or against a tensor being an embedding table, with its weight.

use std::fmt;

use serde::Serialize;

use crate::tensor::Dtype;

/// The score from which a tensor counts as a table.
pub const ENOUGH: i32 = 4;

/// One observation about a tensor; `Display` is one line.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Evidence {
    /// It is a matrix of a float type. Without this it is no candidate.
    Matrix {
        /// Element type.
        dtype: Dtype,
        /// V.
        rows: usize,
        /// d.
        columns: usize,
    },
    /// The name is that of a model family.
    Name {
        /// The families that use it.
        family: &'static str,
        /// The end of the name that was recognized.
        pattern: &'static str,
    },
    /// The name is one that embedding tables often have and other tensors have too.
    GenericName {
        /// The end of the name that was recognized.
        pattern: &'static str,
    },
    /// V equals a vocabulary size of the config.
    Vocabulary {
        /// Path of the key (`text_config.vocab_size`).
        key: String,
        /// Its value.
        size: u64,
    },
    /// V is a vocabulary size of the config padded to a multiple of 8.
    PaddedVocabulary {
        /// Path of the key.
        key: String,
        /// Its value.
        size: u64,
    },
    /// V is not the vocabulary size that the config has.
    OtherVocabulary {
        /// Path of the key.
        key: String,
        /// Its value.
        size: u64,
    },
    /// The graph looks rows up in it.
    LookedUp {
        /// The node.
        node: String,
        /// The input of the graph that says which rows.
        indices: String,
    },
    /// The graph multiplies by it transposed, as output heads do.
    Multiplied {
        /// The node.
        node: String,
        /// Whether it is stored as `[d, V]`.
        is_transposed: bool,
    },
    /// Another tensor holds the same numbers transposed.
    TiedTransposed {
        /// Its name.
        with: String,
    },
    /// The file holds no other 2-D float tensor, as files of word vectors do.
    OnlyTable,
    /// Many more rows than columns.
    Tall {
        /// V/d.
        ratio: f64,
    },
    /// Fewer rows than columns.
    Wide {
        /// V/d.
        ratio: f64,
    },
    /// Part of the name is that of a layer that multiplies.
    LayerName {
        /// The part.
        part: String,
    },
    /// The name is inside a numbered block, as layers are and tables are not.
    NumberedBlock {
        /// The number.
        part: String,
    },
    /// Another tensor holds the same bytes.
    TiedByBytes {
        /// Its name.
        with: String,
    },
    /// The config says that the output head is tied to it, and the checkpoint stores no head.
    TiedByConfig {
        /// What the config says.
        claim: String,
    },
    /// The config says that head and table are tied, but their bytes differ: they are two tables.
    TieContradicted {
        /// The other one.
        with: String,
        /// What the config says.
        claim: String,
    },
    /// The config says that head and table are not tied, but their bytes are the same.
    TiedAgainstConfig {
        /// The other one.
        with: String,
        /// What the config says.
        claim: String,
    },
    /// The user named it.
    Included {
        /// The glob that names it.
        glob: String,
    },
}

impl Evidence {
    /// How much it speaks for an embedding table; negative where it speaks against.
    ///
    /// A family's name is enough by itself, so is a vocabulary; a generic name needs a table's form or a vocabulary; a
    /// layer's name outweighs a vocabulary that V equals by chance.
    pub fn weight(&self) -> i32 {
        match self {
            Evidence::Name { .. } => 6,
            Evidence::Vocabulary { .. } | Evidence::OnlyTable | Evidence::LookedUp { .. } => 4,
            Evidence::GenericName { .. } => 3,
            Evidence::PaddedVocabulary { .. } => 2,
            Evidence::Tall { .. } => 1,
            Evidence::OtherVocabulary { .. } | Evidence::Wide { .. } => -1,
            Evidence::NumberedBlock { .. } => -2,
            Evidence::LayerName { .. } => -4,
            Evidence::Matrix { .. }
            | Evidence::Multiplied { .. }
            | Evidence::TiedByBytes { .. }
            | Evidence::TiedTransposed { .. }
            | Evidence::TiedByConfig { .. }
            | Evidence::TieContradicted { .. }
            | Evidence::TiedAgainstConfig { .. }
            | Evidence::Included { .. } => 0,
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Evidence::Matrix { dtype, rows, columns } => write!(out, "2-D {dtype} [{rows}, {columns}]"),
            Evidence::Name { family, pattern } => write!(out, "name `{pattern}` of {family}"),
            Evidence::GenericName { pattern } => write!(out, "name `{pattern}`, often a table's"),
            Evidence::Vocabulary { key, size } => write!(out, "V = {size} = {}", key.escape_debug()),
            Evidence::PaddedVocabulary { key, size } => {
                write!(out, "V is {} = {size} padded to a multiple of 8", key.escape_debug())
            }
            Evidence::OtherVocabulary { key, size } => write!(out, "V is not {} = {size}", key.escape_debug()),
            Evidence::LookedUp { node, indices } => {
                write!(out, "rows looked up by {node} with input `{}`", indices.escape_debug())
            }
            Evidence::Multiplied { node, is_transposed: true } => write!(out, "multiplied by {node}, stored as [d, V]"),
            Evidence::Multiplied { node, is_transposed: false } => write!(out, "multiplied transposed by {node}"),
            Evidence::TiedTransposed { with } => write!(out, "`{}` transposed", with.escape_debug()),
            Evidence::OnlyTable => out.write_str("the only 2-D float tensor"),
            Evidence::Tall { ratio } => write!(out, "V/d = {ratio:.1}"),
            Evidence::Wide { ratio } => write!(out, "fewer rows than columns, V/d = {ratio:.2}"),
            Evidence::LayerName { part } => write!(out, "name part `{}` is a layer's", part.escape_debug()),
            Evidence::NumberedBlock { part } => write!(out, "inside numbered block `{part}`"),
            Evidence::TiedByBytes { with } => write!(out, "same bytes as `{}`", with.escape_debug()),
            Evidence::TiedByConfig { claim } => {
                write!(out, "tied to the output head by config, {claim}; no head stored")
            }
            Evidence::TieContradicted { with, claim } => {
                write!(out, "{claim}, but the bytes of `{}` differ: not tied", with.escape_debug())
            }
            Evidence::TiedAgainstConfig { with, claim } => {
                write!(out, "{claim}, but the bytes of `{}` are the same: tied", with.escape_debug())
            }
            Evidence::Included { glob } => write!(out, "named by `{}`", glob.escape_debug()),
        }
    }
}
