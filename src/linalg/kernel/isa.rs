//! Which instructions this processor has, and which of them may be used.

use std::sync::OnceLock;

use crate::error::{Error, ErrorKind, Result};

/// The variable of the environment that [`limit_isa`] reads.
const VARIABLE: &str = "RANKFOLD_MAX_CPU_ISA";

/// Instruction sets by name, oldest first: a processor that has one has those before it.
const NAMES: [(&str, Isa); 5] =
    [("portable", Isa::Portable), ("avx", Isa::Avx), ("avx2", Isa::Avx2), ("avx512", Isa::Avx512), ("amx", Isa::Amx)];

/// The newest one that may be used, if there is a limit.
static LIMIT: OnceLock<Isa> = OnceLock::new();

/// Instructions that kernels are written for, each with those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Isa {
    /// What the target of the compilation has.
    Portable,
    /// AVX, without fused multiply-adds.
    Avx,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 Foundation.
    Avx512,
    /// The matrix unit, beside AVX-512.
    Amx,
}

impl Isa {
    /// Whether it may be used where the processor has it.
    pub(crate) fn allowed(self) -> bool {
        LIMIT.get().is_none_or(|limit| self <= *limit)
    }
}

/// Keeps this process to the instruction set that `RANKFOLD_MAX_CPU_ISA` names (`portable`, `avx`, `avx2`, `avx512` or `amx`) and
/// older ones, if it is set and not empty; what the processor lacks is not used in any case. To be called before anything is
/// computed. `faer`, which does a part of the eigendecomposition, chooses by itself.
///
/// # Errors
/// [`ErrorKind::Request`] for another name, or where there is another limit already.
pub fn limit_isa() -> Result<()> {
    let name = match std::env::var_os(VARIABLE) {
        Some(name) if !name.is_empty() => name,
        _ => return Ok(()),
    };
    let Some((_, isa)) = NAMES.into_iter().find(|(known, _)| name == *known) else {
        let names: Vec<_> = NAMES.into_iter().map(|(name, _)| format!("`{name}`")).collect();
        return Err(Error::new(ErrorKind::Request, format!("no instruction set of the name in `{VARIABLE}`"))
            .expected(names.join(", "))
            .found(format!("`{}`", name.to_string_lossy())));
    };
    match *LIMIT.get_or_init(|| isa) {
        limit if limit == isa => Ok(()),
        _ => Err(Error::new(ErrorKind::Request, format!("`{VARIABLE}` changed while the program ran"))),
    }
}

/// Vector instructions that this processor has: only those can be named outside of this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InstructionSet(pub(super) Isa);

impl InstructionSet {
    /// The sets that this processor can run and this process may, fastest first.
    pub(crate) fn available() -> impl Iterator<Item = InstructionSet> {
        #[cfg(target_arch = "x86_64")]
        let sets = [
            std::arch::is_x86_feature_detected!("avx512f").then_some(Isa::Avx512),
            (std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma"))
                .then_some(Isa::Avx2),
            std::arch::is_x86_feature_detected!("avx").then_some(Isa::Avx),
            Some(Isa::Portable),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let sets = [Some(Isa::Portable)];
        sets.into_iter().flatten().filter(|isa| isa.allowed()).map(InstructionSet)
    }

    /// The fastest one.
    pub(crate) fn best() -> InstructionSet {
        InstructionSet::available().next().unwrap_or(InstructionSet(Isa::Portable))
    }

    /// Whether it has the instructions of `isa`.
    pub(crate) fn includes(self, isa: Isa) -> bool {
        self.0 >= isa
    }

    /// Whether it multiplies and adds with one rounding. Where no instruction does, a function of the C library would, at a
    /// fiftieth of the speed.
    pub(crate) fn fuses(self) -> bool {
        FUSED || self.includes(Isa::Avx2)
    }

    /// Whether products of whole numbers of 16 bits are faster than those of singles: with twice as many bits in a register
    /// these are as fast, and without AVX2 there is no kernel for them.
    pub(crate) fn prefers_whole_numbers(self) -> bool {
        self.0 == Isa::Avx2
    }
}

/// Whether the target of the compilation has fused multiply-adds.
pub(super) const FUSED: bool = cfg!(any(
    target_feature = "fma",
    target_arch = "aarch64",
    target_arch = "loongarch64",
    target_arch = "powerpc64",
    target_arch = "riscv64",
    target_arch = "s390x"
));
