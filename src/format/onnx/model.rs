//! A model as far as embedding tables are concerned: where the graph is, its nodes, its initializers and their uses.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::initializer::{self, Initializer};
use super::node::{self, Node};
use super::schema::{entry, graph, model, opset, value_info};
use super::wire::{Field, fields, malformed};
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;

/// The parts of a model that are looked at; everything else is copied as it stands.
pub(super) struct Model {
    /// Every field of the model but those of the graph's inside.
    pub(super) fields: Vec<Field>,
    /// Position of the graph in `fields`.
    pub(super) graph: usize,
    /// Every field of the graph.
    pub(super) graph_fields: Vec<Field>,
    /// Version of the default operator set.
    pub(super) opset: u64,
    /// `metadata_props`.
    pub(super) metadata: BTreeMap<String, String>,
    /// Whether there is a graph for training, whose uses of a table are not looked at.
    pub(super) trains: bool,
    pub(super) nodes: Vec<Node>,
    /// Initializers with a dtype of ours, in the order of the file.
    pub(super) initializers: Vec<Initializer>,
    /// Names and types of initializers that have none, which pass through.
    pub(super) others: Vec<(String, u64)>,
    pub(super) inputs: Vec<Value>,
    pub(super) outputs: Vec<Value>,
    pub(super) value_infos: Vec<Value>,
}

/// A named value of the graph.
pub(super) struct Value {
    /// Position in [`Model::graph_fields`].
    pub(super) field: usize,
    pub(super) name: String,
    /// Its element type, where it is a tensor.
    pub(super) data_type: Option<u64>,
}

/// The text in `range`.
pub(super) fn text(file: &[u8], range: Range<usize>, what: &str) -> Result<String> {
    let bytes = file.get(range).unwrap_or_default();
    if bytes.len() > limits::MAX_WORD {
        return Err(malformed(format!("{what} is too long"))
            .expected(format!("at most {} bytes", limits::MAX_WORD))
            .found(bytes.len().to_string()));
    }
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|error| malformed(format!("{what} is not UTF-8")).caused_by(error))
}

/// Refuses more of something than any model has: each takes more memory than its bytes in the file.
fn count(found: usize, what: &str) -> Result<()> {
    if found as u64 <= limits::MAX_ENTRIES {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, format!("the graph has too many {what}"))
        .expected(format!("at most {}", limits::MAX_ENTRIES)))
}

/// Reads a `StringStringEntryProto`.
pub(super) fn key_value(file: &[u8], range: Range<usize>, what: &str) -> Result<(String, String)> {
    let (mut key, mut value) = (String::new(), String::new());
    for field in fields(file, range) {
        let field = field?;
        match (field.number, field.bytes()) {
            (entry::KEY, Some(range)) => key = text(file, range, what)?,
            (entry::VALUE, Some(range)) if range.len() as u64 > limits::MAX_JSON => {
                return Err(malformed(format!("the value of {what} is too long"))
                    .expected(format!("at most {} bytes", limits::MAX_JSON))
                    .found(range.len().to_string()));
            }
            (entry::VALUE, Some(range)) => {
                value = String::from_utf8_lossy(file.get(range).unwrap_or_default()).into_owned();
            }
            _ => {}
        }
    }
    Ok((key, value))
}

impl Model {
    /// Reads the model that `file` is.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where it contradicts itself, [`ErrorKind::Unsupported`] where a cap is exceeded.
    pub(super) fn parse(file: &[u8]) -> Result<Self> {
        let mut own = Vec::new();
        let (mut found, mut has_version, mut trains, mut version) = (None, false, false, None);
        let mut metadata = BTreeMap::new();
        for field in fields(file, 0..file.len()) {
            let field = field?;
            match (field.number, field.bytes()) {
                (model::IR_VERSION, _) => has_version = true,
                (model::GRAPH, Some(_)) if found.is_some() => return Err(malformed("the model has two graphs")),
                (model::GRAPH, Some(range)) => found = Some((own.len(), range)),
                (model::OPSET_IMPORT, Some(range)) => version = version.max(default_opset(file, range)?),
                (model::METADATA, Some(range)) => {
                    metadata.extend([key_value(file, range, "a key of the metadata")?]);
                }
                (model::TRAINING, Some(_)) => trains = true,
                _ => {}
            }
            own.push(field);
            count(own.len(), "fields around it")?;
        }
        let Some((graph, range)) = found.filter(|_| has_version) else {
            return Err(malformed("not a model").expected("`ir_version` and `graph`"));
        };
        let mut model = Model {
            fields: own,
            graph,
            graph_fields: Vec::new(),
            opset: version.unwrap_or(0),
            metadata,
            trains,
            nodes: Vec::new(),
            initializers: Vec::new(),
            others: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            value_infos: Vec::new(),
        };
        for field in fields(file, range) {
            model.push(file, field?)?;
        }
        model.check_names()?;
        Ok(model)
    }

    fn push(&mut self, file: &[u8], field: Field) -> Result<()> {
        let at = self.graph_fields.len();
        if let Some(range) = field.bytes() {
            match field.number {
                graph::NODE => self.nodes.push(node::parse(file, at, range)?),
                graph::INITIALIZER => match initializer::parse(file, at, range)? {
                    Ok(initializer) => self.initializers.push(initializer),
                    Err(other) => self.others.push(other),
                },
                graph::INPUT => self.inputs.push(value(file, at, range)?),
                graph::OUTPUT => self.outputs.push(value(file, at, range)?),
                graph::VALUE_INFO => self.value_infos.push(value(file, at, range)?),
                _ => {}
            }
        }
        self.graph_fields.push(field);
        count(self.graph_fields.len(), "nodes and values")
    }

    fn check_names(&self) -> Result<()> {
        let mut names = HashSet::new();
        let own = self.initializers.iter().map(|one| one.meta.name.as_str());
        for name in own.chain(self.others.iter().map(|(name, _)| name.as_str())) {
            if !names.insert(name) {
                return Err(malformed("two initializers of one name").tensor(name));
            }
        }
        Ok(())
    }
}

/// The version that an `OperatorSetIdProto` gives the default domain, if it is of that.
fn default_opset(file: &[u8], range: Range<usize>) -> Result<Option<u64>> {
    let (mut is_default, mut version) = (true, None);
    for field in fields(file, range) {
        let field = field?;
        match field.number {
            opset::DOMAIN => {
                is_default = field.bytes().and_then(|range| file.get(range)).is_some_and(node::is_default_domain);
            }
            opset::VERSION => version = field.varint(),
            _ => {}
        }
    }
    Ok(version.filter(|_| is_default))
}

/// Reads a `ValueInfoProto`.
fn value(file: &[u8], at: usize, range: Range<usize>) -> Result<Value> {
    let mut value = Value { field: at, name: String::new(), data_type: None };
    for field in fields(file, range) {
        let field = field?;
        match (field.number, field.bytes()) {
            (value_info::NAME, Some(range)) => value.name = text(file, range, "the name of a value")?,
            (value_info::TYPE, Some(range)) => {
                for field in fields(file, range) {
                    let field = field?;
                    let Some(range) = field.bytes().filter(|_| field.number == value_info::TENSOR_TYPE) else {
                        continue;
                    };
                    for field in fields(file, range) {
                        let field = field?;
                        if field.number == value_info::ELEM_TYPE {
                            value.data_type = field.varint();
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Ok(value)
}
