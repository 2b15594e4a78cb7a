//! What every codec promises, checked on every entry of `CODECS`, and fixed-point codes against a slow reference.

mod fixed_point;
mod promises;
mod tables;

use std::sync::Arc;

use rankfold::ErrorKind;
use rankfold::codec::{CODECS, Codec, Demand, Options, RowWeights, Table};
use rankfold::observe::Silent;
use rankfold::tensor::Dtype;

use promises::PROMISES;
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
fn every_point_of_every_codec_keeps_its_promises() {
    for_each_point(|codec, dense, encoded, place| {
        PROMISES.iter().for_each(|promise| promise(codec, dense, encoded, place));
    });
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
