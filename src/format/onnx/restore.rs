//! The way back: the graph without the nodes that decode, and with the names that they replaced.

#![expect(
    clippy::indexing_slicing,
    reason = "nodes and fields are named by their number in a model that was read whole"
)]

use super::build::{PREFIX, original, put_renamed, renamed};
use super::layout::{Added, Edits};
use super::reader::MappedModel;
use super::wire::malformed;
use crate::error::Result;
use crate::format::{EncodedTable, Reader};
use crate::manifest::SEAL;

/// The edits that put the dense tensors of `tables` in place of their parts.
///
/// # Errors
/// [`crate::ErrorKind::Malformed`] where the model is no output of this program.
pub(super) fn decode(file: &MappedModel, tables: &[EncodedTable<'_>]) -> Result<Edits> {
    let model = &file.model;
    if !model.metadata.contains_key(SEAL) {
        return Err(malformed("the model does not carry what `compress` writes into it").expected(format!("`{SEAL}`")));
    }
    let mut edits = Edits::default();
    for node in &model.nodes {
        if node.name.starts_with(PREFIX) {
            edits.replaced.insert(node.field, Vec::new());
            continue;
        }
        let mut changed = node.clone();
        let names = changed.inputs.iter_mut().chain(&mut changed.outputs);
        let mut any = false;
        for name in names {
            if let Some(old) = original(name) {
                *name = old.to_owned();
                any = true;
            }
        }
        if any {
            let own = model.graph_fields[node.field].bytes().unwrap_or_default();
            let mut bytes = Vec::new();
            put_renamed(node, &file.map[own], &changed, &mut bytes)?;
            edits.replaced.insert(node.field, bytes);
        }
    }
    for table in tables {
        let find = |name: &str| file.tensors().iter().position(|meta| meta.name == name);
        let parts: Vec<usize> = table.parts.iter().filter_map(|part| find(&part.name)).collect();
        let anchor = parts.first().copied();
        edits.removed.extend(parts);
        edits.added.push(Added { name: table.dense.name.clone(), anchor, is_transposed: false });
        for tied in &table.tied {
            let folded = renamed("transposed", tied);
            let is_transposed = model.nodes.iter().any(|node| node.inputs.contains(&folded));
            edits.added.push(Added { name: tied.clone(), anchor: None, is_transposed });
        }
    }
    Ok(edits)
}
