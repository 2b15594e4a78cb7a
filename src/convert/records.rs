//! What a compression leaves in writing: the plan before it, the manifest's records after it.

use serde_json::{Map, Value, json};

use super::carrier::{LOADER, Slot};
use super::compress::{Chosen, Encoded, Prepared};
use crate::codec::Products;
use crate::manifest::{Errors, TableRecord};
use crate::plan::TablePlan;
use crate::tensor::TensorMeta;

impl Prepared<'_> {
    pub(super) fn bytes_before(&self, table: &Chosen<'_>) -> u64 {
        let ids = table.tied.iter().chain([&table.id]);
        ids.filter_map(|&id| self.checkpoint.meta(id).bytes()).sum()
    }

    fn tied_names(&self, table: &Chosen<'_>) -> Vec<String> {
        table.tied.iter().map(|&id| self.checkpoint.meta(id).name.clone()).collect()
    }

    pub(super) fn table_plan(&self, table: &Chosen<'_>) -> TablePlan {
        let (meta, point) = (self.checkpoint.meta(table.id), table.point());
        let relative = if table.squared_norm == 0.0 { 0.0 } else { (point.squared_error / table.squared_norm).sqrt() };
        TablePlan {
            name: meta.name.clone(),
            shape: shape_of(meta),
            dtype: meta.dtype,
            stored_dtype: point.parts.first().map_or(meta.dtype, |part| part.dtype),
            method: table.codec().name().into(),
            setting: point.setting.clone(),
            bytes_before: self.bytes_before(table),
            bytes_after: point.bytes(),
            parameters_before: meta.elements().unwrap_or_default(),
            parameters_after: point.parameters,
            flops_per_token_before: 0,
            flops_per_token_after: point.flops_per_token,
            relative_frobenius_error: relative,
            weighted: self.request.options.row_weights.is_some(),
            retained_energy: point.retained_energy,
            tied: self.tied_names(table),
        }
    }

    pub(super) fn table_record(&self, table: &Chosen<'_>, slots: &[Slot], encoded: Encoded) -> TableRecord {
        let (meta, point) = (self.checkpoint.meta(table.id), table.point());
        let Encoded { measured, products } = encoded;
        TableRecord {
            name: meta.name.clone(),
            shape: shape_of(meta),
            dtype: meta.dtype,
            method: table.codec().name().into(),
            reference: table.codec().reference().into(),
            setting: point.setting.clone(),
            parts: slots.iter().filter(|slot| !slot.transposed).map(|slot| slot.name.clone()).collect(),
            tied: self.tied_names(table),
            bytes_before: self.bytes_before(table),
            bytes_after: point.bytes(),
            parameters_before: meta.elements().unwrap_or_default(),
            parameters_after: point.parameters,
            flops_per_token: point.flops_per_token,
            errors: Errors {
                relative_frobenius: measured.relative_frobenius_error(),
                weighted_relative_frobenius: measured.weighted.map(|sums| sums.relative_frobenius_error()),
                max_absolute: measured.max_absolute_error,
            },
            products: products.filter(|&products| products != Products::Single).map(|products| products.name().into()),
            runners_up: table.runners_up.clone(),
        }
    }

    pub(super) fn request_record(&self) -> Map<String, Value> {
        let request = self.request;
        let overrides: Map<String, Value> =
            request.overrides.iter().map(|one| (one.glob().to_owned(), one.target().to_string().into())).collect();
        let record = json!({
            "target": request.target.to_string(),
            "method": request.method,
            "dtype": request.options.dtype,
            "split": request.options.split.name(),
            "variant": request.options.variant.name(),
            "left_bits": request.options.left_bits,
            "right_bits": request.options.right_bits,
            "subquantizers": request.options.subquantizers,
            "code_bits": request.options.code_bits,
            "rotation": request.options.rotation,
            "norms": request.options.norms,
            "row_weights": request.options.row_weights.as_ref().map(|weights| weights.to_string()),
            "seed": request.options.seed,
            "granularity": request.options.granularity.to_string(),
            "scheme": request.options.symmetry.name(),
            "scale_dtype": request.options.scale_dtype,
            "block_type": request.options.block_type.map(|block_type| block_type.name()),
            "include": request.include,
            "exclude": request.exclude,
            "overrides": overrides,
            "max_size": request.max_size.map(|size| size.to_string()),
            "stub": self.has_stub(),
            "carrier": self.carrier.map_or(LOADER, |carrier| carrier.name()),
        });
        match record {
            Value::Object(record) => record,
            _ => Map::new(),
        }
    }
}

fn shape_of(meta: &TensorMeta) -> [usize; 2] {
    meta.matrix().map_or([0, 0], |(rows, columns)| [rows, columns])
}
