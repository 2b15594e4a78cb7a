//! Puts an output together: shards, companions, index, configuration, manifest, digests; in that order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::checkpoint::{Checkpoint, is_weights};
use crate::codec::PartSink;
use crate::error::{Error, ErrorKind, Result};
use crate::format::safetensors::{Layout, Safetensors};
use crate::format::{Contents, Reader, Rewrite, Vocabulary, WriteFormat, WriteTensors};
use crate::manifest::{FileRecord, MANIFEST_NAME, Manifest, SUMS_NAME, TensorRecord, digest, sums_of};
use crate::observe::Observer;
use crate::output::{copy_with_digest, write_file};
use crate::tensor::TensorMeta;

/// Where the bytes of an output tensor come from.
pub(super) enum Content<'a> {
    /// They are there already.
    Copied {
        /// The file that has them.
        reader: &'a dyn Reader,
        /// Index of the tensor in it.
        index: usize,
    },
    /// They are produced with the others of table `table`, as its part `part`.
    Produced {
        /// Index of the table.
        table: usize,
        /// Index of the part.
        part: usize,
    },
    /// The same, with rows and columns exchanged: a factor, small enough to be held.
    Transposed {
        /// Index of the table.
        table: usize,
        /// Index of the part.
        part: usize,
    },
}

/// A weight file of the output.
pub(super) struct OutputShard<'a> {
    /// Relative path.
    pub(super) path: PathBuf,
    /// Metadata of its header.
    pub(super) metadata: BTreeMap<String, String>,
    /// Tensors and their content, in data order.
    pub(super) tensors: Vec<(TensorMeta, Content<'a>)>,
    /// The form of the source's own file, where it is kept; safetensors otherwise.
    pub(super) form: Option<Box<dyn Rewrite + 'a>>,
}

/// Creates a file for contents.
type Create<'c> = dyn for<'a> Fn(&Path, &Contents<'a>) -> Result<Box<dyn WriteTensors + 'a>> + 'c;

/// Produces all parts of a table into a sink.
pub(super) type Produce<'p> = dyn FnMut(usize, &mut dyn PartSink) -> Result<()> + 'p;

impl OutputShard<'_> {
    /// The exact bytes of its file.
    pub(super) fn file_bytes(&self) -> Result<u64> {
        let metas = self.metas();
        let bytes = match &self.form {
            Some(form) => form.file_bytes(&Contents { tensors: &metas, metadata: &self.metadata, words: None }),
            None => Layout::new(&metas, &self.metadata).map(|layout| layout.file_bytes()),
        };
        bytes.map_err(|error| error.at(&self.path))
    }

    fn metas(&self) -> Vec<TensorMeta> {
        self.tensors.iter().map(|(meta, _)| meta.clone()).collect()
    }

    /// Writes the file below `directory`, and those that its form puts beside it.
    pub(super) fn write(
        &self,
        directory: &Path,
        produce: &mut Produce<'_>,
        observer: &dyn Observer,
    ) -> Result<Vec<FileRecord>> {
        match &self.form {
            Some(form) => self.fill(&|path, contents| form.create(path, contents), None, directory, produce, observer),
            None => self.write_as(&Safetensors, None, directory, produce, observer),
        }
    }

    /// The same in any format, of which some hold the words of the rows.
    pub(super) fn write_as(
        &self,
        format: &dyn WriteFormat,
        words: Option<&dyn Vocabulary>,
        directory: &Path,
        produce: &mut Produce<'_>,
        observer: &dyn Observer,
    ) -> Result<Vec<FileRecord>> {
        self.fill(&|path, contents| format.create(path, contents), words, directory, produce, observer)
    }

    fn fill(
        &self,
        create: &Create<'_>,
        words: Option<&dyn Vocabulary>,
        directory: &Path,
        produce: &mut Produce<'_>,
        observer: &dyn Observer,
    ) -> Result<Vec<FileRecord>> {
        let metas = self.metas();
        let contents = Contents { tensors: &metas, metadata: &self.metadata, words };
        let path = directory.join(&self.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| Error::io("cannot create the directory", parent, error))?;
        }
        let mut writer = create(&path, &contents)?;
        let mut produced = Vec::new();
        for (index, (_, content)) in self.tensors.iter().enumerate() {
            observer.check()?;
            match content {
                Content::Copied { reader, index: source } => reader.stream(*source, &mut |bytes| {
                    observer.check()?;
                    writer.write(index, bytes)?;
                    observer.advance(bytes.len() as u64);
                    Ok(())
                })?,
                Content::Produced { table, .. } | Content::Transposed { table, .. } if !produced.contains(table) => {
                    produced.push(*table);
                    let mut held = BTreeMap::new();
                    let mut sink = TableSink { shard: self, table: *table, writer: writer.as_mut(), held: &mut held };
                    produce(*table, &mut sink)?;
                    for (index, bytes) in held {
                        writer.write(index, &transpose(&self.tensors[index].0, &bytes))?;
                    }
                }
                Content::Produced { .. } | Content::Transposed { .. } => {}
            }
        }
        let written = writer.finish()?;
        let tensors = self.tensors.iter().zip(written.tensor_sha256).map(|((meta, _), sha256)| TensorRecord {
            name: meta.name.clone(),
            dtype: meta.dtype,
            shape: meta.shape.clone(),
            sha256: Some(sha256),
        });
        let own = FileRecord {
            path: path_text(&self.path)?,
            bytes: written.bytes,
            sha256: written.sha256,
            tensors: Some(tensors.collect()),
        };
        let data = written.data_files.into_iter().map(|(file, sha256)| {
            Ok(FileRecord {
                path: path_text(&self.path.with_file_name(file.path))?,
                bytes: file.bytes,
                sha256,
                tensors: None,
            })
        });
        std::iter::once(Ok(own)).chain(data).collect()
    }
}

/// Takes the parts of one table to the tensors of a shard that hold them; a part may go to several.
struct TableSink<'s, 'a> {
    shard: &'s OutputShard<'a>,
    table: usize,
    writer: &'s mut dyn WriteTensors,
    /// What goes to tensors that exchange rows and columns, which is written when it is whole.
    held: &'s mut BTreeMap<usize, Vec<u8>>,
}

impl PartSink for TableSink<'_, '_> {
    fn write(&mut self, part: usize, bytes: &[u8]) -> Result<()> {
        for (index, (_, content)) in self.shard.tensors.iter().enumerate() {
            match content {
                Content::Produced { table, part: own } if (*table, *own) == (self.table, part) => {
                    self.writer.write(index, bytes)?;
                }
                Content::Transposed { table, part: own } if (*table, *own) == (self.table, part) => {
                    self.held.entry(index).or_default().extend_from_slice(bytes);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The elements of the matrix `meta` out of those of its transpose.
fn transpose(meta: &TensorMeta, bytes: &[u8]) -> Vec<u8> {
    let (rows, columns) = meta.matrix().unwrap_or((1, 1));
    let size = meta.dtype.bytes();
    let mut out = Vec::with_capacity(bytes.len());
    for row in 0..rows {
        for column in 0..columns {
            let at = (column * rows + row) * size;
            out.extend_from_slice(bytes.get(at..at + size).unwrap_or_default());
        }
    }
    out
}

/// The text of a relative path, with `/`.
pub(crate) fn path_text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "the name is not UTF-8 and cannot stand in a manifest")
            .at(path)
            .hint("rename the file")
    })
}

/// Copies the companions of `checkpoint` that are kept, never the records of an earlier run, and gives their records.
pub(crate) fn copy_companions(
    checkpoint: &Checkpoint,
    directory: &Path,
    is_kept: &dyn Fn(&Path) -> bool,
    observer: &dyn Observer,
) -> Result<Vec<FileRecord>> {
    companions(checkpoint)
        .filter(|path| is_kept(path))
        .map(|path| {
            let (bytes, sha256) = copy_with_digest(&checkpoint.root().join(path), &directory.join(path), observer)?;
            Ok(FileRecord { path: path_text(path)?, bytes, sha256, tensors: None })
        })
        .collect()
}

/// The companions that an output gets: all but the records of an earlier run.
pub(super) fn companions(checkpoint: &Checkpoint) -> impl Iterator<Item = &PathBuf> {
    checkpoint.companions().iter().filter(|path| !crate::manifest::is_record(path))
}

/// Bytes of weight files among the companions: they are copied as they are and count towards a size.
pub(super) fn companion_weights(checkpoint: &Checkpoint) -> Result<u64> {
    companions(checkpoint)
        .filter(|path| is_weights(path))
        .map(|path| {
            let path = checkpoint.root().join(path);
            path.metadata().map(|file| file.len()).map_err(|error| Error::io("cannot look at", path, error))
        })
        .sum()
}

/// Writes the index of a sharded output, if `checkpoint` has one: its metadata with the new total, and where each
/// tensor is.
pub(super) fn write_index(
    checkpoint: &Checkpoint,
    shards: &[OutputShard<'_>],
    directory: &Path,
) -> Result<Option<FileRecord>> {
    let Some(index) = checkpoint.index() else { return Ok(None) };
    let mut metadata = index.metadata().clone();
    let metas = shards.iter().flat_map(|shard| &shard.tensors).map(|(meta, _)| meta);
    if metadata.contains_key("total_size") {
        let total: u64 = metas.filter_map(TensorMeta::bytes).sum();
        metadata.insert("total_size".into(), total.into());
    }
    let mut weight_map = Map::new();
    for shard in shards {
        // The index names shards relative to itself.
        let name = shard.path.file_name().map(PathBuf::from).unwrap_or_default();
        for (meta, _) in &shard.tensors {
            weight_map.insert(meta.name.clone(), path_text(&name)?.into());
        }
    }
    let mut document = Map::new();
    document.insert("metadata".into(), Value::Object(metadata));
    document.insert("weight_map".into(), Value::Object(weight_map));
    let mut text = format!("{:#}", Value::Object(document));
    text.push('\n');
    write_small(directory, &super::names::index(index.path()), text.as_bytes()).map(Some)
}

/// Writes a small file whole, and gives its record.
pub(crate) fn write_small(directory: &Path, path: &Path, bytes: &[u8]) -> Result<FileRecord> {
    write_file(&directory.join(path), bytes)?;
    Ok(FileRecord { path: path_text(path)?, bytes: bytes.len() as u64, sha256: digest(bytes), tensors: None })
}

/// Writes the manifest, then `SHA256SUMS`; gives the manifest's digest.
pub(crate) fn write_manifest(manifest: &Manifest, directory: &Path) -> Result<String> {
    manifest.check()?;
    let text = manifest.to_text()?;
    write_file(&directory.join(MANIFEST_NAME), text.as_bytes())?;
    let sha256 = digest(text.as_bytes());
    write_file(&directory.join(SUMS_NAME), sums_of(manifest, &sha256).as_bytes())?;
    Ok(sha256)
}
