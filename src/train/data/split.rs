//! Examples set apart for choosing epochs and settings.

use super::Example;
use crate::error::{Error, ErrorKind, Result};
use crate::random::Random;

/// One example in this many is set apart.
const SHARE: usize = 10;

/// Sets a tenth of `examples` apart, drawn by `seed`, and gives the rest and the tenth, each in the order it had.
///
/// # Errors
/// [`ErrorKind::Request`] where there are fewer than two examples.
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "places are those of the examples, and no divisor is zero"
)]
pub fn split_dev(examples: Vec<Example>, seed: u64) -> Result<(Vec<Example>, Vec<Example>)> {
    let count = examples.len();
    if count < 2 {
        return Err(Error::new(ErrorKind::Request, "too few examples to set some apart")
            .expected("at least 2")
            .found(count.to_string()));
    }
    let mut random = Random::new(seed);
    let mut order: Vec<usize> = (0..count).collect();
    // Fisher and Yates; the rest of a division by so small a number is even enough.
    for last in (1..count).rev() {
        order.swap(last, (random.bits() % (last as u64 + 1)) as usize);
    }
    let mut apart = vec![false; count];
    order.iter().take((count / SHARE).max(1)).for_each(|&index| apart[index] = true);
    let (dev, train): (Vec<_>, Vec<_>) = examples.into_iter().zip(apart).partition(|(_, apart)| *apart);
    let examples = |pairs: Vec<(Example, bool)>| pairs.into_iter().map(|(example, _)| example).collect();
    Ok((examples(train), examples(dev)))
}
