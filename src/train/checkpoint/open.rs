//! Opens a classifier, dense or compressed by any method.

use std::path::Path;

use super::configuration::Configuration;
use super::{EMBEDDING, TrainedModel, VOCABULARY};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{MANIFEST_NAME, Manifest, decode};
use crate::tensor::Rows;
use crate::train::data::Vocabulary;
use crate::train::model::{Classifier, Embedding, Matrix, Parameter};

/// Opens the classifier in `directory`. A compressed table is decoded to a dense one.
///
/// # Errors
/// What opening a checkpoint reports; [`ErrorKind::Unsupported`] where it is of another model;
/// [`ErrorKind::Malformed`] where configuration, vocabulary and tensors do not fit each other.
pub fn open(directory: &Path) -> Result<TrainedModel> {
    let checkpoint = Checkpoint::open(directory)?;
    let config = checkpoint.config().ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "no `config.json` beside the weights")
            .at(directory)
            .hint("pass a directory that `rankfold train` made, or what `rankfold compress` made of one")
    })?;
    let config =
        Configuration::parse(config.value()).map_err(|error| error.at(checkpoint.root().join(config.path())))?;
    let vocabulary = Vocabulary::read(&checkpoint.root().join(VOCABULARY), config.casing)?;
    let table = Matrix::read(table(&checkpoint)?.as_ref())?;
    if table.shape() != (vocabulary.len(), config.sizes.columns) {
        return Err(Error::new(ErrorKind::Malformed, "the table is not that of vocabulary and configuration")
            .at(directory)
            .tensor(EMBEDDING)
            .expected(format!("[{}, {}]", vocabulary.len(), config.sizes.columns))
            .found(format!("[{}, {}]", table.shape().0, table.shape().1)));
    }
    // Checked before any memory is taken for a layer: the shapes come from the configuration.
    Classifier::check(config.architecture, &config.sizes).map_err(|error| error.at(directory))?;
    let shapes = Classifier::shapes(config.architecture, &config.sizes);
    let parameters = shapes.into_iter().map(|(name, shape)| parameter(&checkpoint, name, shape));
    let parameters = parameters.collect::<Result<_>>()?;
    let classifier =
        Classifier::with_parameters(config.architecture, config.sizes, Embedding::dense(table), parameters)
            .map_err(|error| error.at(directory))?;
    Ok(TrainedModel { classifier, vocabulary, labels: config.labels, max_tokens: config.max_tokens })
}

/// The embedding table, decoded where the manifest says that it is encoded.
fn table(checkpoint: &Checkpoint) -> Result<Box<dyn Rows + '_>> {
    if checkpoint.root().join(MANIFEST_NAME).exists() {
        let (manifest, _) = Manifest::read(checkpoint.root())?;
        let record = manifest.tables.iter().find(|table| table.name == EMBEDDING);
        if let Some(record) = record.filter(|_| manifest.operation.encodes()) {
            return decode(record, checkpoint);
        }
    }
    checkpoint.rows(find(checkpoint, EMBEDDING)?)
}

fn find(checkpoint: &Checkpoint, name: &str) -> Result<crate::checkpoint::TensorId> {
    checkpoint
        .find(name)
        .ok_or_else(|| Error::new(ErrorKind::Malformed, "the tensor is missing").at(checkpoint.root()).tensor(name))
}

fn parameter(checkpoint: &Checkpoint, name: String, shape: Vec<usize>) -> Result<Parameter> {
    let id = find(checkpoint, &name)?;
    let meta = checkpoint.meta(id);
    if meta.shape != shape {
        return Err(Error::new(ErrorKind::Malformed, "the tensor has another shape than the configuration says")
            .at(checkpoint.root())
            .tensor(&name)
            .expected(format!("{shape:?}"))
            .found(format!("{:?}", meta.shape)));
    }
    let bytes = checkpoint.bytes(id)?;
    // A vector is read as a matrix of one row.
    let columns = shape.last().copied().unwrap_or(1);
    let rows = shape.iter().rev().skip(1).product();
    let view =
        crate::tensor::MappedRows::new(&bytes, meta.dtype, rows, columns).map_err(|error| error.tensor(&name))?;
    let values = Matrix::read(&view)?.values().to_vec();
    Ok(Parameter { name, shape, values })
}
