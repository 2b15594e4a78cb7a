//! Initializers: name, dtype, shape, and where their elements are.

use std::ops::Range;

use super::model::{key_value, text};
use super::schema::tensor;
use super::types::dtype;
use super::wire::{Payload, fields, malformed, varint};
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;
use crate::tensor::{Dtype, TensorMeta};

/// Elements between two places that are kept of a list of numbers of variable length.
pub(super) const STRIDE: usize = 1 << 12;

/// A tensor of the model.
pub(super) struct Initializer {
    /// Position in [`super::model::Model::graph_fields`].
    pub(super) field: usize,
    pub(super) meta: TensorMeta,
    pub(super) elements: Elements,
}

/// Where the elements of an initializer are.
#[derive(Debug, Clone)]
pub(super) enum Elements {
    /// Packed in the file.
    Packed(Range<usize>),
    /// Numbers of variable length one behind the other, in pieces of the file, with the place of every [`STRIDE`]th.
    Varints { pieces: Vec<Range<usize>>, places: Vec<(usize, usize)> },
    /// In a file beside the model.
    External(External),
}

/// Part of a file beside the model.
#[derive(Debug, Clone, Default)]
pub(super) struct External {
    pub(super) location: String,
    pub(super) offset: u64,
    /// To the end of the file, where it is absent.
    pub(super) length: Option<u64>,
}

/// Reads the `TensorProto` in `range`, which is field `at` of the graph; name and type alone where there is no dtype for
/// it.
pub(super) fn parse(file: &[u8], at: usize, range: Range<usize>) -> Result<Result<Initializer, (String, u64)>> {
    let (mut name, mut data_type, mut shape) = (String::new(), 0, Vec::new());
    let (mut external, mut is_external, mut segment) = (External::default(), false, false);
    let mut stored: Vec<(u32, Payload)> = Vec::new();
    let extent = |value: u64| {
        usize::try_from(value)
            .ok()
            .filter(|&extent| extent <= isize::MAX as usize)
            .ok_or_else(|| malformed("an extent of a shape is negative").found((value as i64).to_string()))
    };
    for field in fields(file, range) {
        let field = field?;
        match (field.number, &field.payload) {
            (tensor::DIMS, Payload::Varint(value)) => shape.push(extent(*value)?),
            (tensor::DIMS, Payload::Bytes(range)) => {
                let mut at = range.start;
                while at < range.end && shape.len() <= limits::MAX_DIMENSIONS {
                    shape.push(extent(varint(file.get(..range.end).unwrap_or_default(), &mut at)?)?);
                }
            }
            (tensor::DATA_TYPE, Payload::Varint(value)) => data_type = *value,
            (tensor::NAME, Payload::Bytes(range)) => name = text(file, range.clone(), "the name of an initializer")?,
            (tensor::SEGMENT, _) => segment = true,
            (tensor::DATA_LOCATION, Payload::Varint(value)) => is_external = *value == tensor::EXTERNAL,
            (tensor::EXTERNAL_DATA, Payload::Bytes(range)) => external.read(file, range.clone())?,
            (
                tensor::FLOAT_DATA
                | tensor::INT32_DATA
                | tensor::STRING_DATA
                | tensor::INT64_DATA
                | tensor::RAW_DATA
                | tensor::DOUBLE_DATA
                | tensor::UINT64_DATA,
                payload,
            ) => {
                // Numbers that are not packed have a field each; such a list is read as it is, without its tags.
                stored.push((field.number, payload.clone()));
            }
            _ => {}
        }
        if shape.len() > limits::MAX_DIMENSIONS {
            return Err(malformed("an initializer has too many dimensions")
                .tensor(name)
                .expected(format!("at most {}", limits::MAX_DIMENSIONS)));
        }
    }
    if name.is_empty() {
        return Err(malformed("an initializer has no name"));
    }
    let Some(dtype) = dtype(data_type) else { return Ok(Err((name, data_type))) };
    let meta = TensorMeta { name, dtype, shape };
    if segment {
        return Err(Error::new(ErrorKind::Unsupported, "the initializer is stored in segments").tensor(meta.name));
    }
    let elements = if is_external { Ok(Elements::External(external)) } else { inline(file, &meta, &stored) };
    let elements = elements.map_err(|error| error.tensor(&meta.name))?;
    Ok(Ok(Initializer { field: at, meta, elements }))
}

impl External {
    fn read(&mut self, file: &[u8], range: Range<usize>) -> Result<()> {
        let (key, value) = key_value(file, range, "a key of external data")?;
        let number = |value: &str| {
            value.parse::<u64>().map_err(|error| {
                malformed(format!("`{key}` of external data is no length"))
                    .found(format!("`{}`", value.escape_debug()))
                    .caused_by(error)
            })
        };
        match key.as_str() {
            "location" => self.location = value,
            "offset" => self.offset = number(&value)?,
            "length" => self.length = Some(number(&value)?),
            _ => {}
        }
        Ok(())
    }
}

/// The field that holds elements of `dtype` where they are not raw, and the width of its numbers where that is fixed.
fn typed_field(dtype: Dtype) -> (u32, Option<usize>) {
    match dtype {
        Dtype::F32 | Dtype::C64 => (tensor::FLOAT_DATA, Some(4)),
        Dtype::F64 => (tensor::DOUBLE_DATA, Some(8)),
        Dtype::I64 => (tensor::INT64_DATA, None),
        Dtype::U32 | Dtype::U64 => (tensor::UINT64_DATA, None),
        _ => (tensor::INT32_DATA, None),
    }
}

/// Finds the elements of `meta` in the fields that hold some.
fn inline(file: &[u8], meta: &TensorMeta, stored: &[(u32, Payload)]) -> Result<Elements> {
    let bytes = meta.bytes().ok_or_else(|| malformed("shape overflows").found(format!("{:?}", meta.shape)))?;
    let wrong = |found: u64| {
        malformed("the length of an initializer does not fit its shape")
            .expected(format!("{bytes} bytes for {} {:?}", meta.dtype, meta.shape))
            .found(found.to_string())
    };
    if let Some((_, payload)) = stored.iter().find(|(number, _)| *number == tensor::RAW_DATA) {
        return match payload {
            Payload::Bytes(range) if range.len() as u64 == bytes => Ok(Elements::Packed(range.clone())),
            Payload::Bytes(range) => Err(wrong(range.len() as u64)),
            _ => Err(malformed("`raw_data` of an initializer is no bytes")),
        };
    }
    let (field, width) = typed_field(meta.dtype);
    let own: Vec<&Payload> = stored.iter().filter(|(number, _)| *number == field).map(|(_, payload)| payload).collect();
    match (&own[..], width) {
        ([], _) if bytes == 0 => Ok(Elements::Packed(0..0)),
        ([Payload::Bytes(range)], Some(_)) if range.len() as u64 == bytes => Ok(Elements::Packed(range.clone())),
        ([Payload::Bytes(range)], Some(_)) => Err(wrong(range.len() as u64)),
        (_, Some(_)) => Err(Error::new(ErrorKind::Unsupported, "the elements of an initializer lie in several pieces")
            .hint("load and save the model with the onnx package, which packs them")),
        (payloads, None) => {
            let elements = meta.elements().unwrap_or(u64::MAX);
            let (found, elements_found) = varints(file, payloads)?;
            if elements_found != elements {
                return Err(malformed("the number of elements of an initializer does not fit its shape")
                    .expected(format!("{elements} for {} {:?}", meta.dtype, meta.shape))
                    .found(elements_found.to_string()));
            }
            Ok(found)
        }
    }
}

/// Walks over numbers of variable length, and keeps the place of every [`STRIDE`]th.
fn varints(file: &[u8], payloads: &[&Payload]) -> Result<(Elements, u64)> {
    let (mut pieces, mut places, mut count) = (Vec::new(), Vec::new(), 0u64);
    for payload in payloads {
        let Payload::Bytes(range) = payload else {
            return Err(Error::new(ErrorKind::Unsupported, "the elements of an initializer are not packed")
                .hint("load and save the model with the onnx package, which packs them"));
        };
        let mut at = range.start;
        while at < range.end {
            if count.is_multiple_of(STRIDE as u64) {
                places.push((pieces.len(), at));
            }
            varint(file.get(..range.end).unwrap_or_default(), &mut at)?;
            count = count.saturating_add(1);
        }
        pieces.push(range.clone());
    }
    Ok((Elements::Varints { pieces, places }, count))
}
