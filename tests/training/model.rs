//! Gradients, training and its reproducibility, on data made here.

use rankfold::codec::{self, Options};
use rankfold::observe::Silent;
use rankfold::tensor::Rows;
use rankfold::train::data::Dataset;
use rankfold::train::model::{self, Batch, Embedding, Matrix, Parameter, Quantizer, Sizes, Trained};
use rankfold::train::{Classifier, FitSettings, Scope, evaluate, fit};

const WORDS: usize = 40;
const COLUMNS: usize = 6;

/// Numbers that look random, in [-1, 1).
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

fn matrix(seed: u64, rows: usize, columns: usize) -> Matrix {
    let mut noise = noise(seed);
    Matrix::new((0..rows * columns).map(|_| noise()).collect(), rows, columns).unwrap()
}

/// Sentences of 1 to 9 words; a word with an odd number speaks for label 1.
fn sentences(seed: u64, count: usize) -> Dataset {
    let mut noise = noise(seed);
    let mut number = move |below: usize| ((noise() + 1.0) / 2.0 * below as f32) as usize % below;
    let max_tokens = 9;
    let mut dataset = Dataset { ids: vec![], lengths: vec![], labels: vec![], max_tokens };
    for _ in 0..count {
        let words: Vec<u32> = (0..=number(max_tokens)).map(|_| 2 + number(WORDS - 2) as u32).collect();
        let odd = words.iter().filter(|word| *word % 2 == 1).count();
        dataset.lengths.push(words.len() as u32);
        dataset.labels.push(u32::from(2 * odd > words.len()));
        dataset.ids.extend(words.iter().copied().chain([0; 9]).take(max_tokens));
    }
    dataset
}

fn sizes(architecture: &str) -> Sizes {
    let hidden = if architecture == "dan" { vec![7, 5] } else { vec![5] };
    Sizes { columns: COLUMNS, hidden, classes: 2, dropout: 0.3 }
}

fn classifier(architecture: &str, embedding: Embedding) -> Classifier {
    Classifier::new(model::find(architecture).unwrap(), sizes(architecture), embedding, 5).unwrap()
}

fn dense() -> Embedding {
    Embedding::dense(matrix(1, WORDS, COLUMNS))
}

fn factors() -> Embedding {
    Embedding::factors(matrix(2, WORDS, 3), matrix(3, 3, COLUMNS)).unwrap()
}

fn loss(classifier: &Classifier, batch: &Batch) -> f64 {
    classifier.gradients(batch.clone(), Some(9), true).unwrap().loss
}

/// Compares a gradient with differences of the loss, where `change` adds to one number: it lies between those to both
/// sides. They differ by the curvature, and where a unit of ReLU switches within the step, which is seldom.
fn compare(what: &str, gradient: &[f32], mut change: impl FnMut(usize, f32) -> f64) {
    const STEP: f32 = 4e-3;
    let scale = gradient.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    assert!(scale > 1e-4, "{what}: a gradient of nothing tests nothing");
    let tolerance = 1e-2 * f64::from(scale) + 1e-4;
    let mut apart = 0;
    for (index, &found) in gradient.iter().enumerate() {
        let [below, here, above] = [-STEP, 0.0, STEP].map(|by| change(index, by));
        let (left, right) = ((here - below) / f64::from(STEP), (above - here) / f64::from(STEP));
        let (least, most) = (left.min(right) - tolerance, left.max(right) + tolerance);
        assert!((least..most).contains(&f64::from(found)), "{what}[{index}]: {found}, differences say {left} {right}");
        apart += usize::from((left - right).abs() > 10.0 * tolerance);
    }
    assert!(10 * apart <= gradient.len(), "{what}: {apart} of {}", gradient.len());
}

#[test]
fn gradients_are_what_differences_of_the_loss_say() {
    for architecture in ["dan", "lstm"] {
        for (kind, embedding) in [("dense", dense()), ("factors", factors())] {
            let own = classifier(architecture, embedding);
            let batch = Batch::new(&sentences(4, 12), &(0..12).collect::<Vec<_>>());
            let gradients = own.gradients(batch.clone(), Some(9), true).unwrap();
            let (left, right) = own.embedding().masters();
            let changed = |matrix: &Matrix, index: usize, by: f32| {
                let mut values = matrix.values().to_vec();
                values[index] += by;
                Matrix::new(values, matrix.shape().0, matrix.shape().1).unwrap()
            };
            let width = left.shape().1;
            let rebuilt = |left: Matrix, right: Option<Matrix>| {
                let embedding = match right {
                    None => Embedding::dense(left),
                    Some(right) => Embedding::factors(left, right).unwrap(),
                };
                loss(&own.with_embedding(embedding).unwrap(), &batch)
            };
            compare(&format!("{architecture} {kind} rows"), &gradients.rows, |index, by| {
                let word = batch.words()[index / width] as usize;
                rebuilt(changed(left, word * width + index % width, by), right.cloned())
            });
            if let Some(right) = right {
                let gradient = gradients.right.as_ref().unwrap();
                compare(&format!("{architecture} {kind} right"), gradient, |index, by| {
                    rebuilt(left.clone(), Some(changed(right, index, by)))
                });
            }
            for (number, gradient) in gradients.parameters.iter().enumerate() {
                compare(&format!("{architecture} {kind} parameter {number}"), gradient, |index, by| {
                    let mut parameters: Vec<Parameter> = own.parameters().to_vec();
                    parameters[number].values[index] += by;
                    let (sizes, embedding) = (sizes(architecture), own.embedding().clone());
                    loss(
                        &Classifier::with_parameters(own.architecture(), sizes, embedding, parameters).unwrap(),
                        &batch,
                    )
                });
            }
        }
    }
}

fn settings(max_lr: f64, epochs: u64) -> FitSettings {
    let mut settings = FitSettings::new(max_lr, epochs, 11).unwrap();
    settings.batch = 20;
    settings.schedule = rankfold::schedule::find("constant").unwrap();
    settings
}

#[test]
fn every_kind_of_embedding_learns_what_can_be_learnt() {
    let (train, dev, test) = (sentences(21, 400), sentences(22, 100), sentences(23, 200));
    let fixed = codec::find("fixed-point").unwrap();
    let setting = |bits: u32, granularity: &str| {
        let text = format!(
            "{{\"bits\":{bits},\"granularity\":\"{granularity}\",\"scheme\":\"symmetric\",\"scale_dtype\":\"F32\"}}"
        );
        serde_json::from_str(&text).unwrap()
    };
    let quantized = |granularity: &str| {
        let quantizer = Quantizer::new(fixed, setting(4, granularity), Options::default(), 10);
        Embedding::new(Trained::quantized(matrix(1, WORDS, COLUMNS), quantizer).unwrap().0, None).unwrap()
    };
    let kinds =
        [("dense", dense()), ("factors", factors()), ("by row", quantized("row")), ("whole", quantized("tensor"))];
    for architecture in ["dan", "lstm"] {
        for (kind, embedding) in &kinds {
            let mut own = classifier(architecture, embedding.clone());
            let before = evaluate(&own, &test).unwrap().accuracy;
            let history = fit(&mut own, &train, &dev, &settings(1e-2, 15), None, &mut Silent).unwrap();
            let after = evaluate(&own, &test).unwrap().accuracy;
            assert!(after > 0.9 && after > before, "{architecture} {kind}: {before} {after} {history:?}");
            let best = history.best().unwrap();
            assert!(history.epochs.iter().all(|epoch| epoch.dev_accuracy <= best.dev_accuracy));
            assert_eq!(evaluate(&own, &dev).unwrap().accuracy, best.dev_accuracy, "the best is kept");
            assert!(history.last().unwrap().loss < history.epochs[0].loss);
        }
    }
}

#[test]
fn patience_ends_a_training_where_nothing_better_came() {
    let (train, dev) = (sentences(21, 400), sentences(22, 100));
    let all = settings(1e-2, 25);
    let [whole, ended] = [None, Some(3)].map(|patience| {
        let settings = FitSettings { patience, ..all.clone() };
        fit(&mut classifier("dan", dense()), &train, &dev, &settings, None, &mut Silent).unwrap()
    });
    assert_eq!(whole.epochs.len(), 25);
    assert_eq!(ended.epochs.len() as u64, ended.best_epoch + 3);
    assert!(ended.epochs.len() < 25 && ended.epochs[..] == whole.epochs[..ended.epochs.len()]);
}

#[test]
fn an_epoch_whose_codes_were_not_found_is_not_kept() {
    let (train, dev) = (sentences(21, 400), sentences(22, 100));
    let setting = r#"{"bits":4,"granularity":"tensor","scheme":"symmetric","scale_dtype":"F32"}"#;
    let setting = serde_json::from_str(setting).unwrap();
    let settings = settings(1e-2, 7);
    // Codes are due after epochs 3 and 6; the last epoch is looked at in any case.
    let every = 3 * settings.steps_per_epoch(train.len());
    let quantizer = Quantizer::new(codec::find("fixed-point").unwrap(), setting, Options::default(), every);
    let (table, point) = Trained::quantized(matrix(1, WORDS, COLUMNS), quantizer).unwrap();
    assert_eq!(point.parameters, (WORDS * COLUMNS) as u64 + 1);
    let mut own = classifier("dan", Embedding::new(table, None).unwrap());
    let history = fit(&mut own, &train, &dev, &settings, None, &mut Silent).unwrap();
    assert!([3, 6, 7].contains(&history.best_epoch), "{history:?}");
    assert_eq!(evaluate(&own, &dev).unwrap().accuracy, history.best().unwrap().dev_accuracy);
}

#[test]
fn same_seed_gives_the_same_numbers_on_any_number_of_threads() {
    let (train, dev) = (sentences(21, 200), sentences(22, 50));
    for architecture in ["dan", "lstm"] {
        let run = |threads: usize, seed: u64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut own = classifier(architecture, factors());
                let settings = FitSettings { seed, ..settings(1e-2, 3) };
                let history = fit(&mut own, &train, &dev, &settings, None, &mut Silent).unwrap();
                let (left, right) = own.embedding().masters();
                (history, left.clone(), right.cloned(), own.parameters().to_vec())
            })
        };
        let first = run(1, 3);
        assert_eq!(first, run(4, 3), "{architecture}");
        assert_ne!(first, run(1, 4), "{architecture}: another seed");
    }
}

#[test]
fn embedding_alone_is_trained_where_that_is_asked_for() {
    let (train, dev) = (sentences(21, 100), sentences(22, 50));
    let mut own = classifier("dan", factors());
    let before = own.clone();
    let settings = FitSettings { scope: Scope::Embedding, ..settings(1e-2, 2) };
    fit(&mut own, &train, &dev, &settings, None, &mut Silent).unwrap();
    assert_eq!(own.parameters(), before.parameters());
    assert_ne!(own.embedding().masters(), before.embedding().masters());
}

#[test]
fn padding_has_no_part_in_a_sentence() {
    let mut long = sentences(4, 6);
    for architecture in ["dan", "lstm"] {
        let own = classifier(architecture, dense());
        let all: Vec<usize> = (0..6).collect();
        let together = own.logits(Batch::new(&long, &all)).unwrap();
        for (index, expected) in all.iter().zip(&together) {
            let alone = own.logits(Batch::new(&long, &[*index])).unwrap();
            for (found, expected) in alone[0].iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{architecture}: {found} {expected}");
            }
        }
        long.ids.iter_mut().enumerate().for_each(|(place, id)| {
            let (sentence, word) = (place / long.max_tokens, place % long.max_tokens);
            if word >= long.lengths[sentence] as usize {
                *id = 7;
            }
        });
        assert_eq!(own.logits(Batch::new(&long, &all)).unwrap(), together, "{architecture}");
    }
}

#[test]
fn a_rate_that_is_too_large_is_an_error_not_a_model_of_nan() {
    let (train, dev) = (sentences(21, 100), sentences(22, 50));
    let mut own = classifier("dan", dense());
    let mut settings = settings(1e30, 5);
    settings.optimizer = rankfold::train::optimizer::find("sgd").unwrap();
    let error = fit(&mut own, &train, &dev, &settings, None, &mut Silent).unwrap_err();
    assert_eq!(error.kind(), rankfold::ErrorKind::NonFinite);
    assert!(error.hint_text().unwrap().contains("smaller learning rate"), "{error}");
}
