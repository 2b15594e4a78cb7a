//! Runs of real classifiers.

use std::borrow::Cow;
use std::time::Instant;

use super::data_set::DataSet;
use super::grid::{CYCLE, Group, PATIENCE, Run, Training};
use super::known::{Codes, Known};
use super::method::{Form, Method, Origin, Size};
use super::outcome::{Epoch, Measured, Outcome};
use super::work::Laboratory;
use crate::codec::{Codec, Demand, DirectTarget, LowRank, Options, PartSink, Setting, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::{Observer, Silent};
use crate::plan::rank_for_reduction;
use crate::schedule;
use crate::tensor::{Dtype, MappedRows, Rows};
use crate::train::data::vectors::random_table;
use crate::train::model::{Classifier, Embedding, Matrix, Quantizer, Sizes, Trained, find};
use crate::train::{FitSettings, History, evaluate, fit, optimizer};

/// Columns of a table that starts at random: those of the paper.
const RANDOM_COLUMNS: usize = 300;

/// Share that dropout leaves out, as in the paper.
const DROPOUT: f64 = 0.5;

/// Epochs after which codes of a whole table are found anew: where CALR's rate is smallest.
const CODES_EVERY: u64 = CYCLE;

/// Updates that patience has at least: a small data set takes many epochs to begin to learn.
pub(super) const PATIENT_UPDATES: u64 = 450;

/// Trains classifiers.
pub(super) struct Classifiers<'a> {
    pub(super) data: &'a [DataSet],
    pub(super) methods: &'a [Method],
    /// Passes before the table is replaced, and again after it.
    pub(super) epochs: u64,
    pub(super) observer: &'a dyn Observer,
}

/// The classifier that runs start from.
pub(super) struct Start<'a> {
    data: &'a DataSet,
    classifier: Classifier,
    history: History,
    /// What its table was before it was trained.
    vectors: Cow<'a, Matrix>,
    seconds: f64,
    /// Outcomes of runs with codes.
    known: Known,
}

/// How every classifier is trained before its table is replaced, and those whose table was replaced before any training
/// for as many epochs: Adam at its usual rate.
fn first_training() -> Training {
    Training { optimizer: "adam".to_owned(), schedule: "constant".to_owned(), max_lr: 1e-3, patience: Some(PATIENCE) }
}

impl<'a> Laboratory for Classifiers<'a> {
    type Start = Start<'a>;

    fn start(&self, group: &Group) -> Result<Start<'a>> {
        let began = Instant::now();
        let data = self.data.iter().find(|data| data.facts.name == group.data);
        let data = data.ok_or_else(|| Error::new(ErrorKind::Request, "no such data set").found(group.data.clone()))?;
        let vectors = start_table(data, group.seed)?;
        let classifier = fresh(data, &group.arch, Embedding::dense(vectors.clone().into_owned()), group.seed)?;
        let (classifier, history) = self.train(data, classifier, &first_training(), group.seed)?;
        let seconds = began.elapsed().as_secs_f64();
        Ok(Start { data, classifier, history, vectors, seconds, known: Known::default() })
    }

    fn run(&self, start: &Start<'a>, run: &Run) -> Result<Outcome> {
        let began = Instant::now();
        let method = self.methods.iter().find(|method| method.name == run.method);
        let method =
            method.ok_or_else(|| Error::new(ErrorKind::Request, "no such method").found(run.method.clone()))?;
        let table = match method.origin {
            Origin::Trained => start.classifier.embedding().table()?,
            Origin::Vectors | Origin::Random => start.vectors.clone().into_owned(),
        };
        let every = CODES_EVERY * start.data.train.len().div_ceil(super::BATCH) as u64;
        let outcome = match method.form {
            Form::Encoded(codec) => match resolved(method, codec, run, &table) {
                Ok(setting) => {
                    let codes = Codes { codec: codec.name(), setting, training: run.training.clone() };
                    let stored = || coded(codec, codes.setting.clone(), &table, every);
                    start.known.or_find(&codes, || self.measure(start, run, method, stored()))?
                }
                Err(error) => absent(error)?,
            },
            Form::Dense => self.measure(start, run, method, Ok(Stored::singles(Embedding::dense(table))))?,
            Form::Decoded(codec) => self.measure(start, run, method, decoded(codec, run, &table, every))?,
            Form::Factors => self.measure(start, run, method, factor_pair(method, run, &table))?,
            Form::EncodedFactors(codec) => {
                self.measure(start, run, method, coded_factors(method, codec, run, &table, every))?
            }
        };
        let first = if method.form.is_whole() && run.training.is_none() { start.seconds } else { 0.0 };
        Ok(match outcome {
            Outcome::Measured(measured) => {
                let seconds = began.elapsed().as_secs_f64() + first;
                Outcome::Measured(Box::new(Measured { seconds, ..*measured }))
            }
            absent => absent,
        })
    }
}

/// The outcome where a method has nothing to offer at a size.
fn absent(error: Error) -> Result<Outcome> {
    match error.kind() {
        ErrorKind::Request | ErrorKind::Unsupported => Ok(Outcome::Absent(error.to_string())),
        _ => Err(error),
    }
}

/// What tells the random numbers of the second training from those of the first.
const RETRAINED: u64 = 1 << 32;

impl Classifiers<'_> {
    /// Replaces the table by what is `stored` of it, trains as `run` says, and measures what came of it; seconds are the
    /// caller's to say.
    fn measure(&self, start: &Start<'_>, run: &Run, method: &Method, stored: Result<Stored>) -> Result<Outcome> {
        let stored = match stored {
            Ok(stored) => stored,
            Err(error) => return absent(error),
        };
        let trained = (|| {
            let classifier = match method.origin {
                Origin::Trained => start.classifier.with_embedding(stored.embedding.clone())?,
                Origin::Vectors | Origin::Random => {
                    let classifier = fresh(start.data, &run.arch, stored.embedding.clone(), run.seed)?;
                    self.train(start.data, classifier, &first_training(), run.seed)?.0
                }
            };
            match &run.training {
                Some(training) => self.train(start.data, classifier, training, run.seed ^ RETRAINED),
                None => untrained(start, method, classifier),
            }
        })();
        let (classifier, history) = match trained {
            // A learning rate that is too large, in a comparison of them.
            Err(error) if error.kind() == ErrorKind::NonFinite => return Ok(Outcome::Absent(error.to_string())),
            other => other?,
        };
        let best = history.best().map_or(history.start_dev_accuracy, |best| best.dev_accuracy);
        // The classifier as it was handed in counts as epoch 0 and is `best` where no epoch was better.
        let best = best.max(history.start_dev_accuracy);
        Ok(Outcome::Measured(Box::new(Measured {
            dev_accuracy: best,
            final_dev_accuracy: history.last().map_or(best, |last| last.dev_accuracy),
            test_accuracy: evaluate(&classifier, &start.data.test)?.accuracy,
            epoch: history.best_epoch,
            parameters: stored.parameters,
            bytes: stored.bytes,
            setting: stored.setting,
            flops_per_token: stored.flops_per_token,
            curve: history
                .epochs
                .iter()
                .map(|epoch| Epoch { loss: epoch.loss, dev_accuracy: epoch.dev_accuracy, lr: epoch.learning_rate })
                .collect(),
            seconds: 0.0,
        })))
    }

    /// Trains, and gives the classifier of the best epoch on dev, the one handed in where no epoch was better.
    fn train(
        &self,
        data: &DataSet,
        classifier: Classifier,
        training: &Training,
        seed: u64,
    ) -> Result<(Classifier, History)> {
        let steps = data.train.len().div_ceil(super::BATCH).max(1) as u64;
        let patience = training.patience.map(|epochs| epochs.max(PATIENT_UPDATES.div_ceil(steps)));
        let settings = FitSettings {
            optimizer: optimizer::find(&training.optimizer)?,
            schedule: schedule::find(&training.schedule)?,
            patience,
            ..FitSettings::new(training.max_lr, self.epochs, seed)?
        };
        let (mut trained, mut observer) = (classifier.clone(), self.observer);
        let mut history = fit(&mut trained, &data.train, &data.dev, &settings, None, &mut observer)?;
        if history.best().is_some_and(|best| best.dev_accuracy > history.start_dev_accuracy) {
            return Ok((trained, history));
        }
        history.best_epoch = 0;
        Ok((classifier, history))
    }
}

/// The history of a classifier that is not trained again: for the uncompressed one, that of its only training.
fn untrained(start: &Start<'_>, method: &Method, classifier: Classifier) -> Result<(Classifier, History)> {
    if method.form.is_whole() {
        return Ok((classifier, start.history.clone()));
    }
    let start_dev_accuracy = evaluate(&classifier, &start.data.dev)?.accuracy;
    Ok((classifier, History { start_dev_accuracy, ..History::default() }))
}

impl Form {
    /// Whether nothing of the table was lost.
    fn is_whole(self) -> bool {
        matches!(self, Form::Dense)
    }
}

/// The table that training starts from.
pub(super) fn start_table(data: &DataSet, seed: u64) -> Result<Cow<'_, Matrix>> {
    match &data.vectors {
        Some(vectors) => Ok(Cow::Borrowed(vectors)),
        None => {
            let table = random_table(&data.vocabulary, RANDOM_COLUMNS, seed);
            Ok(Cow::Owned(Matrix::new(table.values, data.vocabulary.len(), table.columns)?))
        }
    }
}

/// A classifier that has not been trained.
pub(super) fn fresh(data: &DataSet, arch: &str, embedding: Embedding, seed: u64) -> Result<Classifier> {
    let architecture = find(arch)?;
    let sizes = Sizes {
        columns: embedding.shape().1,
        hidden: architecture.hidden().to_vec(),
        classes: data.facts.classes,
        dropout: DROPOUT,
    };
    Classifier::new(architecture, sizes, embedding, seed)
}

/// An embedding and what it takes.
pub(super) struct Stored {
    pub(super) embedding: Embedding,
    pub(super) parameters: u64,
    pub(super) bytes: u64,
    pub(super) setting: String,
    pub(super) flops_per_token: u64,
}

impl Stored {
    /// Singles, a factor pair or a table.
    fn singles(embedding: Embedding) -> Self {
        let (columns, rank) = (embedding.shape().1 as u64, embedding.rank());
        Stored {
            parameters: embedding.parameters() as u64,
            bytes: embedding.parameters() as u64 * 4,
            setting: rank.map_or_else(String::new, |rank| format!("rank {rank}")),
            flops_per_token: rank.map_or(0, |rank| 2 * rank as u64 * columns),
            embedding,
        }
    }
}

/// A table of the size it had that has lost what `codec` loses at the rank of `run`.
fn decoded(codec: &'static dyn Codec, run: &Run, table: &Matrix, every: u64) -> Result<Stored> {
    let options = Options::default();
    let setting = codec.resolve(&as_table(table), &options, DirectTarget::Rank(rank(run, table)?))?;
    let (decoded, _) = Quantizer::new(codec, setting, options, every).decoded(table)?;
    Ok(Stored::singles(Embedding::dense(decoded)))
}

/// A factor pair of singles, of `table` or of random numbers.
fn factor_pair(method: &Method, run: &Run, table: &Matrix) -> Result<Stored> {
    let rank = rank(run, table)?;
    Ok(Stored::singles(match method.origin {
        Origin::Random => random_factors(table, rank, run.seed)?,
        Origin::Trained | Origin::Vectors => {
            let (left, right) = factors(table, rank)?;
            Embedding::factors(left, right)?
        }
    }))
}

/// A factor pair of `table`, each factor in codes of so many bits as `method` says. Codes that are found for a whole
/// factor are found anew once in `every` updates; so with those of a table below.
fn coded_factors(method: &Method, codec: &'static dyn Codec, run: &Run, table: &Matrix, every: u64) -> Result<Stored> {
    let Size::ReductionAndBits(bits) = method.size else {
        return Err(Error::new(ErrorKind::Request, "encoded factors need bits"));
    };
    let (left, right) = factors(table, rank(run, table)?)?;
    let plain = Stored::singles(Embedding::factors(left.clone(), right.clone())?);
    let encoded = |factor: Matrix| {
        let setting = codec.resolve(&as_table(&factor), &Options::default(), DirectTarget::Bits(bits))?;
        encoded(codec, setting, factor, every)
    };
    let (left, right) = (encoded(left)?, encoded(right)?);
    Ok(Stored {
        embedding: Embedding::new(left.trained, Some(right.trained))?,
        parameters: left.parameters + right.parameters,
        bytes: left.bytes + right.bytes,
        setting: format!("{}, {}", plain.setting, left.setting),
        // B is decoded once, not for each word.
        flops_per_token: plain.flops_per_token + left.flops_per_token,
    })
}

/// `table` in the codes of `setting`.
fn coded(codec: &'static dyn Codec, setting: Setting, table: &Matrix, every: u64) -> Result<Stored> {
    let encoded = encoded(codec, setting, table.clone(), every)?;
    Ok(Stored {
        embedding: Embedding::new(encoded.trained, None)?,
        parameters: encoded.parameters,
        bytes: encoded.bytes,
        setting: encoded.setting,
        flops_per_token: encoded.flops_per_token,
    })
}

/// The rank of the factor pair at the reduction of `run`.
fn rank(run: &Run, table: &Matrix) -> Result<usize> {
    let reduction = run.reduction.ok_or_else(|| Error::new(ErrorKind::Request, "no reduction was given"))?;
    let (height, width) = table.shape();
    rank_for_reduction(reduction, height, width)
}

/// The setting at which codes of `table` by `codec` take what the size of `run` allows, or a little less.
fn resolved(method: &Method, codec: &dyn Codec, run: &Run, table: &Matrix) -> Result<Setting> {
    let target = match method.size {
        Size::Bits(bits) => DirectTarget::Bits(bits),
        _ => {
            // The bytes of the factor pair, which are a little fewer than the reduction leaves.
            let (height, width) = table.shape();
            let pair = (rank(run, table)? * (height + width)) as f64;
            DirectTarget::Reduction(1.0 - pair / (height * width) as f64)
        }
    };
    codec.resolve(&as_table(table), &Options::default(), target)
}

fn as_table(matrix: &Matrix) -> Table<'_> {
    Table { name: "embedding.weight", dtype: Dtype::F32, rows: matrix }
}

struct Encoded {
    trained: Trained,
    parameters: u64,
    bytes: u64,
    setting: String,
    flops_per_token: u64,
}

/// `matrix` seen through `codec`; fixed-point codes have a scale for each row unless asked otherwise.
fn encoded(codec: &'static dyn Codec, setting: Setting, matrix: Matrix, every: u64) -> Result<Encoded> {
    let quantizer = Quantizer::new(codec, setting, Options::default(), every);
    let (trained, point) = Trained::quantized(matrix, quantizer)?;
    Ok(Encoded {
        parameters: point.parameters,
        bytes: point.bytes(),
        setting: text(&point.setting),
        flops_per_token: point.flops_per_token,
        trained,
    })
}

fn text(setting: &Setting) -> String {
    let pairs: Vec<_> = setting
        .iter()
        .map(|(name, value)| match value {
            serde_json::Value::String(text) => format!("{name} {text}"),
            other => format!("{name} {other}"),
        })
        .collect();
    pairs.join(", ")
}

/// The factor pair A `[V, k]`, B `[k, d]` that `compress` would store of a table.
pub(super) fn factors(table: &Matrix, rank: usize) -> Result<(Matrix, Matrix)> {
    let ((height, width), options) = (table.shape(), Options::default());
    let setting = LowRank.resolve(&as_table(table), &options, DirectTarget::Rank(rank))?;
    let analysis = LowRank.analyze(&as_table(table), &options, Demand::Only(&setting), &Silent)?;
    let mut parts = Parts(vec![Vec::new(); 2]);
    analysis.encode(table, 0, &mut parts, &Silent)?;
    let read = |bytes: &[u8], rows| Matrix::read(&MappedRows::new(bytes, Dtype::F32, rows, rank)?);
    // Stored is B transposed.
    Ok((read(&parts.0[0], height)?, read(&parts.0[1], width)?.transposed()))
}

/// Parts in memory.
struct Parts(Vec<Vec<u8>>);

impl PartSink for Parts {
    fn write(&mut self, part: usize, bytes: &[u8]) -> Result<()> {
        let missing = || Error::new(ErrorKind::Malformed, "no such part").found(part.to_string());
        self.0.get_mut(part).ok_or_else(missing)?.extend_from_slice(bytes);
        Ok(())
    }
}

/// A factor pair of random numbers whose product has the standard deviation of `table`, divided evenly.
fn random_factors(table: &Matrix, rank: usize, seed: u64) -> Result<Embedding> {
    let (height, width) = table.shape();
    let squares: f64 = table.values().iter().map(|&value| f64::from(value).powi(2)).sum();
    let variance = squares / table.values().len() as f64;
    // An entry of the product is a sum of `rank` products of two numbers of this deviation.
    let deviation = (variance / rank as f64).powf(0.25);
    let mut normal = crate::random::Normal::new(seed);
    let mut draw = |count: usize| (0..count).map(|_| (normal.next() * deviation) as f32).collect::<Vec<_>>();
    let mut left = draw(height * rank);
    // The padding stays zero.
    left[..rank].fill(0.0);
    let right = draw(rank * width);
    Embedding::factors(Matrix::new(left, height, rank)?, Matrix::new(right, rank, width)?)
}
