//! Where everything of a new model goes: pieces of the old one, bytes of our own, and elements that are still to come.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "places of what this program writes, and fields of a model that was read whole"
)]

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::build::{metadata, put_external, put_raw_head, tensor_head};
use super::initializer::Elements;
use super::model::key_value;
use super::reader::MappedModel;
use super::schema::{graph, model, tensor};
use super::wire::{fields, malformed, put_head};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Contents, Reader};
use crate::manifest::SEAL;
use crate::tensor::TensorMeta;

/// Bytes that a message may have, in every implementation of Protocol Buffers.
const MAX_MESSAGE: u64 = i32::MAX as u64;
/// Elements of a data file from this length on begin on a page, so that a runtime can map them by themselves.
const LARGE: u64 = 1 << 16;
const PAGE: u64 = 1 << 12;
/// Others begin where every vector instruction can load from.
const ALIGNMENT: u64 = 64;

/// What the name of the data file beside an output adds to that of the model: what other programs call it.
pub(super) const DATA_SUFFIX: &str = "_data";

/// What becomes of a graph.
#[derive(Default)]
pub(super) struct Edits {
    /// Fields of the graph that other fields stand in place of.
    pub(super) replaced: HashMap<usize, Vec<u8>>,
    /// Fields of the graph that go.
    pub(super) dropped: HashSet<usize>,
    /// Nodes before the first of the graph.
    pub(super) first: Vec<u8>,
    /// Initializers that go, by their numbers.
    pub(super) removed: HashSet<usize>,
    /// Initializers that come.
    pub(super) added: Vec<Added>,
    /// Whether the model is to carry the digest that [`super::rewrite`] seals it with; it loses one otherwise.
    pub(super) is_sealed: bool,
}

/// An initializer that comes.
pub(super) struct Added {
    pub(super) name: String,
    /// The initializer in whose place it stands; before the one that follows it in the output where it has none.
    pub(super) anchor: Option<usize>,
    /// Whether its bytes are given as those of the transposed matrix.
    pub(super) is_transposed: bool,
}

/// A piece of the new model.
pub(super) enum Piece {
    /// Bytes of the old one.
    Old(Range<usize>),
    /// Bytes of our own.
    New(Vec<u8>),
    /// Elements that are still to come.
    Elements(u64),
}

impl Piece {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Piece::Old(range) => range.len() as u64,
            Piece::New(bytes) => bytes.len() as u64,
            Piece::Elements(bytes) => *bytes,
        }
    }
}

/// Where the elements of a tensor of the output go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// They are in a piece of the old model.
    There,
    /// To the model, from this byte on.
    Model(u64),
    /// To the data file.
    Data(u64),
}

/// A new model, laid out.
pub(super) struct Layout {
    /// The pieces of the model, in order, without the seal.
    pub(super) pieces: Vec<Piece>,
    /// For every tensor of the output, where its elements go and whether they come transposed.
    pub(super) targets: Vec<(Target, bool)>,
    /// Length of the model without the seal.
    pub(super) model_bytes: u64,
    /// Length of the data file; none where nothing goes there.
    pub(super) data_bytes: u64,
    /// Bytes of the seal.
    pub(super) seal_bytes: u64,
}

impl Layout {
    /// Lays out `file` with `edits`, so that it has the tensors of `contents`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the model would be longer than a message may be.
    pub(super) fn new(file: &MappedModel, edits: &Edits, contents: &Contents<'_>) -> Result<Self> {
        let mut plan = Planner {
            file,
            edits,
            contents,
            graph: Vec::new(),
            places: vec![None; contents.tensors.len()],
            data_bytes: 0,
        };
        plan.graph()?;
        let layout = plan.finish()?;
        let bytes = layout.model_bytes + layout.seal_bytes;
        if bytes > MAX_MESSAGE {
            return Err(Error::new(ErrorKind::Unsupported, "the model would be longer than a message may be")
                .expected(format!("at most {MAX_MESSAGE} bytes"))
                .found(bytes.to_string())
                .hint("save the original with its weights as external data"));
        }
        Ok(layout)
    }
}

struct Planner<'p> {
    file: &'p MappedModel,
    edits: &'p Edits,
    contents: &'p Contents<'p>,
    /// Pieces of the graph, each with the tensor whose elements it is.
    graph: Vec<(Piece, Option<usize>)>,
    places: Vec<Option<Target>>,
    data_bytes: u64,
}

impl Planner<'_> {
    /// Goes through the old graph once, and puts every initializer of the output where it belongs.
    fn graph(&mut self) -> Result<()> {
        let model = &self.file.model;
        let groups = self.groups()?;
        let initializers: HashMap<usize, usize> =
            model.initializers.iter().enumerate().map(|(number, one)| (one.field, number)).collect();
        let mut first = Some(&self.edits.first);
        for (at, field) in model.graph_fields.iter().enumerate() {
            if field.number == graph::NODE
                && let Some(nodes) = first.take()
            {
                self.graph.push((Piece::New(nodes.clone()), None));
            }
            if let Some(&number) = initializers.get(&at) {
                for &(tensor, is_own) in groups.get(&number).map(Vec::as_slice).unwrap_or_default() {
                    self.initializer(tensor, number, is_own)?;
                }
            } else if let Some(bytes) = self.edits.replaced.get(&at) {
                self.graph.push((Piece::New(bytes.clone()), None));
            } else if !self.edits.dropped.contains(&at) {
                self.copy(field.whole.clone());
            }
        }
        Ok(())
    }

    /// The tensors of the output by the old initializer in whose place they stand, and whether each is that one.
    fn groups(&self) -> Result<HashMap<usize, Vec<(usize, bool)>>> {
        let kept = self.file.tensors().iter().enumerate().filter(|(number, _)| !self.edits.removed.contains(number));
        let kept: HashMap<&str, usize> = kept.map(|(number, meta)| (meta.name.as_str(), number)).collect();
        let added: HashMap<&str, &Added> = self.edits.added.iter().map(|one| (one.name.as_str(), one)).collect();
        let place = |meta: &TensorMeta| match (added.get(meta.name.as_str()), kept.get(meta.name.as_str())) {
            (Some(added), _) => Ok((added.anchor, false)),
            (None, Some(&number)) => Ok((Some(number), true)),
            (None, None) => Err(malformed("a tensor of the output is not in the model").tensor(&meta.name)),
        };
        let places = self.contents.tensors.iter().map(place).collect::<Result<Vec<_>>>()?;
        let mut groups: HashMap<usize, Vec<(usize, bool)>> = HashMap::new();
        // From the end, so that what has no place of its own finds that of what follows it.
        let mut next = places.iter().rev().find_map(|(anchor, _)| *anchor);
        for (tensor, &(anchor, is_own)) in places.iter().enumerate().rev() {
            next = anchor.or(next);
            let anchor = next.ok_or_else(|| malformed("the model has no initializers left"))?;
            groups.entry(anchor).or_default().push((tensor, is_own));
        }
        groups.values_mut().for_each(|group| group.reverse());
        Ok(groups)
    }

    fn copy(&mut self, range: Range<usize>) {
        match self.graph.last_mut() {
            Some((Piece::Old(last), None)) if last.end == range.start => last.end = range.end,
            _ => self.graph.push((Piece::Old(range), None)),
        }
    }

    /// Puts tensor `tensor` of the output in the place of the old initializer `number`, which it is where `is_own`.
    fn initializer(&mut self, tensor: usize, number: usize, is_own: bool) -> Result<()> {
        let model = &self.file.model;
        let old = &model.initializers[number];
        let is_external = matches!(old.elements, Elements::External(_));
        let whole = &model.graph_fields[old.field];
        if is_own && !is_external {
            self.places[tensor] = Some(Target::There);
            self.copy(whole.whole.clone());
            return Ok(());
        }
        let meta = &self.contents.tensors[tensor];
        let overflows = || malformed("shape overflows").tensor(&meta.name).found(format!("{:?}", meta.shape));
        let bytes = meta.bytes().ok_or_else(overflows)?;
        let mut own = tensor_head(meta);
        // What is not known here goes with the tensor, or with what stands first in its place.
        let is_first = self.edits.added.iter().find(|one| one.anchor == Some(number)).map(|one| &one.name);
        let kept = if is_own || is_first == Some(&meta.name) {
            self.unknown(whole.bytes().unwrap_or_default())?
        } else {
            Vec::new()
        };
        if !is_external {
            put_raw_head(bytes, &mut own);
            let mut head = Vec::new();
            put_head(graph::INITIALIZER, own.len() as u64 + bytes + kept.len() as u64, &mut head);
            head.extend(own);
            self.graph.push((Piece::New(head), None));
            self.graph.push((Piece::Elements(bytes), Some(tensor)));
            self.graph.push((Piece::New(kept), None));
            return Ok(());
        }
        let offset = self.data_bytes.next_multiple_of(if bytes >= LARGE { PAGE } else { ALIGNMENT });
        self.data_bytes = offset.checked_add(bytes).ok_or_else(overflows)?;
        self.places[tensor] = Some(Target::Data(offset));
        put_external(&format!("{}{DATA_SUFFIX}", self.file.file_name), offset, bytes, &mut own);
        own.extend(kept);
        let mut field = Vec::new();
        put_head(graph::INITIALIZER, own.len() as u64, &mut field);
        field.extend(own);
        self.graph.push((Piece::New(field), None));
        Ok(())
    }

    /// The fields of an old initializer that are neither its name, type and shape nor its elements.
    fn unknown(&self, range: Range<usize>) -> Result<Vec<u8>> {
        const KNOWN: &[u32] = &[
            tensor::DIMS,
            tensor::DATA_TYPE,
            tensor::SEGMENT,
            tensor::FLOAT_DATA,
            tensor::INT32_DATA,
            tensor::STRING_DATA,
            tensor::INT64_DATA,
            tensor::NAME,
            tensor::RAW_DATA,
            tensor::DOUBLE_DATA,
            tensor::UINT64_DATA,
            tensor::EXTERNAL_DATA,
            tensor::DATA_LOCATION,
        ];
        let mut kept = Vec::new();
        for field in fields(&self.file.map, range) {
            let field = field?;
            if !KNOWN.contains(&field.number) {
                kept.extend_from_slice(&self.file.map[field.whole]);
            }
        }
        Ok(kept)
    }

    /// Puts the graph among the other fields of the model.
    fn finish(mut self) -> Result<Layout> {
        let model = &self.file.model;
        let graph_bytes: u64 = self.graph.iter().map(|(piece, _)| piece.bytes()).sum();
        let (mut pieces, mut at) = (Vec::new(), 0u64);
        for (number, field) in model.fields.iter().enumerate() {
            if number == model.graph {
                let mut head = Vec::new();
                put_head(model::GRAPH, graph_bytes, &mut head);
                at += head.len() as u64;
                pieces.push(Piece::New(head));
                for (piece, tensor) in self.graph.drain(..) {
                    if let Some(tensor) = tensor {
                        self.places[tensor] = Some(Target::Model(at));
                    }
                    at += piece.bytes();
                    pieces.push(piece);
                }
                continue;
            }
            let is_seal = field.number == model::METADATA
                && key_value(&self.file.map, field.bytes().unwrap_or_default(), "a key of the metadata")?.0 == SEAL;
            if !is_seal {
                at += field.whole.len() as u64;
                pieces.push(Piece::Old(field.whole.clone()));
            }
        }
        let added: HashMap<&str, bool> =
            self.edits.added.iter().map(|one| (one.name.as_str(), one.is_transposed)).collect();
        let targets = self.contents.tensors.iter().zip(&self.places).map(|(meta, place)| {
            let target = place.ok_or_else(|| malformed("a tensor of the output has no place").tensor(&meta.name))?;
            Ok((target, added.get(meta.name.as_str()).copied().unwrap_or(false)))
        });
        let targets = targets.collect::<Result<Vec<_>>>()?;
        let seal_bytes = if self.edits.is_sealed { metadata(SEAL, &"0".repeat(64)).len() as u64 } else { 0 };
        Ok(Layout { pieces, targets, model_bytes: at, data_bytes: self.data_bytes, seal_bytes })
    }
}
