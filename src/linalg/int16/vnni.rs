//! The products where one instruction multiplies and adds (`vpdpwssd`): with AVX-512 VNNI 8 rows x 3 registers of sums, 3
//! registers of the right panel and pairs of the left one, with AVX-VNNI 6 x 2 and 2.

use std::arch::x86_64::*;

use super::{Panel, SIDE, add_in_units};

macro_rules! products {
    ($name:ident, $features:literal, $rows:literal x $across:literal of $lanes:literal,
     $zero:ident, $load:ident, $broadcast:ident, $multiply_add:ident) => {
        /// See [`multiply`](super::multiply).
        ///
        /// # Safety
        /// The processor has the features named; slices are as long as [`multiply`](super::multiply) asserts.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(pairs: usize, left: Panel<'_>, right: Panel<'_>, same: bool, square: &mut [f32]) {
            const COLUMNS: usize = $across * $lanes;
            for column in (0..SIDE).step_by(COLUMNS) {
                for row in (0..SIDE).step_by($rows) {
                    if same && column + COLUMNS <= row {
                        continue;
                    }
                    let mut sums = [[$zero(); $across]; $rows];
                    for pair in 0..pairs {
                        let words = pair * SIDE;
                        let mut across = [$zero(); $across];
                        for (j, across) in across.iter_mut().enumerate() {
                            // SAFETY: columns column..column + COLUMNS are in the panel, of which `pairs` rows of words are
                            // read; the access is an unaligned one.
                            *across = unsafe { $load(right.words.as_ptr().add(words + column + j * $lanes).cast()) };
                        }
                        for (i, sums) in sums.iter_mut().enumerate() {
                            // SAFETY: likewise columns row..row + rows of the other panel.
                            let both = $broadcast(unsafe { *left.words.as_ptr().add(words + row + i) } as i32);
                            for (sum, across) in sums.iter_mut().zip(across) {
                                *sum = $multiply_add(*sum, both, across);
                            }
                        }
                    }
                    // SAFETY: registers of whole numbers are arrays of them.
                    let sums: [[i32; COLUMNS]; $rows] = unsafe { std::mem::transmute(sums) };
                    add_in_units(&sums, left, row, right, column, square);
                }
            }
        }
    };
}

products!(
    avx512,
    "avx512f,avx512vnni",
    8 x 3 of 16,
    _mm512_setzero_si512,
    _mm512_loadu_si512,
    _mm512_set1_epi32,
    _mm512_dpwssd_epi32
);
products!(
    avx,
    "avx2,avxvnni",
    6 x 2 of 8,
    _mm256_setzero_si256,
    _mm256_loadu_si256,
    _mm256_set1_epi32,
    _mm256_dpwssd_avx_epi32
);
