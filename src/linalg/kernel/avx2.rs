//! The microkernel with AVX2 and FMA: 4 rows x 3 registers of sums, 3 registers of B and one entry of A: all 16.
//!
//! The loop over the depth is assembly. As intrinsics it compiles to the same instructions in an order that needs a
//! 17th register: one sum then goes through memory in every step, at less than half the speed.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Extent, Lane, Strides, TILE_ROWS};

/// Rows of the tile that are computed at a time.
const ROWS: usize = 4;

/// Registers across.
const ACROSS: usize = 3;

macro_rules! tile {
    ($name:ident, $lane:ty, $suffix:literal, $broadcast:literal, $zero:ident, $load:ident, $store:ident, $add:ident) => {
        /// # Safety
        /// The processor has the features named, and `a`, `b` and `c` reach as far as
        /// [`Kernel::tile`](super::Kernel::tile) asserts.
        #[target_feature(enable = "avx2,fma")]
        pub(super) unsafe fn $name(
            depth: usize,
            a: *const $lane,
            strides: Strides,
            b: *const $lane,
            c: *mut $lane,
            extent: Extent,
        ) {
            const COLUMNS: usize = <$lane as Lane>::TILE_COLUMNS;
            const WIDTH: usize = 32 / size_of::<$lane>();
            // A count of zero would run through all numbers below it.
            if depth == 0 {
                return;
            }
            for row in (0..extent.rows.min(TILE_ROWS)).step_by(ROWS) {
                let first = extent.from / (ACROSS * WIDTH) * (ACROSS * WIDTH);
                for column in (first..extent.to.min(COLUMNS)).step_by(ACROSS * WIDTH) {
                    let mut sums = [[$zero(); ACROSS]; ROWS];
                    let [[s00, s01, s02], [s10, s11, s12], [s20, s21, s22], [s30, s31, s32]] = &mut sums;
                    // SAFETY: rows row..row + ROWS and columns column..column + ACROSS * width lie within the tile, so
                    // every address read in the steps p < depth is one that the caller promises of A and B. Nothing is
                    // written but the registers named.
                    unsafe {
                        asm!(
                            "2:",
                            concat!("vmovu", $suffix, " {b0}, [{b}]"),
                            concat!("vmovu", $suffix, " {b1}, [{b} + 32]"),
                            concat!("vmovu", $suffix, " {b2}, [{b} + 64]"),
                            concat!($broadcast, " {a0}, [{a}]"),
                            concat!("vfmadd231", $suffix, " {s00}, {a0}, {b0}"),
                            concat!("vfmadd231", $suffix, " {s01}, {a0}, {b1}"),
                            concat!("vfmadd231", $suffix, " {s02}, {a0}, {b2}"),
                            concat!($broadcast, " {a0}, [{a} + {row}]"),
                            concat!("vfmadd231", $suffix, " {s10}, {a0}, {b0}"),
                            concat!("vfmadd231", $suffix, " {s11}, {a0}, {b1}"),
                            concat!("vfmadd231", $suffix, " {s12}, {a0}, {b2}"),
                            concat!($broadcast, " {a0}, [{a} + 2 * {row}]"),
                            concat!("vfmadd231", $suffix, " {s20}, {a0}, {b0}"),
                            concat!("vfmadd231", $suffix, " {s21}, {a0}, {b1}"),
                            concat!("vfmadd231", $suffix, " {s22}, {a0}, {b2}"),
                            concat!($broadcast, " {a0}, [{a} + {rows}]"),
                            concat!("vfmadd231", $suffix, " {s30}, {a0}, {b0}"),
                            concat!("vfmadd231", $suffix, " {s31}, {a0}, {b1}"),
                            concat!("vfmadd231", $suffix, " {s32}, {a0}, {b2}"),
                            "add {a}, {step}",
                            "add {b}, {next}",
                            "dec {left}",
                            "jnz 2b",
                            a = inout(reg) a.add(row * strides.row) => _,
                            b = inout(reg) b.add(column) => _,
                            left = inout(reg) depth => _,
                            row = in(reg) strides.row * size_of::<$lane>(),
                            rows = in(reg) 3 * strides.row * size_of::<$lane>(),
                            step = in(reg) strides.step * size_of::<$lane>(),
                            next = const COLUMNS * size_of::<$lane>(),
                            a0 = out(ymm_reg) _,
                            b0 = out(ymm_reg) _,
                            b1 = out(ymm_reg) _,
                            b2 = out(ymm_reg) _,
                            s00 = inout(ymm_reg) *s00,
                            s01 = inout(ymm_reg) *s01,
                            s02 = inout(ymm_reg) *s02,
                            s10 = inout(ymm_reg) *s10,
                            s11 = inout(ymm_reg) *s11,
                            s12 = inout(ymm_reg) *s12,
                            s20 = inout(ymm_reg) *s20,
                            s21 = inout(ymm_reg) *s21,
                            s22 = inout(ymm_reg) *s22,
                            s30 = inout(ymm_reg) *s30,
                            s31 = inout(ymm_reg) *s31,
                            s32 = inout(ymm_reg) *s32,
                            options(nostack, readonly),
                        );
                    }
                    for (i, sums) in sums.into_iter().enumerate() {
                        for (j, sum) in sums.into_iter().enumerate() {
                            // SAFETY: the tile's own entries of C, which the caller promises; the accesses are
                            // unaligned ones.
                            unsafe {
                                let c = c.add((row + i) * strides.out + column + j * WIDTH);
                                $store(c, $add($load(c), sum));
                            }
                        }
                    }
                }
            }
        }
    };
}

tile!(tile_f32, f32, "ps", "vbroadcastss", _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps);
tile!(tile_f64, f64, "pd", "vbroadcastsd", _mm256_setzero_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_add_pd);
