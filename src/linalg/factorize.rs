//! The truncated singular value decomposition of a table, by way of its smaller Gram matrix.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::eigen::{self, Eigen};
use super::element::Element;
use super::encode::Pair;
use super::frame::power_of_two;
use super::gram::{Gram, gram};
use super::products::{MANY, Products};
use super::spectrum::Spectrum;
use super::split::Split;
use super::transposed::Transposed;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::tensor::{Precision, Rows};

/// What has to be dropped for each energy that was rounded off and averaged out over independent rows, so that the error of a
/// pair is above the optimum by a ten-millionth of it at most; see "Precision" in `docs/methods.md`.
const ROUNDED_OFF: f64 = 2e7;

/// Rows that the wide case projects at a time.
const BLOCK: usize = 256;

/// Singular values and the leading singular vectors of a table.
pub struct Factorization {
    shape: (usize, usize),
    spectrum: Spectrum,
    rank: usize,
    /// The table is computed with as `W * 2^exponent`.
    exponent: i32,
    basis: Basis,
    weights: Option<Vec<f64>>,
    products: Products,
    /// Of the table.
    precision: Precision,
    /// Whether products of singles were enough for the Gram matrix.
    single: bool,
}

/// Orthonormal vectors on the smaller side of the table.
enum Basis {
    /// `V >= d`: right singular vectors, `[rank, d]` row-major.
    Right(Vec<f64>),
    /// `V < d`: left singular vectors `U`, `[rank, V]`, and `U^T W 2^exponent`, `[rank, d]`.
    Left { vectors: Vec<f64>, projected: Vec<f64> },
}

/// The squared singular values of a table, without the vectors.
///
/// # Errors
/// [`ErrorKind::Request`] for a table without entries; [`ErrorKind::NonFinite`] with the first row and column that
/// holds no finite number, or where the squared norm leaves the range of a double;
/// [`ErrorKind::Interrupted`] where the observer says so.
pub fn spectrum(rows: &dyn Rows, observer: &dyn Observer) -> Result<Spectrum> {
    Ok(decompose(rows, None, 0, Products::default().of_spectrum(), observer)?.spectrum)
}

/// The singular values and the singular vectors for every rank up to `max_rank`, or up to `min(V, d)`; where `max_rank` is a
/// small part of that, no other singular values than those.
///
/// The Gram matrix is computed with products of singles, as `products` says, unless the table holds doubles, has fewer
/// than 2,048 rows and columns, or unless what rank `max_rank` drops (at most the largest rank whose factors are smaller
/// than the table) is below 1e-2 of the norm, 2e-2 for [`Products::Bf16x2`]: then with products of doubles. With
/// [`Products::Int16`], where what is dropped does not stand out from what was rounded off, with those of
/// [`Products::Single`] before.
///
/// # Errors
/// Those of [`spectrum`]; [`ErrorKind::Request`] for products that this machine does not have.
pub fn factorize(
    rows: &dyn Rows,
    max_rank: Option<usize>,
    products: Products,
    observer: &dyn Observer,
) -> Result<Factorization> {
    let shape @ (height, width) = rows.shape();
    let smaller = height.min(width);
    let rank = max_rank.map_or(smaller, |rank| rank.min(smaller));
    let products = products.of_table(shape)?;
    let Decomposition { spectrum, eigen, exponent, products: used, .. } =
        decompose(rows, max_rank, rank, products, observer)?;
    let mut vectors = eigen.vectors;
    let basis = if height >= width {
        orient(&mut vectors, width, None);
        Basis::Right(vectors)
    } else {
        let mut projected = project(rows, &vectors, rank, exponent, observer)?;
        orient(&mut projected, width, Some((&mut vectors, height)));
        Basis::Left { vectors, projected }
    };
    Ok(Factorization {
        shape,
        spectrum,
        rank,
        exponent,
        basis,
        weights: None,
        // Where the Gram matrix took others than were asked for, what is left for singles does not depend on which.
        products: used.unwrap_or(products.of_spectrum()),
        precision: rows.precision(),
        single: used.is_some(),
    })
}

/// What is known of the smaller Gram matrix.
struct Decomposition {
    spectrum: Spectrum,
    /// With as many eigenvectors as were asked for.
    eigen: Eigen,
    /// The sum of the eigenvalues that are not in it.
    rest: f64,
    /// Of the scale.
    exponent: i32,
    /// What products of singles were computed with, if they were enough.
    products: Option<Products>,
}

fn decompose(
    rows: &dyn Rows,
    max_rank: Option<usize>,
    rank: usize,
    products: Products,
    observer: &dyn Observer,
) -> Result<Decomposition> {
    let (height, width) = rows.shape();
    check_entries(rows)?;
    // The Gram matrix of a smaller table is cheap, so it is computed with doubles.
    if rows.precision() == Precision::Single && height.max(width) >= MANY {
        // Ranks from here on store more than the table, so nobody asks for them.
        let useful = (height as u128 * width as u128 / (height as u128 + width as u128)) as usize;
        let largest = max_rank.unwrap_or(useful).min(useful).max(1);
        for products in products.attempts() {
            let gram = smaller_gram::<f32>(rows, products, observer)?;
            let independent = largest as f64 / height.max(width) as f64;
            let dropped = (products.enough() * products.enough() * gram.centered_trace)
                .max(ROUNDED_OFF * independent * gram.rounded_off);
            let decomposition = Decomposition::of(gram, rank, Some(products), observer)?;
            if largest >= height.min(width) || decomposition.drops(largest, dropped) {
                return Ok(decomposition);
            }
        }
    }
    Decomposition::of(smaller_gram::<f64>(rows, products, observer)?, rank, None, observer)
}

impl Decomposition {
    fn of(gram: Gram, rank: usize, products: Option<Products>, observer: &dyn Observer) -> Result<Self> {
        // One thread is fastest for a small order, and several gain little for a large one.
        observer.leaves_cores_idle();
        let (order, trace, exponent) = (gram.matrix.nrows(), gram.trace, gram.exponent);
        let eigen = eigen::leading(gram.matrix, trace, rank)?;
        let rest = if eigen.values.len() == order { 0.0 } else { trace - eigen.values.iter().sum::<f64>() };
        let rest = rest.max(0.0);
        Ok(Decomposition { spectrum: unscale(&eigen.values, rest, trace, exponent)?, eigen, rest, exponent, products })
    }

    /// Whether rank `rank` drops at least `bound`, and so stands out from the rounding.
    fn drops(&self, rank: usize, bound: f64) -> bool {
        bound == 0.0 || self.eigen.values.iter().skip(rank).rev().fold(self.rest, |sum, value| sum + value) >= bound
    }
}

/// Refuses a table without entries.
pub(crate) fn check_entries(rows: &dyn Rows) -> Result<()> {
    match rows.shape() {
        (0, _) | (_, 0) => Err(Error::new(ErrorKind::Request, "a table without entries cannot be factorized")
            .expected("at least one row and one column")
            .found(format!("{} x {}", rows.shape().0, rows.shape().1))),
        _ => Ok(()),
    }
}

fn smaller_gram<T: Element>(rows: &dyn Rows, products: Products, observer: &dyn Observer) -> Result<Gram> {
    let (height, width) = rows.shape();
    if height >= width {
        gram::<T>(rows, products, observer)
    } else {
        gram::<T>(&Transposed::<T>::read(rows)?, products, observer)
    }
}

/// Eigenvalues of the scaled table as squared singular values of the table.
fn unscale(values: &[f64], rest: f64, trace: f64, exponent: i32) -> Result<Spectrum> {
    // In two steps, since the square of the scale may have no double.
    let back = power_of_two(-exponent);
    let squared_norm = trace.max(0.0) * back * back;
    if !squared_norm.is_finite() || (squared_norm == 0.0 && trace > 0.0) {
        return Err(Error::new(ErrorKind::NonFinite, "the squared norm of the table leaves the range of a double"));
    }
    let energies = values.iter().map(|value| value * back * back).collect();
    Ok(Spectrum { energies, rest: rest * back * back, squared_norm })
}

/// `U^T W 2^exponent`, `[rank, d]`, in doubles.
fn project(rows: &dyn Rows, vectors: &[f64], rank: usize, exponent: i32, observer: &dyn Observer) -> Result<Vec<f64>> {
    let (height, width) = rows.shape();
    let scale = power_of_two(exponent);
    let mut projected = vec![0.0; rank * width];
    let mut block = vec![0.0; BLOCK.min(height) * width];
    let vectors = MatRef::from_row_major_slice(vectors, rank, height);
    for start in (0..height).step_by(BLOCK) {
        observer.check()?;
        let end = height.min(start + BLOCK);
        let block = &mut block[..(end - start) * width];
        rows.read_f64(start..end, block)?;
        block.iter_mut().for_each(|value| *value *= scale);
        matmul(
            MatMut::from_row_major_slice_mut(&mut projected, rank, width),
            Accum::Add,
            vectors.subcols(start, end - start),
            MatRef::from_row_major_slice(block, end - start, width),
            1.0,
            // The degree is fixed for the same reason as that of the eigendecomposition.
            Par::rayon(4),
        );
    }
    Ok(projected)
}

/// Turns every vector of length `len` so that its entry of the largest magnitude (of equals, the first) is positive,
/// and its partner with it.
fn orient(vectors: &mut [f64], len: usize, partners: Option<(&mut Vec<f64>, usize)>) {
    let flips: Vec<bool> = vectors
        .chunks_exact_mut(len)
        .map(|vector| {
            let largest = vector.iter().fold(0.0f64, |largest, &x| if x.abs() > largest.abs() { x } else { largest });
            if largest < 0.0 {
                vector.iter_mut().for_each(|x| *x = -*x);
            }
            largest < 0.0
        })
        .collect();
    if let Some((partners, len)) = partners {
        for (partner, _) in partners.chunks_exact_mut(len).zip(flips).filter(|(_, flip)| *flip) {
            partner.iter_mut().for_each(|x| *x = -*x);
        }
    }
}

impl Factorization {
    /// `(V, d)` of the table.
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// The squared singular values: all of them, or those up to [`Factorization::max_rank`] and the sum of the others.
    pub fn spectrum(&self) -> &Spectrum {
        &self.spectrum
    }

    /// The largest rank that can be encoded.
    pub fn max_rank(&self) -> usize {
        self.rank
    }

    /// The right singular vectors, `[max_rank, d]` row-major, each of length one. Those of singular values that are
    /// zero or drown in rounding are zero or have no meaning where `V < d`.
    pub fn right_singular_vectors(&self) -> Vec<f64> {
        let mut vectors = self.right_rows().to_vec();
        if self.right_vectors().is_none() {
            for vector in vectors.chunks_exact_mut(self.shape.1) {
                let norm = vector.iter().map(|entry| entry * entry).sum::<f64>().sqrt();
                vector.iter_mut().for_each(|entry| *entry = if norm > 0.0 { *entry / norm } else { 0.0 });
            }
        }
        vectors
    }

    /// Says that what was factorized is `D^(1/2) W`, where D holds `weights` of rows, and that W is to be encoded: A gets
    /// the inverse of the scaling, and errors are measured with the weights too.
    pub(crate) fn of_weighted(self, weights: Option<Vec<f64>>) -> Self {
        Factorization { weights, ..self }
    }

    /// What products of singles were and are computed with on the way to `pair`, if there are any.
    pub fn products(&self, pair: &Pair) -> Option<Products> {
        (self.single || self.in_singles(pair)).then_some(self.products)
    }

    /// Whether singles do for A and the error of `pair`.
    pub(super) fn in_singles(&self, pair: &Pair) -> bool {
        self.precision == Precision::Single
            && pair.stored == Precision::Single
            && self.spectrum.relative_frobenius_error(pair.rank) >= self.products.enough()
    }

    pub(super) fn asked_products(&self) -> Products {
        self.products
    }

    pub(super) fn weights(&self) -> Option<&[f64]> {
        self.weights.as_deref()
    }

    pub(super) fn exponent(&self) -> i32 {
        self.exponent
    }

    /// Right singular vectors where they are what is known: `[max_rank, d]`.
    pub(super) fn right_vectors(&self) -> Option<&[f64]> {
        match &self.basis {
            Basis::Right(vectors) => Some(vectors),
            Basis::Left { .. } => None,
        }
    }

    /// Entry `(row, j)` of the left factor of a wide table, where `power` is of the singular value on A.
    pub(super) fn wide_left(&self, row: usize, j: usize, power: f64) -> f64 {
        match &self.basis {
            Basis::Right(_) => 0.0,
            Basis::Left { vectors, .. } => {
                let root = self.weights.as_ref().map_or(1.0, |weights| weights[row].sqrt());
                vectors[j * self.shape.0 + row] * power / root
            }
        }
    }

    /// Rows of B before the powers of the singular values: right singular vectors, or `U^T W 2^exponent`.
    pub(super) fn right_rows(&self) -> &[f64] {
        match &self.basis {
            Basis::Right(vectors) => vectors,
            Basis::Left { projected, .. } => projected,
        }
    }

    /// What the columns of the left and of the right factor of rank `rank` are multiplied by.
    ///
    /// For a tall table the left columns are `W v 2^exponent` and the right ones `v`; for a wide table they are `u`
    /// and `W^T u`, at the scale of the factorization. Whatever the singular value is taken to be, the product of the pair is the projection of
    /// the table, so that rounding in small singular values costs nothing but the balance.
    pub(super) fn powers(&self, rank: usize, split: Split, exponent: i32) -> (Vec<f64>, Vec<f64>) {
        let largest = self.spectrum.energies.first().copied().unwrap_or(0.0);
        // Eigenvalues below this are rounding; their inverses would blow it up.
        let floor = 4.0 * self.shape.0.min(self.shape.1) as f64 * f64::EPSILON * largest;
        // In halves of a power.
        let (on_left, on_right) = match split {
            Split::Balanced => (1, 1),
            Split::Left => (2, 0),
            Split::Right => (0, 2),
        };
        let wide = matches!(self.basis, Basis::Left { .. });
        let sigmas = self.spectrum.energies.iter().take(rank).map(|energy| energy.max(floor).sqrt());
        sigmas
            .map(|sigma| {
                if wide {
                    (half_power(sigma, on_left), half_power(sigma, on_right - 2) * power_of_two(-self.exponent))
                } else {
                    (half_power(sigma, on_left - 2) * power_of_two(-exponent), half_power(sigma, on_right))
                }
            })
            .unzip()
    }
}

/// `sigma^(halves / 2)` for powers from -1 to 1; of zero, which has no inverse, 1.
fn half_power(sigma: f64, halves: i32) -> f64 {
    match halves {
        2 => sigma,
        1 => sigma.sqrt(),
        -1 if sigma > 0.0 => 1.0 / sigma.sqrt(),
        -2 if sigma > 0.0 => 1.0 / sigma,
        _ => 1.0,
    }
}
