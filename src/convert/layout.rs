//! Which tensors of a compressed checkpoint go into which file, and how large that makes it.

use std::collections::BTreeMap;

use super::assembly::{self, Content, OutputShard};
use super::auto;
use super::compress::Prepared;
use crate::checkpoint::{Checkpoint, TensorId};
use crate::codec::{Codec, Point};
use crate::error::Result;
use crate::format::{EncodedTable, Rewrite};

impl<'c> Prepared<'c> {
    /// The weight files of the output with every table at its point of `points`. A shard that would hold nothing is left out.
    pub(super) fn shards(&self, points: &[usize]) -> Result<Vec<OutputShard<'c>>> {
        let mut shards: Vec<OutputShard<'c>> = Vec::new();
        let sources = self.checkpoint.shards();
        for (number, shard) in sources.iter().enumerate() {
            let mut tensors = Vec::new();
            for (index, meta) in shard.reader().tensors().iter().enumerate() {
                let id = TensorId { shard: number, index };
                if let Some(table) = self.tables.iter().position(|table| table.id == id) {
                    let parts = self.tables[table].points[points[table]].parts.iter().cloned().enumerate();
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
                    None => {
                        let form = self.form(number, points)?;
                        shards.push(OutputShard { path, metadata, tensors, form });
                    }
                }
            }
        }
        Ok(shards)
    }

    /// The form of shard `number`, where the output keeps it, with the parts of `points` in place of its tables.
    fn form(&self, number: usize, points: &[usize]) -> Result<Option<Box<dyn Rewrite + 'c>>> {
        let shard = &self.checkpoint.shards()[number];
        let Some(rewriter) = shard.reader().rewriter() else { return Ok(None) };
        let own = self.tables.iter().zip(points).filter(|(table, _)| table.id.shard == number);
        let tables = own.map(|(table, &point)| {
            encoded_table(self.checkpoint, table.id, &table.tied, table.codecs[point], &table.points[point])
        });
        let tables: Vec<_> = tables.collect();
        rewriter.encoded(&tables).map(Some).map_err(|error| error.at(self.checkpoint.root().join(shard.path())))
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

    pub(super) fn weights_after(&self, points: &[usize]) -> Result<u64> {
        let shards = self.shards(points)?.iter().map(OutputShard::file_bytes).sum::<Result<u64>>()?;
        Ok(shards + assembly::companion_weights(self.checkpoint)?)
    }
}

/// A table as the file form of the source sees it.
fn encoded_table<'p>(
    checkpoint: &Checkpoint,
    id: TensorId,
    tied: &[TensorId],
    codec: &'static dyn Codec,
    point: &'p Point,
) -> EncodedTable<'p> {
    EncodedTable {
        dense: checkpoint.meta(id).clone(),
        tied: tied.iter().map(|&tie| checkpoint.meta(tie).name.clone()).collect(),
        codec,
        setting: &point.setting,
        parts: point.parts.clone(),
    }
}

/// Those of `points` that an output in the source's own form has a place for; all where it goes to safetensors.
///
/// # Errors
/// The first refusal where there is none.
pub(super) fn accepted(
    checkpoint: &Checkpoint,
    id: TensorId,
    tied: &[TensorId],
    points: auto::Offers,
) -> Result<auto::Offers> {
    let Some(rewriter) = checkpoint.shards()[id.shard].reader().rewriter() else { return Ok(points) };
    let mut refusal = None;
    let mut accepted = Vec::with_capacity(points.len());
    for (codec, point) in points {
        match rewriter.accepts(&encoded_table(checkpoint, id, tied, codec, &point)) {
            Ok(()) => accepted.push((codec, point)),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    match refusal {
        Some(refusal) if accepted.is_empty() => Err(refusal),
        _ => Ok(accepted),
    }
}
