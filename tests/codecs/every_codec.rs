//! What an output promises, for every entry of `CODECS` through the program: it verifies, the manifest names every byte,
//! and `restore` gives the table that the codec decodes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::weights::{self, Tensor};
use crate::support::{assert_verifies, compress, fixture, rankfold};
use rankfold::codec::{self, CODECS, Codec, Demand, Options, Part, Symmetry, Table};
use rankfold::compare::Encoded;
use rankfold::observe::Silent;
use rankfold::tensor::{Dtype, MappedRows, TensorMeta};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const SOURCE: &str = "t5-shared";

/// An output of one codec.
struct Output {
    codec: &'static dyn Codec,
    directory: TempDir,
    manifest: Value,
    tensors: BTreeMap<String, Tensor>,
}

fn by_name(path: &Path) -> BTreeMap<String, Tensor> {
    weights::read(path).into_iter().map(|((_, name), tensor)| (name, tensor)).collect()
}

impl Output {
    fn of(codec: &'static dyn Codec) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        let flags = ["--method", codec.name(), "--target-size", "75%"];
        compress(&fixture(SOURCE), &out, &flags).assert().code(0);
        let manifest = serde_json::from_slice(&std::fs::read(out.join("rankfold.json")).unwrap()).unwrap();
        let tensors = by_name(&out);
        Output { codec, directory, manifest, tensors }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    /// The only table's record.
    fn table(&self) -> &Value {
        let tables = self.manifest["tables"].as_array().unwrap();
        assert_eq!(tables.len(), 1, "{}", self.codec.name());
        &tables[0]
    }

    fn name(&self) -> &str {
        self.table()["name"].as_str().unwrap()
    }

    /// The parts as the manifest lists them.
    fn parts(&self) -> Vec<(TensorMeta, &[u8])> {
        let names = self.table()["parts"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let part = |name: &str| {
            let Tensor { dtype, shape, bytes } = &self.tensors[name];
            let dtype = format!("{dtype:?}").parse().unwrap();
            (TensorMeta { name: name.to_owned(), dtype, shape: shape.clone() }, &bytes[..])
        };
        names.map(part).collect()
    }

    /// The table as the codec decodes it from the parts alone.
    fn decoded(&self) -> Vec<f32> {
        let parts = self.parts();
        let parts: Vec<Part<'_>> = parts.iter().map(|(meta, bytes)| Part { meta, bytes }).collect();
        let rows = self.codec.decode(self.table()["setting"].as_object().unwrap(), &parts).unwrap();
        let (height, width) = rows.shape();
        let mut values = vec![0.0; height * width];
        rows.read_f32(0..height, &mut values).unwrap();
        values
    }
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn outputs_of_every_codec_verify_alone_and_against_their_source() {
    for codec in CODECS {
        let output = Output::of(*codec);
        assert_verifies(&output.path());
        rankfold([Path::new("verify"), &output.path(), Path::new("--source"), &fixture(SOURCE)]).assert().code(0);
    }
}

#[test]
fn rows_that_are_encoded_apart_are_rounded_to_what_their_codes_decode_to() {
    let (rows, columns) = (5, 70);
    // A row of zeros, one of a single sign, and numbers large and small.
    let values: Vec<f32> = (0..rows * columns)
        .map(|at| match at / columns {
            0 => 0.0,
            1 => 1.0 + at as f32,
            row => (at as f32 * 0.7).sin() * 10f32.powi(2 * row as i32 - 6),
        })
        .collect();
    let bytes = bytes_of(&values);
    let table = MappedRows::new(&bytes, Dtype::F32, rows, columns).unwrap();
    let table = Table { name: "t.weight", dtype: Dtype::F32, rows: &table };
    let mut options: Vec<(&str, Options)> = vec![("cast", Options::default())];
    options.push(("cast", Options { dtype: Some(Dtype::BF16), ..Options::default() }));
    for granularity in ["row", "group:32"] {
        for symmetry in [Symmetry::Symmetric, Symmetry::Affine] {
            let granularity = granularity.parse().unwrap();
            options.push(("fixed-point", Options { granularity, symmetry, ..Options::default() }));
        }
    }
    let mut compared = 0;
    for (name, options) in options {
        let codec = codec::find(name).unwrap();
        let analysis = codec.analyze(&table, &options, Demand::Ladder, &Silent).unwrap();
        for point in 0..analysis.points().len() {
            let setting = &analysis.points()[point].setting;
            assert!(codec.encodes_rows_apart(setting));
            let encoded = Encoded::new(analysis.as_ref(), table.rows, point, &Silent).unwrap();
            let mut decoded = vec![0.0; values.len()];
            encoded.decode(codec).unwrap().read_f32(0..rows, &mut decoded).unwrap();
            let mut rounded = values.clone();
            codec.round_rows(setting, columns, &mut rounded).unwrap();
            assert_eq!(bytes_of(&rounded), bytes_of(&decoded), "{setting:?}");
            rounded[columns + 3] = f32::NAN;
            let refused = codec.round_rows(setting, columns, &mut rounded).unwrap_err();
            assert!(refused.to_string().contains("row 1, column 3"), "{refused}");
            compared += 1;
        }
    }
    assert!(compared > 2 + 4 * 4, "{compared}");
}

#[test]
fn a_changed_byte_in_any_part_of_any_codec_is_found() {
    for codec in CODECS {
        let output = Output::of(*codec);
        let file = output.path().join("model.safetensors");
        let whole = std::fs::read(&file).unwrap();
        let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        let entries: Value = serde_json::from_slice(&whole[8..header]).unwrap();
        for (meta, _) in output.parts() {
            let start = entries[&meta.name]["data_offsets"][0].as_u64().unwrap() as usize;
            let mut changed = whole.clone();
            changed[header + start] ^= 1;
            std::fs::write(&file, changed).unwrap();
            let found = rankfold([Path::new("verify"), &output.path()]).assert().code(3);
            let text = String::from_utf8_lossy(&found.get_output().stdout).into_owned();
            assert!(text.contains(&meta.name), "{} of {}: {text}", meta.name, codec.name());
        }
    }
}

#[test]
fn restore_gives_the_table_that_every_codec_decodes_and_all_else_as_it_was() {
    let source = by_name(&fixture(SOURCE));
    for codec in CODECS {
        let output = Output::of(*codec);
        let dense = output.directory.path().join("dense");
        rankfold([Path::new("restore"), &output.path(), Path::new("-o"), &dense]).assert().code(0);
        assert_verifies(&dense);
        let restored = by_name(&dense);
        assert_eq!(restored.keys().collect::<Vec<_>>(), source.keys().collect::<Vec<_>>(), "{}", codec.name());
        let tied = output.table()["tied"].as_array().unwrap();
        for (name, tensor) in &restored {
            let own = &source[name];
            assert_eq!((tensor.dtype, &tensor.shape), (own.dtype, &own.shape), "{name} of {}", codec.name());
            if name == output.name() || tied.iter().any(|tied| tied == name.as_str()) {
                assert!(tensor.bytes == bytes_of(&output.decoded()), "{name} of {}", codec.name());
            } else {
                assert!(tensor.bytes == own.bytes, "{name} of {}", codec.name());
            }
        }
    }
}

#[test]
fn the_manifest_names_the_bytes_errors_and_digests_of_every_codec() {
    let source = by_name(&fixture(SOURCE));
    for codec in CODECS {
        let output = Output::of(*codec);
        let table = output.table();
        assert_eq!((&table["method"], &table["reference"]), (&codec.name().into(), &codec.reference().into()));
        let parts = output.parts();
        let bytes: usize = parts.iter().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(table["bytes_after"], bytes, "{}", codec.name());
        assert!(parts.iter().all(|(meta, bytes)| meta.bytes() == Some(bytes.len() as u64)));

        let original = &source[output.name()];
        let rows = |bytes| MappedRows::new(bytes, Dtype::F32, original.shape[0], original.shape[1]).unwrap();
        let decoded = bytes_of(&output.decoded());
        let measured = codec::measure(&rows(&original.bytes), &rows(&decoded), &Silent).unwrap();
        for (key, found) in
            [("relative_frobenius", measured.relative_frobenius_error()), ("max_absolute", measured.max_absolute_error)]
        {
            let stated = table["errors"][key].as_f64().unwrap();
            assert!((stated - found).abs() <= 1e-5 * found + 1e-7, "{key} of {}: {stated} and {found}", codec.name());
        }

        let mut named = Vec::new();
        for file in output.manifest["files"].as_array().unwrap() {
            let content = std::fs::read(output.path().join(file["path"].as_str().unwrap())).unwrap();
            assert_eq!((&file["bytes"], &file["sha256"]), (&content.len().into(), &hex(&content).into()), "{file}");
            for tensor in file["tensors"].as_array().into_iter().flatten() {
                let name = tensor["name"].as_str().unwrap();
                assert_eq!(tensor["sha256"], hex(&output.tensors[name].bytes), "{name} of {}", codec.name());
                named.push(name.to_owned());
            }
        }
        named.sort();
        assert_eq!(named, output.tensors.keys().cloned().collect::<Vec<_>>(), "{}", codec.name());
    }
}

/// Extents whose products overflow, with settings that each codec wrote itself.
#[test]
fn parts_without_rows_and_of_endless_columns_are_refused_or_read_as_nothing() {
    let number = |at: u32| (at.wrapping_mul(2_654_435_769) >> 8) as f32 / (1u32 << 24) as f32 - 0.5;
    let bytes: Vec<u8> = (0..512 * 32).flat_map(|at| number(at).to_le_bytes()).collect();
    let rows = MappedRows::new(&bytes, Dtype::F32, 512, 32).unwrap();
    let table = codec::Table { name: "words.weight", dtype: Dtype::F32, rows: &rows };
    for codec in CODECS {
        let analysis = codec.analyze(&table, &codec::Options::default(), codec::Demand::Ladder, &Silent).unwrap();
        for point in analysis.points() {
            for columns in [usize::MAX / 18 * 18, 1 << 62, 34 << 56] {
                let empty = |meta: &TensorMeta| TensorMeta { shape: vec![0, columns], ..meta.clone() };
                let metas: Vec<_> = point.parts.iter().map(empty).collect();
                let parts: Vec<_> = metas.iter().map(|meta| Part { meta, bytes: &[] }).collect();
                if let Ok(rows) = codec.decode(&point.setting, &parts) {
                    assert_eq!(rows.shape().0, 0, "{}", codec.name());
                }
            }
        }
    }
}
