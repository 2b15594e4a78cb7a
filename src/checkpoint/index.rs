//! The index of a sharded checkpoint: which shard has which tensor.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Shard, TensorId, paths};
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;
use crate::json::{self, Members};
use crate::tensor::TensorMeta;

const WEIGHT_MAP: &str = "weight_map";
const METADATA: &str = "metadata";
const TOTAL_SIZE: &str = "total_size";

/// A `*.safetensors.index.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardIndex {
    path: PathBuf,
    weight_map: BTreeMap<String, PathBuf>,
    metadata: Map<String, Value>,
}

impl ShardIndex {
    /// Reads the index `path`, which is relative to `root`, and checks what can be checked without its shards.
    pub(super) fn read(root: &Path, path: &Path) -> Result<Self> {
        let full = root.join(path);
        let bytes = limits::read(&full, limits::MAX_JSON)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            Error::new(ErrorKind::Malformed, "index is not UTF-8")
                .at(&full)
                .found(format!("an invalid sequence at byte {}", error.valid_up_to()))
                .caused_by(error)
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let (weight_map, metadata) = parse(text, folder).map_err(|error| error.at(&full))?;
        Ok(ShardIndex { path: path.to_owned(), weight_map, metadata })
    }

    /// Path relative to the root of the checkpoint.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The shard of each tensor, relative to the root of the checkpoint.
    pub fn weight_map(&self) -> &BTreeMap<String, PathBuf> {
        &self.weight_map
    }

    /// What stands under `metadata`, such as `total_size`.
    pub fn metadata(&self) -> &Map<String, Value> {
        &self.metadata
    }

    /// The shards by name, after it was checked that each is a file below the directory of the index.
    pub(super) fn shards(&self, root: &Path) -> Result<Vec<PathBuf>> {
        let malformed = |summary: &str| Error::new(ErrorKind::Malformed, summary).at(root.join(&self.path));
        let shards: BTreeSet<&Path> = self.weight_map.values().map(PathBuf::as_path).collect();
        if shards.len() > limits::MAX_SHARDS {
            return Err(malformed("index names too many shards")
                .expected(format!("at most {}", limits::MAX_SHARDS))
                .found(format!("{}", shards.len())));
        }
        let mut missing = Vec::new();
        for &shard in &shards {
            let full = root.join(shard);
            match fs::metadata(&full) {
                Ok(_) => self.check_inside(root, shard)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(shard),
                Err(error) => return Err(Error::io("cannot open", full, error)),
            }
        }
        if !missing.is_empty() {
            return Err(malformed("index names shards that are missing")
                .expected("every shard beside the index")
                .found(format!("no {}", paths::list(missing.into_iter(), paths::quote))));
        }
        Ok(shards.into_iter().map(Path::to_owned).collect())
    }

    /// Refuses a shard whose folder is a link out of the directory of the index. The shard itself may be a link: a
    /// Hugging Face cache is made of them.
    fn check_inside(&self, root: &Path, shard: &Path) -> Result<()> {
        let resolve = |path: PathBuf| fs::canonicalize(&path).map_err(|error| Error::io("cannot open", path, error));
        let folder = |path: &Path| root.join(path).parent().map_or_else(|| root.to_owned(), Path::to_owned);
        if resolve(folder(shard))?.starts_with(resolve(folder(&self.path))?) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Malformed, "index names a shard outside its directory")
            .at(root.join(&self.path))
            .expected("a file below the directory of the index")
            .found(format!("{}, whose folder is a link out of it", paths::quote(shard))))
    }

    /// Checks that each tensor is where the index says, and gives what is odd but harmless.
    ///
    /// A tensor that the index lacks is kept and passes through: loaders ignore it, but to drop it would lose data.
    pub(super) fn check(
        &self,
        root: &Path,
        shards: &[Shard],
        names: &HashMap<String, TensorId>,
    ) -> Result<Vec<String>> {
        for (name, shard) in &self.weight_map {
            let found = match names.get(name).and_then(|id| shards.get(id.shard)) {
                Some(found) if found.path == *shard => continue,
                Some(found) => format!("it in {}", paths::quote(&found.path)),
                None => "it in no shard".to_owned(),
            };
            return Err(Error::new(ErrorKind::Malformed, "tensor is not where the index says")
                .at(root.join(&self.path))
                .tensor(name)
                .expected(format!("it in {}", paths::quote(shard)))
                .found(found));
        }
        let mut warnings = Vec::new();
        let tensors = || shards.iter().flat_map(|shard| shard.reader.tensors());
        let unnamed: Vec<&TensorMeta> = tensors().filter(|meta| !self.weight_map.contains_key(&meta.name)).collect();
        if !unnamed.is_empty() {
            let listed = paths::list(unnamed.into_iter(), |meta| format!("`{}`", meta.name.escape_debug()));
            warnings.push(format!("{}: index lacks tensors of its shards: {listed}", paths::quote(&self.path)));
        }
        let total: u64 = tensors().filter_map(TensorMeta::bytes).fold(0, u64::saturating_add);
        if let Some(stated) = self.metadata.get(TOTAL_SIZE).filter(|stated| !equals(stated, total)) {
            let path = paths::quote(&self.path);
            warnings.push(format!("{path}: `{TOTAL_SIZE}` of the index is wrong: expected {total}, found {stated}"));
        }
        Ok(warnings)
    }
}

/// Whether a JSON number is `total`; some programs write it as a float.
fn equals(stated: &Value, total: u64) -> bool {
    stated.as_u64() == Some(total) || stated.as_f64().is_some_and(|stated| stated == total as f64)
}

/// Reads the text of an index whose shards are relative to `folder`.
fn parse(text: &str, folder: &Path) -> Result<(BTreeMap<String, PathBuf>, Map<String, Value>)> {
    let malformed = |summary: String| Error::new(ErrorKind::Malformed, summary);
    let wrong = |member: &str, expected: &str, value| {
        malformed(format!("`{member}` of the index is of the wrong type")).expected(expected).found(json::quote(value))
    };
    let members = Members::parse(text, "index")?;
    let weights = members.get(WEIGHT_MAP).ok_or_else(|| malformed(format!("index has no `{WEIGHT_MAP}`")))?;
    if let Some(name) = members.duplicate() {
        return Err(malformed(format!("`{}` occurs twice in the index", name.escape_debug())));
    }
    if !weights.get().starts_with('{') {
        return Err(wrong(WEIGHT_MAP, "an object from tensors to shards", weights));
    }
    let entries = Members::parse(weights.get(), WEIGHT_MAP)?;
    if let Some(name) = entries.duplicate() {
        return Err(malformed("tensor occurs twice in the index".to_owned()).tensor(name));
    }
    if entries.0.is_empty() {
        return Err(malformed(format!("`{WEIGHT_MAP}` of the index is empty")));
    }
    let mut weight_map = BTreeMap::new();
    for (name, value) in entries.0 {
        let Some(shard) = json::string(value) else {
            return Err(malformed("shard in the index is of the wrong type".to_owned())
                .tensor(name)
                .expected("the name of a file")
                .found(json::quote(value)));
        };
        let Some(shard) = paths::plain(&shard) else {
            return Err(malformed("index names a shard outside its directory".to_owned())
                .tensor(name)
                .expected("a plain relative path")
                .found(json::quote(value)));
        };
        weight_map.insert(name, folder.join(shard));
    }
    let metadata = match members.get(METADATA) {
        None => Map::new(),
        Some(value) => serde_json::from_str::<Option<Map<String, Value>>>(value.get())
            .map_err(|error| wrong(METADATA, "an object", value).caused_by(error))?
            .unwrap_or_default(),
    };
    Ok((weight_map, metadata))
}
