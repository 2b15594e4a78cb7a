//! The products in plain Rust: the definition that others are tested against.

use super::{Panel, SIDE};

/// See [`multiply`](super::multiply).
pub(super) fn multiply(pairs: usize, left: Panel<'_>, right: Panel<'_>, same: bool, square: &mut [f32]) {
    for (i, out) in square.chunks_exact_mut(SIDE).take(SIDE).enumerate() {
        let from = if same { i } else { 0 };
        let mut sums = [0i32; SIDE];
        for pair in 0..pairs {
            let (first, second) = halves(left.words[pair * SIDE + i]);
            let words = &right.words[pair * SIDE..][..SIDE];
            for (sum, &word) in sums.iter_mut().zip(words) {
                let (lower, upper) = halves(word);
                // No sum leaves 32 bits: see LARGEST.
                *sum = sum.wrapping_add(first * lower + second * upper);
            }
        }
        let unit = f32::from_bits(left.units[i]);
        for ((out, sum), &other) in out.iter_mut().zip(sums).zip(right.units).skip(from) {
            *out += sum as f32 * unit * f32::from_bits(other);
        }
    }
}

fn halves(word: u32) -> (i32, i32) {
    (i32::from(word as u16 as i16), i32::from((word >> 16) as u16 as i16))
}
