//! What every codec promises at every operating point of every table.

use std::collections::BTreeSet;

use rankfold::ErrorKind;
use rankfold::codec::{self, Codec, Measured, Part};
use rankfold::observe::Silent;
use rankfold::tensor::{Dtype, TensorMeta};

use super::tables::{Dense, Encoded, decode};

/// What a codec does with a table at an operating point, whose place is named where it does not.
pub(crate) type Promise = fn(&dyn Codec, &Dense, &Encoded, &str);

/// Kept at every point, each looked at once for all of them, since finding the codes is what takes the time.
pub(crate) const PROMISES: [Promise; 8] = [
    predicted_bytes_are_written_bytes,
    parts_have_names_of_their_own_below_the_table,
    every_point_takes_fewer_bytes_than_the_table,
    the_decoded_table_has_the_stated_error,
    rows_decode_alone_as_they_do_together,
    a_part_that_is_missing_is_an_error,
    a_part_of_another_shape_dtype_or_length_is_an_error,
    a_setting_that_is_none_is_an_error,
];

fn predicted_bytes_are_written_bytes(_: &dyn Codec, _: &Dense, encoded: &Encoded, place: &str) {
    for (meta, bytes) in encoded.metas.iter().zip(&encoded.bytes) {
        assert_eq!(meta.bytes(), Some(bytes.len() as u64), "part `{}` of {place}", meta.name);
    }
}

fn parts_have_names_of_their_own_below_the_table(_: &dyn Codec, _: &Dense, encoded: &Encoded, place: &str) {
    let names: BTreeSet<_> = encoded.metas.iter().map(|meta| meta.name.as_str()).collect();
    assert_eq!(names.len(), encoded.metas.len(), "{place}");
    assert!(names.iter().all(|name| name.starts_with("encoder.table.")), "{names:?} of {place}");
}

fn every_point_takes_fewer_bytes_than_the_table(_: &dyn Codec, dense: &Dense, encoded: &Encoded, place: &str) {
    let bytes: usize = encoded.bytes.iter().map(Vec::len).sum();
    assert!(bytes < dense.rows * dense.columns * dense.dtype.bytes(), "{place}");
}

fn the_decoded_table_has_the_stated_error(codec: &dyn Codec, dense: &Dense, encoded: &Encoded, place: &str) {
    let parts = encoded.parts();
    let decoded = codec.decode(&encoded.setting, &parts).expect("what was encoded can be decoded");
    let found = codec::measure(&dense.rows(), decoded.as_ref(), &Silent).expect("shapes agree");
    let count = (dense.rows * dense.columns) as f64;
    assert_close(&encoded.measured, &found, count, place);
}

/// Equal up to the rounding of the arithmetic that measured.
fn assert_close(stated: &Measured, found: &Measured, count: f64, place: &str) {
    let norm = found.squared_norm.sqrt();
    // Decoded numbers are singles, whose least step is coarse beside denormals.
    let step = f64::from(f32::from_bits(1)) * count.sqrt();
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-5 * a.abs().max(b.abs()) + 1e-7 * norm + step;
    assert!(near(stated.squared_norm.sqrt(), norm), "norm of {place}: {stated:?} {found:?}");
    assert!(near(stated.squared_error.sqrt(), found.squared_error.sqrt()), "{place}: {stated:?} {found:?}");
    assert!(near(stated.max_absolute_error, found.max_absolute_error), "{place}: {stated:?} {found:?}");
}

fn rows_decode_alone_as_they_do_together(codec: &dyn Codec, dense: &Dense, encoded: &Encoded, place: &str) {
    let whole = decode(codec, encoded).expect("it can be decoded");
    let parts = encoded.parts();
    let rows = codec.decode(&encoded.setting, &parts).expect("it can be decoded");
    let mut row = vec![0.0f32; dense.columns];
    for index in (0..dense.rows).step_by(1 + dense.rows / 37).chain([dense.rows - 1]) {
        rows.read_f32(index..index + 1, &mut row).expect("a row can be read");
        let expected = &whole[index * dense.columns..(index + 1) * dense.columns];
        let same = row.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "row {index} of {place}");
    }
}

fn a_part_that_is_missing_is_an_error(codec: &dyn Codec, _: &Dense, encoded: &Encoded, place: &str) {
    for missing in 0..encoded.metas.len() {
        let mut parts = encoded.parts();
        parts.remove(missing);
        assert_malformed(codec, encoded, &parts, &format!("part {missing} missing of {place}"));
    }
}

fn a_part_of_another_shape_dtype_or_length_is_an_error(codec: &dyn Codec, _: &Dense, encoded: &Encoded, place: &str) {
    for at in 0..encoded.metas.len() {
        let meta = &encoded.metas[at];
        let with = |meta: &TensorMeta, bytes: &[u8], what: &str| {
            let mut parts = encoded.parts();
            parts[at] = Part { meta, bytes };
            assert_malformed(codec, encoded, &parts, &format!("{what} part `{}` of {place}", meta.name));
        };
        let bytes = &encoded.bytes[at];
        if !bytes.is_empty() {
            with(meta, &bytes[..bytes.len() - 1], "truncated");
            with(meta, &[], "empty");
        }
        with(meta, &[bytes.as_slice(), &[0]].concat(), "overlong");
        with(&TensorMeta { shape: vec![], ..meta.clone() }, bytes, "scalar");
        let three = TensorMeta { shape: [&meta.shape[..], &[1, 1]].concat(), ..meta.clone() };
        with(&three, bytes, "four-dimensional");
        let huge = TensorMeta { shape: vec![usize::MAX; meta.shape.len()], ..meta.clone() };
        with(&huge, bytes, "huge");
        let longer = TensorMeta { shape: meta.shape.iter().map(|extent| extent + 1).collect(), ..meta.clone() };
        with(&longer, bytes, "longer");
        let dtype = if meta.dtype == Dtype::U64 { Dtype::Bool } else { Dtype::U64 };
        with(&TensorMeta { dtype, ..meta.clone() }, bytes, "retyped");
    }
}

fn assert_malformed(codec: &dyn Codec, encoded: &Encoded, parts: &[Part<'_>], place: &str) {
    match codec.decode(&encoded.setting, parts) {
        Ok(rows) => {
            // Only where the parts still fit each other; then they have to be of another table.
            assert_ne!(rows.shape().0 * rows.shape().1, 0, "{place} is taken as a table without numbers");
            panic!("{place} is taken");
        }
        Err(error) => {
            let kind = error.kind();
            assert!(matches!(kind, ErrorKind::Malformed | ErrorKind::Unsupported), "{place}: {kind:?} {error}");
        }
    }
}

fn a_setting_that_is_none_is_an_error(codec: &dyn Codec, _: &Dense, encoded: &Encoded, place: &str) {
    let parts = encoded.parts();
    assert!(codec.decode(&Default::default(), &parts).is_err(), "{place}");
    for key in encoded.setting.keys() {
        for value in [serde_json::json!(null), serde_json::json!(-1), serde_json::json!("nonsense")] {
            let mut setting = encoded.setting.clone();
            setting.insert(key.clone(), value);
            // What a decoder does not look at may say anything, but then it must not change the table.
            let whole = decode(codec, encoded).expect("it can be decoded");
            let changed = Encoded { setting, ..encoded.clone() };
            if let Ok(found) = decode(codec, &changed) {
                assert!(found == whole, "{:?} of {place}", changed.setting);
            }
        }
    }
}
