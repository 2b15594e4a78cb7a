//! What a classifier costs with its table whole, factorized and in fixed point: by formula, and measured.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::BATCH;
use super::classifiers::{factors, fresh, start_table};
use super::data_set::DataSet;
use crate::codec::{Codec, DirectTarget, FixedPoint, LowRank, Options, Table};
use crate::error::Result;
use crate::plan::rank_for_reduction;
use crate::tensor::{Dtype, Rows};
use crate::train::model::{Batch, Classifier, Embedding, Matrix, Quantizer};

/// The reduction at which the factor pair is measured.
const REDUCTION: f64 = 0.9;

/// Repetitions of a measurement, of which the median counts.
const REPETITIONS: usize = 201;

/// No further repetition begins after this long.
const PATIENCE: Duration = Duration::from_millis(300);

/// A classifier with one form of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// Data set.
    pub data: String,
    /// Architecture.
    pub arch: String,
    /// What is stored of the table.
    pub form: String,
    /// Numbers of the embedding.
    pub embedding_parameters: u64,
    /// Bytes of the embedding.
    pub embedding_bytes: u64,
    /// Numbers of the network behind it, stored as singles.
    pub network_parameters: u64,
    /// Floating-point operations of a sentence of the mean length, by formula.
    pub flops: Flops,
    /// Microseconds, medians on one thread.
    pub microseconds: Latency,
}

/// Operations of one sentence. Looking up moves numbers and computes none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Flops {
    /// Products with B: 2 k d for each word.
    pub product: u64,
    /// Decoding of codes: one multiplication for each number.
    pub dequantization: u64,
    /// The network behind the embedding.
    pub network: u64,
}

/// Time for a sentence of the mean length and for a batch of 50 of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// The words' vectors from what is stored, one sentence.
    pub sentence_look_up: f64,
    /// The network, one sentence.
    pub sentence_network: f64,
    /// The words' vectors, a batch.
    pub batch_look_up: f64,
    /// The network, a batch.
    pub batch_network: f64,
}

/// A table in one form.
struct Stored<'a> {
    form: String,
    parameters: u64,
    bytes: u64,
    product: u64,
    dequantization: u64,
    rows: Box<dyn Rows + 'a>,
}

/// The costs of `arch` on `data`: of the classifier before training, since training changes none of them.
///
/// # Errors
/// What codecs report.
pub(super) fn costs(data: &DataSet, arch: &str) -> Result<Vec<Cost>> {
    let table = start_table(data, 1)?.into_owned();
    let classifier = fresh(data, arch, Embedding::dense(table.clone()), 1)?;
    let tokens = data.facts.mean_tokens.round().max(1.0) as usize;
    let lengths: Vec<usize> = typical(data, tokens);
    let network_parameters = classifier.parameters().iter().map(|parameter| parameter.values.len() as u64).sum();
    let network = classifier.architecture().flops(classifier.sizes(), tokens);
    let network_times = [&lengths[..1], &lengths[..]].map(|sentences| network_time(&classifier, data, sentences));
    let [sentence_network, batch_network] = network_times;
    let (sentence_network, batch_network) = (sentence_network?, batch_network?);
    let mut costs = Vec::new();
    let (left, right) = factors(&table, rank(&table)?)?;
    let quantized = quantizers(&table)?;
    let encoded: Vec<_> = quantized
        .iter()
        .map(|(form, quantizer)| Ok((form, quantizer, quantizer.encode("embedding.weight", &table)?)))
        .collect::<Result<_>>()?;
    let mut forms = vec![dense(&table), factorized(left, &right)?];
    for (form, quantizer, encoded) in &encoded {
        let point = encoded.point();
        forms.push(Stored {
            form: (*form).clone(),
            parameters: point.parameters,
            bytes: point.bytes(),
            product: 0,
            dequantization: point.flops_per_token,
            rows: encoded.decode(quantizer.codec())?,
        });
    }
    for stored in forms {
        costs.push(Cost {
            data: data.facts.name.clone(),
            arch: arch.to_owned(),
            embedding_parameters: stored.parameters,
            embedding_bytes: stored.bytes,
            network_parameters,
            flops: Flops {
                product: stored.product * tokens as u64,
                dequantization: stored.dequantization * tokens as u64,
                network,
            },
            microseconds: Latency {
                sentence_look_up: look_up_time(stored.rows.as_ref(), data, &lengths[..1])?,
                sentence_network,
                batch_look_up: look_up_time(stored.rows.as_ref(), data, &lengths)?,
                batch_network,
            },
            form: stored.form,
        });
    }
    Ok(costs)
}

fn rank(table: &Matrix) -> Result<usize> {
    let (height, width) = table.shape();
    rank_for_reduction(REDUCTION, height, width)
}

/// Test sentences for a batch, those first whose length is nearest to `tokens`.
fn typical(data: &DataSet, tokens: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..data.test.len()).collect();
    order.sort_by_key(|&sentence| (data.test.lengths[sentence] as usize).abs_diff(tokens));
    order.truncate(BATCH);
    order
}

fn dense(table: &Matrix) -> Stored<'_> {
    let parameters = table.values().len() as u64;
    let rows = Box::new(table.clone());
    Stored { form: "original".to_owned(), parameters, bytes: 4 * parameters, product: 0, dequantization: 0, rows }
}

fn factorized<'a>(left: Matrix, right: &Matrix) -> Result<Stored<'a>> {
    let parameters = (left.values().len() + right.values().len()) as u64;
    let (rank, width) = right.shape();
    Ok(Stored {
        form: format!("{} at p = {REDUCTION}, rank {rank}", LowRank.name()),
        parameters,
        bytes: 4 * parameters,
        product: 2 * rank as u64 * width as u64,
        dequantization: 0,
        rows: Box::new(crate::linalg::Product::new(left, &right.transposed())?),
    })
}

/// Fixed point: the widest codes at the bytes of the factor pair, and 8 and 16 bits.
fn quantizers(table: &Matrix) -> Result<Vec<(String, Quantizer)>> {
    let view = Table { name: "embedding.weight", dtype: Dtype::F32, rows: table };
    let name = FixedPoint.name();
    let targets = [
        (format!("{name} at p = {REDUCTION}"), DirectTarget::Reduction(REDUCTION)),
        (format!("{name}, 8 bits"), DirectTarget::Bits(8)),
        (format!("{name}, 16 bits"), DirectTarget::Bits(16)),
    ];
    let mut quantizers = Vec::new();
    for (form, target) in targets {
        // A narrow table may have no code that small.
        if let Ok(setting) = FixedPoint.resolve(&view, &Options::default(), target) {
            quantizers.push((form, Quantizer::new(&FixedPoint, setting, Options::default(), 1)));
        }
    }
    Ok(quantizers)
}

/// Microseconds to get the vectors of the words of `sentences`.
fn look_up_time(rows: &dyn Rows, data: &DataSet, sentences: &[usize]) -> Result<f64> {
    let words: Vec<usize> =
        sentences.iter().flat_map(|&index| data.test.sentence(index)).map(|&word| word as usize).collect();
    let mut vector = vec![0.0f32; rows.shape().1];
    median(|| {
        for &word in &words {
            rows.read_f32(word..word + 1, &mut vector)?;
            black_box(&mut vector);
        }
        Ok(())
    })
}

/// Microseconds for the logits of `sentences`, from a table in memory.
fn network_time(classifier: &Classifier, data: &DataSet, sentences: &[usize]) -> Result<f64> {
    median(|| {
        black_box(classifier.logits(Batch::new(&data.test, sentences))?);
        Ok(())
    })
}

/// The median time in microseconds, after a first one that warms up.
fn median(mut act: impl FnMut() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    act()?;
    let mut times = Vec::with_capacity(REPETITIONS);
    while times.len() < REPETITIONS && (times.is_empty() || began.elapsed() < PATIENCE) {
        let start = Instant::now();
        act()?;
        times.push(1e6 * start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
