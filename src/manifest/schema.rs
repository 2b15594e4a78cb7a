//! The manifest's data, and its one canonical text. `docs/manifest.schema.json` describes the same.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;
use crate::tensor::{Dtype, TensorMeta};

/// Name of the manifest in an output.
pub const MANIFEST_NAME: &str = "rankfold.json";
/// Name of the list of digests for `sha256sum -c` in an output.
pub const SUMS_NAME: &str = "SHA256SUMS";
/// Key of the metadata of a weight file under which it carries [`Manifest::core_sha256`], in formats that have room.
pub const SEAL: &str = "rankfold.manifest_core_sha256";
/// Version of the manifest's schema; a reader refuses a higher one.
pub const SCHEMA_VERSION: u32 = 1;

/// What was done, to which source, with which result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// The program that wrote it.
    pub generator: Generator,
    /// What made the output.
    pub operation: Operation,
    /// The files that went in.
    pub source: Source,
    /// The request as resolved: every option with the value that was in force.
    pub request: Map<String, Value>,
    /// The tables that were encoded (`compress`), multiplied out (`restore`) or kept encoded (`retrain`).
    pub tables: Vec<TableRecord>,
    /// Tensors that `convert` renamed or cast, in the order of the source.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub conversions: Vec<ConversionRecord>,
    /// Tensors of the source that were not asked for, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub left_out: Vec<String>,
    /// Tensors that share the storage of another in the source and are stored as that one only: by their name in the
    /// source, the name of the one in the output.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub stored_once: BTreeMap<String, String>,
    /// The carrier that has the tables; absent where the loader of the stub reads them, or nothing but this program.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub carrier: Option<CarrierRecord>,
    /// Every file of the output but the manifest and `SHA256SUMS`, sorted by path.
    pub files: Vec<FileRecord>,
    /// Size of all weight files.
    pub weights_bytes: WeightsBytes,
}

/// Name and version of the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generator {
    /// `rankfold`.
    pub name: String,
    /// Semantic version.
    pub version: String,
}

/// What made an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Tables were encoded.
    Compress,
    /// Encoded tables were decoded to dense ones.
    Restore,
    /// Tensors were written in another format, dtype, division into files or under other names.
    Convert,
    /// A checkpoint with encoded tables was trained.
    Retrain,
    /// A classifier was trained from labelled sentences: there is no checkpoint before it.
    Train,
}

impl Operation {
    /// Whether its output has encoded tables.
    pub(crate) fn encodes(self) -> bool {
        matches!(self, Operation::Compress | Operation::Retrain)
    }

    /// The name in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Compress => "compress",
            Operation::Restore => "restore",
            Operation::Convert => "convert",
            Operation::Retrain => "retrain",
            Operation::Train => "train",
        }
    }
}

/// The checkpoint that went in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Digest of the source's own manifest, where it was itself an output of this program.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub manifest_sha256: Option<String>,
    /// Every file that was read, sorted by path; weight files with the names of their tensors in data order.
    pub files: Vec<FileRecord>,
    /// What made the source, and from what: a retrained checkpoint tells the whole way from the original.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin: Option<Box<Origin>>,
}

/// What made a source that was itself an output of this program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// What made it.
    pub operation: Operation,
    /// What it was made from.
    pub source: Source,
}

/// A file and its digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Path relative to the directory, with `/`.
    pub path: String,
    /// Length.
    pub bytes: u64,
    /// SHA-256 of the content.
    pub sha256: String,
    /// The tensors of a weight file, in data order.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tensors: Option<Vec<TensorRecord>>,
}

/// A tensor of a weight file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorRecord {
    /// Full name.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// SHA-256 of the packed elements; absent for tensors of the source, whose files have digests.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
}

impl TensorRecord {
    /// Name, dtype and shape.
    pub fn meta(&self) -> TensorMeta {
        TensorMeta { name: self.name.clone(), dtype: self.dtype, shape: self.shape.clone() }
    }
}

/// A place of an architecture for factor pairs, and what was changed to use it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CarrierRecord {
    /// Name of the carrier.
    pub name: String,
    /// Files other than weights that it changed, with their text in the source; `null` for those that it added.
    pub replaced: BTreeMap<String, Option<String>>,
    /// Tensors that hold a part with rows and columns exchanged, beside the part: by their name, its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub transposed: BTreeMap<String, String>,
}

/// A tensor that `convert` renamed or cast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConversionRecord {
    /// Its name in the source.
    pub source: String,
    /// Its name in the output.
    pub name: String,
    /// Element type in the source.
    pub dtype_before: Dtype,
    /// Element type in the output.
    pub dtype_after: Dtype,
    /// What the cast changed, over the elements that stayed finite; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub errors: Option<Errors>,
    /// Finite elements that became infinite, which only `--allow-overflow` permits.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub overflowed: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A table: what it was and what it became.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableRecord {
    /// Name of the dense tensor.
    pub name: String,
    /// `[V, d]`.
    pub shape: [usize; 2],
    /// Element type of the dense tensor.
    pub dtype: Dtype,
    /// Name of the codec.
    pub method: String,
    /// The paper or specification that the codec follows.
    pub reference: String,
    /// The codec's parameters, such as `{"rank": 37}`.
    pub setting: Map<String, Value>,
    /// Names of the stored tensors, in the codec's order.
    pub parts: Vec<String>,
    /// Other tensors of the source with the same bytes (a tied head), which are stored only here.
    pub tied: Vec<String>,
    /// Bytes of the dense tensor, with those tied copies of it that the source stored.
    pub bytes_before: u64,
    /// Bytes of all parts.
    pub bytes_after: u64,
    /// `V * d`.
    pub parameters_before: u64,
    /// Numbers stored, over all parts.
    pub parameters_after: u64,
    /// Floating-point operations to decode one row: 2 k d for a factor pair.
    pub flops_per_token: u64,
    /// Errors against the source, measured on the bytes written; of a retrained table, how far training moved it.
    pub errors: Errors,
    /// How products of singles were computed on the way to the parts, `int16` or `bf16x2`, where not as singles: the bytes are
    /// then others.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub products: Option<String>,
    /// The other methods, the least error first, where the best of them was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub runners_up: Vec<RunnerUp>,
}

/// A method that was measured and not taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunnerUp {
    /// Name of the codec.
    pub method: String,
    /// Its parameters at that size.
    pub setting: Map<String, Value>,
    /// Bytes of all parts.
    pub bytes: u64,
    /// Errors against the source, measured on what it would have written.
    pub errors: Errors,
}

/// Errors of a table's decoded form against its source.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Errors {
    /// `||W - decode||_F / ||W||_F`.
    pub relative_frobenius: f64,
    /// The same with every row's squares times its weight; absent where rows have no weights.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub weighted_relative_frobenius: Option<f64>,
    /// `max |W - decode|`.
    pub max_absolute: f64,
}

/// Bytes of all weight files, headers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsBytes {
    /// In the source.
    pub before: u64,
    /// In the output.
    pub after: u64,
}

impl Manifest {
    /// The canonical text: sorted keys, two spaces of indent, a final newline. Equal manifests give equal bytes.
    ///
    /// # Errors
    /// [`ErrorKind::NonFinite`] where a number cannot be written as JSON.
    pub fn to_text(&self) -> Result<String> {
        let unwritable = |error| Error::new(ErrorKind::NonFinite, "the manifest cannot be written").caused_by(error);
        // Through `Value`, whose objects sort their keys.
        let value = serde_json::to_value(self).map_err(unwritable)?;
        let mut text = serde_json::to_string_pretty(&value).map_err(unwritable)?;
        text.push('\n');
        Ok(text)
    }

    /// SHA-256 of the canonical text of everything but `files` and `weights_bytes.after`: what the files themselves can
    /// carry, since a file cannot hold a digest of its own bytes.
    ///
    /// # Errors
    /// As [`Manifest::to_text`].
    pub fn core_sha256(&self) -> Result<String> {
        let weights_bytes = WeightsBytes { after: 0, ..self.weights_bytes };
        let core = Manifest { files: Vec::new(), weights_bytes, ..self.clone() };
        Ok(super::digest(core.to_text()?.as_bytes()))
    }

    /// Reads the manifest of the output `directory`, and gives it with the bytes it was read from.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where it cannot be read, [`ErrorKind::Malformed`] where it is not a manifest,
    /// [`ErrorKind::Unsupported`] where its schema is newer than this program.
    pub fn read(directory: &Path) -> Result<(Self, Vec<u8>)> {
        let path = directory.join(MANIFEST_NAME);
        let bytes = limits::read(&path, limits::MAX_JSON).map_err(|error| match error.kind() {
            ErrorKind::Io => error.hint("a directory that `rankfold compress` made has this file"),
            _ => error,
        })?;
        let malformed = |error: serde_json::Error| {
            Error::new(ErrorKind::Malformed, "not a manifest of this program").at(&path).found(error.to_string())
        };
        let version = serde_json::from_slice::<Value>(&bytes).map_err(malformed)?;
        let version = version.get("schema_version").and_then(Value::as_u64);
        if version.is_some_and(|version| version > u64::from(SCHEMA_VERSION)) {
            return Err(Error::new(ErrorKind::Unsupported, "the manifest's schema is newer than this program")
                .at(&path)
                .expected(format!("at most version {SCHEMA_VERSION}"))
                .found(format!("version {}", version.unwrap_or_default()))
                .hint("update rankfold"));
        }
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(malformed)?;
        manifest.check().map_err(|error| error.at(&path))?;
        Ok((manifest, bytes))
    }
}
