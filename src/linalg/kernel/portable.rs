//! The microkernel in plain Rust: the definition that the others are tested against, and what processors without AVX2 run.

use super::{Extent, Lane, Strides, TILE_ROWS};

/// A row of the tile at a time: its sums are twelve registers of SSE2, or six of AVX, and stay there.
///
/// # Safety
/// COLUMNS is [`Lane::TILE_COLUMNS`], and `a`, `b` and `c` reach as far as [`Kernel::tile`](super::Kernel::tile) asserts.
#[inline(always)]
pub(super) unsafe fn tile<T: Lane, const COLUMNS: usize>(
    depth: usize,
    a: *const T,
    strides: Strides,
    b: *const T,
    c: *mut T,
    extent: Extent,
) {
    // SAFETY: b holds `depth` rows of COLUMNS, by the caller's promise; arrays have no padding.
    let b = unsafe { std::slice::from_raw_parts(b.cast::<[T; COLUMNS]>(), depth) };
    for i in 0..extent.rows.min(TILE_ROWS) {
        let mut sums = [T::default(); COLUMNS];
        for (p, b) in b.iter().enumerate() {
            // SAFETY: row i < TILE_ROWS and step p < depth lie within a, by the caller's promise.
            let factor = unsafe { *a.add(i * strides.row + p * strides.step) };
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum = sum.plus_product(factor, b);
            }
        }
        // SAFETY: row i of C holds COLUMNS numbers, by the caller's promise, and nobody else has them.
        let c = unsafe { std::slice::from_raw_parts_mut(c.add(i * strides.out), COLUMNS) };
        for (c, sum) in c.iter_mut().zip(sums) {
            *c += sum;
        }
    }
}

/// The same, compiled for AVX.
///
/// # Safety
/// That of [`tile`]; the processor has AVX.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
pub(super) unsafe fn tile_avx<T: Lane, const COLUMNS: usize>(
    depth: usize,
    a: *const T,
    strides: Strides,
    b: *const T,
    c: *mut T,
    extent: Extent,
) {
    // SAFETY: as the caller promises.
    unsafe { tile::<T, COLUMNS>(depth, a, strides, b, c, extent) }
}
