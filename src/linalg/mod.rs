//! The mathematics: streaming Gram matrix, symmetric eigendecomposition, truncated SVD, error measures.
