//! What the graph does with its matrices: which it looks rows up in, and which it multiplies by.

use std::collections::{HashMap, HashSet};

use super::model::Model;
use super::node::Node;
use super::types::INDICES;
use crate::format::{TensorUse, UseKind};
use crate::tensor::TensorMeta;

/// Operators that pass indices on in another shape or type, or some of them. Their first input is looked at.
const TRANSPARENT: &[&str] =
    &["Cast", "Reshape", "Unsqueeze", "Squeeze", "Identity", "Flatten", "Slice", "Transpose", "Expand"];

/// Nodes between a lookup and a graph input that are walked over at most; a graph may also have cycles.
const MAX_STEPS: usize = 64;

/// Every use of a matrix that tells of an embedding table.
///
/// A matrix that is multiplied by is a head where it has the transposed shape of a matrix that is looked up in: exporters
/// fold the transposition of a tied head, and the content alone can tell that it was one.
pub(super) fn find(model: &Model) -> Vec<TensorUse> {
    let trace = Trace::new(model);
    let mut uses = Vec::new();
    let mut shapes = HashSet::new();
    for node in model.nodes.iter().filter(|node| node.is_lookup()) {
        let [table, indices, ..] = &node.inputs[..] else { continue };
        let Some((&tensor, meta)) = trace.initializer(model, table) else { continue };
        let Some(shape) = meta.matrix().filter(|_| meta.dtype.is_table_float()) else { continue };
        if let Some(indices) = trace.graph_input(indices) {
            shapes.insert((meta.dtype, shape));
            let kind = UseKind::LookedUp { indices: indices.to_owned() };
            uses.push(TensorUse { tensor, node: node.label(), kind });
        }
    }
    for node in &model.nodes {
        let Some((name, is_transposed)) = trace.multiplied(node) else { continue };
        let Some((&tensor, meta)) = trace.initializer(model, name) else { continue };
        let Some((rows, columns)) = meta.matrix() else { continue };
        let table = if is_transposed { (columns, rows) } else { (rows, columns) };
        if shapes.contains(&(meta.dtype, table)) {
            uses.push(TensorUse { tensor, node: node.label(), kind: UseKind::Multiplied { is_transposed } });
        }
    }
    uses
}

struct Trace<'m> {
    initializers: HashMap<&'m str, usize>,
    /// Integer inputs that the caller gives; those with a default are initializers too, and constant as a rule.
    indices: HashSet<&'m str>,
    producers: HashMap<&'m str, &'m Node>,
}

impl<'m> Trace<'m> {
    fn new(model: &'m Model) -> Self {
        let initializers: HashMap<&str, usize> =
            model.initializers.iter().enumerate().map(|(index, one)| (one.meta.name.as_str(), index)).collect();
        let is_index = |data_type: Option<u64>| data_type.is_some_and(|own| INDICES.contains(&own));
        let inputs = model.inputs.iter().filter(|input| is_index(input.data_type));
        let indices = inputs.map(|input| input.name.as_str()).filter(|name| !initializers.contains_key(name)).collect();
        let outputs = |node: &'m Node| node.outputs.iter().map(move |output| (output.as_str(), node));
        let producers = model.nodes.iter().flat_map(outputs).collect();
        Trace { initializers, indices, producers }
    }

    /// The initializer called `name`.
    fn initializer(&self, model: &'m Model, name: &str) -> Option<(&usize, &'m TensorMeta)> {
        let index = self.initializers.get(name)?;
        Some((index, &model.initializers.get(*index)?.meta))
    }

    /// The integer input of the graph that `name` comes from.
    fn graph_input(&self, name: &'m str) -> Option<&'m str> {
        let mut name = name;
        for _ in 0..MAX_STEPS {
            if let Some(found) = self.indices.get(name) {
                return Some(found);
            }
            let producer = self.producers.get(name).filter(|node| TRANSPARENT.contains(&node.op.as_str()))?;
            name = producer.inputs.first()?;
        }
        None
    }

    /// The matrix that `node` multiplies by from the right, and whether it is stored as `[d, V]`.
    fn multiplied(&self, node: &'m Node) -> Option<(&'m str, bool)> {
        let right = node.inputs.get(1)?.as_str();
        let transposes = match node.op.as_str() {
            "MatMul" => false,
            "Gemm" => node.transposes[1],
            _ => return None,
        };
        match self.producers.get(right) {
            Some(producer) if producer.is_transpose() && !transposes => Some((producer.inputs.first()?, false)),
            Some(_) => None,
            None => Some((right, !transposes)),
        }
    }
}
