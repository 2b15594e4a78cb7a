//! Paths that files name, and paths as messages show them.

use std::path::Path;

pub(super) use crate::format::limits::plain;

/// Names that a message lists before it only counts.
const LISTED: usize = 8;

/// A path in backticks, control characters escaped.
pub(super) fn quote(path: &Path) -> String {
    format!("`{}`", path.display().to_string().escape_debug())
}

/// Several names in backticks; of many, the first and how many more there are.
pub(super) fn list<T>(items: impl ExactSizeIterator<Item = T>, quote: impl Fn(T) -> String) -> String {
    let more = items.len().saturating_sub(LISTED);
    let mut text = items.take(LISTED).map(quote).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn only_paths_that_go_down_are_plain() {
        for text in ["a", "a/b.safetensors", "a b", "..a", "a\nb", "a\\b"] {
            assert_eq!(plain(text), Some(PathBuf::from(text)), "{text:?}");
        }
        for text in ["", "/", "/a", ".", "..", "./a", "a/./b", "a/../b", "a/..", "a/", "a//b", "a\0b"] {
            assert_eq!(plain(text), None, "{text:?}");
        }
    }

    #[test]
    fn long_lists_are_cut_and_counted() {
        let list = |count: usize| list(0..count, |item| item.to_string());
        assert_eq!(list(2), "0, 1");
        assert_eq!(list(8), "0, 1, 2, 3, 4, 5, 6, 7");
        assert_eq!(list(10), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
    }
}
