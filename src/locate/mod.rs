//! Which tensors of a checkpoint are embedding tables, by evidence.
//!
//! [`locate`] weighs every 2-D float tensor: the name family, V against the vocabulary sizes of the config, the ratio
//! V/d, being the only table of the file, and what speaks against it (names of linear layers, numbered blocks). No
//! single list decides: a tensor whose name nobody knows is found by its vocabulary, and one without a config by its
//! name. Then it finds ties: an output head (or an alias such as T5's `encoder.embed_tokens`) with the same shape,
//! dtype and bytes as a token table is that table, and is stored once.
//!
//! Where a file holds a graph, that decides without names: a matrix in which an input of the graph looks rows up is a
//! table, and one that holds it transposed and is multiplied by is its head.
//!
//! [`select`] decides which of them are compressed: token tables by default, or exactly what the user names.

mod config;
mod evidence;
mod families;
mod refuse;
mod roles;
mod select;
mod ties;

use serde::Serialize;
use serde_json::Value;

use crate::error::Result;
use crate::format::TensorUse;
use crate::tensor::{Dtype, TensorMeta};

pub use evidence::{ENOUGH, Evidence};
pub use families::{FAMILIES, Family, TIED_BY_DEFAULT, UNTIED_BY_DEFAULT};
pub use select::{Selection, select};

/// A checkpoint as [`locate`] sees it: no files, so that it can be made by hand.
pub struct Inventory<'a> {
    /// Every tensor, in the order of the checkpoint.
    pub tensors: &'a [TensorMeta],
    /// `config.json`, where there is one.
    pub config: Option<&'a Value>,
    /// Whether two tensors of the same shape and dtype, given by their positions, hold the same bytes.
    pub same_bytes: &'a dyn Fn(usize, usize) -> Result<bool>,
    /// What the files say of how their matrices are used; [`TensorUse::tensor`] is a position in `tensors`.
    pub uses: &'a [TensorUse],
    /// Whether the second of two matrices, given by their positions, is the first transposed.
    pub same_transposed: &'a dyn Fn(usize, usize) -> Result<bool>,
}

/// What a table is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// One row per token of a vocabulary, looked up.
    Token,
    /// One row per token of a vocabulary, multiplied with the last hidden state.
    OutputHead,
    /// One row per position.
    Position,
    /// One row per token type, segment or language.
    TokenType,
    /// One row per bucket of relative distance.
    RelativeBias,
    /// Something speaks for a table, not enough to say which.
    Unknown,
}

impl Role {
    /// The words of reports.
    pub fn name(self) -> &'static str {
        match self {
            Role::Token => "token",
            Role::OutputHead => "output head",
            Role::Position => "position",
            Role::TokenType => "token type",
            Role::RelativeBias => "relative bias",
            Role::Unknown => "unknown",
        }
    }
}

/// A tensor that holds the same bytes as a table and is stored once with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tie {
    /// Position in the inventory.
    #[serde(skip)]
    pub tensor: usize,
    /// Full name.
    pub name: String,
    /// What it is for.
    pub role: Role,
}

/// A tensor that may be an embedding table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// Position in the inventory.
    #[serde(skip)]
    pub tensor: usize,
    /// Full name.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// `[V, d]`.
    pub shape: [usize; 2],
    /// What it is for.
    pub role: Role,
    /// Summed [`Evidence::weight`].
    pub score: i32,
    /// What speaks for and against it.
    pub evidence: Vec<Evidence>,
    /// Tensors with the same bytes, which are stored once as this one.
    pub tied: Vec<Tie>,
    /// The table that this one is stored as, where it is such a copy itself.
    pub same_as: Option<String>,
    /// Whether it is compressed when nothing is included or excluded by name.
    pub taken_by_default: bool,
}

/// The tensors that may be embedding tables, in the order of the inventory.
///
/// # Errors
/// Whatever comparing bytes reports.
pub fn locate(inventory: &Inventory<'_>) -> Result<Vec<Candidate>> {
    let facts = inventory.config.map(config::Facts::read).unwrap_or_default();
    let mut candidates = roles::assess(inventory, &facts);
    ties::find(&mut candidates, inventory)?;
    roles::promote_unnamed(&mut candidates);
    ties::compare_with_config(&mut candidates, &facts);
    for candidate in &mut candidates {
        candidate.score = candidate.evidence.iter().map(Evidence::weight).sum();
        candidate.taken_by_default =
            candidate.role == Role::Token && candidate.score >= ENOUGH && candidate.same_as.is_none();
    }
    Ok(candidates)
}
