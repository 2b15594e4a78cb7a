//! Tables that other programs quantized and stored by the conventions of compressed-tensors.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::checkpoint::{Checkpoint, TensorId};
use crate::codec::{CODECS, Codec, Part, Setting};
use crate::error::Result;
use crate::tensor::{Dtype, Rows};

/// What follows the module in the names of the parts of a table, in the order in which codecs store them.
const SUFFIXES: [&[&str]; 4] =
    [&["weight", "weight_packed"], &["weight_scale"], &["weight_zero_point"], &["weight_shape"]];

/// The columns in another order, which no codec here stores.
const REORDERED: &str = "weight_g_idx";

/// A table whose codes a codec of this program reads.
pub(super) struct Foreign {
    /// Name of the dense tensor.
    pub(super) name: String,
    /// That of the scales: what the codes stand for is not stored.
    pub(super) dtype: Dtype,
    pub(super) shape: [usize; 2],
    codec: &'static dyn Codec,
    setting: Setting,
    parts: Vec<TensorId>,
}

impl Foreign {
    /// Name of the codec.
    pub(super) fn method(&self) -> &'static str {
        self.codec.name()
    }

    /// The numbers of the table.
    ///
    /// # Errors
    /// What the codec reports.
    pub(super) fn rows<'c>(&self, checkpoint: &'c Checkpoint) -> Result<Box<dyn Rows + 'c>> {
        self.codec.decode(&self.setting, &opened(checkpoint, &self.parts)?)
    }

    /// Names of the stored tensors.
    pub(super) fn parts<'c>(&self, checkpoint: &'c Checkpoint) -> impl Iterator<Item = &'c str> {
        self.parts.iter().map(|&id| checkpoint.meta(id).name.as_str())
    }
}

/// The tables of `checkpoint` that its configuration says to be quantized and that some codec reads; others stay the
/// tensors they are stored as.
pub(super) fn tables(checkpoint: &Checkpoint) -> Vec<Foreign> {
    let groups = groups(checkpoint);
    if groups.is_empty() {
        return Vec::new();
    }
    let scales = checkpoint.tensors().filter_map(|(_, meta)| meta.name.strip_suffix(".weight_scale"));
    let modules: BTreeSet<&str> = scales.collect();
    modules.into_iter().filter_map(|module| table(checkpoint, module, &groups)).collect()
}

/// How weights are quantized: the member `weights` of every group of the configuration.
fn groups(checkpoint: &Checkpoint) -> Vec<&Value> {
    let block = checkpoint.config().and_then(|config| config.value().get("quantization_config"));
    let block = block.filter(|block| block.get("quant_method").and_then(Value::as_str) == Some("compressed-tensors"));
    let groups = block.and_then(|block| block.get("config_groups")).and_then(Value::as_object);
    groups.into_iter().flat_map(|groups| groups.values()).filter_map(|group| group.get("weights")).collect()
}

/// The table of a module. Which group is its own is found by trying: targets are patterns over module trees that only
/// a model's code knows, and the shapes of the parts tell groups apart.
fn table(checkpoint: &Checkpoint, module: &str, groups: &[&Value]) -> Option<Foreign> {
    let find = |suffix: &str| checkpoint.find(&format!("{module}.{suffix}"));
    if find(REORDERED).is_some() {
        return None;
    }
    let parts: Vec<TensorId> =
        SUFFIXES.iter().filter_map(|suffixes| suffixes.iter().find_map(|suffix| find(suffix))).collect();
    let dtype = checkpoint.meta(find("weight_scale")?).dtype;
    let tried = groups.iter().flat_map(|group| CODECS.iter().map(move |codec| (*codec, *group)));
    tried.into_iter().find_map(|(codec, group)| {
        let setting = codec.adopt(group, dtype)?;
        let rows = codec.decode(&setting, &opened(checkpoint, &parts).ok()?).ok()?;
        let (rows, columns) = rows.shape();
        let name = format!("{module}.weight");
        Some(Foreign { name, dtype, shape: [rows, columns], codec, setting, parts: parts.clone() })
    })
}

fn opened<'c>(checkpoint: &'c Checkpoint, parts: &[TensorId]) -> Result<Vec<Part<'c>>> {
    parts.iter().map(|&id| checkpoint.part(id)).collect()
}
