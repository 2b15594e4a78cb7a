//! Nodes: what they compute from what, and which names the graphs inside them use.

use std::collections::HashSet;
use std::ops::Range;

use super::model::text;
use super::schema::{attribute, graph, node};
use super::wire::{fields, malformed, varint};
use crate::error::Result;
use crate::format::limits;

/// A node of the graph.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    /// Position in [`super::model::Model::graph_fields`].
    pub(super) field: usize,
    pub(super) name: String,
    /// The operator; of another domain than the default one with that domain before it.
    pub(super) op: String,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    /// `axis`, where it is there.
    pub(super) axis: Option<i64>,
    /// `transA` and `transB` of Gemm.
    pub(super) transposes: [bool; 2],
    /// `perm` of Transpose, where it is there.
    pub(super) permutation: Option<Vec<i64>>,
    /// Names that the bodies of If, Loop, Scan and their like use, whether they define them or capture them.
    pub(super) captured: HashSet<String>,
}

impl Node {
    /// How messages name it: by its name, or by its operator and its first output.
    pub(super) fn label(&self) -> String {
        let output = self.outputs.first().map_or("", String::as_str);
        match self.name.as_str() {
            "" => format!("{} of `{}`", self.op, output.escape_debug()),
            name => format!("{} `{}`", self.op, name.escape_debug()),
        }
    }

    /// Whether it gives rows of its first input.
    pub(super) fn is_lookup(&self) -> bool {
        let is_whole = self.inputs.len() == 2 && self.outputs.len() == 1;
        self.op == "Gather" && matches!(self.axis, None | Some(0 | -2)) && is_whole
    }

    /// Whether it exchanges rows and columns of a matrix.
    pub(super) fn is_transpose(&self) -> bool {
        self.op == "Transpose" && matches!(self.permutation.as_deref(), None | Some([1, 0]))
    }
}

/// Whether these bytes name the default domain.
pub(super) fn is_default_domain(domain: &[u8]) -> bool {
    matches!(domain, b"" | b"ai.onnx")
}

/// Reads the node in `range`, which is field `at` of the graph.
pub(super) fn parse(file: &[u8], at: usize, range: Range<usize>) -> Result<Node> {
    parse_inside(file, at, range, 0)
}

fn parse_inside(file: &[u8], at: usize, range: Range<usize>, depth: usize) -> Result<Node> {
    let mut own = Node { field: at, ..Node::default() };
    let mut domain = String::new();
    for field in fields(file, range) {
        let field = field?;
        let Some(range) = field.bytes() else { continue };
        match field.number {
            node::INPUT => own.inputs.push(text(file, range, "the name of an input")?),
            node::OUTPUT => own.outputs.push(text(file, range, "the name of an output")?),
            node::NAME => own.name = text(file, range, "the name of a node")?,
            node::OP_TYPE => own.op = text(file, range, "the name of an operator")?,
            node::DOMAIN => domain = text(file, range, "the name of a domain")?,
            node::ATTRIBUTE => read_attribute(file, range, &mut own, depth)?,
            _ => {}
        }
    }
    if !is_default_domain(domain.as_bytes()) {
        own.op = format!("{domain}.{}", own.op);
    }
    Ok(own)
}

fn read_attribute(file: &[u8], range: Range<usize>, own: &mut Node, depth: usize) -> Result<()> {
    let (mut name, mut int, mut ints) = (String::new(), None, Vec::new());
    for field in fields(file, range) {
        let field = field?;
        match (field.number, field.bytes()) {
            (attribute::NAME, Some(range)) => name = text(file, range, "the name of an attribute")?,
            (attribute::INT, _) => int = field.varint().map(|value| value as i64),
            (attribute::INTS, None) => ints.extend(field.varint().map(|value| value as i64)),
            // Permutations are short; other lists are of no interest.
            (attribute::INTS, Some(range)) if range.len() <= limits::MAX_DIMENSIONS => {
                let mut at = range.start;
                while at < range.end {
                    ints.push(varint(file.get(..range.end).unwrap_or_default(), &mut at)? as i64);
                }
            }
            (attribute::GRAPH | attribute::GRAPHS, Some(range)) => {
                capture(file, range, &mut own.captured, depth.saturating_add(1))?;
            }
            _ => {}
        }
    }
    match name.as_str() {
        "axis" => own.axis = Some(int.unwrap_or(0)),
        "transA" => own.transposes[0] = int.unwrap_or(0) != 0,
        "transB" => own.transposes[1] = int.unwrap_or(0) != 0,
        "perm" => own.permutation = Some(ints),
        _ => {}
    }
    Ok(())
}

/// Collects every name that the nodes and outputs of the graph in `range` use.
fn capture(file: &[u8], range: Range<usize>, names: &mut HashSet<String>, depth: usize) -> Result<()> {
    if depth > limits::MAX_NESTING {
        return Err(malformed("graphs are nested too deeply").expected(format!("at most {}", limits::MAX_NESTING)));
    }
    for field in fields(file, range) {
        let field = field?;
        let Some(range) = field.bytes() else { continue };
        match field.number {
            graph::NODE => {
                let inside = parse_inside(file, 0, range, depth)?;
                names.extend(inside.inputs);
                names.extend(inside.captured);
            }
            graph::OUTPUT => {
                for field in fields(file, range) {
                    let field = field?;
                    if let Some(range) = field.bytes().filter(|_| field.number == 1) {
                        names.insert(text(file, range, "the name of an output")?);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
