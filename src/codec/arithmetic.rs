//! How the rows of an encoded table follow from its parts, in operations that every runtime of models has.

use super::{Granularity, Setting};
use crate::error::{Error, ErrorKind};

/// The arithmetic of a decoder that needs no code of ours. Parts are numbered as the codec stores them; every number is
/// cast to the table's type before anything is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// Row v is row v of part 0.
    Values,
    /// Row v is `(part 0 - part 2) * part 1`, each at row v: codes `[V, d]`, zero points and scales `[V, groups]`.
    Scaled {
        /// Whether there are zero points.
        has_zero_points: bool,
        /// Which columns share a scale and a zero point; for the whole table there is one of each (`[1]`).
        granularity: Granularity,
    },
    /// Row v is row v of part 0 `[V, k]` times part 1 `[d, k]` transposed.
    Product,
    /// The same of parts 0 and 2, which are codes; column r of part 0 stands for `offset + step * code` with row r of
    /// part 1 `[k, 2]`, that of part 2 with row r of part 3.
    CodedProduct,
}

impl Arithmetic {
    /// Whether rows are products of two factors.
    pub fn is_product(self) -> bool {
        matches!(self, Arithmetic::Product | Arithmetic::CodedProduct)
    }
}

/// Says that `method` has no arithmetic at `setting`.
pub(super) fn refuse(method: &str, setting: &Setting, hint: &str) -> Error {
    let error = Error::new(ErrorKind::Unsupported, format!("a graph cannot decode `{method}`"))
        .expected("parts of whole numbers that its operators read as they are")
        .found(serde_json::Value::Object(setting.clone()).to_string());
    error.hint(hint)
}
