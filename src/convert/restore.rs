//! Decodes every table of an output: a stock checkpoint of the original names, shapes and dtypes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::assembly::{self, Content, OutputShard};
use super::{Finished, config};
use crate::checkpoint::{Checkpoint, Config};
use crate::codec::{self, Measured, PartSink, encode_rows};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{EncodedTable, Rewrite};
use crate::manifest::{
    Errors, FileRecord, Manifest, Operation, Source, TableRecord, TensorRecord, WeightsBytes, decode, digest,
    weights_of,
};
use crate::observe::Observer;
use crate::output::{Replace, StagedDirectory, digest_file};
use crate::stub;
use crate::tensor::{Precision, Rows, Store, TensorMeta};

/// Restores the output of `compress` at `source` to the new directory `destination`.
///
/// # Errors
/// [`ErrorKind::Unsupported`] where `source` is not an output of `compress`; [`ErrorKind::Malformed`] where it is not
/// what its manifest says; [`ErrorKind::Output`] where `destination` cannot be made.
pub fn restore(source: &Path, destination: &Path, replace: Replace, observer: &dyn Observer) -> Result<Finished> {
    let (manifest, bytes) = Manifest::read(source)?;
    if matches!(manifest.operation, Operation::Restore | Operation::Train) {
        return Err(Error::new(ErrorKind::Unsupported, "nothing to restore: its tables are dense").at(source));
    }
    let checkpoint = crate::manifest::open(source)?;
    super::refuse_overlap(&checkpoint, destination)?;
    let staged = StagedDirectory::create(destination, replace)?;
    let job = Job { manifest: &manifest, checkpoint: &checkpoint, directory: staged.path(), observer };
    let restored = job.run(digest(&bytes))?;
    checkpoint.check_unchanged()?;
    let sha256 = assembly::write_manifest(&restored, staged.path())?;
    staged.publish()?;
    Ok(Finished { manifest: restored, manifest_sha256: sha256 })
}

struct Job<'a> {
    manifest: &'a Manifest,
    checkpoint: &'a Checkpoint,
    directory: &'a Path,
    observer: &'a dyn Observer,
}

impl Job<'_> {
    fn run(&self, manifest_sha256: String) -> Result<Manifest> {
        let shards = self.shards()?;
        let mut tables = self.tables(&shards)?;
        let mut files = Vec::new();
        for shard in &shards {
            let rows = self.manifest.tables.iter().map(|table| decode(table, self.checkpoint));
            let rows: Vec<_> = rows.collect::<Result<_>>()?;
            let total = shard.tensors.iter().filter_map(|(meta, _)| meta.bytes()).sum();
            self.observer.stage("restore", &shard.path.to_string_lossy(), total);
            let mut produce = |table: usize, sink: &mut dyn PartSink| {
                let measured = write_dense(rows[table].as_ref(), &self.manifest.tables[table], sink, self.observer)?;
                tables[table].errors = Errors {
                    relative_frobenius: measured.relative_frobenius_error(),
                    weighted_relative_frobenius: None,
                    max_absolute: measured.max_absolute_error,
                };
                Ok(())
            };
            files.extend(shard.write(self.directory, &mut produce, self.observer)?);
        }
        files.extend(self.copy_others()?);
        files.extend(assembly::write_index(self.checkpoint, &shards, self.directory)?);
        files.extend(self.write_config()?);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Manifest {
            schema_version: crate::manifest::SCHEMA_VERSION,
            generator: super::generator(),
            operation: Operation::Restore,
            weights_bytes: WeightsBytes { before: weights_of(&self.manifest.files), after: weights_of(&files) },
            source: Source { manifest_sha256: Some(manifest_sha256), files: self.source_files()?, origin: None },
            request: serde_json::Map::new(),
            tables,
            conversions: Vec::new(),
            left_out: Vec::new(),
            stored_once: BTreeMap::new(),
            carrier: None,
            files,
        })
    }

    fn shards(&self) -> Result<Vec<OutputShard<'_>>> {
        match self.manifest.operation {
            Operation::Retrain => self.shards_as_they_are(),
            Operation::Compress | Operation::Restore | Operation::Convert | Operation::Train => {
                self.shards_of_the_original()
            }
        }
    }

    /// The shards of a retrained checkpoint, whose names are its own: each dense table where its first part was.
    fn shards_as_they_are(&self) -> Result<Vec<OutputShard<'_>>> {
        let mut shards = Vec::new();
        for shard in self.checkpoint.shards() {
            let mut tensors = Vec::new();
            for (index, meta) in shard.reader().tensors().iter().enumerate() {
                let table = self.manifest.tables.iter().position(|table| table.parts.contains(&meta.name));
                match table.and_then(|table| Some((table, self.manifest.tables.get(table)?))) {
                    Some((number, table)) if table.parts.first() == Some(&meta.name) => {
                        let (name, shape) = (table.name.clone(), table.shape.to_vec());
                        let dense = TensorMeta { name, dtype: table.dtype, shape };
                        tensors.push((dense, Content::Produced { table: number, part: 0 }));
                    }
                    Some(_) => {}
                    None => tensors.push((meta.clone(), Content::Copied { reader: shard.reader(), index })),
                }
            }
            let metadata = shard.reader().metadata().clone();
            shards.push(OutputShard { path: shard.path().to_path_buf(), metadata, tensors, form: None });
        }
        Ok(shards)
    }

    /// The shards as the original had them: dense tables and their tied copies in their old places.
    fn shards_of_the_original(&self) -> Result<Vec<OutputShard<'_>>> {
        let sources = self.manifest.source.files.iter().filter_map(|file| Some((file, file.tensors.as_ref()?)));
        let alone = sources.clone().count() == 1;
        let together = !alone && self.checkpoint.index().is_none();
        let mut shards: Vec<OutputShard<'_>> = Vec::new();
        for (file, tensors) in sources {
            let path = match self.checkpoint.shards() {
                // Of word vectors too, whose name tells nothing.
                [only] if !together => only.path().to_owned(),
                // What a carrier put into files of their own comes after those that the source had.
                [first, ..] if alone && self.manifest.carrier.is_some() => first.path().to_owned(),
                _ => super::output_path_of(Path::new(&file.path), together),
            };
            let tensors = tensors.iter().map(|tensor| Ok((tensor.meta(), self.content(tensor)?)));
            let tensors = tensors.collect::<Result<Vec<_>>>()?;
            match shards.iter_mut().find(|earlier| earlier.path == path) {
                Some(earlier) => earlier.tensors.extend(tensors),
                None => {
                    let (metadata, form) = (self.metadata_of(&path), self.form_of(&path)?);
                    shards.push(OutputShard { path, metadata, tensors, form });
                }
            }
        }
        Ok(shards)
    }

    /// The metadata of the compressed file, but for the names of tensors that are written again.
    fn metadata_of(&self, path: &Path) -> BTreeMap<String, String> {
        let shards = self.checkpoint.shards();
        let same = shards.iter().find(|shard| shard.path() == path);
        // A shard that held nothing but a tied copy is not in the output; its neighbours have the same metadata.
        let mut metadata = same.or(shards.first()).map(|shard| shard.reader().metadata().clone()).unwrap_or_default();
        metadata.retain(|name, _| !self.manifest.stored_once.contains_key(name));
        metadata
    }

    /// The form of the compressed file, with dense tables in place of its parts.
    fn form_of(&self, path: &Path) -> Result<Option<Box<dyn Rewrite + '_>>> {
        let number = self.checkpoint.shards().iter().position(|shard| shard.path() == path);
        let Some((number, shard)) = number.and_then(|at| Some((at, self.checkpoint.shards().get(at)?))) else {
            return Ok(None);
        };
        let Some(rewriter) = shard.reader().rewriter() else { return Ok(None) };
        let mut tables = Vec::new();
        for table in &self.manifest.tables {
            let parts = table.parts.iter().filter_map(|part| self.checkpoint.find(part));
            let parts = parts.filter(|id| id.shard == number).map(|id| self.checkpoint.meta(id).clone());
            let parts: Vec<_> = parts.collect();
            if parts.is_empty() {
                continue;
            }
            tables.push(EncodedTable {
                dense: TensorMeta { name: table.name.clone(), dtype: table.dtype, shape: table.shape.to_vec() },
                tied: table.tied.clone(),
                codec: codec::find(&table.method)?,
                setting: &table.setting,
                parts,
            });
        }
        rewriter.decoded(&tables).map(Some).map_err(|error| error.at(self.checkpoint.root().join(path)))
    }

    fn content(&self, tensor: &TensorRecord) -> Result<Content<'_>> {
        let is_of = |table: &TableRecord| table.name == tensor.name || table.tied.contains(&tensor.name);
        if let Some(table) = self.manifest.tables.iter().position(is_of) {
            return Ok(Content::Produced { table, part: 0 });
        }
        let stored = self.manifest.stored_once.get(&tensor.name).unwrap_or(&tensor.name);
        let found = self.checkpoint.find(stored).filter(|&id| {
            let meta = self.checkpoint.meta(id);
            (meta.dtype, &meta.shape) == (tensor.dtype, &tensor.shape)
        });
        match found {
            Some(id) => Ok(Content::Copied { reader: self.checkpoint.shards()[id.shard].reader(), index: id.index }),
            None => Err(Error::new(ErrorKind::Malformed, "an untouched tensor is missing or of another shape")
                .at(self.checkpoint.root())
                .tensor(&tensor.name)
                .expected(format!("{} {:?}", tensor.dtype, tensor.shape))
                .hint("`rankfold verify` lists every difference")),
        }
    }

    fn tables(&self, shards: &[OutputShard<'_>]) -> Result<Vec<TableRecord>> {
        let dense = |table: &TableRecord| {
            let stored = shards.iter().flat_map(|shard| &shard.tensors);
            stored.filter(|(meta, _)| meta.name == table.name).filter_map(|(meta, _)| TensorMeta::bytes(meta)).next()
        };
        let records = self.manifest.tables.iter().map(|table| {
            let bytes = dense(table).ok_or_else(|| {
                Error::new(ErrorKind::Malformed, "the manifest lists no source file with this table")
                    .at(self.checkpoint.root())
                    .tensor(&table.name)
            })?;
            Ok(TableRecord {
                bytes_before: table.bytes_after,
                bytes_after: bytes,
                parameters_before: table.parameters_after,
                parameters_after: table.parameters_before,
                ..table.clone()
            })
        });
        records.collect()
    }

    /// Companions but the configuration, which loses its block, and the stub, which has nothing to do here.
    fn copy_others(&self) -> Result<Vec<FileRecord>> {
        let stub: Vec<_> =
            stub::paths(self.checkpoint.config().map(|file| file.path())).map(|(path, _)| path).collect();
        let carried = self.replaced();
        let is_ours = |path: &Path| {
            let sources = self.manifest.operation == Operation::Compress
                && self.manifest.source.files.iter().any(|file| Path::new(&file.path) == path);
            !sources && stub.iter().any(|own| own == path) || carried.contains_key(path)
        };
        let mut files =
            assembly::copy_companions(self.checkpoint, self.directory, &|path| !is_ours(path), self.observer)?;
        let configuration = self.checkpoint.config().map(Config::path);
        for (path, text) in carried.into_iter().filter(|(path, _)| Some(*path) != configuration) {
            if let Some(text) = text {
                files.push(assembly::write_small(self.directory, path, text.as_bytes())?);
            }
        }
        Ok(files)
    }

    /// The files that a carrier changed, with their text in the original.
    fn replaced(&self) -> BTreeMap<&Path, Option<&str>> {
        let carrier = self.manifest.carrier.iter().flat_map(|carrier| &carrier.replaced);
        carrier.map(|(path, text)| (Path::new(path), text.as_deref())).collect()
    }

    fn write_config(&self) -> Result<Option<FileRecord>> {
        let Some(configuration) = self.checkpoint.config() else { return Ok(None) };
        if let Some(Some(original)) = self.replaced().get(configuration.path()) {
            return assembly::write_small(self.directory, configuration.path(), original.as_bytes()).map(Some);
        }
        if super::keeps_form(self.checkpoint) {
            let text = configuration.text().as_bytes();
            return assembly::write_small(self.directory, configuration.path(), text).map(Some);
        }
        let additions =
            config::Additions::new(&self.manifest.tables, &self.manifest.files, self.manifest.carrier.is_some())?;
        let text = configuration.text();
        let without = match self.manifest.operation {
            Operation::Retrain => config::remove_reformatted(text),
            Operation::Compress | Operation::Restore | Operation::Convert | Operation::Train => {
                config::remove(text, &additions)
            }
        };
        let text = without.as_deref().unwrap_or(text);
        if without.is_none() && !self.manifest.tables.is_empty() {
            self.observer.warn("config.json has not the block that `compress` wrote; it is copied as it is");
        }
        assembly::write_small(self.directory, configuration.path(), text.as_bytes()).map(Some)
    }

    /// What was read: the files of the compressed checkpoint.
    fn source_files(&self) -> Result<Vec<FileRecord>> {
        let mut files = Vec::new();
        for record in &self.manifest.files {
            let (bytes, sha256) = digest_file(&self.checkpoint.root().join(&record.path), self.observer)?;
            if (bytes, &sha256) != (record.bytes, &record.sha256) {
                return Err(Error::new(ErrorKind::Malformed, "the file is not what the manifest says")
                    .at(self.checkpoint.root().join(&record.path))
                    .expected(format!("sha256 {}", record.sha256))
                    .found(sha256)
                    .hint("`rankfold verify` lists every difference"));
            }
            files.push(record.clone());
        }
        Ok(files)
    }
}

/// Writes the decoded rows in the dense dtype, and measures what rounding to it changed.
fn write_dense(
    rows: &dyn Rows,
    table: &TableRecord,
    sink: &mut dyn PartSink,
    observer: &dyn Observer,
) -> Result<Measured> {
    let columns = rows.shape().1;
    let decode = |range: Range<usize>| match rows.precision() {
        Precision::Single => {
            let mut values = vec![0.0f32; range.len() * columns];
            rows.read_f32(range.clone(), &mut values)?;
            round(values, table, range.start, columns)
        }
        Precision::Double => {
            let mut values = vec![0.0f64; range.len() * columns];
            rows.read_f64(range.clone(), &mut values)?;
            round(values, table, range.start, columns)
        }
    };
    encode_rows(rows, &decode, &mut |bytes| sink.write(0, bytes), observer)
}

/// The bytes of rows from row `first` on.
fn round<T: Store + Into<f64>>(
    mut values: Vec<T>,
    table: &TableRecord,
    first: usize,
    columns: usize,
) -> Result<(Vec<u8>, Measured)> {
    let exact = values.clone();
    let mut bytes = Vec::with_capacity(values.len() * table.dtype.bytes());
    T::store(&mut values, table.dtype, &mut bytes).map_err(|overflow| {
        Error::new(ErrorKind::NonFinite, "a decoded value leaves the range of the table's dtype")
            .tensor(&table.name)
            .expected(format!("a finite {}", table.dtype))
            .found(format!("{} in row {}", overflow.value, first + overflow.index / columns))
    })?;
    Ok((bytes, Measured::of_rows(&values, &exact, columns, |_| None)))
}
