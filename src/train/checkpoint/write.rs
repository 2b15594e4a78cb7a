//! Writes a classifier.

use std::collections::BTreeMap;
use std::path::Path;

use super::{CONFIG, EMBEDDING, TrainedModel, VOCABULARY, WEIGHTS, configuration};
use crate::error::{Error, ErrorKind, Result};
use crate::format::safetensors::Safetensors;
use crate::format::{Contents, WriteFormat};
use crate::output::{Replace, StagedDirectory, write_file};
use crate::tensor::{Dtype, Rows, TensorMeta};

/// Writes `model` to the new directory `destination`, in singles. The directory is complete or absent.
///
/// # Errors
/// [`ErrorKind::Output`] where `destination` exists or cannot be made; [`ErrorKind::Io`];
/// [`ErrorKind::NonFinite`] where training ended in numbers that are none; what a codec of the embedding reports.
pub fn write(model: &TrainedModel, destination: &Path) -> Result<()> {
    let table = model.classifier.embedding().table()?;
    let (rows, columns) = table.shape();
    let parameters = model.classifier.parameters();
    let own = parameters.iter().map(|one| (one.name.as_str(), one.shape.clone(), one.values.as_slice()));
    let tensors: Vec<_> = [(EMBEDDING, vec![rows, columns], table.values())].into_iter().chain(own).collect();
    for (name, _, values) in &tensors {
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(Error::new(ErrorKind::NonFinite, "training ended in a number that is none")
                .tensor(*name)
                .found(value.to_string())
                .hint("try a smaller learning rate"));
        }
    }
    let meta = |(name, shape, _): &(&str, Vec<usize>, &[f32])| TensorMeta {
        name: (*name).to_owned(),
        dtype: Dtype::F32,
        shape: shape.clone(),
    };
    let metas: Vec<TensorMeta> = tensors.iter().map(meta).collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let staged = StagedDirectory::create(destination, Replace::Never)?;
    let contents = Contents { tensors: &metas, metadata: &metadata, words: None };
    let mut writer = Safetensors.create(&staged.path().join(WEIGHTS), &contents)?;
    for (index, (_, _, values)) in tensors.iter().enumerate() {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        writer.write(index, &bytes)?;
    }
    writer.finish()?;
    write_file(&staged.path().join(CONFIG), configuration::text(model).as_bytes())?;
    write_file(&staged.path().join(VOCABULARY), model.vocabulary.text().as_bytes())?;
    staged.publish()
}
