//! What is written goes to the disk while more of it is computed.

use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;

use rustix::fs::{Advice, fadvise};

/// Bytes after which the disk is asked to begin with them.
const STEP: u64 = 4 << 20;

/// Lets the disk begin with the steps of `file` that ended within `written`, the place of what was written last, so that the
/// flush of the whole finds little left to do.
pub(crate) fn begin_flush(file: &File, written: Range<u64>) {
    let (from, to) = (written.start / STEP * STEP, written.end / STEP * STEP);
    if let Some(length) = NonZeroU64::new(to.saturating_sub(from)) {
        // Linux starts to write back what it is told will not be needed; clean pages that it drops are read again at the
        // cost of a disk access. Where the advice is not taken, everything is left to the last flush.
        let _ = fadvise(file, from, Some(length), Advice::DontNeed);
    }
}
