//! The embedding tables of an open checkpoint.

#![expect(clippy::indexing_slicing, reason = "candidates are numbered as the tensors that `listed` gives")]

use super::{Checkpoint, TensorId};
use crate::error::Result;
use crate::format::TensorUse;
use crate::locate::{Candidate, Inventory, Selection, locate, select};
use crate::manifest::{same_elements, same_transposed};
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
        let same_transposed = |one: usize, other: usize| same_transposed((self, ids[one]), (self, ids[other]));
        let uses = self.shards().iter().enumerate().flat_map(|(shard, file)| {
            file.reader().uses().iter().filter_map(move |one| {
                let id = TensorId { shard, index: one.tensor };
                // Ids are listed in their order.
                Some(TensorUse { tensor: ids.binary_search(&id).ok()?, ..one.clone() })
            })
        });
        let uses: Vec<TensorUse> = uses.collect();
        locate(&Inventory {
            tensors: metas,
            config: self.config().map(|file| file.value()),
            same_bytes: &same_bytes,
            uses: &uses,
            same_transposed: &same_transposed,
        })
    }
}
