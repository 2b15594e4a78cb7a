//! Writes a checkpoint in another format, dtype, division into files or under other names.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::assembly::{self, Content, OutputShard};
use super::division::{Division, Item, Rename, divide};
use super::words::{self, Words};
use super::{Finished, names, refuse_overlap, source};
use crate::checkpoint::Checkpoint;
use crate::codec::PartSink;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{WRITERS, WriteFormat};
use crate::manifest::{
    ConversionRecord, Errors, FileRecord, Manifest, Operation, SCHEMA_VERSION, WeightsBytes, weights_of,
};
use crate::observe::Observer;
use crate::output::{Replace, StagedDirectory};
use crate::plan::Size;
use crate::tensor::{Cast, Dtype, TensorMeta};

/// The format whose shards an index names.
const SAFETENSORS: &str = "safetensors";

/// What the user asks of a conversion.
#[derive(Debug, Clone)]
pub struct ConversionRequest {
    /// Name of the format, one of [`WRITERS`].
    pub format: String,
    /// Element type of every tensor of floats, blocks of them included; its own unless given, which blocks cannot keep.
    pub dtype: Option<Dtype>,
    /// Globs of the tensors to take; all where there is none.
    pub tensors: Vec<String>,
    /// New names; the first that matches a tensor counts.
    pub renames: Vec<Rename>,
    /// The most bytes of tensors in a file; the division of the source unless given.
    pub max_shard_size: Option<u64>,
    /// Whether a finite element may become infinite in a cast.
    pub allow_overflow: bool,
    /// The most that the cast of a tensor may cost, as a relative Frobenius error.
    pub max_error: Option<f64>,
    /// The most that all weight files may take.
    pub max_size: Option<Size>,
}

/// Converts `checkpoint` as `request` says into the new directory `destination`.
///
/// # Errors
/// [`ErrorKind::Selection`] where a glob or a renaming fits no tensor; [`ErrorKind::Request`] where two tensors would
/// get one name; [`ErrorKind::Unsupported`] where the format has no place for a tensor; [`ErrorKind::NonFinite`] where
/// an element overflows in a cast and may not; [`ErrorKind::Gate`] where a bound is not met; [`ErrorKind::Output`]
/// where `destination` cannot be made. Nothing is left behind then.
pub fn convert(
    checkpoint: &Checkpoint,
    request: &ConversionRequest,
    destination: &Path,
    replace: Replace,
    observer: &dyn Observer,
) -> Result<Finished> {
    super::refuse_encoded(checkpoint)?;
    refuse_overlap(checkpoint, destination)?;
    let format = WRITERS.iter().copied().find(|format| format.name() == request.format).ok_or_else(|| {
        let known: Vec<_> = WRITERS.iter().map(|format| format.name()).collect();
        Error::new(ErrorKind::Unsupported, "unknown format").expected(known.join(" or ")).found(&request.format)
    })?;
    let mut division = divide(checkpoint, request)?;
    let words = match (format.table_of_words(), &mut division.items[..]) {
        (Some(name), [item]) => {
            name.clone_into(&mut item.meta.name);
            division.stored_once.values_mut().for_each(|kept| name.clone_into(kept));
            Words::of(checkpoint, item.id)?
        }
        _ => None,
    };
    let job = Job { checkpoint, request, format, division, words };
    let staged = StagedDirectory::create(destination, replace)?;
    let manifest = job.run(staged.path(), observer)?;
    let manifest_sha256 = assembly::write_manifest(&manifest, staged.path())?;
    observer.check()?;
    staged.publish()?;
    Ok(Finished { manifest, manifest_sha256 })
}

struct Job<'a> {
    checkpoint: &'a Checkpoint,
    request: &'a ConversionRequest,
    format: &'static dyn WriteFormat,
    division: Division,
    /// The words of the one table, for a format that holds them.
    words: Option<Words<'a>>,
}

impl<'a> Job<'a> {
    fn run(&self, directory: &Path, observer: &dyn Observer) -> Result<Manifest> {
        let (own, (files, conversions)) = source::digested(self.checkpoint, observer, |observer| {
            observer.begin();
            self.write(directory, observer)
        })?;
        let source = source::record(self.checkpoint, own, &files, &|_| true, observer)?;
        let (before, after) = (super::weights_before(self.checkpoint)?, weights_of(&files));
        self.gate(before, after)?;
        Ok(Manifest {
            schema_version: SCHEMA_VERSION,
            generator: super::generator(),
            operation: Operation::Convert,
            source,
            request: self.request_record(),
            tables: Vec::new(),
            conversions,
            left_out: self.division.left_out.clone(),
            stored_once: self.division.stored_once.clone(),
            carrier: None,
            files,
            weights_bytes: WeightsBytes { before, after },
        })
    }

    /// Writes everything but the records of the output.
    fn write(&self, directory: &Path, observer: &dyn Observer) -> Result<(Vec<FileRecord>, Vec<ConversionRecord>)> {
        let shards = self.shards()?;
        self.check_names(&shards)?;
        let mut errors: Vec<Option<(Errors, u64)>> = self.division.items.iter().map(|_| None).collect();
        let mut files = Vec::new();
        let words = self.words.as_ref().map(Words::vocabulary);
        for shard in &shards {
            let total = shard.tensors.iter().filter_map(|(meta, _)| meta.bytes()).sum();
            observer.stage("write", &shard.path.to_string_lossy(), total);
            let mut produce = |item: usize, sink: &mut dyn PartSink| {
                errors[item] = Some(self.cast(&self.division.items[item], sink, observer)?);
                Ok(())
            };
            files.extend(shard.write_as(self.format, words, directory, &mut produce, observer)?);
        }
        let holds_words = self.format.table_of_words().is_some();
        let is_kept = |path: &Path| !(holds_words && words::belongs_to_class(self.checkpoint, path));
        files.extend(assembly::copy_companions(self.checkpoint, directory, &is_kept, observer)?);
        if !holds_words {
            files.extend(words::write(self.checkpoint, directory, words::class_reads(&shards))?);
        }
        files.extend(self.write_index(&shards, directory)?);
        if let Some(config) = self.checkpoint.config() {
            files.push(assembly::write_small(directory, config.path(), config.text().as_bytes())?);
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok((files, self.conversions(errors)))
    }

    /// The files of the output. See [`Job::split`] for the division where a size is given.
    fn shards(&self) -> Result<Vec<OutputShard<'a>>> {
        let extension = self.format.extension();
        let items: Vec<usize> = (0..self.division.items.len()).collect();
        let indexed = self.format.name() == SAFETENSORS;
        let sources = self.checkpoint.shards();
        let folder = sources.first().and_then(|shard| shard.path().parent()).unwrap_or(Path::new("")).to_path_buf();
        let groups: Vec<(PathBuf, Vec<usize>)> = if self.format.holds_one_tensor() {
            let file = |item: usize| Ok((folder.join(self.file_of_one(item)?), vec![item]));
            items.into_iter().map(file).collect::<Result<_>>()?
        } else if let Some(limit) = self.request.max_shard_size {
            if !indexed {
                return Err(Error::new(ErrorKind::Request, "only safetensors are divided by size")
                    .expected("no `--max-shard-size`")
                    .found(format!("`--to {}`", self.format.name())));
            }
            let groups = self.split(limit);
            let count = groups.len();
            let name = |number: usize| match count {
                1 => format!("model.{extension}"),
                _ => format!("model-{:05}-of-{count:05}.{extension}", number + 1),
            };
            groups.into_iter().enumerate().map(|(at, group)| (folder.join(name(at)), group)).collect()
        } else if indexed && words::own(self.checkpoint).is_some() {
            // The class beside it has to know the name.
            vec![(folder.join("model.safetensors"), items)]
        } else if sources.len() == 1 || (indexed && self.checkpoint.index().is_some()) {
            let shards = sources.iter().enumerate().map(|(number, shard)| {
                let own = items.iter().copied().filter(|&item| self.division.items[item].id.shard == number);
                (names::weights(shard.path(), extension), own.collect::<Vec<_>>())
            });
            shards.filter(|(_, own)| !own.is_empty()).collect()
        } else {
            vec![(folder.join(format!("model.{extension}")), items)]
        };
        let shards = groups.into_iter().map(|(path, items)| {
            let mut metadata = self.metadata(&items);
            if indexed {
                // Loaders of Hugging Face refuse files that do not say for which framework they are.
                metadata.entry("format".to_owned()).or_insert_with(|| "pt".to_owned());
            }
            let tensors = items.iter().map(|&item| (self.division.items[item].meta.clone(), self.content(item)));
            OutputShard { path, metadata, tensors: tensors.collect(), form: None }
        });
        Ok(shards.collect())
    }

    /// Divides the tensors in their order as huggingface_hub's `split_state_dict_into_shards_factory` does: a tensor
    /// above the limit is a file of its own, and one that would lift a file above it begins the next.
    fn split(&self, limit: u64) -> Vec<Vec<usize>> {
        let (mut groups, mut present, mut size) = (Vec::new(), Vec::new(), 0u64);
        for (item, Item { meta, .. }) in self.division.items.iter().enumerate() {
            let bytes = meta.bytes().unwrap_or_default();
            if bytes > limit {
                groups.push(vec![item]);
                continue;
            }
            if size.saturating_add(bytes) > limit {
                groups.push(std::mem::take(&mut present));
                size = 0;
            }
            present.push(item);
            size += bytes;
        }
        if !present.is_empty() {
            groups.push(present);
        }
        groups
    }

    /// The metadata of the files that the tensors come from, and the names of those that are stored as one of them,
    /// as safetensors' `save_model` records them.
    fn metadata(&self, items: &[usize]) -> BTreeMap<String, String> {
        let mut metadata = BTreeMap::new();
        for &item in items {
            let Item { id, meta } = &self.division.items[item];
            metadata.extend(self.checkpoint.shards()[id.shard].reader().metadata().clone());
            let tied = self.division.stored_once.iter().filter(|(_, kept)| **kept == meta.name);
            metadata.extend(tied.map(|(name, kept)| (name.clone(), kept.clone())));
        }
        metadata
    }

    fn content(&self, item: usize) -> Content<'a> {
        let Item { id, meta } = &self.division.items[item];
        if self.checkpoint.meta(*id).dtype == meta.dtype {
            Content::Copied { reader: self.checkpoint.shards()[id.shard].reader(), index: id.index }
        } else {
            Content::Produced { table: item, part: 0 }
        }
    }

    fn file_of_one(&self, item: usize) -> Result<String> {
        let name = &self.division.items[item].meta.name;
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(Error::new(ErrorKind::Unsupported, "the tensor's name cannot be that of a file")
                .tensor(name)
                .hint("rename it with `--rename`, or write one file with `--to npz`"));
        }
        Ok(format!("{name}.{}", self.format.extension()))
    }

    /// Refuses two files of one name.
    fn check_names(&self, shards: &[OutputShard<'_>]) -> Result<()> {
        let mut taken: HashSet<&Path> = assembly::companions(self.checkpoint).map(PathBuf::as_path).collect();
        match shards.iter().find(|shard| !taken.insert(&shard.path)) {
            None => Ok(()),
            Some(shard) => Err(Error::new(ErrorKind::Output, "two files of the output would have one name")
                .at(&shard.path)
                .hint("pass the weight file alone, or move the other file away")),
        }
    }

    fn cast(&self, item: &Item, sink: &mut dyn PartSink, observer: &dyn Observer) -> Result<(Errors, u64)> {
        let from = self.checkpoint.meta(item.id);
        let place = |error: Error| error.at(self.checkpoint.shard_path(item.id)).tensor(&from.name);
        let numbers = from.dtype.decoded().unwrap_or(from.dtype);
        let mut cast = Cast::new(numbers, item.meta.dtype, self.request.allow_overflow);
        let mut out = Vec::new();
        let reader = self.checkpoint.shards()[item.id.shard].reader();
        reader.stream_decoded(item.id.index, &mut |bytes| {
            for piece in bytes.chunks(Cast::PIECE) {
                observer.check()?;
                out.clear();
                cast.push(piece, &mut out).map_err(place)?;
                sink.write(0, &out)?;
                observer.advance(out.len() as u64);
            }
            Ok(())
        })?;
        let relative = cast.relative_frobenius_error();
        if let Some(bound) = self.request.max_error.filter(|&bound| relative > bound) {
            return Err(place(
                Error::new(ErrorKind::Gate, "the error of the cast is above the bound")
                    .expected(format!("a relative Frobenius error of at most {bound}"))
                    .found(relative.to_string()),
            ));
        }
        Ok((
            Errors {
                relative_frobenius: relative,
                max_absolute: cast.max_absolute_error,
                weighted_relative_frobenius: None,
            },
            cast.overflowed,
        ))
    }

    /// The index of an output of several files, with the metadata of the source's.
    fn write_index(&self, shards: &[OutputShard<'_>], directory: &Path) -> Result<Option<FileRecord>> {
        let source = self.checkpoint.index();
        let kept = source.is_some() && self.request.max_shard_size.is_none();
        if self.format.name() != SAFETENSORS || (shards.len() < 2 && !kept) {
            return Ok(None);
        }
        let mut metadata = source.map(|index| index.metadata().clone()).unwrap_or_default();
        let metas = shards.iter().flat_map(|shard| &shard.tensors).map(|(meta, _)| meta);
        metadata.insert("total_size".into(), metas.filter_map(TensorMeta::bytes).sum::<u64>().into());
        let mut weight_map = Map::new();
        for shard in shards {
            let file = shard.path.file_name().map(PathBuf::from).unwrap_or_default();
            for (meta, _) in &shard.tensors {
                weight_map.insert(meta.name.clone(), assembly::path_text(&file)?.into());
            }
        }
        let text = format!("{:#}\n", json!({ "metadata": metadata, "weight_map": weight_map }));
        let folder = shards.first().and_then(|shard| shard.path.parent()).unwrap_or(Path::new(""));
        let path = match source.filter(|_| kept) {
            Some(index) => names::index(index.path()),
            None => folder.join("model.safetensors.index.json"),
        };
        assembly::write_small(directory, &path, text.as_bytes()).map(Some)
    }

    fn gate(&self, before: u64, after: u64) -> Result<()> {
        let limit = self.request.max_size.map(|size| size.bytes(before));
        match limit.filter(|&limit| after > limit) {
            None => Ok(()),
            Some(limit) => Err(Error::new(ErrorKind::Gate, "the output would be too large")
                .at(self.checkpoint.root())
                .expected(format!("weights of at most {limit} bytes"))
                .found(format!("{after} bytes"))),
        }
    }

    fn conversions(&self, errors: Vec<Option<(Errors, u64)>>) -> Vec<ConversionRecord> {
        let records = self.division.items.iter().zip(errors).filter_map(|(item, errors)| {
            let before = self.checkpoint.meta(item.id);
            (before.name != item.meta.name || before.dtype != item.meta.dtype).then(|| ConversionRecord {
                source: before.name.clone(),
                name: item.meta.name.clone(),
                dtype_before: before.dtype,
                dtype_after: item.meta.dtype,
                errors: errors.map(|(errors, _)| errors),
                overflowed: errors.map_or(0, |(_, overflowed)| overflowed),
            })
        });
        records.collect()
    }

    fn request_record(&self) -> Map<String, Value> {
        let request = self.request;
        let renames: Vec<_> = request.renames.iter().map(Rename::to_string).collect();
        let record = json!({
            "format": self.format.name(),
            "dtype": request.dtype,
            "tensors": request.tensors,
            "renames": renames,
            "max_shard_size": request.max_shard_size,
            "allow_overflow": request.allow_overflow,
            "max_error": request.max_error,
            "max_size": request.max_size.map(|size| size.to_string()),
        });
        match record {
            Value::Object(record) => record,
            _ => Map::new(),
        }
    }
}
