//! A training on disk, between two epochs: a safetensors file with every number, and the history in its metadata.
//!
//! Codes of a whole matrix are not kept: they are found again at the beginning of an epoch, where
//! [`super::super::model::Quantizer`] was told to find them once in an epoch.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::{Epoch, History, Keep, Training};
use crate::error::{Error, ErrorKind, Result};
use crate::format::safetensors::Safetensors;
use crate::format::{Contents, Reader, WriteFormat};
use crate::tensor::{Dtype, TensorMeta};
use crate::train::model::Classifier;

/// Keys of the metadata.
const IDENTITY: &str = "training";
const HISTORY: &str = "history";

/// Some numbers of a training, to be read or replaced.
enum Numbers<'t> {
    Singles(&'t mut [f32]),
    Counts(&'t mut [u64]),
}

impl Numbers<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Numbers::Singles(_) => Dtype::F32,
            Numbers::Counts(_) => Dtype::U64,
        }
    }

    fn len(&self) -> usize {
        match self {
            Numbers::Singles(values) => values.len(),
            Numbers::Counts(values) => values.len(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Numbers::Singles(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Numbers::Counts(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }

    /// Takes `bytes`, which are as many as [`Numbers::bytes`] gives.
    fn replace(&mut self, bytes: &[u8]) {
        match self {
            Numbers::Singles(values) => {
                let (words, _) = bytes.as_chunks::<4>();
                values.iter_mut().zip(words).for_each(|(value, bytes)| *value = f32::from_le_bytes(*bytes));
            }
            Numbers::Counts(values) => {
                let (words, _) = bytes.as_chunks::<8>();
                values.iter_mut().zip(words).for_each(|(value, bytes)| *value = u64::from_le_bytes(*bytes));
            }
        }
    }
}

impl Training {
    /// Writes the training to the file of `keep`, in place of what was there.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn save(&mut self, keep: Keep<'_>) -> Result<()> {
        let history = serde_json::to_string(&self.history).map_err(std::io::Error::from);
        let history = history.map_err(|error| Error::io("cannot keep the training", keep.path, error))?;
        let metadata = BTreeMap::from([(IDENTITY.to_owned(), keep.identity.to_owned()), (HISTORY.to_owned(), history)]);
        let numbers = self.numbers();
        let meta = |(name, numbers): &(String, Numbers<'_>)| TensorMeta {
            name: name.clone(),
            dtype: numbers.dtype(),
            shape: vec![numbers.len()],
        };
        let metas: Vec<_> = numbers.iter().map(meta).collect();
        let unfinished = unfinished(keep);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("cannot remove what a kill left", &unfinished, error));
            }
            _ => {}
        }
        let mut writer =
            Safetensors.create(&unfinished, &Contents { tensors: &metas, metadata: &metadata, words: None })?;
        for (index, (_, numbers)) in numbers.iter().enumerate() {
            writer.write(index, &numbers.bytes())?;
        }
        writer.finish()?;
        fs::rename(&unfinished, keep.path).map_err(|error| Error::io("cannot keep the training", keep.path, error))
    }

    /// Goes on where the file of `keep` left off, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] where it is of another training; [`ErrorKind::Malformed`] where it is none;
    /// [`ErrorKind::Io`].
    pub fn resume(&mut self, keep: Keep<'_>) -> Result<()> {
        match keep.path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("cannot look at", keep.path, error)),
            Ok(_) => {}
        }
        let reader = crate::format::open(keep.path)?;
        self.replace(reader.as_ref(), keep).map_err(|error| error.at(keep.path))
    }

    fn replace(&mut self, reader: &dyn Reader, keep: Keep<'_>) -> Result<()> {
        let malformed = |what: String| Error::new(ErrorKind::Malformed, "not a training that was kept").found(what);
        match reader.metadata().get(IDENTITY) {
            Some(found) if found == keep.identity => {}
            Some(_) => {
                return Err(Error::new(ErrorKind::Output, "another training was kept here")
                    .expected("the same data, settings and version")
                    .found("others")
                    .hint("remove the file to begin anew, or choose another output"));
            }
            None => return Err(malformed(format!("no `{IDENTITY}` in the metadata"))),
        }
        let history = reader.metadata().get(HISTORY).map_or("", String::as_str);
        let history: History = serde_json::from_str(history).map_err(|error| malformed(error.to_string()))?;
        let epochs = history.epochs.len() as u64;
        let updates = history.last().map_or(0, |last| last.updates);
        let settings = self.settings();
        let steps = self.schedule.steps_per_epoch;
        let other = |(epoch, number): (&Epoch, u64)| (epoch.epoch, epoch.updates) != (number, number * steps);
        if epochs > settings.epochs || history.best_epoch > epochs || history.epochs.iter().zip(1..).any(other) {
            return Err(malformed("a history that is not this training's".to_owned()));
        }
        let schedule = settings.schedule;
        self.rates = (0..updates).map(|done| schedule.rate(&self.schedule, done)).collect();
        self.history = history;
        for (name, mut numbers) in self.numbers() {
            let index = reader.tensors().iter().position(|meta| meta.name == name);
            let index = index.ok_or_else(|| malformed(format!("no tensor `{name}`")))?;
            let meta = &reader.tensors()[index];
            if (meta.dtype, &meta.shape[..]) != (numbers.dtype(), &[numbers.len()]) {
                return Err(malformed(format!("{} {:?}", meta.dtype, meta.shape)).tensor(&name));
            }
            numbers.replace(&reader.bytes(index)?);
        }
        let behind = |done: &[u64]| done.iter().any(|&done| done > updates);
        let states = [Some(&self.states.left), self.states.right.as_ref()].into_iter().flatten();
        match states.chain(&self.states.parameters).any(|state| behind(state.numbers().1)) {
            true => Err(malformed("updates that were not done".to_owned())),
            false => Ok(()),
        }
    }

    /// Every number that its future depends on, by name: present and best classifier, and what the optimizer remembers.
    fn numbers(&mut self) -> Vec<(String, Numbers<'_>)> {
        let mut numbers = Vec::new();
        add_classifier("present", &mut self.classifier, &mut numbers);
        add_classifier("best", &mut self.best, &mut numbers);
        let states = &mut self.states;
        let named = [("left".to_owned(), Some(&mut states.left)), ("right".to_owned(), states.right.as_mut())];
        let parameters = states.parameters.iter_mut().enumerate();
        let parameters = parameters.map(|(number, state)| (format!("parameter.{number}"), Some(state)));
        for (name, state) in named.into_iter().chain(parameters) {
            let Some(state) = state else { continue };
            let (memory, done) = state.numbers_mut();
            numbers.push((format!("memory.{name}"), Numbers::Singles(memory)));
            numbers.push((format!("updates.{name}"), Numbers::Counts(done)));
        }
        // An optimizer may remember nothing.
        numbers.retain(|(_, numbers)| numbers.len() > 0);
        numbers
    }
}

fn add_classifier<'t>(name: &str, classifier: &'t mut Classifier, numbers: &mut Vec<(String, Numbers<'t>)>) {
    let (embedding, parameters) = classifier.parts_mut();
    numbers.push((format!("{name}.left"), Numbers::Singles(embedding.left.master_mut().values_mut())));
    if let Some(right) = &mut embedding.right {
        numbers.push((format!("{name}.right"), Numbers::Singles(right.master_mut().values_mut())));
    }
    for parameter in parameters {
        numbers.push((format!("{name}.{}", parameter.name), Numbers::Singles(&mut parameter.values)));
    }
}

/// The name under which a file is written before it replaces the last one.
fn unfinished(keep: Keep<'_>) -> PathBuf {
    let mut name = keep.path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    keep.path.with_file_name(name)
}
