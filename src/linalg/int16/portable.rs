//! The products in plain Rust: the definition that others are tested against.

use super::{Panel, SIDE, add_in_units};

/// See [`multiply`](super::multiply).
pub(super) fn multiply(pairs: usize, left: Panel<'_>, right: Panel<'_>, _same: bool, square: &mut [f32]) {
    for i in 0..SIDE {
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
        add_in_units(&[sums], left, i, right, 0, square);
    }
}

fn halves(word: u32) -> (i32, i32) {
    (i32::from(word as u16 as i16), i32::from((word >> 16) as u16 as i16))
}
