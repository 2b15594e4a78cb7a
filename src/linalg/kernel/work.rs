//! Plain loops over numbers, compiled once for each instruction set.
//!
//! The compiler makes vector instructions of them, as wide as the set allows. Nothing is reassociated or contracted,
//! so every set gives the same bits.

use super::{InstructionSet, Isa};

/// A loop to run. `run` has to be `#[inline(always)]`, and so does what it calls.
pub(crate) trait Work {
    /// What comes of it.
    type Output;

    /// The loop.
    fn run(self) -> Self::Output;
}

impl InstructionSet {
    /// Runs `work` with the instructions of this set.
    #[inline]
    pub(crate) fn run<W: Work>(self, work: W) -> W::Output {
        match self.0 {
            // SAFETY: sets are only handed out where the processor has their features.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Amx => unsafe { run_avx512(work) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { run_avx2(work) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx => unsafe { run_avx(work) },
            _ => work.run(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
fn run_avx<W: Work>(work: W) -> W::Output {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<W: Work>(work: W) -> W::Output {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn run_avx512<W: Work>(work: W) -> W::Output {
    work.run()
}
