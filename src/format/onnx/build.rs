//! Bytes of the nodes and tensors that an output gains.

#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "fields of a model that was read whole")]

use super::node::Node;
use super::schema::{attribute, entry, graph, model, node, tensor};
use super::types::data_type;
use super::wire::{fields, put_bytes, put_head, put_number};
use crate::error::Result;
use crate::tensor::{Dtype, TensorMeta};

/// What the names of all added nodes and values begin with. Where a value of the original has another name now, that is
/// the prefix, a word, a slash and the original name.
pub(super) const PREFIX: &str = "rankfold/";

/// The value called `name` in the original, for the purpose `word`.
pub(super) fn renamed(word: &str, name: &str) -> String {
    format!("{PREFIX}{word}/{name}")
}

/// The name in the original of a value that was [`renamed`].
pub(super) fn original(name: &str) -> Option<&str> {
    Some(name.strip_prefix(PREFIX)?.split_once('/')?.1)
}

/// An operator with at most one attribute, a number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    Add,
    Cast(u64),
    /// By the axis.
    Gather(i64),
    Identity,
    MatMul,
    Mul,
    Sub,
    Transpose,
}

impl Op {
    /// A conversion to the type of `dtype`, which ONNX has: tables and parts are of types that it has.
    pub(super) fn cast(dtype: Dtype) -> Self {
        Op::Cast(data_type(dtype).unwrap_or_default())
    }

    fn name(self) -> &'static str {
        match self {
            Op::Add => "Add",
            Op::Cast(_) => "Cast",
            Op::Gather(_) => "Gather",
            Op::Identity => "Identity",
            Op::MatMul => "MatMul",
            Op::Mul => "Mul",
            Op::Sub => "Sub",
            Op::Transpose => "Transpose",
        }
    }

    fn attribute(self) -> Option<(&'static str, u64)> {
        match self {
            Op::Cast(to) => Some(("to", to)),
            Op::Gather(axis) if axis != 0 => Some(("axis", axis as u64)),
            _ => None,
        }
    }
}

/// Appends a node to the fields `out` of a graph.
pub(super) fn put_node(op: Op, inputs: &[&str], output: &str, out: &mut Vec<u8>) {
    let attribute = op.attribute().map(|(name, value)| {
        let mut own = Vec::new();
        put_bytes(attribute::NAME, name.as_bytes(), &mut own);
        put_number(attribute::INT, value, &mut own);
        put_number(attribute::TYPE, attribute::TYPE_INT, &mut own);
        own
    });
    put_any_node(op.name(), inputs, output, attribute, out);
}

/// Appends a node whose output is the array `values` of `shape`.
pub(super) fn put_constant(shape: &[usize], values: &[i64], output: &str, out: &mut Vec<u8>) {
    let mut number = Vec::new();
    for &extent in shape {
        put_number(tensor::DIMS, extent as u64, &mut number);
    }
    put_number(tensor::DATA_TYPE, data_type(Dtype::I64).unwrap_or_default(), &mut number);
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    put_bytes(tensor::RAW_DATA, &bytes, &mut number);
    let mut own = Vec::new();
    put_bytes(attribute::NAME, b"value", &mut own);
    put_bytes(attribute::TENSOR, &number, &mut own);
    put_number(attribute::TYPE, attribute::TYPE_TENSOR, &mut own);
    put_any_node("Constant", &[], output, Some(own), out);
}

fn put_any_node(op: &str, inputs: &[&str], output: &str, attribute: Option<Vec<u8>>, out: &mut Vec<u8>) {
    let mut own = Vec::new();
    for input in inputs {
        put_bytes(node::INPUT, input.as_bytes(), &mut own);
    }
    put_bytes(node::OUTPUT, output.as_bytes(), &mut own);
    put_bytes(node::NAME, renamed(op, output).as_bytes(), &mut own);
    put_bytes(node::OP_TYPE, op.as_bytes(), &mut own);
    if let Some(attribute) = attribute {
        put_bytes(node::ATTRIBUTE, &attribute, &mut own);
    }
    put_bytes(graph::NODE, &own, out);
}

/// Appends `original`, which is `bytes` in a file, with the names of `changed` for its inputs and outputs; every other
/// field as it stands.
pub(super) fn put_renamed(original: &Node, bytes: &[u8], changed: &Node, out: &mut Vec<u8>) -> Result<()> {
    let (mut inputs, mut outputs) = (changed.inputs.iter(), changed.outputs.iter());
    let mut own = Vec::with_capacity(bytes.len() + 64);
    for field in fields(bytes, 0..bytes.len()) {
        let field = field?;
        let name = match (field.number, field.bytes()) {
            (node::INPUT, Some(_)) => inputs.next(),
            (node::OUTPUT, Some(_)) => outputs.next(),
            _ => None,
        };
        match name {
            Some(name) => put_bytes(field.number, name.as_bytes(), &mut own),
            None => own.extend_from_slice(&bytes[field.whole]),
        }
    }
    debug_assert_eq!((original.inputs.len(), original.outputs.len()), (changed.inputs.len(), changed.outputs.len()));
    put_bytes(graph::NODE, &own, out);
    Ok(())
}

/// The fields of a tensor of `meta` up to its elements.
pub(super) fn tensor_head(meta: &TensorMeta) -> Vec<u8> {
    let mut out = Vec::new();
    for &extent in &meta.shape {
        put_number(tensor::DIMS, extent as u64, &mut out);
    }
    put_number(tensor::DATA_TYPE, data_type(meta.dtype).unwrap_or_default(), &mut out);
    put_bytes(tensor::NAME, meta.name.as_bytes(), &mut out);
    out
}

/// Appends the tag and the length of `bytes` raw elements, which are to follow.
pub(super) fn put_raw_head(bytes: u64, out: &mut Vec<u8>) {
    put_head(tensor::RAW_DATA, bytes, out);
}

/// Appends the fields that say where the elements of a tensor are outside of the model.
pub(super) fn put_external(location: &str, offset: u64, length: u64, out: &mut Vec<u8>) {
    let entries = [("location", location.to_owned()), ("offset", offset.to_string()), ("length", length.to_string())];
    for (key, value) in entries {
        put_bytes(tensor::EXTERNAL_DATA, &key_value(key, &value), out);
    }
    put_number(tensor::DATA_LOCATION, tensor::EXTERNAL, out);
}

/// A field of the model that adds an entry to its metadata.
pub(super) fn metadata(key: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(model::METADATA, &key_value(key, value), &mut out);
    out
}

fn key_value(key: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(entry::KEY, key.as_bytes(), &mut out);
    put_bytes(entry::VALUE, value.as_bytes(), &mut out);
    out
}
