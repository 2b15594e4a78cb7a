//! The microkernel in plain Rust: the definition that the others are tested against.

use super::{Extent, Lane, Strides, TILE_ROWS};

macro_rules! tile {
    ($name:ident, $lane:ty) => {
        /// # Safety
        /// `a`, `b` and `c` reach as far as [`Kernel::tile`](super::Kernel::tile) asserts.
        pub(super) unsafe fn $name(
            depth: usize,
            a: *const $lane,
            strides: Strides,
            b: *const $lane,
            c: *mut $lane,
            extent: Extent,
        ) {
            const COLUMNS: usize = <$lane as Lane>::TILE_COLUMNS;
            // SAFETY: b holds `depth` rows of COLUMNS, by the caller's promise; arrays have no padding.
            let b = unsafe { std::slice::from_raw_parts(b.cast::<[$lane; COLUMNS]>(), depth) };
            for i in 0..extent.rows.min(TILE_ROWS) {
                let mut sums = [0.0; COLUMNS];
                for (p, b) in b.iter().enumerate() {
                    // SAFETY: row i < TILE_ROWS and step p < depth lie within a, by the caller's promise.
                    let factor = unsafe { *a.add(i * strides.row + p * strides.step) };
                    for (sum, &b) in sums.iter_mut().zip(b) {
                        *sum = factor.mul_add(b, *sum);
                    }
                }
                // SAFETY: row i of C holds COLUMNS numbers, by the caller's promise, and nobody else has them.
                let c = unsafe { std::slice::from_raw_parts_mut(c.add(i * strides.out), COLUMNS) };
                for (c, sum) in c.iter_mut().zip(sums) {
                    *c += sum;
                }
            }
        }
    };
}

tile!(tile_f32, f32);
tile!(tile_f64, f64);
