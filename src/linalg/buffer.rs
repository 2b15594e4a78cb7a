//! Memory for the kernels: zeroed, and aligned to a cache line so that no register load straddles two.

use super::element::Element;

/// A cache line, and a register of AVX-512.
const LINE: usize = 64;

/// A zeroed slice that begins on a cache line.
pub(super) struct Buffer<T> {
    storage: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Element> Buffer<T> {
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Self {
        let storage = vec![T::ZERO; len + LINE / size_of::<T>()];
        // An offset that cannot be found costs speed, not correctness.
        let offset = storage.as_ptr().align_offset(LINE);
        let start = if offset <= storage.len() - len { offset } else { 0 };
        Buffer { storage, start, len }
    }
}

impl<T> std::ops::Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl<T> std::ops::DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.storage[self.start..self.start + self.len]
    }
}
