//! The inner loop of every product here: a tile of C gains the product of a strip of A and a strip of B.
//!
//! An outer-product microkernel: each entry of the tile is its own chain of multiply-adds over the depth, in the order of
//! the depth, from zero, and the chain's end is added to the tile. No instruction set changes that order, and only the number
//! of entries per instruction differs: those with fused multiply-adds all give the same bits, and so do those without.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
mod portable;
mod work;

use std::ops::{Add, AddAssign, Mul};

pub use isa::limit_isa;
pub(crate) use isa::{InstructionSet, Isa};
pub(crate) use work::Work;

/// Rows of a tile.
pub(crate) const TILE_ROWS: usize = 8;

/// Bytes of a tile's row: 48 singles or 24 doubles, three registers of AVX-512 or six of AVX2.
const TILE_ROW_BYTES: usize = 192;

/// The two operands' layout of one [`Kernel::tile`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strides {
    /// Distance in A between neighbouring rows of the tile.
    pub(crate) row: usize,
    /// Distance in A between neighbouring steps of the depth.
    pub(crate) step: usize,
    /// Distance in C between neighbouring rows of the tile.
    pub(crate) out: usize,
}

/// How much of a tile is wanted, from one entry to the whole of it. The rest may be computed or left alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Rows.
    pub(crate) rows: usize,
    /// The first column.
    pub(crate) from: usize,
    /// The column after the last one.
    pub(crate) to: usize,
}

/// `(depth, a, strides, b, c, extent)`; see [`Kernel::tile`].
type TileFunction<T> = unsafe fn(usize, *const T, Strides, *const T, *mut T, Extent);

/// The microkernel of one instruction set for one element type.
#[derive(Clone, Copy)]
pub(crate) struct Kernel<T> {
    function: TileFunction<T>,
}

impl<T: Lane> Kernel<T> {
    /// The kernel for the fastest instruction set of this processor.
    pub(crate) fn best() -> Self {
        Kernel { function: T::function(InstructionSet::best()) }
    }

    /// The kernel for `set`.
    #[cfg(test)]
    pub(crate) fn for_set(set: InstructionSet) -> Self {
        Kernel { function: T::function(set) }
    }

    /// `c[i, j] += sum over p < depth of a[i * row + p * step] * b[p * TILE_COLUMNS + j]`, for what `extent` wants of a
    /// tile of [`TILE_ROWS`] x [`Lane::TILE_COLUMNS`]. Slices are as long as for the whole of it.
    ///
    /// # Panics
    /// Where a slice is shorter than the strides say.
    #[inline]
    pub(crate) fn tile(self, depth: usize, a: &[T], strides: Strides, b: &[T], c: &mut [T], extent: Extent) {
        if depth == 0 {
            return;
        }
        assert!(a.len() > (TILE_ROWS - 1) * strides.row + (depth - 1) * strides.step);
        assert!(extent.rows <= TILE_ROWS && extent.to <= T::TILE_COLUMNS);
        assert!(b.len() >= depth * T::TILE_COLUMNS);
        assert!(c.len() >= (TILE_ROWS - 1) * strides.out + T::TILE_COLUMNS);
        // SAFETY: the asserts above are the bounds that the functions require, and there is no instruction set that
        // the processor was not asked for.
        unsafe { (self.function)(depth, a.as_ptr(), strides, b.as_ptr(), c.as_mut_ptr(), extent) }
    }
}

/// A number that the kernels compute with.
pub(crate) trait Lane:
    Copy + Send + Sync + Default + Add<Output = Self> + AddAssign + Mul<Output = Self> + 'static
{
    /// Columns of a tile.
    const TILE_COLUMNS: usize;

    /// The microkernel for `set`.
    fn function(set: InstructionSet) -> TileFunction<Self>;

    /// `self + x y`, rounded once where the target of the compilation has an instruction for that.
    fn plus_product(self, x: Self, y: Self) -> Self;
}

macro_rules! lane {
    ($lane:ident, $tile:ident) => {
        impl Lane for $lane {
            const TILE_COLUMNS: usize = TILE_ROW_BYTES / size_of::<$lane>();

            fn function(set: InstructionSet) -> TileFunction<$lane> {
                match set.0 {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 | Isa::Amx => avx512::$tile,
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => avx2::$tile,
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx => portable::tile_avx::<$lane, { Self::TILE_COLUMNS }>,
                    _ => portable::tile::<$lane, { Self::TILE_COLUMNS }>,
                }
            }

            #[inline(always)]
            fn plus_product(self, x: Self, y: Self) -> Self {
                if isa::FUSED { x.mul_add(y, self) } else { self + x * y }
            }
        }
    };
}

lane!(f32, tile_f32);
lane!(f64, tile_f64);

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in (-1, 1) from a fixed sequence.
    fn numbers(count: usize, seed: u32) -> Vec<f64> {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        (0..count)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                f64::from(state as i32) / f64::from(i32::MIN)
            })
            .collect()
    }

    fn whole<T: Lane>() -> Extent {
        Extent { rows: TILE_ROWS, from: 0, to: T::TILE_COLUMNS }
    }

    /// Runs every set on one tile; returns C of each.
    fn run<T: Lane>(depth: usize, strides: Strides, convert: impl Fn(f64) -> T) -> (Vec<Vec<T>>, [Vec<T>; 3]) {
        let fill = |count, seed| numbers(count, seed).into_iter().map(&convert).collect::<Vec<T>>();
        let a = fill((TILE_ROWS - 1) * strides.row + depth.max(1) * strides.step + 1, 1);
        let b = fill(depth * T::TILE_COLUMNS, 2);
        let c = fill(TILE_ROWS * strides.out, 3);
        let results = InstructionSet::available()
            .map(|set| {
                let mut c = c.clone();
                Kernel::<T>::for_set(set).tile(depth, &a, strides, &b, &mut c, whole::<T>());
                c
            })
            .collect();
        (results, [a, b, c])
    }

    fn shapes() -> impl Iterator<Item = (usize, Strides)> {
        [0, 1, 2, 7, 64, 255, 256].into_iter().flat_map(|depth| {
            [Strides { row: 1, step: 48, out: 48 }, Strides { row: 301, step: 1, out: 53 }]
                .into_iter()
                .map(move |strides| (depth, strides))
        })
    }

    #[test]
    fn instruction_sets_give_the_same_bits_if_all_of_them_fuse_or_none() {
        for (depth, strides) in shapes() {
            let (singles, _) = run::<f32>(depth, strides, |x| x as f32);
            let (doubles, _) = run::<f64>(depth, strides, |x| x);
            let mut first = [None, None];
            for ((set, singles), doubles) in InstructionSet::available().zip(singles).zip(doubles) {
                let singles = singles.into_iter().map(|x| u64::from(x.to_bits()));
                let bits: Vec<u64> = singles.chain(doubles.into_iter().map(f64::to_bits)).collect();
                let first = first[usize::from(set.fuses())].get_or_insert_with(|| bits.clone());
                assert_eq!(*first, bits, "depth {depth} {set:?}");
            }
        }
    }

    #[test]
    fn what_is_wanted_of_a_tile_has_the_bits_of_the_whole() {
        for (depth, strides) in shapes() {
            let (results, [a, b, c]) = run::<f32>(depth, strides, |x| x as f32);
            let ends = [(1, 0, 1), (4, 0, 24), (5, 23, 25), (8, 0, 47), (8, 24, 48), (2, 40, 41)];
            for (rows, from, to) in ends.into_iter().chain([(8, 8, 48), (8, 0, 26), (3, 16, 48), (7, 0, 9)]) {
                for (set, whole) in InstructionSet::available().zip(&results) {
                    let mut c = c.clone();
                    Kernel::<f32>::for_set(set).tile(depth, &a, strides, &b, &mut c, Extent { rows, from, to });
                    for (found, whole) in c.chunks(strides.out).zip(whole.chunks(strides.out)).take(rows) {
                        assert_eq!(found[from..to], whole[from..to], "{rows} {from} {to} {depth}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_tile_of_singles_agrees_with_the_product_in_doubles() {
        for (depth, strides) in shapes() {
            let (results, [a, b, c]) = run::<f32>(depth, strides, |x| x as f32);
            for i in 0..TILE_ROWS {
                for j in 0..strides.out {
                    let mut expected = f64::from(c[i * strides.out + j]);
                    if j < f32::TILE_COLUMNS {
                        for p in 0..depth {
                            expected += f64::from(a[i * strides.row + p * strides.step])
                                * f64::from(b[p * f32::TILE_COLUMNS + j]);
                        }
                    }
                    for found in &results {
                        let found = f64::from(found[i * strides.out + j]);
                        assert!((found - expected).abs() <= 1e-6 * (1.0 + depth as f64), "depth {depth} at {i}, {j}");
                    }
                }
            }
        }
    }
}
