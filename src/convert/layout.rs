//! Which tensors of a compressed checkpoint go into which file, and how large that makes it.

use std::collections::BTreeMap;

use super::assembly::{self, Content, OutputShard};
use super::auto;
use super::carrier::Slot;
use super::compress::{Chosen, Prepared};
use crate::checkpoint::{Checkpoint, TensorId};
use crate::codec::{Codec, Point};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{EncodedTable, Rewrite};
use crate::tensor::TensorMeta;

impl<'c> Prepared<'c> {
    /// The weight files of the output with every table at its point of `points`. A shard that would hold nothing is left out.
    pub(super) fn shards(&self, points: &[usize]) -> Result<Vec<OutputShard<'c>>> {
        let placed = self.placed(points)?;
        let stored = |table: usize, slot: &Slot| {
            let mut meta = TensorMeta { name: slot.name.clone(), ..self.part(table, points[table], slot.part) };
            if slot.transposed {
                meta.shape.reverse();
                return (meta, Content::Transposed { table, part: slot.part });
            }
            (meta, Content::Produced { table, part: slot.part })
        };
        let mut shards: Vec<OutputShard<'c>> = Vec::new();
        let sources = self.checkpoint.shards();
        for (number, shard) in sources.iter().enumerate() {
            let mut tensors = Vec::new();
            for (index, meta) in shard.reader().tensors().iter().enumerate() {
                let id = TensorId { shard: number, index };
                if let Some(table) = self.tables.iter().position(|table| table.id == id) {
                    let beside = placed.slots[table].iter().filter(|slot| slot.file.is_none());
                    tensors.extend(beside.map(|slot| stored(table, slot)));
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
        for (table, slots) in placed.slots.iter().enumerate() {
            for (slot, path) in slots.iter().filter_map(|slot| Some((slot, slot.file.as_ref()?))) {
                let tensor = stored(table, slot);
                match shards.iter_mut().find(|shard| shard.path == *path) {
                    Some(shard) => shard.tensors.push(tensor),
                    None => {
                        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
                        shards.push(OutputShard { path: path.clone(), metadata, tensors: vec![tensor], form: None });
                    }
                }
            }
        }
        Ok(shards)
    }

    /// A part of a table at a point, as its file has it.
    fn part(&self, table: usize, point: usize, part: usize) -> TensorMeta {
        let Chosen { id, tied, codecs, points, .. } = &self.tables[table];
        match self.checkpoint.shards()[id.shard].reader().rewriter() {
            None => points[point].parts[part].clone(),
            Some(rewriter) => {
                rewriter.part(&encoded_table(self.checkpoint, *id, tied, codecs[point], &points[point]), part)
            }
        }
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

/// Those of `points` that an output has a place for.
///
/// # Errors
/// The first refusal where there is none.
pub(super) fn accepted(
    checkpoint: &Checkpoint,
    id: TensorId,
    tied: &[TensorId],
    points: auto::Offers,
) -> Result<auto::Offers> {
    let rewriter = checkpoint.shards()[id.shard].reader().rewriter();
    let mut refusal = None;
    let mut accepted = Vec::with_capacity(points.len());
    for (codec, point) in points {
        let accepts = match rewriter {
            Some(rewriter) => rewriter.accepts(&encoded_table(checkpoint, id, tied, codec, &point)),
            None => refuse_lookalike(checkpoint.meta(id), codec, &point),
        };
        match accepts {
            Ok(()) => accepted.push((codec, point)),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    match refusal {
        Some(refusal) if accepted.is_empty() => Err(refusal),
        _ => Ok(accepted),
    }
}

/// Refuses codes in the shape of their table, which a loader that knows nothing of them would take for numbers.
fn refuse_lookalike(meta: &TensorMeta, codec: &dyn Codec, point: &Point) -> Result<()> {
    let columns = meta.matrix().map_or(0, |(_, columns)| columns);
    let is_read = codec.native(&point.setting, columns).is_some();
    match point.parts.first().filter(|part| !is_read && part.name == meta.name && part.shape == meta.shape) {
        None => Ok(()),
        Some(part) => Err(Error::new(ErrorKind::Unsupported, "the codes would have the shape of the table")
            .expected("another shape, on which loaders that do not know the method fail")
            .found(format!("{} {:?}", part.dtype, part.shape))
            .hint("choose a slightly larger or smaller size")),
    }
}
