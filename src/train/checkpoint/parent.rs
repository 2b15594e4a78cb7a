//! A compressed classifier that is trained again, and stored as it was: the same files, the same parts, other numbers.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::write::{check_finite, write_weights};
use super::{EMBEDDING, TrainedModel};
use crate::checkpoint::{Checkpoint, Shard};
use crate::codec::{self, Codec, Options, Part};
use crate::convert::{Finished, copy_companions, generator, refuse_overlap, write_manifest, write_small};
use crate::error::{Error, ErrorKind, Result};
use crate::format::has_extension;
use crate::manifest::{
    Errors, FileRecord, MANIFEST_NAME, Manifest, Operation, Origin, SCHEMA_VERSION, Source, TableRecord, WeightsBytes,
    digest, weights_of,
};
use crate::observe::Observer;
use crate::output::{Replace, StagedDirectory};
use crate::tensor::{Cast, Dtype, TensorMeta};
use crate::train::model::{Classifier, Embedding, Matrix, Quantizer, Trained};

/// The output of `compress`, or of an earlier training of one.
pub struct Parent {
    checkpoint: Checkpoint,
    manifest: Manifest,
    manifest_sha256: String,
    record: TableRecord,
    codec: &'static dyn Codec,
    model: TrainedModel,
}

/// A tensor and its bytes.
type Stored = (TensorMeta, Vec<u8>);

impl Parent {
    /// Opens the compressed classifier in `directory`.
    ///
    /// # Errors
    /// As [`super::open`]; [`ErrorKind::Unsupported`] where its table is not compressed, or stored in a form that
    /// training could not give back.
    pub fn open(directory: &Path) -> Result<Self> {
        let model = super::open(directory)?;
        let refuse =
            |summary: &str, hint: &str| Err(Error::new(ErrorKind::Unsupported, summary).at(directory).hint(hint));
        let dense = "the table of the classifier is not compressed";
        let first = "`rankfold compress` it first, or train it with `rankfold train`";
        if !directory.join(MANIFEST_NAME).exists() {
            return refuse(dense, first);
        }
        let (manifest, bytes) = Manifest::read(directory)?;
        let record = manifest.tables.iter().find(|table| table.name == EMBEDDING).cloned();
        let Some(record) = record.filter(|_| manifest.operation.encodes()) else {
            return refuse(dense, first);
        };
        let checkpoint = Checkpoint::open(directory)?;
        let form = |shard: &Shard| has_extension(shard.path(), &["safetensors"]);
        if manifest.carrier.is_some() || manifest.tables.len() > 1 || !checkpoint.shards().iter().all(form) {
            return refuse(
                "a classifier stored this way cannot be trained",
                "compress the safetensors that `rankfold train` made, its embedding alone",
            );
        }
        let codec = codec::find(&record.method)?;
        Ok(Parent { checkpoint, manifest, manifest_sha256: digest(&bytes), record, codec, model })
    }

    /// Vocabulary, labels, and the classifier with a dense table.
    pub fn model(&self) -> &TrainedModel {
        &self.model
    }

    /// SHA-256 of its manifest.
    pub fn manifest_sha256(&self) -> &str {
        &self.manifest_sha256
    }

    /// Its method.
    pub fn codec(&self) -> &'static dyn Codec {
        self.codec
    }

    /// The classifier as it is trained: a factor pair as such; a table of codes dense, seen through its codec. Codes that
    /// are those of the whole table are found anew once in `every` updates.
    ///
    /// # Errors
    /// What the codec reports.
    pub fn classifier(&self, every: u64) -> Result<Classifier> {
        let embedding = if self.codec.is_factor_pair() {
            let [left, right] = &self.record.parts[..] else {
                return Err(self.malformed("a factor pair has two parts"));
            };
            // Stored is B transposed.
            Embedding::factors(self.part(left)?, self.part(right)?.transposed())?
        } else {
            let table = self.model.classifier.embedding().table()?;
            Embedding::new(Trained::quantized(table, self.quantizer(every))?.0, None)?
        };
        self.model.classifier.with_embedding(embedding)
    }

    fn quantizer(&self, every: u64) -> Quantizer {
        let dtype = self.record.parts.first().and_then(|part| self.checkpoint.find(part));
        let dtype = dtype.map(|id| self.checkpoint.meta(id).dtype).filter(|dtype| dtype.is_table_float());
        Quantizer::new(self.codec, self.record.setting.clone(), Options { dtype, ..Options::default() }, every)
    }

    fn part(&self, name: &str) -> Result<Matrix> {
        let id = self.checkpoint.find(name).ok_or_else(|| self.malformed("a part is missing").tensor(name))?;
        Matrix::read(self.checkpoint.rows(id)?.as_ref())
    }

    fn malformed(&self, summary: &str) -> Error {
        Error::new(ErrorKind::Malformed, summary).at(self.checkpoint.root())
    }

    /// Writes `trained`, a classifier of [`Parent::classifier`] after training, to the directory `destination`, in the
    /// form and under the names of this one. Its manifest names this one by digest and has `request`: settings, and
    /// digests of the data.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] where `destination` exists or cannot be made; [`ErrorKind::Io`]; [`ErrorKind::NonFinite`]
    /// where training ended in numbers that are none or that leave the range of a stored dtype; what the codec reports.
    pub fn write(
        &self,
        trained: &Classifier,
        request: Map<String, Value>,
        destination: &Path,
        replace: Replace,
        observer: &dyn Observer,
    ) -> Result<Finished> {
        refuse_overlap(&self.checkpoint, destination)?;
        let parts = self.parts(trained)?;
        let errors = self.moved(&parts)?;
        let mut numbers: HashMap<String, Vec<u8>> = parts.into_iter().map(|(meta, bytes)| (meta.name, bytes)).collect();
        for parameter in trained.parameters() {
            let id = self.checkpoint.find(&parameter.name);
            let id = id.ok_or_else(|| self.malformed("the tensor is missing").tensor(&parameter.name))?;
            let bytes = cast(&parameter.name, &parameter.values, self.checkpoint.meta(id).dtype)?;
            numbers.insert(parameter.name.clone(), bytes);
        }
        let staged = StagedDirectory::create(destination, replace)?;
        let mut files = Vec::new();
        for shard in self.checkpoint.shards() {
            files.push(self.write_shard(shard, &numbers, staged.path())?);
        }
        files.extend(copy_companions(&self.checkpoint, staged.path(), &|_| true, observer)?);
        let index = self.checkpoint.index().map(|index| index.path());
        for path in self.checkpoint.config().map(|config| config.path()).into_iter().chain(index) {
            // Nothing in them tells of the numbers.
            let from = self.checkpoint.root().join(path);
            let bytes = std::fs::read(&from).map_err(|error| Error::io("cannot read", &from, error))?;
            files.push(write_small(staged.path(), path, &bytes)?);
        }
        self.checkpoint.check_unchanged()?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let manifest = self.retrained(request, errors, files);
        let manifest_sha256 = write_manifest(&manifest, staged.path())?;
        staged.publish()?;
        Ok(Finished { manifest, manifest_sha256 })
    }

    fn retrained(&self, request: Map<String, Value>, errors: Errors, files: Vec<FileRecord>) -> Manifest {
        let parent = &self.manifest;
        let table = TableRecord {
            bytes_before: self.record.bytes_after,
            parameters_before: self.record.parameters_after,
            errors,
            products: None,
            // What other methods would have made of the source says nothing of the parent.
            runners_up: Vec::new(),
            ..self.record.clone()
        };
        Manifest {
            schema_version: SCHEMA_VERSION,
            generator: generator(),
            operation: Operation::Retrain,
            source: Source {
                manifest_sha256: Some(self.manifest_sha256.clone()),
                files: parent.files.clone(),
                origin: Some(Box::new(Origin { operation: parent.operation, source: parent.source.clone() })),
            },
            request,
            tables: vec![table],
            conversions: Vec::new(),
            left_out: Vec::new(),
            stored_once: Default::default(),
            carrier: None,
            weights_bytes: WeightsBytes { before: parent.weights_bytes.after, after: weights_of(&files) },
            files,
        }
    }

    /// The parts of the trained table: the factors as they are, or the table encoded once more.
    fn parts(&self, trained: &Classifier) -> Result<Vec<Stored>> {
        let (left, right) = trained.embedding().masters();
        let parts: Vec<Stored> = match right {
            Some(right) => {
                let factors = self.record.parts.iter().zip([left.clone(), right.transposed()]);
                factors.map(|(name, factor)| self.factor(name, &factor)).collect::<Result<_>>()?
            }
            None => {
                check_finite(EMBEDDING, left.values())?;
                let encoded = self.quantizer(1).encode(EMBEDDING, left)?;
                encoded.parts().map(|part| (part.meta.clone(), part.bytes.to_vec())).collect()
            }
        };
        for ((meta, _), name) in parts.iter().zip(&self.record.parts) {
            let found = self.checkpoint.find(name).map(|id| self.checkpoint.meta(id));
            if found != Some(meta) {
                let found = found.map_or("nothing".to_owned(), |meta| format!("{} {:?}", meta.dtype, meta.shape));
                return Err(Error::new(ErrorKind::Unsupported, "the method would store another part than is there")
                    .tensor(name)
                    .expected(format!("{} {:?}", meta.dtype, meta.shape))
                    .found(found)
                    .hint("compress the original again, with the options that are the default"));
            }
        }
        Ok(parts)
    }

    fn factor(&self, name: &str, factor: &Matrix) -> Result<Stored> {
        let id = self.checkpoint.find(name).ok_or_else(|| self.malformed("a part is missing").tensor(name))?;
        let meta = self.checkpoint.meta(id).clone();
        let bytes = cast(name, factor.values(), meta.dtype)?;
        Ok((meta, bytes))
    }

    /// How far training moved the table, both as they are stored.
    fn moved(&self, parts: &[Stored]) -> Result<Errors> {
        let parts: Vec<Part<'_>> = parts.iter().map(|(meta, bytes)| Part { meta, bytes }).collect();
        let after = Matrix::read(self.codec.decode(&self.record.setting, &parts)?.as_ref())?;
        let before = self.model.classifier.embedding().table()?;
        let (mut norm, mut moved, mut largest) = (0.0f64, 0.0f64, 0.0f64);
        for (&before, &after) in before.values().iter().zip(after.values()) {
            let way = f64::from(after) - f64::from(before);
            norm += f64::from(before).powi(2);
            moved += way.powi(2);
            largest = largest.max(way.abs());
        }
        let relative_frobenius = if norm == 0.0 { 0.0 } else { (moved / norm).sqrt() };
        Ok(Errors { relative_frobenius, weighted_relative_frobenius: None, max_absolute: largest })
    }

    /// Writes a shard: what was trained anew, the rest as it is.
    fn write_shard(&self, shard: &Shard, numbers: &HashMap<String, Vec<u8>>, directory: &Path) -> Result<FileRecord> {
        let reader = shard.reader();
        let tensors = reader.tensors();
        let bytes = tensors.iter().enumerate().map(|(index, meta)| match numbers.get(&meta.name) {
            Some(bytes) => Ok(bytes.as_slice().into()),
            None => reader.bytes(index),
        });
        let bytes: Vec<std::borrow::Cow<'_, [u8]>> = bytes.collect::<Result<_>>()?;
        write_weights(directory, shard.path(), tensors, reader.metadata(), &bytes)
    }
}

/// `values` as elements of `dtype`.
fn cast(name: &str, values: &[f32], dtype: Dtype) -> Result<Vec<u8>> {
    check_finite(name, values)?;
    let singles: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut bytes = Vec::new();
    Cast::new(Dtype::F32, dtype, false).push(&singles, &mut bytes).map_err(|error| error.tensor(name))?;
    Ok(bytes)
}
