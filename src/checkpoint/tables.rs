//! The embedding tables of an open checkpoint.

use super::{Checkpoint, TensorId};
use crate::error::Result;
use crate::locate::{Candidate, Inventory, Selection, locate, select};
use crate::manifest::same_elements;
use crate::tensor::TensorMeta;

/// A table that is taken, and the tensors with the same bytes that are stored once with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Selected {
    /// The table.
    pub table: TensorId,
    /// Its copies.
    pub tied: Vec<TensorId>,
    /// Why it is a table.
    pub candidate: Candidate,
}

impl Checkpoint {
    /// The tensors that may be embedding tables, with the evidence, and where each is.
    ///
    /// # Errors
    /// Whatever comparing bytes reports.
    pub fn candidates(&self) -> Result<Vec<(TensorId, Candidate)>> {
        let (ids, metas) = self.listed();
        let candidates = self.locate(&ids, &metas)?;
        Ok(candidates.into_iter().map(|candidate| (ids[candidate.tensor], candidate)).collect())
    }

    /// The tables that `selection` takes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Selection`] where nothing fits, or not unambiguously.
    pub fn select(&self, selection: &Selection) -> Result<Vec<Selected>> {
        let (ids, metas) = self.listed();
        let candidates = self.locate(&ids, &metas)?;
        let tables = select(&metas, &candidates, selection).map_err(|error| error.at(self.root()))?;
        let selected = tables.into_iter().map(|candidate| Selected {
            table: ids[candidate.tensor],
            tied: candidate.tied.iter().map(|tie| ids[tie.tensor]).collect(),
            candidate,
        });
        Ok(selected.collect())
    }

    fn listed(&self) -> (Vec<TensorId>, Vec<TensorMeta>) {
        self.tensors().map(|(id, meta)| (id, meta.clone())).unzip()
    }

    fn locate(&self, ids: &[TensorId], metas: &[TensorMeta]) -> Result<Vec<Candidate>> {
        let same_bytes = |one: usize, other: usize| same_elements((self, ids[one]), (self, ids[other]));
        locate(&Inventory { tensors: metas, config: self.config().map(|file| file.value()), same_bytes: &same_bytes })
    }
}
