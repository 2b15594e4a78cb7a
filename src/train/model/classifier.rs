//! An embedding with a network behind it: from sentences to labels, and gradients.

use std::sync::Arc;

use candle_core::{D, Tensor};

use super::architecture::{Architecture, Dropout, Network, Sizes};
use super::{Batch, Embedding, Parameter, failed};
use crate::error::{Error, ErrorKind, Result};
use crate::train::data::Dataset;
use crate::train::op::Leaves;

/// The widest layer, the most labels: beyond it a number in a configuration is a mistake or an attack.
const MAX_UNITS: usize = 1 << 16;

/// A classifier of sentences.
#[derive(Clone)]
pub struct Classifier {
    architecture: &'static dyn Architecture,
    sizes: Sizes,
    embedding: Embedding,
    pub(in crate::train) parameters: Vec<Parameter>,
}

/// What one step of training learns from a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// Mean cross-entropy over the sentences, in nats.
    pub loss: f64,
    /// Sentences whose largest logit was that of their label.
    pub correct: usize,
    /// With respect to the looked-up rows of W or A, `[words, d or k]`, in the order of [`Batch::words`].
    pub rows: Vec<f32>,
    /// With respect to B, where there is one.
    pub right: Option<Vec<f32>>,
    /// With respect to the parameters of the network; none where only the embedding is trained.
    pub parameters: Vec<Vec<f32>>,
}

impl Classifier {
    /// A network of random numbers behind `embedding`. The same seed gives the same numbers.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where the sizes make no network or do not fit the embedding.
    pub fn new(architecture: &'static dyn Architecture, sizes: Sizes, embedding: Embedding, seed: u64) -> Result<Self> {
        Classifier::check(architecture, &sizes)?;
        let parameters = architecture.parameters(&sizes, seed);
        Classifier::with_parameters(architecture, sizes, embedding, parameters)
    }

    /// A network of these numbers behind `embedding`.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where sizes, embedding and parameters do not fit each other.
    pub fn with_parameters(
        architecture: &'static dyn Architecture,
        sizes: Sizes,
        embedding: Embedding,
        parameters: Vec<Parameter>,
    ) -> Result<Self> {
        Classifier::check(architecture, &sizes)?;
        if embedding.shape().1 != sizes.columns {
            return Err(Error::new(ErrorKind::Request, "the embedding is not as wide as the network's input")
                .expected(sizes.columns.to_string())
                .found(embedding.shape().1.to_string()));
        }
        for (wanted, found) in Classifier::shapes(architecture, &sizes).iter().zip(&parameters) {
            let (name, shape) = wanted;
            if (name, shape) != (&found.name, &found.shape) {
                return Err(Error::new(ErrorKind::Request, "a parameter is not the network's")
                    .tensor(&found.name)
                    .expected(format!("`{name}` {shape:?}"))
                    .found(format!("{:?}", found.shape)));
            }
        }
        Ok(Classifier { architecture, sizes, embedding, parameters })
    }

    /// Names and shapes of the parameters of a network of these sizes.
    pub fn shapes(architecture: &dyn Architecture, sizes: &Sizes) -> Vec<(String, Vec<usize>)> {
        let parameters = architecture.parameters(sizes, 0);
        parameters.into_iter().map(|parameter| (parameter.name, parameter.shape)).collect()
    }

    /// Checks that sizes make a network, before any memory is taken for it.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] that names the number which is out of range.
    pub fn check(architecture: &dyn Architecture, sizes: &Sizes) -> Result<()> {
        let layers = 1..=architecture.max_layers();
        let units = sizes.hidden.iter().chain([&sizes.columns, &sizes.classes]);
        let wrong = |summary: &str, expected: String, found: String| {
            Err(Error::new(ErrorKind::Request, summary).expected(expected).found(found))
        };
        if !layers.contains(&sizes.hidden.len()) {
            let expected = format!("{} to {}", layers.start(), layers.end());
            return wrong("another number of hidden layers", expected, sizes.hidden.len().to_string());
        }
        for &units in units {
            if !(1..=MAX_UNITS).contains(&units) {
                return wrong("a layer's width is out of range", format!("1 to {MAX_UNITS}"), units.to_string());
            }
        }
        if !(0.0..1.0).contains(&sizes.dropout) {
            return wrong("`dropout` is out of range", "at least 0 and less than 1".into(), sizes.dropout.to_string());
        }
        Ok(())
    }

    /// The architecture.
    pub fn architecture(&self) -> &'static dyn Architecture {
        self.architecture
    }

    /// The extents.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// The embedding.
    pub fn embedding(&self) -> &Embedding {
        &self.embedding
    }

    /// The parameters of the network behind the embedding.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The same network behind another embedding of the same shape: a factor pair, a decoded table, one seen through a
    /// codec.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where V or d differ.
    pub fn with_embedding(&self, embedding: Embedding) -> Result<Self> {
        let (expected, found) = (self.embedding.shape(), embedding.shape());
        if expected != found {
            return Err(Error::new(ErrorKind::Request, "the embedding has another shape")
                .expected(format!("[{}, {}]", expected.0, expected.1))
                .found(format!("[{}, {}]", found.0, found.1)));
        }
        Ok(Classifier { embedding, ..self.clone() })
    }

    /// The same with every codec applied: what a checkpoint of it would hold.
    ///
    /// # Errors
    /// What the codecs report.
    pub fn decoded(&self) -> Result<Self> {
        Ok(Classifier { embedding: self.embedding.decoded()?, ..self.clone() })
    }

    /// All that training changes.
    pub(in crate::train) fn parts_mut(&mut self) -> (&mut Embedding, &mut [Parameter]) {
        (&mut self.embedding, &mut self.parameters)
    }

    pub(in crate::train) fn embedding_mut(&mut self) -> &mut Embedding {
        &mut self.embedding
    }

    /// Loss and gradients of a batch that is not empty. With `dropout`, what it says is left out.
    ///
    /// # Errors
    /// What the codecs of the embedding report.
    pub fn gradients(&self, batch: Batch, dropout: Option<u64>, all: bool) -> Result<Gradients> {
        let look_up = self.embedding.look_up(batch.words(), true)?;
        let dropout = dropout.map(|seed| Dropout { share: self.sizes.dropout, seed });
        let batch = Arc::new(batch);
        let differentiate = || {
            let parameters = self.leaves(all)?;
            let kept = dropout.clone();
            let leaves = Leaves::default();
            let network = Network {
                batch: batch.clone(),
                look_up: &look_up,
                parameters: &parameters,
                leaves: leaves.clone(),
                kept,
            };
            let logits = self.architecture.logits(&network)?;
            let labels = Tensor::new(batch.labels(), logits.device())?;
            let correct = correct(&logits.to_vec2::<f32>()?, batch.labels());
            // log softmax, shifted so that no exponential overflows; the shift has no gradient.
            let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
            let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
            let chosen = shifted.broadcast_sub(&log_sum)?.gather(&labels.unsqueeze(1)?, 1)?;
            let loss = chosen.mean_all()?.neg()?;
            let store = loss.backward()?;
            let take = |tensor: &Tensor| match (leaves.take(tensor), store.get(tensor)) {
                (Some(gradient), None) => Ok(gradient),
                (None, Some(gradient)) => gradient.flatten_all()?.to_vec1::<f32>(),
                (None, None) => Ok(vec![0.0; tensor.elem_count()]),
                (Some(mut sum), Some(more)) => {
                    sum.iter_mut().zip(more.flatten_all()?.to_vec1::<f32>()?).for_each(|(sum, more)| *sum += more);
                    Ok(sum)
                }
            };
            Ok(Gradients {
                loss: f64::from(loss.to_scalar::<f32>()?),
                correct,
                rows: take(&look_up.rows)?,
                right: look_up.right.as_ref().map(take).transpose()?,
                parameters: parameters.iter().filter(|_| all).map(take).collect::<candle_core::Result<_>>()?,
            })
        };
        differentiate().map_err(failed)
    }

    /// Logits of a batch, a row of [`Sizes::classes`] for each sentence. Matrices are seen as steps of training see
    /// them: [`Classifier::decoded`] comes first where it is a checkpoint's answer that is wanted.
    ///
    /// # Errors
    /// What the codecs of the embedding report.
    pub fn logits(&self, batch: Batch) -> Result<Vec<Vec<f32>>> {
        let look_up = self.embedding.look_up(batch.words(), false)?;
        let compute = || {
            let parameters = self.leaves(false)?;
            let network = Network {
                batch: Arc::new(batch),
                look_up: &look_up,
                parameters: &parameters,
                leaves: Leaves::default(),
                kept: None,
            };
            self.architecture.logits(&network)?.to_vec2::<f32>()
        };
        compute().map_err(failed)
    }

    /// The label that each sentence of `dataset` is given, `batch` sentences at a time.
    ///
    /// # Errors
    /// What the codecs of the embedding report.
    pub fn predict(&self, dataset: &Dataset, batch: usize) -> Result<Vec<u32>> {
        let indices: Vec<usize> = (0..dataset.len()).collect();
        let mut labels = Vec::with_capacity(indices.len());
        for indices in indices.chunks(batch.max(1)) {
            labels.extend(self.logits(Batch::new(dataset, indices))?.iter().map(|logits| largest(logits)));
        }
        Ok(labels)
    }

    fn leaves(&self, trained: bool) -> candle_core::Result<Vec<Tensor>> {
        self.parameters.iter().map(|parameter| parameter.leaf(trained)).collect()
    }
}

/// The place of the largest logit; of equal ones the first.
pub fn largest(logits: &[f32]) -> u32 {
    let first = |best: usize, next: usize| if logits[next] > logits[best] { next } else { best };
    (0..logits.len()).fold(0, first) as u32
}

fn correct(logits: &[Vec<f32>], labels: &[u32]) -> usize {
    logits.iter().zip(labels).filter(|(logits, label)| largest(logits) == **label).count()
}
