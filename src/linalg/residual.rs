//! `||W - A B||_F` and `max |W - A B|` of factors as they are stored.

use super::block::{Job, Workspace, stream};
use super::element::Element;
use super::factorize::check_entries;
use super::frame::{Frame, power_of_two};
use super::kernel::InstructionSet;
use super::loops::Scale;
use super::measured::Measured;
use super::operand::Operand;
use super::panels::Panels;
use super::product::panels;
use super::products::Products;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::tensor::{Precision, Rows};

/// How far, in powers of two, B may be from magnitude one.
const NEAR: i32 = 30;

/// What is taken from the table: `-B 2^q`, and the `p` by which A has to be scaled so that A B becomes
/// `A B 2^exponent`, the scale of the table.
pub(super) struct Subtrahend<T> {
    right: Operand<T>,
    exponent: i32,
    left_scale: f64,
    largest_column: f64,
}

impl<T: Element> Subtrahend<T> {
    /// From B, `[k, d]`, and the exponent of the table's scale.
    pub(super) fn new(mut panels: Panels<T>, exponent: i32, products: Products) -> Self {
        let largest = panels.largest();
        let right = if largest > 0.0 && largest.is_finite() { -(largest.log2().floor() as i32) } else { 0 };
        // Both scales have to be numbers of T, whatever the split made of the magnitudes; where B can take all of
        // the scale, A need not be touched.
        let right = if (right - exponent).abs() <= NEAR { exponent } else { right.clamp(-126, 126) };
        let scale = -power_of_two(right);
        panels.map(|value| T::nearest(value.double() * scale));
        let (largest_column, left_scale) = (panels.largest_column_norm(), power_of_two(exponent - right));
        Subtrahend { right: Operand::new(panels, products), exponent, left_scale, largest_column }
    }

    /// `2^exponent`.
    pub(super) fn table_scale(&self) -> f64 {
        power_of_two(self.exponent)
    }

    /// The largest norm of a column of what A is multiplied by, once it is scaled.
    pub(super) fn largest_column(&self) -> f64 {
        self.largest_column
    }

    pub(super) fn rank(&self) -> usize {
        self.right.depth()
    }

    /// Distance between rows of a block of the table.
    pub(super) fn stride(&self) -> usize {
        self.right.padded_columns()
    }

    /// Turns the scaled rows of the table into those of the residual; scales the rows of A on the way.
    pub(super) fn subtract(&self, work: &mut Workspace<T>) {
        if self.left_scale != 1.0 {
            InstructionSet::best().run(Scale { values: &mut work.left, scale: self.left_scale });
        }
        let rows = work.padded_rows();
        self.right.multiply(rows, &work.left, self.rank(), &mut work.table, &mut work.operand);
    }
}

/// Measures `left` (A, `[V, k]`) times `right` (B transposed, `[d, k]`) against `rows`.
///
/// Products are of singles, computed as is fastest here, with sums in doubles where everything is held in singles; where
/// the error then comes out below 1e-2 of the norm (2e-2 on a matrix unit), it is measured again in doubles, since the rounding of singles would show in it.
///
/// # Errors
/// [`ErrorKind::Malformed`] where the shapes do not fit; [`ErrorKind::NonFinite`] with the first row and column of
/// the table that holds no finite number; [`ErrorKind::Interrupted`] where the observer says so; what reading reports.
pub fn measure(rows: &dyn Rows, left: &dyn Rows, right: &dyn Rows, observer: &dyn Observer) -> Result<Measured> {
    let (height, width) = rows.shape();
    let rank = left.shape().1;
    if left.shape().0 != height || right.shape() != (width, rank) {
        return Err(Error::new(ErrorKind::Malformed, "the factors do not fit the table")
            .expected(format!("{height} x {rank} and {width} x {rank}"))
            .found(format!("{} x {rank} and {} x {}", left.shape().0, right.shape().0, right.shape().1)));
    }
    check_entries(rows)?;
    if [rows, left, right].iter().all(|rows| rows.precision() == Precision::Single) {
        let products = Products::default().of_table(rows.shape())?;
        let measured = measure_in::<f32>(rows, left, right, products, observer)?;
        if measured.relative_frobenius_error() >= products.enough() {
            return Ok(measured);
        }
    }
    measure_in::<f64>(rows, left, right, Products::Single, observer)
}

fn measure_in<T: Element>(
    rows: &dyn Rows,
    left: &dyn Rows,
    right: &dyn Rows,
    products: Products,
    observer: &dyn Observer,
) -> Result<Measured> {
    let exponent = Frame::<T>::scan(rows, observer)?.exponent;
    let job = Stored { left, subtrahend: Subtrahend::new(panels::<T>(right)?, exponent, products) };
    stream(rows, &job, &mut |_| Ok(()), observer)
}

/// Reads A.
struct Stored<'a, T> {
    left: &'a dyn Rows,
    subtrahend: Subtrahend<T>,
}

impl<T: Element> Job<T> for Stored<'_, T> {
    fn subtrahend(&self) -> &Subtrahend<T> {
        &self.subtrahend
    }

    fn left(&self, work: &mut Workspace<T>, _: &mut Vec<u8>) -> Result<()> {
        let count = work.range.len() * self.subtrahend.rank();
        T::read(self.left, work.range.clone(), &mut work.left[..count])
    }
}
