//! The transpose of a tile: four times, rows that are half of the tile apart are merged entry by entry.

use super::{TILE, Tile};

pub(super) fn transposed(tile: &Tile) -> Tile {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has the feature.
        return unsafe { by_registers(tile) };
    }
    let mut rows = tile.0;
    for _ in 0..TILE.ilog2() {
        let half = rows;
        for i in 0..TILE / 2 {
            for j in 0..TILE {
                rows[2 * i + j / (TILE / 2)][2 * j % TILE] = half[i][j];
                rows[2 * i + j / (TILE / 2)][2 * j % TILE + 1] = half[i + TILE / 2][j];
            }
        }
    }
    Tile(rows)
}

/// The same, a row to a register. The compiler does not find these shuffles in the loops above.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn by_registers(tile: &Tile) -> Tile {
    use std::arch::x86_64::*;

    let lower = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    let upper = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    // SAFETY: both are 1,024 bytes of integers.
    let mut rows: [__m512i; TILE] = unsafe { std::mem::transmute(*tile) };
    for _ in 0..TILE.ilog2() {
        let half = rows;
        for i in 0..TILE / 2 {
            rows[2 * i] = _mm512_permutex2var_epi32(half[i], lower, half[i + TILE / 2]);
            rows[2 * i + 1] = _mm512_permutex2var_epi32(half[i], upper, half[i + TILE / 2]);
        }
    }
    // SAFETY: as above.
    unsafe { std::mem::transmute(rows) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_change_places_with_those_across_the_diagonal() {
        let tile = Tile(std::array::from_fn(|i| std::array::from_fn(|j| (100 * i + j) as u32)));
        let found = transposed(&tile);
        for i in 0..TILE {
            for j in 0..TILE {
                assert_eq!(found.0[i][j], tile.0[j][i], "{i}, {j}");
            }
        }
    }
}
