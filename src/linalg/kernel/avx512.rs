//! The microkernel with AVX-512: 8 rows x 3 registers of sums, 24 of the 32 registers.

use std::arch::x86_64::*;

use super::{Extent, Lane, Strides, TILE_ROWS};

/// Rows of the tile that are computed at a time: as many as the registers hold.
const ROWS: usize = 8;

/// Registers across.
const ACROSS: usize = 3;

macro_rules! tile {
    ($name:ident, $lane:ty, $width:literal, $zero:ident, $load:ident, $store:ident, $set:ident, $fma:ident, $add:ident) => {
        /// # Safety
        /// The processor has the features named, and `a`, `b` and `c` reach as far as
        /// [`Kernel::tile`](super::Kernel::tile) asserts.
        #[target_feature(enable = "avx512f")]
        pub(super) unsafe fn $name(
            depth: usize,
            a: *const $lane,
            strides: Strides,
            b: *const $lane,
            c: *mut $lane,
            extent: Extent,
        ) {
            const COLUMNS: usize = <$lane as Lane>::TILE_COLUMNS;
            for row in (0..extent.rows.min(TILE_ROWS)).step_by(ROWS) {
                let first = extent.from / (ACROSS * $width) * (ACROSS * $width);
                for column in (first..extent.to.min(COLUMNS)).step_by(ACROSS * $width) {
                    // SAFETY: rows row..row + ROWS and columns column..column + ACROSS * width lie within the tile, so
                    // every address below is one of those that the caller promises: steps p < depth of A and B, and
                    // the tile's own entries of C. The accesses are unaligned ones.
                    unsafe {
                        let mut sums = [[$zero(); ACROSS]; ROWS];
                        let mut rows = [a; ROWS];
                        for (i, start) in rows.iter_mut().enumerate() {
                            *start = a.add((row + i) * strides.row);
                        }
                        let mut across = [$zero(); ACROSS];
                        for p in 0..depth {
                            for j in 0..ACROSS {
                                across[j] = $load(b.add(p * COLUMNS + column + j * $width));
                            }
                            for i in 0..ROWS {
                                let factor = $set(*rows[i].add(p * strides.step));
                                for j in 0..ACROSS {
                                    sums[i][j] = $fma(factor, across[j], sums[i][j]);
                                }
                            }
                        }
                        for i in 0..ROWS {
                            for j in 0..ACROSS {
                                let c = c.add((row + i) * strides.out + column + j * $width);
                                $store(c, $add($load(c), sums[i][j]));
                            }
                        }
                    }
                }
            }
        }
    };
}

tile!(
    tile_f32,
    f32,
    16,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    _mm512_add_ps
);
tile!(
    tile_f64,
    f64,
    8,
    _mm512_setzero_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_set1_pd,
    _mm512_fmadd_pd,
    _mm512_add_pd
);
