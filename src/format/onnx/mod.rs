//! The ONNX format: a graph of operators with its weights, and files of weights beside it.
//!
//! After `onnx.proto`, `docs/IR.md` and `docs/ExternalData.md` of the ONNX project. A model is read and changed on the
//! wire format (`wire`): weights are never copied through a tree of messages, and fields that are not known here stay
//! as they are. Embedding tables are found by what the graph does with them (`uses`), and outputs are the same graph
//! with other nodes around them (`surgery`).

mod build;
mod data;
mod initializer;
mod layout;
mod model;
mod node;
mod reader;
mod restore;
mod rewrite;
mod schema;
mod surgery;
mod types;
mod uses;
mod varints;
mod wire;
mod writer;

use std::path::Path;

use super::{Format, Reader};
use crate::error::Result;

/// The ONNX format.
pub struct Onnx;

impl Format for Onnx {
    fn name(&self) -> &'static str {
        "onnx"
    }

    fn summary(&self) -> &'static str {
        "ONNX models, with their weights inside or in files beside them"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["onnx"]
    }

    fn recognizes(&self, head: &[u8], size: u64) -> bool {
        is_model(head, size)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Reader>> {
        Ok(Box::new(reader::MappedModel::open(path)?))
    }
}

/// Whether a file begins as models do, which have no mark of their own: with the version of the format and further
/// fields of a model, each of the right wire type, up to the graph or to the end of `head`.
fn is_model(head: &[u8], size: u64) -> bool {
    let mut at = 0;
    let mut known = 0;
    while at < head.len() {
        let Ok(tag) = wire::varint(head, &mut at) else { break };
        let (number, kind) = ((tag >> 3) as u32, (tag & 7) as u8);
        if known == 0 && number != schema::model::IR_VERSION {
            return false;
        }
        if tag >> 3 > 26 || !schema::model::FIELDS.contains(&(number, kind)) {
            return false;
        }
        let Ok(value) = wire::varint(head, &mut at) else { break };
        known = usize::saturating_add(known, 1);
        if kind == 2 {
            let Some(end) = (at as u64).checked_add(value).filter(|&end| end <= size) else { return false };
            if number == schema::model::GRAPH {
                return true;
            }
            // Beyond the head there is nothing to look at.
            at = usize::try_from(end).unwrap_or(usize::MAX);
        }
    }
    known > 1
}

#[cfg(test)]
mod tests {
    use super::is_model;

    #[test]
    fn models_are_told_from_other_files_by_their_first_fields() {
        assert!(is_model(b"\x08\x08\x12\x07pytorch\x3a\x10", 29));
        assert!(is_model(b"\x08\x08\x3a\x02\x0a\x00", 6));
        assert!(!is_model(b"\x08\x08\x3a\x10", 10), "the graph is longer than the file");
        assert!(!is_model(b"\x08\x08", 2), "one number is no model");
        assert!(!is_model(b"\x08\x08\x17", 3), "field 2 is text");
        assert!(!is_model(b"the 0.1 0.2\n", 12));
        assert!(!is_model(b"\x80\x02\x8a\x0a", 4));
        assert!(!is_model(b"", 0));
    }
}
