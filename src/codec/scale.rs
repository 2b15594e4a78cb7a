//! The power of two that brings a table's numbers near one, so that singles hold them and their squares.

/// For a table of `[height, width]` with this squared norm; one where the numbers are near enough, which costs nothing
/// to apply.
pub(super) fn scale_of(squared_norm: f64, height: usize, width: usize) -> f64 {
    let size = (squared_norm / (height as f64 * width as f64)).sqrt();
    let exponent = if size > 0.0 && size.is_finite() { size.log2().floor().clamp(-1000.0, 1000.0) } else { 0.0 };
    if exponent.abs() <= 16.0 { 1.0 } else { (-exponent).exp2() }
}
