//! What all pages have in common.

/// The style sheet, without the colours of charts.
pub(crate) const STYLE: &str = include_str!("page.css");

/// Text as it stands in an element or an attribute.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
