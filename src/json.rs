//! JSON from files that are not trusted: objects whose members keep their order and their duplicates, and errors
//! that quote what was found.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{Error, ErrorKind, Result};

/// Characters of a value that an error quotes.
const QUOTED: usize = 60;

/// The members of an object in their order. A map would silently keep the last of two members of one name; values
/// stay text, so that a hostile one costs no more memory than it has bytes.
pub(crate) struct Members<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// The members of the object in `text`; `what` names it in errors ("header").
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where `text` is not JSON or not an object.
    pub(crate) fn parse(text: &'a str, what: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| {
            let fault = if error.is_data() { "is not a JSON object" } else { "is not JSON" };
            Error::new(ErrorKind::Malformed, format!("{what} {fault}")).found(error.to_string()).caused_by(error)
        })
    }

    /// The first name that two members have.
    pub(crate) fn duplicate(&self) -> Option<&str> {
        let mut seen = HashSet::with_capacity(self.0.len());
        self.0.iter().map(|(name, _)| name.as_str()).find(|name| !seen.insert(*name))
    }

    /// The value of the first member called `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object).map(Members)
    }
}

/// The string that a value is, if it is one.
pub(crate) fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// A value as an error quotes it: its text, cut where it is long, control characters escaped.
pub(crate) fn quote(value: &RawValue) -> String {
    let text = value.get();
    let mut quoted = String::from("`");
    for character in text.chars().take(QUOTED) {
        if character.is_control() {
            quoted.extend(character.escape_default());
        } else {
            quoted.push(character);
        }
    }
    quoted.push_str(if text.chars().nth(QUOTED).is_some() { "…`" } else { "`" });
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_their_duplicates() {
        let members = Members::parse(r#"{"b":1,"a":[2],"b":{"c":3}}"#, "text").unwrap();
        let listed: Vec<_> = members.0.iter().map(|(name, value)| (name.as_str(), value.get())).collect();
        assert_eq!(listed, [("b", "1"), ("a", "[2]"), ("b", r#"{"c":3}"#)]);
        assert_eq!(members.duplicate(), Some("b"));
        assert_eq!(members.get("b").map(RawValue::get), Some("1"));
    }

    #[test]
    fn values_that_are_no_objects_are_told_from_text_that_is_no_json() {
        let message = |text| Members::parse(text, "text").err().map(|error| error.to_string()).unwrap();
        assert!(message("[1]").starts_with("text is not a JSON object: found"), "{}", message("[1]"));
        assert!(message("{\"a\":}").starts_with("text is not JSON: found"), "{}", message("{\"a\":}"));
        assert!(message("{\"a\":\n1").contains("line 2 column 1"), "{}", message("{\"a\":\n1"));
    }

    #[test]
    fn values_nested_deeper_than_the_stack_are_no_danger() {
        let text = format!("{{\"a\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(Members::parse(&text, "text").unwrap().0.len(), 1);
    }

    #[test]
    fn long_values_are_cut_and_control_characters_escaped() {
        let text = format!("{{\"a\":[1,\n{}2]}}", "1,".repeat(100));
        let members = Members::parse(&text, "text").unwrap();
        let quoted = quote(members.0[0].1);
        assert!(quoted.starts_with("`[1,\\n1,1,") && quoted.ends_with("…`"), "{quoted}");
        assert!(quoted.len() < 80, "{quoted}");
    }
}
