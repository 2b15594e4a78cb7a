//! The same graph with encoded tables: nodes that decode are put around the nodes that use a table.
//!
//! A lookup `Gather(W, ids)` reads the codes or the left factor instead, and what follows makes a row of it. A head
//! `MatMul(h, W^T)` becomes `MatMul(MatMul(h, B^T), A^T)`. Every node of the original stays, with its name, attributes
//! and fields that are not known here; only names of its inputs and outputs change, in a way that [`super::restore`] can
//! undo. What depends on weights alone stands at the head of the graph, where runtimes fold it once when they load it.

#![expect(
    clippy::indexing_slicing,
    reason = "nodes and fields are named by their number in a model that was read whole; inputs were counted by `uses`"
)]

mod decoder;

use std::collections::{HashMap, HashSet};

use super::build::{Op, PREFIX, put_node, put_renamed, renamed};
use super::layout::{Added, Edits};
use super::model::Model;
use super::node::Node;
use super::reader::MappedModel;
use super::types::data_type;
use crate::codec::Arithmetic;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{EncodedTable, Reader};
use crate::tensor::Dtype;

use decoder::Decoder;

/// The operator set from which Add, Mul and Sub broadcast as the added nodes need it.
const BROADCASTS: u64 = 7;
/// The operator set from which Cast knows BF16.
const HAS_BF16: u64 = 13;

/// The edits that put the parts of `tables` in place of the dense tensors.
///
/// # Errors
/// [`ErrorKind::Unsupported`] with the reason where the graph uses a table otherwise than it can be replaced.
pub(super) fn encode(file: &MappedModel, tables: &[EncodedTable<'_>]) -> Result<Edits> {
    let model = &file.model;
    let mut surgery = Surgery {
        file,
        consumers: consumers(model),
        changed: HashMap::new(),
        before: HashMap::new(),
        after: HashMap::new(),
        hidden: HashSet::new(),
        edits: Edits { is_sealed: true, ..Edits::default() },
    };
    check_model(model)?;
    for (number, table) in tables.iter().enumerate() {
        surgery.table(number, table).map_err(|error| error.tensor(&table.dense.name))?;
    }
    surgery.finish()
}

fn unsupported(summary: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, summary)
}

/// Each name with the nodes and input positions that take it.
fn consumers(model: &Model) -> HashMap<&str, Vec<(usize, usize)>> {
    let mut consumers: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
    for (number, node) in model.nodes.iter().enumerate() {
        for (position, input) in node.inputs.iter().enumerate() {
            consumers.entry(input).or_default().push((number, position));
        }
    }
    consumers
}

fn check_model(model: &Model) -> Result<()> {
    if model.opset < BROADCASTS {
        return Err(unsupported("the operators of the model are too old for the nodes that decode a table")
            .expected(format!("operator set {BROADCASTS} or later"))
            .found(model.opset.to_string())
            .hint("convert the model with `onnx.version_converter`"));
    }
    if model.trains {
        return Err(unsupported("the model has graphs for training, whose uses of a table cannot be followed"));
    }
    let values = model.nodes.iter().flat_map(|node| node.outputs.iter().chain([&node.name]));
    match values.into_iter().find(|name| name.starts_with(PREFIX)) {
        Some(name) => Err(unsupported("the graph has names that outputs of this program have")
            .found(format!("`{}`", name.escape_debug()))
            .hint("start from the original model")),
        None => Ok(()),
    }
}

struct Surgery<'f> {
    file: &'f MappedModel,
    consumers: HashMap<&'f str, Vec<(usize, usize)>>,
    /// Nodes whose names change, by their number.
    changed: HashMap<usize, Node>,
    /// Nodes that stand before and after one, by its number.
    before: HashMap<usize, Vec<u8>>,
    after: HashMap<usize, Vec<u8>>,
    /// Hidden states that were multiplied by a right factor already.
    hidden: HashSet<String>,
    edits: Edits,
}

/// How a node uses a table.
enum Use {
    Lookup,
    /// Transposes it for heads.
    Transpose,
    /// Multiplies by it, transposed.
    Head,
}

impl<'f> Surgery<'f> {
    fn table(&mut self, number: usize, table: &EncodedTable<'_>) -> Result<()> {
        let arithmetic = table.codec.arithmetic(table.setting)?;
        self.check_parts(table, arithmetic)?;
        let mut decoder = Decoder::new(number, arithmetic, table);
        let own = self.initializer(&table.dense.name)?;
        self.edits.removed.insert(own);
        let parts =
            table.parts.iter().map(|part| Added { name: part.name.clone(), anchor: Some(own), is_transposed: false });
        self.edits.added.extend(parts);
        self.uses(&table.dense.name, &table.dense.name, &mut decoder)?;
        for tied in &table.tied {
            let index = self.initializer(tied)?;
            self.edits.removed.insert(index);
            if self.is_transposed(own, index)? {
                self.transposed_copy(tied, &mut decoder)?;
            } else {
                let alias = renamed("same", tied);
                put_node(Op::Identity, &[&table.dense.name], &alias, &mut self.edits.first);
                self.uses(tied, &alias, &mut decoder)?;
            }
        }
        self.edits.first.extend(decoder.constants);
        Ok(())
    }

    /// Refuses parts that the graph has no place for.
    fn check_parts(&self, table: &EncodedTable<'_>, arithmetic: Arithmetic) -> Result<()> {
        let model = &self.file.model;
        if table.parts.first().map(|part| &part.name) != Some(&table.dense.name) {
            return Err(unsupported("the codes have another name than the table, and the graph would lose it"));
        }
        let codes = &table.parts[0];
        if matches!(arithmetic, Arithmetic::Scaled { .. }) && codes.shape != table.dense.shape {
            return Err(unsupported("the codes are packed, and no operator reads them")
                .expected(format!("{:?}", table.dense.shape))
                .found(format!("{} {:?}", codes.dtype.name(), codes.shape))
                .hint("choose a `--granularity` that divides the columns of the table"));
        }
        for part in &table.parts {
            if data_type(part.dtype).is_none() {
                return Err(unsupported("ONNX has no such element type").found(part.dtype.name()));
            }
            if part.dtype == Dtype::BF16 && table.dense.dtype != Dtype::BF16 && model.opset < HAS_BF16 {
                return Err(unsupported("the operators of the model cannot cast BF16")
                    .expected(format!("operator set {HAS_BF16} or later"))
                    .found(model.opset.to_string())
                    .hint("choose another `--dtype`"));
            }
        }
        let parts = || table.parts.iter().skip(1).map(|part| part.name.as_str());
        let outputs = model.nodes.iter().flat_map(|node| &node.outputs);
        let values = outputs.chain(model.inputs.iter().map(|input| &input.name));
        let values = values.chain(model.initializers.iter().map(|one| &one.meta.name));
        match values.chain(model.others.iter().map(|(name, _)| name)).find(|name| parts().any(|part| part == *name)) {
            Some(name) => Err(unsupported("the graph has a value where a part of the table would go")
                .found(format!("`{}`", name.escape_debug()))),
            None => Ok(()),
        }
    }

    fn initializer(&self, name: &str) -> Result<usize> {
        let found = self.file.tensors().iter().position(|meta| meta.name == name);
        found.ok_or_else(|| unsupported("the table is no initializer of the graph").tensor(name))
    }

    /// Whether the tied initializer `copy` has the rows of `table` as columns.
    fn is_transposed(&self, table: usize, copy: usize) -> Result<bool> {
        let (one, other) = (&self.file.tensors()[table].shape, &self.file.tensors()[copy].shape);
        Ok(one != other || (one.first() == one.last() && self.file.bytes(table)? != self.file.bytes(copy)?))
    }

    /// Puts the decoder around every use of the table called `name`, whose codes go by `codes`.
    fn uses(&mut self, name: &str, codes: &str, decoder: &mut Decoder<'_>) -> Result<()> {
        self.check_reach(name)?;
        let model = &self.file.model;
        for (number, position) in self.consumers.get(name).cloned().unwrap_or_default() {
            match use_of(&model.nodes[number], position)? {
                Use::Lookup => self.lookup(number, codes, decoder),
                Use::Head => {
                    let values = decoder.values(name, codes);
                    self.head(number, &values, decoder);
                }
                Use::Transpose => {
                    let values = decoder.values(name, codes);
                    let output = model.nodes[number].outputs.first().map_or("", String::as_str);
                    self.check_reach(output)?;
                    self.drop_value_info(output);
                    self.change(number).inputs[0] = values;
                    for (consumer, position) in self.consumers.get(output).cloned().unwrap_or_default() {
                        check_right(&model.nodes[consumer], position, false)?;
                        self.head(consumer, output, decoder);
                    }
                }
            }
        }
        Ok(())
    }

    /// The heads that multiply by the folded copy `name`, `[d, V]`.
    fn transposed_copy(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Result<()> {
        self.check_reach(name)?;
        let right = decoder.transposed(name);
        for (number, position) in self.consumers.get(name).cloned().unwrap_or_default() {
            check_right(&self.file.model.nodes[number], position, false)?;
            self.head(number, &right, decoder);
        }
        Ok(())
    }

    /// Refuses names whose uses are beyond the nodes of the graph, and drops what is said of their shape.
    fn check_reach(&mut self, name: &str) -> Result<()> {
        let model = &self.file.model;
        if model.inputs.iter().any(|input| input.name == name) {
            return Err(unsupported("the table is an input of the graph too, so that a caller may replace it")
                .hint("take initializers out of the inputs, as onnxruntime's `remove_initializer_from_input` does"));
        }
        if model.outputs.iter().any(|output| output.name == name) {
            return Err(unsupported("the table is an output of the graph").found(format!("`{}`", name.escape_debug())));
        }
        if let Some(node) = model.nodes.iter().find(|node| node.captured.contains(name)) {
            return Err(unsupported("the table is used in the body of a node, which would have to be rewritten too")
                .found(node.label()));
        }
        self.drop_value_info(name);
        Ok(())
    }

    fn drop_value_info(&mut self, name: &str) {
        let stale = self.file.model.value_infos.iter().filter(|value| value.name == name);
        self.edits.dropped.extend(stale.map(|value| value.field));
    }

    fn change(&mut self, number: usize) -> &mut Node {
        let node = &self.file.model.nodes[number];
        self.changed.entry(number).or_insert_with(|| node.clone())
    }

    fn lookup(&mut self, number: usize, codes: &str, decoder: &mut Decoder<'_>) {
        let node = &self.file.model.nodes[number];
        let output = node.outputs.first().cloned().unwrap_or_default();
        let rows = renamed("rows", &output);
        let added = decoder.lookup(&rows, &node.inputs[1], &output);
        let changed = self.change(number);
        codes.clone_into(&mut changed.inputs[0]);
        if !added.is_empty() {
            changed.outputs[0] = rows;
        }
        self.after.entry(number).or_default().extend(added);
    }

    /// Makes node `number`, whose right side is to be `right`, multiply by the factors one after the other.
    fn head(&mut self, number: usize, right: &str, decoder: &mut Decoder<'_>) {
        let node = &self.file.model.nodes[number];
        let Some(factor) = decoder.right_of_heads() else {
            right.clone_into(&mut self.change(number).inputs[1]);
            return;
        };
        let hidden = renamed(&format!("hidden{}", decoder.number()), &node.inputs[0]);
        if self.hidden.insert(hidden.clone()) {
            let before = self.before.entry(number).or_default();
            put_node(Op::MatMul, &[&node.inputs[0], &factor], &hidden, before);
        }
        let changed = self.change(number);
        changed.inputs[0] = hidden;
        right.clone_into(&mut changed.inputs[1]);
    }

    fn finish(mut self) -> Result<Edits> {
        let model = &self.file.model;
        let touched: HashSet<usize> =
            self.changed.keys().chain(self.before.keys()).chain(self.after.keys()).copied().collect();
        for number in touched {
            let node = &model.nodes[number];
            let mut bytes = self.before.remove(&number).unwrap_or_default();
            let own = model.graph_fields[node.field].bytes().unwrap_or_default();
            put_renamed(node, &self.file.map[own], self.changed.get(&number).unwrap_or(node), &mut bytes)?;
            bytes.extend(self.after.remove(&number).unwrap_or_default());
            self.edits.replaced.insert(node.field, bytes);
        }
        Ok(self.edits)
    }
}

/// How `node` uses a table that is its input `position`.
fn use_of(node: &Node, position: usize) -> Result<Use> {
    match position {
        0 if node.is_lookup() => Ok(Use::Lookup),
        0 if node.is_transpose() => Ok(Use::Transpose),
        _ => check_right(node, position, true).map(|()| Use::Head),
    }
}

/// Refuses unless `node` multiplies by its input `position` from the right; transposed by the node itself where
/// `is_transposed`.
fn check_right(node: &Node, position: usize, is_transposed: bool) -> Result<()> {
    let multiplies = match node.op.as_str() {
        "MatMul" => !is_transposed,
        "Gemm" => node.transposes == [false, is_transposed],
        _ => false,
    };
    if multiplies && position == 1 {
        return Ok(());
    }
    Err(unsupported("the graph uses the table in a way that its factors cannot stand in for")
        .expected("lookups by Gather on axis 0 and products by MatMul or Gemm with the transposed table")
        .found(format!("input {position} of {}", node.label()))
        .hint("leave the table out with `--exclude`"))
}
