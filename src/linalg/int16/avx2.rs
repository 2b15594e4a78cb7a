//! The products with AVX2: 6 rows x 2 registers of sums, 2 registers of the right panel, one pair of the left one and one
//! register for products: all 16.
//!
//! The loop over the depth is assembly, since as intrinsics it compiles to other instructions than these, at three quarters of
//! the speed.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Panel, SIDE, add_in_units};

/// Rows of the square that are computed at a time.
const ROWS: usize = 6;

/// Columns that are: two registers.
const COLUMNS: usize = 16;

/// See [`multiply`](super::multiply).
///
/// # Safety
/// The processor has AVX2; slices are as long as [`multiply`](super::multiply) asserts.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn multiply(pairs: usize, left: Panel<'_>, right: Panel<'_>, same: bool, square: &mut [f32]) {
    // A count of zero would run through all numbers below it.
    if pairs == 0 {
        return;
    }
    for column in (0..SIDE).step_by(COLUMNS) {
        for row in (0..SIDE).step_by(ROWS) {
            if same && column + COLUMNS <= row {
                continue;
            }
            // SAFETY: columns row..row + ROWS and column..column + COLUMNS are in their panels, of which `pairs` rows of
            // words are read, and in the square.
            unsafe { tile(pairs, left, row, right, column, square) };
        }
    }
}

/// # Safety
/// As for [`multiply`]; the rows from `row` on and the columns from `column` on are in the panels; `pairs` is not zero.
#[target_feature(enable = "avx2")]
unsafe fn tile(pairs: usize, left: Panel<'_>, row: usize, right: Panel<'_>, column: usize, square: &mut [f32]) {
    let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
    let [[s00, s01], [s10, s11], [s20, s21], [s30, s31], [s40, s41], [s50, s51]] = &mut sums;
    // SAFETY: every address read is within the first `pairs` rows of the two panels. Nothing is written but the registers
    // named.
    unsafe {
        asm!(
            "2:",
            "vmovdqu {b0}, [{b}]",
            "vmovdqu {b1}, [{b} + 32]",
            "vpbroadcastd {a0}, [{a}]",
            "vpmaddwd {t}, {a0}, {b0}",
            "vpaddd {s00}, {s00}, {t}",
            "vpmaddwd {t}, {a0}, {b1}",
            "vpaddd {s01}, {s01}, {t}",
            "vpbroadcastd {a0}, [{a} + 4]",
            "vpmaddwd {t}, {a0}, {b0}",
            "vpaddd {s10}, {s10}, {t}",
            "vpmaddwd {t}, {a0}, {b1}",
            "vpaddd {s11}, {s11}, {t}",
            "vpbroadcastd {a0}, [{a} + 8]",
            "vpmaddwd {t}, {a0}, {b0}",
            "vpaddd {s20}, {s20}, {t}",
            "vpmaddwd {t}, {a0}, {b1}",
            "vpaddd {s21}, {s21}, {t}",
            "vpbroadcastd {a0}, [{a} + 12]",
            "vpmaddwd {t}, {a0}, {b0}",
            "vpaddd {s30}, {s30}, {t}",
            "vpmaddwd {t}, {a0}, {b1}",
            "vpaddd {s31}, {s31}, {t}",
            "vpbroadcastd {a0}, [{a} + 16]",
            "vpmaddwd {t}, {a0}, {b0}",
            "vpaddd {s40}, {s40}, {t}",
            "vpmaddwd {t}, {a0}, {b1}",
            "vpaddd {s41}, {s41}, {t}",
            "vpbroadcastd {a0}, [{a} + 20]",
            "vpmaddwd {t}, {a0}, {b0}",
            "vpaddd {s50}, {s50}, {t}",
            "vpmaddwd {t}, {a0}, {b1}",
            "vpaddd {s51}, {s51}, {t}",
            "add {a}, {next}",
            "add {b}, {next}",
            "dec {left}",
            "jnz 2b",
            a = inout(reg) left.words.as_ptr().add(row) => _,
            b = inout(reg) right.words.as_ptr().add(column) => _,
            left = inout(reg) pairs => _,
            next = const SIDE * size_of::<u32>(),
            a0 = out(ymm_reg) _,
            b0 = out(ymm_reg) _,
            b1 = out(ymm_reg) _,
            t = out(ymm_reg) _,
            s00 = inout(ymm_reg) *s00,
            s01 = inout(ymm_reg) *s01,
            s10 = inout(ymm_reg) *s10,
            s11 = inout(ymm_reg) *s11,
            s20 = inout(ymm_reg) *s20,
            s21 = inout(ymm_reg) *s21,
            s30 = inout(ymm_reg) *s30,
            s31 = inout(ymm_reg) *s31,
            s40 = inout(ymm_reg) *s40,
            s41 = inout(ymm_reg) *s41,
            s50 = inout(ymm_reg) *s50,
            s51 = inout(ymm_reg) *s51,
            options(nostack, readonly),
        );
    }
    // SAFETY: registers of whole numbers are arrays of them.
    let sums: [[i32; COLUMNS]; ROWS] = unsafe { std::mem::transmute(sums) };
    add_in_units(&sums, left, row, right, column, square);
}
