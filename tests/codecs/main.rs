//! What every codec promises, checked on every entry of `CODECS`, and fixed-point codes against a slow reference.

mod fixed_point;
mod tables;

use std::sync::Arc;

use rankfold::codec::{self, CODECS, Codec, Demand, Options, Part, RowWeights, Table};
use rankfold::observe::Silent;
use rankfold::tensor::{Dtype, TensorMeta};
use rankfold::{ErrorKind, codec::Measured};

use tables::{Dense, Encoded, NAME, decode, encode, ladder, noise, some_points, tables};

/// Runs `check` on some operating points of every codec on every table.
fn for_each_point(mut check: impl FnMut(&'static dyn Codec, &Dense, &Encoded, &str)) {
    for codec in CODECS {
        let mut points = 0;
        for dense in tables() {
            let Some(analysis) = ladder(*codec, &dense, &Options::default()) else { continue };
            for point in some_points(analysis.points().len()) {
                let encoded = encode(analysis.as_ref(), &dense, point);
                let encoded = match encoded {
                    Ok(encoded) => encoded,
                    Err(error) => panic!("{} on `{}`: {error}", codec.name(), dense.label),
                };
                let place = format!("{} {:?} on `{}`", codec.name(), encoded.setting, dense.label);
                check(*codec, &dense, &encoded, &place);
                points += 1;
            }
        }
        assert!(points >= 5, "{} has only {points} points on all tables", codec.name());
    }
}

#[test]
fn predicted_bytes_are_written_bytes() {
    for_each_point(|_, _, encoded, place| {
        for (meta, bytes) in encoded.metas.iter().zip(&encoded.bytes) {
            assert_eq!(meta.bytes(), Some(bytes.len() as u64), "part `{}` of {place}", meta.name);
        }
    });
}

#[test]
fn parts_have_names_of_their_own_below_the_table() {
    for_each_point(|_, _, encoded, place| {
        let names: std::collections::BTreeSet<_> = encoded.metas.iter().map(|meta| meta.name.as_str()).collect();
        assert_eq!(names.len(), encoded.metas.len(), "{place}");
        assert!(names.iter().all(|name| name.starts_with("encoder.table.")), "{names:?} of {place}");
    });
}

#[test]
fn every_point_takes_fewer_bytes_than_the_table() {
    for_each_point(|_, dense, encoded, place| {
        let bytes: usize = encoded.bytes.iter().map(Vec::len).sum();
        assert!(bytes < dense.rows * dense.columns * dense.dtype.bytes(), "{place}");
    });
}

#[test]
fn the_decoded_table_has_the_stated_error() {
    for_each_point(|codec, dense, encoded, place| {
        let parts = encoded.parts();
        let decoded = codec.decode(&encoded.setting, &parts).expect("what was encoded can be decoded");
        let found = codec::measure(&dense.rows(), decoded.as_ref(), &Silent).expect("shapes agree");
        let count = (dense.rows * dense.columns) as f64;
        assert_close(&encoded.measured, &found, count, place);
    });
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

/// A table that is too large for codecs that try every point out on small ones.
fn large() -> Dense {
    let mut values = noise(6000 * 32, 12);
    values.iter_mut().enumerate().for_each(|(at, value)| *value *= 1.0 + 40.0 / (1 + at % 32) as f64);
    Dense::new("large", Dtype::F32, 6000, 32, &values)
}

/// By what share of the predicted relative error the measured one may differ from it.
const NEAR: f64 = 0.1;

#[test]
fn the_predicted_error_is_near_the_measured_one_with_weights_and_without() {
    let zipf = Options { row_weights: Some(Arc::new(RowWeights::Zipf)), ..Options::default() };
    for codec in CODECS {
        for (options, dense) in [Options::default(), zipf.clone()]
            .iter()
            .flat_map(|o| tables().into_iter().chain([large()]).map(move |d| (o, d)))
        {
            let Some(analysis) = ladder(*codec, &dense, options) else { continue };
            for at in some_points(analysis.points().len()) {
                let point = &analysis.points()[at];
                let Ok(encoded) = encode(analysis.as_ref(), &dense, at) else { panic!("{:?}", point.setting) };
                let norm = analysis.squared_norm();
                let predicted = if norm > 0.0 { (point.squared_error / norm).sqrt() } else { 0.0 };
                let weighted = encoded.measured.weighted.map(|sums| sums.relative_frobenius_error());
                assert_eq!(weighted.is_some(), options.row_weights.is_some());
                let found = weighted.unwrap_or(encoded.measured.relative_frobenius_error());
                // Decoded numbers are singles, whose least step is coarse beside denormals.
                let count = (dense.rows * dense.columns) as f64;
                let step = f64::from(f32::from_bits(1)) * (count / norm.max(f64::MIN_POSITIVE)).sqrt();
                let place = format!("{} {:?} on `{}`", codec.name(), point.setting, dense.label);
                let weights = if weighted.is_some() { "weighted" } else { "plain" };
                let allowed = NEAR * predicted + 1e-5 + step;
                assert!((found - predicted).abs() <= allowed, "{place}, {weights}: {predicted} predicted, {found}");
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool can be made");
        pool.install(|| {
            let mut all = Vec::new();
            for_each_point(|codec, _, encoded, _| {
                all.push((encoded.clone(), decode(codec, encoded).expect("it can be decoded")));
            });
            all
        })
    };
    let one = with_threads(1);
    for threads in [2, 3] {
        assert!(one == with_threads(threads), "{threads} threads");
    }
}

#[test]
fn rows_decode_alone_as_they_do_together() {
    for_each_point(|codec, dense, encoded, place| {
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
    });
}

#[test]
fn the_one_point_demanded_is_that_of_the_ladder() {
    for codec in CODECS {
        for dense in tables() {
            let Some(analysis) = ladder(*codec, &dense, &Options::default()) else { continue };
            for point in some_points(analysis.points().len()) {
                let expected = &analysis.points()[point];
                let rows = dense.rows();
                let table = Table { name: NAME, dtype: dense.dtype, rows: &rows };
                let demand = Demand::Only(&expected.setting);
                let alone = codec.analyze(&table, &Options::default(), demand, &Silent).expect("the point exists");
                assert_eq!(alone.points().len(), 1);
                let alone = &alone.points()[0];
                assert_eq!((&alone.setting, &alone.parts), (&expected.setting, &expected.parts));
            }
        }
    }
}

#[test]
fn the_ladder_goes_up_in_bytes_and_not_up_in_error() {
    for codec in CODECS {
        for dense in tables() {
            let Some(analysis) = ladder(*codec, &dense, &Options::default()) else { continue };
            let points = analysis.points();
            let place = format!("{} on `{}`", codec.name(), dense.label);
            assert!(!points.is_empty(), "{place}");
            assert!(points.windows(2).all(|pair| pair[0].bytes() <= pair[1].bytes()), "{place}");
            let slack = 1e-12 * analysis.squared_norm();
            let falls = |a: f64, b: f64| b <= a + slack;
            assert!(points.windows(2).all(|pair| falls(pair[0].squared_error, pair[1].squared_error)), "{place}");
        }
    }
}

#[test]
fn a_part_that_is_missing_is_an_error() {
    for_each_point(|codec, _, encoded, place| {
        for missing in 0..encoded.metas.len() {
            let mut parts = encoded.parts();
            parts.remove(missing);
            assert_malformed(codec, encoded, &parts, &format!("part {missing} missing of {place}"));
        }
    });
}

#[test]
fn a_part_of_another_shape_dtype_or_length_is_an_error() {
    for_each_point(|codec, _, encoded, place| {
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
    });
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

#[test]
fn a_setting_that_is_none_is_an_error() {
    for_each_point(|codec, _, encoded, place| {
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
    });
}

#[test]
fn a_weight_that_is_not_finite_is_named_by_its_row() {
    for codec in CODECS {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut values = noise(3000 * 32, 11);
            values[2345 * 32 + 17] = bad;
            let dense = Dense::new("not finite", Dtype::F32, 3000, 32, &values);
            let rows = dense.rows();
            let table = Table { name: NAME, dtype: dense.dtype, rows: &rows };
            let error = match codec.analyze(&table, &Options::default(), Demand::Ladder, &Silent) {
                Ok(_) => panic!("{} takes {bad}", codec.name()),
                Err(error) => error,
            };
            assert_eq!(error.kind(), ErrorKind::NonFinite, "{error}");
            assert!(error.to_string().contains("2345"), "{error}");
        }
    }
}
