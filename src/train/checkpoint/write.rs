//! Writes a classifier that was trained from sentences.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::{CONFIG, EMBEDDING, TrainedModel, VOCABULARY, WEIGHTS, configuration};
use crate::convert::{Finished, generator, write_manifest, write_small};
use crate::error::{Error, ErrorKind, Result};
use crate::format::safetensors::Safetensors;
use crate::format::{Contents, WriteFormat};
use crate::manifest::{
    FileRecord, Manifest, Operation, SCHEMA_VERSION, Source, TensorRecord, WeightsBytes, weights_of,
};
use crate::output::{Replace, StagedDirectory};
use crate::stub;
use crate::tensor::{Dtype, Rows, TensorMeta};

/// Writes `model` to the directory `destination`, in singles, with a manifest that has `request`: settings, and
/// digests of the data. The directory is complete or absent.
///
/// # Errors
/// [`ErrorKind::Output`] where `destination` exists or cannot be made; [`ErrorKind::Io`];
/// [`ErrorKind::NonFinite`] where training ended in numbers that are none; what a codec of the embedding reports.
pub fn write(
    model: &TrainedModel,
    request: Map<String, Value>,
    destination: &Path,
    replace: Replace,
) -> Result<Finished> {
    let table = model.classifier.embedding().table()?;
    let (rows, columns) = table.shape();
    let parameters = model.classifier.parameters();
    let own = parameters.iter().map(|one| (one.name.as_str(), one.shape.clone(), one.values.as_slice()));
    let tensors: Vec<_> = [(EMBEDDING, vec![rows, columns], table.values())].into_iter().chain(own).collect();
    tensors.iter().try_for_each(|(name, _, values)| check_finite(name, values))?;
    let meta = |(name, shape, _): &(&str, Vec<usize>, &[f32])| TensorMeta {
        name: (*name).to_owned(),
        dtype: Dtype::F32,
        shape: shape.clone(),
    };
    let metas: Vec<TensorMeta> = tensors.iter().map(meta).collect();
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let staged = StagedDirectory::create(destination, replace)?;
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut files = vec![write_weights(staged.path(), Path::new(WEIGHTS), &metas, &metadata, &bytes)?];
    let texts = [
        (CONFIG, configuration::text(model)),
        (VOCABULARY, model.vocabulary.text()),
        (stub::CLASSIFIER.name, stub::CLASSIFIER.text.to_owned()),
    ];
    for (name, text) in texts {
        files.push(write_small(staged.path(), Path::new(name), text.as_bytes())?);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        generator: generator(),
        operation: Operation::Train,
        source: Source { manifest_sha256: None, files: Vec::new(), origin: None },
        request,
        tables: Vec::new(),
        conversions: Vec::new(),
        left_out: Vec::new(),
        stored_once: BTreeMap::new(),
        carrier: None,
        weights_bytes: WeightsBytes { before: 0, after: weights_of(&files) },
        files,
    };
    let manifest_sha256 = write_manifest(&manifest, staged.path())?;
    staged.publish()?;
    Ok(Finished { manifest, manifest_sha256 })
}

/// Writes the safetensors file `path` below `directory`, and gives its record.
pub(super) fn write_weights(
    directory: &Path,
    path: &Path,
    tensors: &[TensorMeta],
    metadata: &BTreeMap<String, String>,
    bytes: &[impl AsRef<[u8]>],
) -> Result<FileRecord> {
    let contents = Contents { tensors, metadata, words: None };
    let mut writer = Safetensors.create(&directory.join(path), &contents)?;
    for (index, bytes) in bytes.iter().enumerate() {
        writer.write(index, bytes.as_ref())?;
    }
    let written = writer.finish()?;
    let records = tensors.iter().zip(written.tensor_sha256).map(|(meta, sha256)| TensorRecord {
        name: meta.name.clone(),
        dtype: meta.dtype,
        shape: meta.shape.clone(),
        sha256: Some(sha256),
    });
    Ok(FileRecord {
        path: crate::convert::path_text(path)?,
        bytes: written.bytes,
        sha256: written.sha256,
        tensors: Some(records.collect()),
    })
}

/// Refuses numbers that are none.
pub(super) fn check_finite(name: &str, values: &[f32]) -> Result<()> {
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => Err(Error::new(ErrorKind::NonFinite, "training ended in a number that is none")
            .tensor(name)
            .found(value.to_string())
            .hint("try a smaller learning rate")),
    }
}
