//! Carriers: the places that architectures have for a factor pair, which loaders that know nothing of this program read.
//!
//! One file each, one line in [`CARRIERS`]. Without a carrier the parts keep the names that the codec gives them, and
//! the loader of the stub reads them.

mod deberta;
mod opt;
mod prepared;
mod sentence_transformers;
pub(super) mod word_vectors;

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::checkpoint::Checkpoint;
use crate::codec::Native;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::TensorMeta;

/// Every carrier, in the order in which they are asked.
pub const CARRIERS: &[&dyn Carrier] =
    &[&opt::Opt, &deberta::DebertaV2, &sentence_transformers::SentenceTransformers, &word_vectors::WordVectors];

/// The choice of no carrier: the stub's loader reads the tables.
pub const LOADER: &str = "loader";
/// The choice of whichever carrier the architecture has.
const NATIVE: &str = "native";
/// The choice of a carrier where there is one that gives the same values, else of the loader.
const AUTO: &str = "auto";

/// Every value of the choice.
pub fn choices() -> Vec<&'static str> {
    // One library may read several architectures.
    let mut choices: Vec<_> = [LOADER, NATIVE, AUTO].into_iter().chain(CARRIERS.iter().map(|one| one.name())).collect();
    choices.dedup();
    choices
}

/// A table as it is encoded.
#[derive(Debug)]
pub struct Encoded<'a> {
    /// Name of the dense tensor.
    pub name: &'a str,
    /// `[V, d]`.
    pub shape: [usize; 2],
    /// Tensors that are stored once with it.
    pub tied: Vec<&'a str>,
    /// What the codec stores, in its order, under its own names.
    pub parts: &'a [TensorMeta],
    /// How loaders read the parts, as far as they do.
    pub native: Option<Native>,
}

/// A tensor that holds a part of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Index of the part.
    pub part: usize,
    /// Its name in the output.
    pub name: String,
    /// The weight file, relative to the output; that of the table where there is none.
    pub file: Option<PathBuf>,
    /// Whether rows and columns are exchanged.
    pub transposed: bool,
}

impl Slot {
    /// Part `part` beside the table, as it is.
    fn new(part: usize, name: impl Into<String>) -> Self {
        Slot { part, name: name.into(), file: None, transposed: false }
    }
}

/// What a carrier makes of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Placed {
    /// The tensors of each table. Every part has a first one that is not transposed.
    pub slots: Vec<Vec<Slot>>,
    /// Members of `config.json` that change.
    pub config: Vec<(&'static str, Value)>,
    /// Files that are added, or replace one of the source, with their text.
    pub files: Vec<(PathBuf, String)>,
}

/// A place for factor pairs in an architecture.
pub trait Carrier: Sync {
    /// The name of flags and manifests.
    fn name(&self) -> &'static str;

    /// One line for the docs: who reads it, and where the factors go.
    fn summary(&self) -> &'static str;

    /// Whether the checkpoint is of its architecture.
    fn fits(&self, checkpoint: &Checkpoint) -> bool;

    /// Whether a program that the stub's loader does not reach would take the first factor for the table, and say
    /// nothing.
    fn is_only_way(&self) -> bool {
        false
    }

    /// Where the parts of `tables` go.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the model would not compute what it did with the tables multiplied out.
    fn place(&self, checkpoint: &Checkpoint, tables: &[Encoded<'_>]) -> Result<Placed>;
}

/// The carrier for `choice`: none for the loader, and for `auto` where none fits.
///
/// # Errors
/// [`ErrorKind::Request`] where a carrier was asked for that the checkpoint has no place for.
fn choose(choice: &str, checkpoint: &Checkpoint) -> Result<Option<&'static dyn Carrier>> {
    let fitting = CARRIERS.iter().copied().find(|carrier| {
        let named = choice == NATIVE || choice == AUTO || choice == carrier.name();
        named && carrier.fits(checkpoint)
    });
    if choice == LOADER || choice == AUTO || fitting.is_some() {
        return Ok(fitting);
    }
    let names = CARRIERS.iter().map(|carrier| carrier.name()).collect::<Vec<_>>().join(" or ");
    Err(Error::new(ErrorKind::Request, "the checkpoint has no place for a factor pair that a carrier knows")
        .at(checkpoint.root())
        .expected(if choice == NATIVE { names } else { format!("a checkpoint for `{choice}`") })
        .hint(LOADER_HINT))
}

/// Refuses the loader for a checkpoint that it cannot be used with.
fn refuse_silent(checkpoint: &Checkpoint) -> Result<()> {
    match CARRIERS.iter().find(|carrier| carrier.is_only_way() && carrier.fits(checkpoint)) {
        None => Ok(()),
        Some(carrier) => {
            Err(Error::new(ErrorKind::Request, "the program that loads the model would take codes for the table")
                .at(checkpoint.root())
                .expected(format!("`--carrier {}` or `auto`", carrier.name()))
                .found(format!("`--carrier {LOADER}`")))
        }
    }
}

const LOADER_HINT: &str = "pass `--carrier loader`";

/// A refusal of [`Carrier::place`].
fn inexact(summary: &str) -> Error {
    Error::new(ErrorKind::Unsupported, summary).hint(LOADER_HINT)
}

/// The only table, a factor pair that nothing but `tied` shares.
///
/// # Errors
/// [`ErrorKind::Unsupported`] where there are others, or it is stored in another way.
fn only_pair<'e, 'a>(tables: &'e [Encoded<'a>], ending: &str) -> Result<&'e Encoded<'a>> {
    let [table] = tables else {
        let names = tables.iter().map(|table| format!("`{}`", table.name)).collect::<Vec<_>>().join(", ");
        return Err(inexact("the carrier has a place for one table").expected(format!("`…{ending}`")).found(names));
    };
    if !table.name.ends_with(ending) {
        let found = format!("`{}`", table.name);
        return Err(inexact("the carrier has no place for the table").expected(format!("`…{ending}`")).found(found));
    }
    if table.native != Some(Native::FactorPair) {
        return Err(inexact("the carrier has a place for a factor pair only").expected("`--method low-rank`"));
    }
    Ok(table)
}

/// k, the width of the first factor.
fn rank(table: &Encoded<'_>) -> usize {
    table.parts.first().and_then(|part| part.matrix()).map_or(0, |(_, rank)| rank)
}

/// The members of `config.json`; none where there is no such file.
fn members(checkpoint: &Checkpoint) -> Option<&Map<String, Value>> {
    checkpoint.config().and_then(|config| config.value().as_object())
}

/// Whether `config.json` is of this model type.
fn is_model(checkpoint: &Checkpoint, model_type: &str) -> bool {
    members(checkpoint).and_then(|members| members.get("model_type")).is_some_and(|found| found == model_type)
}

/// Refuses a configuration whose width of word vectors is not that of the hidden states: it has a projection already.
fn refuse_projected(members: &Map<String, Value>, key: &str, table: &Encoded<'_>) -> Result<()> {
    let [_, width] = table.shape;
    let hidden = members.get("hidden_size").and_then(Value::as_u64);
    let own = members.get(key).filter(|value| !value.is_null()).map_or(hidden, Value::as_u64);
    if hidden != Some(width as u64) || own != hidden {
        return Err(inexact("the model projects its word vectors already, or they have another width than it says")
            .expected(format!("`hidden_size` and `{key}` of {width}"))
            .found(format!("{hidden:?} and {own:?}")));
    }
    if rank(table) == width {
        return Err(inexact("a pair of full rank has no place")
            .expected(format!("a rank below {width}"))
            .found(width.to_string()));
    }
    Ok(())
}
