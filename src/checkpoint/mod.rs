//! A checkpoint: the shards that hold the tensors, the configuration beside them, and every other file.
//!
//! What is opened depends on the path:
//! - a tensor file: that file alone;
//! - an index (`*.index.json`): the shards that it names, and itself;
//! - a directory: its weights (see [`Checkpoint::open`] for which), and every other file below it as a companion.
//!
//! Nothing depends on the order in which the file system lists names.

// What is read here comes from strangers. Tests may panic, which is how they fail.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod config;
mod index;
mod paths;
mod select;
mod tables;
mod tree;
mod unchanged;

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::codec::Part;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{self, Reader};
use crate::manifest::hex;
use crate::tensor::{Rows, TensorMeta};

pub use config::Config;
pub use index::ShardIndex;
pub use select::is_weights;
pub use tables::Selected;
pub use tree::files as files_below;

use select::Weights;
use unchanged::Snapshot;

/// An open checkpoint: files are mapped, headers checked, no tensor's bytes looked at.
pub struct Checkpoint {
    root: PathBuf,
    shards: Vec<Shard>,
    names: HashMap<String, TensorId>,
    config: Option<Config>,
    index: Option<ShardIndex>,
    companions: Vec<PathBuf>,
    warnings: Vec<String>,
    directory: bool,
    snapshot: Snapshot,
}

/// One file of tensors of a checkpoint.
pub struct Shard {
    path: PathBuf,
    reader: Box<dyn Reader>,
    data_files: Vec<PathBuf>,
}

/// Where a tensor is in the checkpoint that gave the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId {
    /// Index into [`Checkpoint::shards`].
    pub shard: usize,
    /// Index into [`Reader::tensors`] of that shard.
    pub index: usize,
}

impl Shard {
    /// Opens `path`, which is relative to `root`.
    fn open(root: &Path, path: PathBuf, snapshot: &mut Snapshot) -> Result<Self> {
        snapshot.note(root.join(&path))?;
        let reader = format::open(&root.join(&path))?;
        let data_files: Vec<_> = reader.data_files().iter().map(|file| path.with_file_name(&file.path)).collect();
        for file in &data_files {
            snapshot.note(root.join(file))?;
        }
        Ok(Shard { path, reader, data_files })
    }

    /// Path relative to [`Checkpoint::root`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn reader(&self) -> &dyn Reader {
        self.reader.as_ref()
    }

    /// Other files that hold elements of its tensors, relative to [`Checkpoint::root`].
    pub fn data_files(&self) -> &[PathBuf] {
        &self.data_files
    }

    /// Bytes of the file and of its data files.
    pub fn bytes(&self) -> u64 {
        let own = self.reader.file_bytes().len() as u64;
        self.reader.data_files().iter().fold(own, |sum, file| sum.saturating_add(file.bytes))
    }
}

impl Checkpoint {
    /// Opens a tensor file, an index or a directory.
    ///
    /// The weights of a directory are `model.safetensors`; else `model.safetensors.index.json`; else the only
    /// `*.safetensors.index.json`; else the only `*.safetensors` (likewise for every other format). Where a
    /// sentence-transformers directory has none, they are those of the first folder of `modules.json` that has some,
    /// and `config.json` is the one of that folder.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where something cannot be read; [`ErrorKind::Malformed`] where a header, an index or a
    /// configuration contradicts itself or the files, or where two shards have a tensor of one name;
    /// [`ErrorKind::Selection`] where a directory has no weights or several; [`ErrorKind::Unsupported`] where a file
    /// is of no known format or is a pipe, a socket or a device, and where a cap of [`crate::format::limits`] is
    /// exceeded.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|error| Error::io("cannot open", path, error))?;
        let (root, weights, files) = if metadata.is_dir() {
            let files = tree::files(path)?;
            (path.to_owned(), select::in_directory(path, &files)?, files)
        } else {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let weights = Weights::of_file(PathBuf::from(path.file_name().unwrap_or(path.as_os_str())));
            (parent.to_owned(), weights, Vec::new())
        };
        let mut snapshot = Snapshot::default();
        let (index, shard_paths) = match &weights {
            Weights::Files(files) => (None, files.clone()),
            Weights::Index(file) => {
                snapshot.note(root.join(file))?;
                let index = ShardIndex::read(&root, file)?;
                let shards = index.shards(&root)?;
                (Some(index), shards)
            }
        };
        let mut shards = Vec::with_capacity(shard_paths.len());
        for path in shard_paths {
            shards.push(Shard::open(&root, path, &mut snapshot)?);
        }
        let names = names(&root, &shards)?;
        let mut warnings = match &index {
            Some(index) => index.check(&root, &shards, &names)?,
            None => Vec::new(),
        };
        for Shard { path, reader, .. } in &shards {
            warnings.extend(reader.warnings().iter().map(|warning| format!("{}: {warning}", paths::quote(path))));
        }
        let config_path = weights.path().with_file_name(config::NAME);
        let config = match files.binary_search(&config_path) {
            Ok(_) => {
                snapshot.note(root.join(&config_path))?;
                Some(Config::read(&root, &config_path)?)
            }
            Err(_) => None,
        };
        let mut checkpoint = Checkpoint {
            root,
            shards,
            names,
            config,
            index,
            companions: Vec::new(),
            warnings,
            directory: metadata.is_dir(),
            snapshot,
        };
        let own: HashSet<PathBuf> = checkpoint.own_files().map(Path::to_owned).collect();
        checkpoint.companions = files.into_iter().filter(|file| !own.contains(file)).collect();
        Ok(checkpoint)
    }

    /// This checkpoint with the weights in `paths`, relative to its root, that are not among its own yet.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; [`ErrorKind::Malformed`] where a path leaves the directory.
    pub fn with_weights<'p>(mut self, paths: impl Iterator<Item = &'p str>) -> Result<Self> {
        for text in paths {
            let path = paths::plain(text).ok_or_else(|| {
                Error::new(ErrorKind::Malformed, "path of weights leaves the directory")
                    .at(&self.root)
                    .found(format!("`{}`", text.escape_debug()))
            })?;
            if !self.shards.iter().any(|shard| shard.path == path) {
                self.companions.retain(|companion| *companion != path);
                self.shards.push(Shard::open(&self.root, path, &mut self.snapshot)?);
            }
        }
        self.names = names(&self.root, &self.shards)?;
        Ok(self)
    }

    /// The directory that every path is relative to: the one opened, or the one that holds the file opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The files of tensors, by name.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Every tensor: shard by shard, in the order of the data in each.
    pub fn tensors(&self) -> impl Iterator<Item = (TensorId, &TensorMeta)> {
        self.shards.iter().enumerate().flat_map(|(shard, file)| {
            let tensors = file.reader.tensors().iter().enumerate();
            tensors.map(move |(index, meta)| (TensorId { shard, index }, meta))
        })
    }

    /// The tensor called `name`.
    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.names.get(name).copied()
    }

    /// Name, dtype and shape of a tensor of this checkpoint.
    #[expect(clippy::indexing_slicing, reason = "an id is one that this checkpoint gave")]
    pub fn meta(&self, id: TensorId) -> &TensorMeta {
        &self.shards[id.shard].reader.tensors()[id.index]
    }

    /// The elements of a tensor of this checkpoint: packed, row-major, little-endian.
    ///
    /// # Errors
    /// Where the elements have to be decoded and cannot be.
    #[expect(clippy::indexing_slicing, reason = "an id is one that this checkpoint gave")]
    pub fn bytes(&self, id: TensorId) -> Result<Cow<'_, [u8]>> {
        self.shards[id.shard].reader.bytes(id.index)
    }

    /// Whether [`Checkpoint::bytes`] of a tensor lie in the file as they are and cost no memory.
    #[expect(clippy::indexing_slicing, reason = "an id is one that this checkpoint gave")]
    pub fn is_mapped(&self, id: TensorId) -> bool {
        self.shards[id.shard].reader.is_mapped(id.index)
    }

    /// SHA-256 of what [`Checkpoint::bytes`] gives, in memory that does not grow with the tensor.
    ///
    /// # Errors
    /// Where the elements have to be decoded and cannot be.
    #[expect(clippy::indexing_slicing, reason = "an id is one that this checkpoint gave")]
    pub fn digest(&self, id: TensorId) -> Result<String> {
        let mut hasher = Sha256::new();
        self.shards[id.shard].reader.stream(id.index, &mut |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        Ok(hex(&hasher.finalize()))
    }

    /// The numbers of a matrix of this checkpoint, row by row.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where it is no matrix of F64, F32, F16 or BF16.
    #[expect(clippy::indexing_slicing, reason = "an id is one that this checkpoint gave")]
    pub fn rows(&self, id: TensorId) -> Result<Box<dyn Rows + '_>> {
        let reader = &self.shards[id.shard].reader;
        reader.rows(id.index).map_err(|error| error.at(self.shard_path(id)).tensor(&self.meta(id).name))
    }

    /// A tensor as a codec takes it when it decodes.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where its elements do not lie in the file as they are.
    pub fn part(&self, id: TensorId) -> Result<Part<'_>> {
        let meta = self.meta(id);
        match self.bytes(id)? {
            Cow::Borrowed(bytes) => Ok(Part { meta, bytes }),
            Cow::Owned(_) => Err(Error::new(ErrorKind::Unsupported, "the part is not stored as it is")
                .at(self.shard_path(id))
                .tensor(&meta.name)),
        }
    }

    /// Path of the file that holds a tensor of this checkpoint.
    #[expect(clippy::indexing_slicing, reason = "an id is one that this checkpoint gave")]
    pub fn shard_path(&self, id: TensorId) -> PathBuf {
        self.root.join(&self.shards[id.shard].path)
    }

    /// Whether a directory was opened, not a file in it.
    pub fn is_directory(&self) -> bool {
        self.directory
    }

    /// The `config.json` that stands beside the weights, where a directory was opened and has one.
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// The index that names the shards, where there is one.
    pub fn index(&self) -> Option<&ShardIndex> {
        self.index.as_ref()
    }

    /// Every other file below the directory opened, relative to [`Checkpoint::root`], sorted. Empty directories
    /// count for nothing.
    pub fn companions(&self) -> &[PathBuf] {
        &self.companions
    }

    /// Every file of the checkpoint, relative to [`Checkpoint::root`]: shards, index, configuration, companions.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.own_files().chain(self.companions.iter().map(PathBuf::as_path))
    }

    /// What the user should know and what stops nothing: tensors that the index lacks, a wrong total.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Fails if a shard, the index or the configuration has changed since it was opened: what was read of it then is
    /// not what its digest says. To be called after the last look at any of them and before anything is published.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where one has been written to, replaced, cut off or removed.
    pub fn check_unchanged(&self) -> Result<()> {
        self.snapshot.check()
    }

    /// The files that are not companions.
    fn own_files(&self) -> impl Iterator<Item = &Path> {
        let shards = self.shards.iter().map(Shard::path);
        let data = self.shards.iter().flat_map(|shard| shard.data_files.iter().map(PathBuf::as_path));
        shards
            .chain(data)
            .chain(self.index.as_ref().map(ShardIndex::path))
            .chain(self.config.as_ref().map(Config::path))
    }
}

/// Where the tensor of each name is.
fn names(root: &Path, shards: &[Shard]) -> Result<HashMap<String, TensorId>> {
    let mut names = HashMap::new();
    for (shard, Shard { path, reader, .. }) in shards.iter().enumerate() {
        for (index, meta) in reader.tensors().iter().enumerate() {
            match names.entry(meta.name.clone()) {
                Entry::Vacant(entry) => entry.insert(TensorId { shard, index }),
                Entry::Occupied(entry) => {
                    let other: &TensorId = entry.get();
                    let other = shards.get(other.shard).map_or(Path::new(""), |shard| &shard.path);
                    return Err(Error::new(ErrorKind::Malformed, "tensor is in two shards")
                        .at(root.join(path))
                        .tensor(&meta.name)
                        .expected("one tensor of each name")
                        .found(format!("another in {}", paths::quote(other))));
                }
            };
        }
    }
    Ok(names)
}
