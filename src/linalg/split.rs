//! How a truncated singular value decomposition becomes a pair.

/// How the singular values are divided between A and B of a factor pair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Split {
    /// The square root on each side: factors of equal norm, the best start for retraining.
    #[default]
    Balanced,
    /// All in A; B has orthonormal rows.
    Left,
    /// All in B; A has orthonormal columns.
    Right,
}

impl Split {
    /// The word of flags and manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Split::Balanced => "balanced",
            Split::Left => "left",
            Split::Right => "right",
        }
    }
}
