//! Which instructions multiply singles.

use super::amx::Unit;
use super::kernel::InstructionSet;
use crate::error::{Error, ErrorKind, Result};

/// Rows or columns of a table from which on the rounding of products averages out.
pub(super) const MANY: usize = 2048;

/// How products of singles are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// As singles, by fused multiply-adds: products have the same bits on every processor that has those, and on every one of the
    /// others.
    Single,
    /// For the Gram matrix as whole numbers of 13 bits, in 16, whose products are added up without rounding in 32; for the rest as
    /// [`Products::Single`]. The Gram matrix has the same bits on every processor, and is faster where AVX2 computes it.
    Int16,
    /// As three products of halves in bfloat16, on the matrix unit of processors that have one (AMX). The name is that of
    /// oneMKL's mode of computation.
    Bf16x2,
}

/// The fastest of this processor.
impl Default for Products {
    fn default() -> Self {
        match Unit::find() {
            Some(_) => Products::Bf16x2,
            None if InstructionSet::best().prefers_whole_numbers() => Products::Int16,
            None => Products::Single,
        }
    }
}

impl Products {
    /// The name in manifests and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Products::Single => "single",
            Products::Int16 => "int16",
            Products::Bf16x2 => "bf16x2",
        }
    }

    /// The unit that computes them, unless vector instructions do.
    pub(super) fn unit(self) -> Option<Unit> {
        match self {
            Products::Single | Products::Int16 => None,
            Products::Bf16x2 => Unit::find(),
        }
    }

    /// These products, or for a small table, which is done with soon, those whose rounding need not average out.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where the processor cannot, or the operating system does not let it.
    pub(super) fn of_table(self, (height, width): (usize, usize)) -> Result<Self> {
        if self == Products::Bf16x2 && self.unit().is_none() {
            return Err(Error::new(ErrorKind::Request, "this machine has no matrix unit for `bf16x2`")
                .expected("an x86-64 processor with AMX-BF16, and Linux from 5.16 on")
                .hint("choose `--products single`"));
        }
        Ok(if height.max(width) < MANY { Products::Single } else { self })
    }

    /// Below this share of the norm, what is dropped is too small to be told from the rounding of these products, and
    /// doubles are multiplied instead.
    ///
    /// With `rho` the relative error of the approximation and `e` the rounding of the Gram matrix, about 4e-9 and
    /// 2.3e-8, the excess over the optimum is about `(e / rho^2)^2`: 2e-9 and 3e-9 at these bounds.
    pub(super) fn enough(self) -> f64 {
        match self {
            Products::Single | Products::Int16 => 1e-2,
            Products::Bf16x2 => 2e-2,
        }
    }

    /// These products, and what the Gram matrix is computed with where they do not do, before doubles.
    pub(super) fn attempts(self) -> impl Iterator<Item = Products> {
        [self].into_iter().chain((self == Products::Int16).then_some(Products::Single))
    }

    /// These products where singular values are what is asked for: not whole numbers, whose rounding moves each of them by
    /// more than it moves the error of a pair, where its square counts.
    pub(crate) fn of_spectrum(self) -> Self {
        if self == Products::Int16 { Products::Single } else { self }
    }
}
