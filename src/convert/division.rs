//! Which tensors a conversion takes, and what they are called and typed in its output.

use std::collections::{BTreeMap, HashMap, HashSet};

use globset::{GlobBuilder, GlobMatcher};

use super::conversion::ConversionRequest;
use crate::checkpoint::{Checkpoint, TensorId};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::TensorMeta;

/// `FROM=TO`: a new name, or with one `*` on each side new names for all that fit, the `*` being what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    from: String,
    to: String,
}

impl std::str::FromStr for Rename {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let stars = |text: &str| text.matches('*').count();
        match text.split_once('=') {
            Some((from, to)) if !from.is_empty() && !to.is_empty() && stars(from) <= 1 && stars(to) == stars(from) => {
                Ok(Rename { from: from.to_owned(), to: to.to_owned() })
            }
            _ => Err(Error::new(ErrorKind::Request, "not a renaming")
                .expected("FROM=TO, both without `*` or both with one")
                .found(format!("`{}`", text.escape_debug()))),
        }
    }
}

impl std::fmt::Display for Rename {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}={}", self.from, self.to)
    }
}

impl Rename {
    fn apply(&self, name: &str) -> Option<String> {
        match (self.from.split_once('*'), self.to.split_once('*')) {
            (Some((before, after)), Some((new_before, new_after))) => {
                let middle = name.strip_prefix(before)?.strip_suffix(after)?;
                Some(format!("{new_before}{middle}{new_after}"))
            }
            _ => (name == self.from).then(|| self.to.clone()),
        }
    }
}

/// A tensor on its way.
pub(super) struct Item {
    pub(super) id: TensorId,
    /// Under its new name, with its new dtype.
    pub(super) meta: TensorMeta,
}

/// What goes where.
#[derive(Default)]
pub(super) struct Division {
    pub(super) items: Vec<Item>,
    pub(super) left_out: Vec<String>,
    pub(super) stored_once: BTreeMap<String, String>,
}

fn matchers(globs: &[String]) -> Result<Vec<GlobMatcher>> {
    let compile = |glob: &String| {
        GlobBuilder::new(glob).build().map(|glob| glob.compile_matcher()).map_err(|error| {
            Error::new(ErrorKind::Request, "not a glob").found(format!("`{}`", glob.escape_debug())).caused_by(error)
        })
    };
    globs.iter().map(compile).collect()
}

/// Blocks have no place in any format that is written, and become numbers only where the user says of which dtype.
fn undecoded(meta: &TensorMeta) -> Error {
    let error = Error::new(ErrorKind::Unsupported, "the tensor is stored in blocks, which no format written here has")
        .tensor(&meta.name)
        .expected("floats")
        .found(meta.dtype.name());
    if meta.dtype.is_readable() {
        error.hint("decode it with `--dtype f32`, which is exact, or with `f16` or `bf16`")
    } else {
        error.hint("this type cannot be decoded: take the other tensors with `--tensors`")
    }
}

/// Which tensors are taken, what they are called and what dtype they get.
pub(super) fn divide(checkpoint: &Checkpoint, request: &ConversionRequest) -> Result<Division> {
    let globs = matchers(&request.tensors)?;
    let unused = |summary: &str, what: &str| {
        Error::new(ErrorKind::Selection, summary).at(checkpoint.root()).found(format!("`{}`", what.escape_debug()))
    };
    for (glob, text) in globs.iter().zip(&request.tensors) {
        if !checkpoint.tensors().any(|(_, meta)| glob.is_match(&meta.name)) {
            return Err(unused("glob of `--tensors` names no tensor", text));
        }
    }
    let mut division = Division::default();
    let mut names = HashSet::new();
    let mut stored: HashMap<TensorId, String> = HashMap::new();
    let mut used = vec![false; request.renames.len()];
    for (id, meta) in checkpoint.tensors() {
        if !globs.is_empty() && !globs.iter().any(|glob| glob.is_match(&meta.name)) {
            division.left_out.push(meta.name.clone());
            continue;
        }
        let first = checkpoint.shards()[id.shard].reader().stored_as(id.index);
        let first = TensorId { index: first.unwrap_or(id.index), ..id };
        let found = request.renames.iter().enumerate().find_map(|(at, rename)| Some((at, rename.apply(&meta.name)?)));
        let name = match found {
            Some((at, name)) => {
                used[at] = true;
                name
            }
            None => meta.name.clone(),
        };
        if !names.insert(name.clone()) {
            return Err(Error::new(ErrorKind::Request, "two tensors would get one name")
                .at(checkpoint.root())
                .tensor(name));
        }
        if let Some(kept) = stored.get(&first) {
            division.stored_once.insert(meta.name.clone(), kept.clone());
            continue;
        }
        stored.insert(first, name.clone());
        let dtype = request.dtype.filter(|_| meta.dtype.is_readable()).unwrap_or(meta.dtype);
        if dtype.block() > 1 {
            return Err(undecoded(meta).at(checkpoint.shard_path(id)));
        }
        division.items.push(Item { id, meta: TensorMeta { name, dtype, shape: meta.shape.clone() } });
    }
    if division.items.is_empty() {
        // An output without weights could be opened by nobody, this program included.
        return Err(Error::new(ErrorKind::Selection, "no tensor to convert").at(checkpoint.root()));
    }
    if let Some((rename, _)) = request.renames.iter().zip(used).find(|(_, used)| !used) {
        return Err(unused("renaming fits no tensor that is taken", &rename.to_string()));
    }
    Ok(division)
}
