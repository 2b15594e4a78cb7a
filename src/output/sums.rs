//! The `SHA256SUMS` file, in the form that `sha256sum -c` reads.

use std::fmt::Write;

/// The text of a `SHA256SUMS` file: one line per `(path, digest)`, in the order given.
///
/// A path with a newline, a carriage return or a backslash is written as GNU coreutils does: the line begins with a
/// backslash and those characters are escaped.
pub fn sha256sums<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (path, digest) in entries {
        let escaped = path.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        let mark = if escaped == path { "" } else { "\\" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{mark}{digest}  {escaped}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::sha256sums;

    #[test]
    fn a_plain_path_stands_as_it_is() {
        assert_eq!(sha256sums([("a/b c.txt", "00ff")]), "00ff  a/b c.txt\n");
    }

    #[test]
    fn newlines_and_backslashes_are_escaped_as_coreutils_does() {
        assert_eq!(sha256sums([("a\nb\\c\r", "00ff")]), "\\00ff  a\\nb\\\\c\\r\n");
    }
}
