//! Labels and their numbers.

use super::Example;
use crate::error::{Error, ErrorKind, Result};

/// The classes: distinct labels in the order of their bytes. A label's number is its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels(Vec<String>);

impl Labels {
    /// The labels of `examples`.
    pub fn of(examples: &[Example]) -> Self {
        let mut labels: Vec<String> = examples.iter().map(|example| example.label.clone()).collect();
        labels.sort_unstable();
        labels.dedup();
        Labels(labels)
    }

    /// Labels as a checkpoint lists them, in the order of its outputs.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where there is none or one is there twice.
    pub fn new(names: Vec<String>) -> Result<Self> {
        let mut sorted = names.clone();
        sorted.sort_unstable();
        let twice = sorted.iter().zip(sorted.iter().skip(1)).find(|(one, next)| one == next);
        match (names.is_empty(), twice) {
            (true, _) => Err(Error::new(ErrorKind::Malformed, "there are no labels")),
            (_, Some((label, _))) => {
                Err(Error::new(ErrorKind::Malformed, "a label is there twice")
                    .found(format!("`{}`", label.escape_debug())))
            }
            _ => Ok(Labels(names)),
        }
    }

    /// The number of `label`.
    pub fn id(&self, label: &str) -> Option<u32> {
        self.0.iter().position(|own| own == label).and_then(|place| u32::try_from(place).ok())
    }

    /// The labels in the order of their numbers.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// How many classes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
