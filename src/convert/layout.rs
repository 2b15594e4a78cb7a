//! Which tensors of a compressed checkpoint go into which file, and how large that makes it.

use std::collections::BTreeMap;

use super::assembly::{self, Content, OutputShard};
use super::compress::Prepared;
use crate::checkpoint::TensorId;
use crate::codec::Point;
use crate::error::Result;

impl<'c> Prepared<'c> {
    /// The weight files of the output with the tables at `points`. A shard that would hold nothing is left out.
    pub(super) fn shards(&self, points: &[&Point]) -> Result<Vec<OutputShard<'c>>> {
        let mut shards: Vec<OutputShard<'c>> = Vec::new();
        let sources = self.checkpoint.shards();
        for (number, shard) in sources.iter().enumerate() {
            let mut tensors = Vec::new();
            for (index, meta) in shard.reader().tensors().iter().enumerate() {
                let id = TensorId { shard: number, index };
                if let Some(table) = self.tables.iter().position(|table| table.id == id) {
                    let parts = points[table].parts.iter().cloned().enumerate();
                    tensors.extend(parts.map(|(part, meta)| (meta, Content::Produced { table, part })));
                } else if !self.is_tied(id) && self.stored_as(id).is_none() {
                    tensors.push((meta.clone(), Content::Copied { reader: shard.reader(), index }));
                }
            }
            if !tensors.is_empty() || shard.reader().tensors().is_empty() {
                let mut metadata = shard.reader().metadata().clone();
                let tied = (0..shard.reader().tensors().len()).filter_map(|index| {
                    let id = TensorId { shard: number, index };
                    Some((
                        self.checkpoint.meta(id).name.clone(),
                        self.checkpoint.meta(self.stored_as(id)?).name.clone(),
                    ))
                });
                // As safetensors' `save_model` records tensors that share their storage.
                metadata.extend(tied);
                let path = super::output_path(self.checkpoint, shard);
                match shards.iter_mut().find(|earlier| earlier.path == path) {
                    Some(earlier) => earlier.tensors.extend(tensors),
                    None => shards.push(OutputShard { path, metadata, tensors }),
                }
            }
        }
        Ok(shards)
    }

    fn is_tied(&self, id: TensorId) -> bool {
        self.tables.iter().any(|table| table.tied.contains(&id))
    }

    /// The tensor that is stored for `id` too, because they share their storage. One that became a factor pair stands
    /// for no other but those that were found to be tied to it.
    fn stored_as(&self, id: TensorId) -> Option<TensorId> {
        let is_table = |id: TensorId| self.is_tied(id) || self.tables.iter().any(|table| table.id == id);
        let index = self.checkpoint.shards()[id.shard].reader().stored_as(id.index)?;
        let first = TensorId { index, ..id };
        (!is_table(id) && !is_table(first)).then_some(first)
    }

    pub(super) fn stored_once(&self) -> BTreeMap<String, String> {
        let name = |id: TensorId| self.checkpoint.meta(id).name.clone();
        self.checkpoint.tensors().filter_map(|(id, _)| Some((name(id), name(self.stored_as(id)?)))).collect()
    }

    pub(super) fn weights_after(&self, points: &[&Point]) -> Result<u64> {
        let shards = self.shards(points)?.iter().map(OutputShard::file_bytes).sum::<Result<u64>>()?;
        Ok(shards + assembly::companion_weights(self.checkpoint)?)
    }
}
