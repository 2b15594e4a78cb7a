//! The instructions of the matrix unit.

pub(in crate::linalg) use instructions::{Tiles, Unit};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod instructions {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    use std::cell::Cell;
    use std::sync::OnceLock;

    use crate::linalg::amx::{SIDE, Step, TILE};
    use crate::linalg::kernel::Isa;

    /// Bytes of a row of a tile.
    const ROW: usize = 4 * TILE;

    /// A matrix unit that this process may use.
    #[derive(Debug, Clone, Copy)]
    pub(in crate::linalg) struct Unit(());

    impl Unit {
        /// Asks the processor for the unit, and the operating system for its use, unless it is not to be used.
        pub(in crate::linalg) fn find() -> Option<Unit> {
            static FOUND: OnceLock<Option<Unit>> = OnceLock::new();
            if !Isa::Amx.allowed() {
                return None;
            }
            *FOUND.get_or_init(|| {
                // Bits of EDX: AMX-BF16 and AMX-TILE.
                let wanted = 1 << 22 | 1 << 24;
                let has_leaf = __cpuid(0).eax >= 7;
                (has_leaf && __cpuid_count(7, 0).edx & wanted == wanted && permitted()).then_some(Unit(()))
            })
        }
    }

    /// Asks Linux for the state of the tiles, which a process has to do once, for all of its threads.
    fn permitted() -> bool {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        // SAFETY: the call takes two numbers and touches no memory of this process.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    }

    /// The tile registers of this thread, each of 16 rows of 64 bytes.
    pub(in crate::linalg) struct Tiles {
        /// They are the thread's.
        not_send: std::marker::PhantomData<*const ()>,
    }

    /// What `ldtilecfg` reads.
    #[repr(C, align(64))]
    struct Configuration {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        bytes_of_rows: [u16; 16],
        rows: [u8; 16],
    }

    thread_local! {
        /// Whether this thread has [`Tiles`].
        static TAKEN: Cell<bool> = const { Cell::new(false) };
    }

    impl Tiles {
        /// # Panics
        /// Where this thread has them already: the first to go would take the state from the other.
        pub(in crate::linalg) fn configure(_: Unit) -> Tiles {
            assert!(!TAKEN.replace(true));
            let mut configuration =
                Configuration { palette: 1, start_row: 0, reserved: [0; 14], bytes_of_rows: [0; 16], rows: [0; 16] };
            configuration.bytes_of_rows[..8].fill(ROW as u16);
            configuration.rows[..8].fill(TILE as u8);
            // SAFETY: there is a unit that may be used, which reads the 64 bytes of a valid configuration.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &configuration, options(nostack, readonly, preserves_flags)) };
            Tiles { not_send: std::marker::PhantomData }
        }

        /// `c += left right`, for 32 x 32 entries of C, whose rows are `stride` apart.
        ///
        /// # Panics
        /// Where the operands are not of one depth, or C is too short.
        #[inline]
        pub(in crate::linalg) fn multiply(&self, left: &[Step], right: &[Step], c: &mut [f32], stride: usize) {
            assert!(left.len() == right.len());
            assert!(stride >= SIDE && c.len() >= (SIDE - 1) * stride + SIDE);
            if left.is_empty() {
                return;
            }
            // SAFETY: the tiles are configured, by this thread's only `Tiles`, and only asm names their registers. Operands are read by whole steps,
            // of which there are as many as the loop takes, four tiles of 1,024 bytes each; C is read and written by
            // four tiles of 16 rows of 64 bytes, whose end is within the slice by the assertion above.
            unsafe {
                asm!(
                    "tileloadd tmm0, [{c} + {stride}]",
                    "tileloadd tmm1, [{c} + {stride} + 64]",
                    "tileloadd tmm2, [{lower} + {stride}]",
                    "tileloadd tmm3, [{lower} + {stride} + 64]",
                    "2:",
                    // low high
                    "tileloadd tmm4, [{left} + {row} + 2048]",
                    "tileloadd tmm6, [{right} + {row}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{right} + {row} + 1024]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{left} + {row} + 3072]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    // high high
                    "tileloadd tmm4, [{left} + {row}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{left} + {row} + 1024]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    // high low
                    "tileloadd tmm6, [{right} + {row} + 2048]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tileloadd tmm7, [{right} + {row} + 3072]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {left}, {step}",
                    "add {right}, {step}",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{c} + {stride}], tmm0",
                    "tilestored [{c} + {stride} + 64], tmm1",
                    "tilestored [{lower} + {stride}], tmm2",
                    "tilestored [{lower} + {stride} + 64], tmm3",
                    c = in(reg) c.as_mut_ptr(),
                    lower = in(reg) c.as_mut_ptr().add(TILE * stride),
                    stride = in(reg) 4 * stride,
                    left = inout(reg) left.as_ptr() => _,
                    right = inout(reg) right.as_ptr() => _,
                    steps = inout(reg) left.len() => _,
                    row = in(reg) ROW,
                    step = const size_of::<Step>(),
                    options(nostack),
                );
            }
        }
    }

    impl Drop for Tiles {
        fn drop(&mut self) {
            // SAFETY: the tiles are configured. Released, they cost nothing when threads are switched.
            unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
            TAKEN.set(false);
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod instructions {
    use crate::linalg::amx::Step;

    /// There is no such unit, and no value of this type.
    #[derive(Debug, Clone, Copy)]
    pub(in crate::linalg) enum Unit {}

    impl Unit {
        pub(in crate::linalg) fn find() -> Option<Unit> {
            None
        }
    }

    pub(in crate::linalg) struct Tiles(Unit);

    impl Tiles {
        pub(in crate::linalg) fn configure(unit: Unit) -> Tiles {
            Tiles(unit)
        }

        pub(in crate::linalg) fn multiply(&self, _: &[Step], _: &[Step], _: &mut [f32], _: usize) {
            match self.0 {}
        }
    }
}
