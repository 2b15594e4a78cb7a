//! ONNX models.

use std::path::Path;

use rankfold::codec::CODECS;
use rankfold::plan::Target as Goal;

use super::checkpoint::{check_compression, check_conversion};
use super::protobuf::{nested, number};
use super::{Target, fixture};

/// Models: the first byte chooses the method of a compression, or a conversion; the second whether the rest is a whole
/// model or only the fields of its graph, which get a header and a length that fits.
pub(super) const ONNX: Target = Target {
    name: "onnx",
    seeds: || {
        let models = ["onnx/transpose.onnx", "onnx/half.onnx", "onnx/if_capture.onnx", "onnx/float_data.onnx"];
        let whole = models.iter().enumerate().map(|(at, name)| [&[at as u8, 0], &*fixture(name)].concat());
        let (inside, outside) = (graph(&inside()), graph(&outside()));
        let choices = (0..=CODECS.len() as u8).flat_map(|choice| [(choice, &inside), (choice, &outside)]);
        let parts = choices.map(|(choice, graph)| [&[choice, 1], &**graph].concat());
        whole.chain(parts).collect()
    },
    run: |scratch, input| {
        let Some(([choice, mode], rest)) = input.split_first_chunk::<2>() else { return };
        let whole = if mode % 2 == 0 { rest.to_vec() } else { model(rest) };
        let source = scratch.write("source/model.onnx", &whole);
        scratch.write("source/weights.data", &elements());
        match CODECS.get(usize::from(*choice) % (CODECS.len() + 1)) {
            None => check_conversion(scratch, &source),
            Some(codec) => {
                let folder = source.parent().unwrap_or(Path::new(""));
                check_compression(scratch, folder, codec.name(), Goal::Reduction(0.5));
            }
        }
    },
};

const ROWS: u64 = 40;
const COLUMNS: u64 = 8;

/// A model with these fields of a graph: `ir_version`, `graph`, `opset_import`.
fn model(graph: &[u8]) -> Vec<u8> {
    [number(1, 8), nested(7, graph), nested(8, number(2, 17))].concat()
}

/// The numbers of a table [40, 8].
fn elements() -> Vec<u8> {
    let number = |at: u32| ((at.wrapping_mul(2_654_435_769) >> 8) as f32 / (1u32 << 24) as f32) - 0.5;
    (0..(ROWS * COLUMNS) as u32).flat_map(|at| number(at).to_le_bytes()).collect()
}

/// An initializer's fields with its elements in the model.
fn inside() -> Vec<u8> {
    nested(9, elements())
}

/// An initializer's fields with its elements in the file beside the model.
fn outside() -> Vec<u8> {
    let entry = |key: &str, value: &str| nested(13, [nested(1, key), nested(2, value)].concat());
    [entry("location", "weights.data"), entry("offset", "0"), entry("length", "1280"), number(14, 1)].concat()
}

/// The fields of a graph that looks ids up in a table with these elements, and multiplies by it.
fn graph(stored: &[u8]) -> Vec<u8> {
    let table =
        [number(1, ROWS), number(1, COLUMNS), number(2, 1), nested(8, "words.weight"), stored.to_vec()].concat();
    let node = |inputs: [&str; 2], output: &str, operator: &str| {
        let inputs = inputs.map(|name| nested(1, name)).concat();
        nested(1, [inputs, nested(2, output), nested(3, output), nested(4, operator)].concat())
    };
    let value = |field, name: &str, kind, shape: &[u64]| {
        let shape: Vec<u8> = shape.iter().flat_map(|&extent| nested(1, number(1, extent))).collect();
        nested(field, [nested(1, name), nested(2, nested(1, [number(1, kind), nested(2, shape)].concat()))].concat())
    };
    [
        node(["words.weight", "ids"], "found", "Gather"),
        node(["found", "dense.weight"], "out", "MatMul"),
        nested(2, "main"),
        nested(5, table),
        nested(
            5,
            [number(1, COLUMNS), number(1, 1), number(2, 1), nested(8, "dense.weight"), nested(9, [0x3f; 32])].concat(),
        ),
        value(11, "ids", 7, &[3]),
        value(12, "out", 1, &[3, 1]),
    ]
    .concat()
}
