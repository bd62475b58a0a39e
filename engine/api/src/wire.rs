//! How Docker's JSON differs from what serde does by itself: a field may be
//! missing or `null` and is its zero value then, a command may be a string or
//! a list, a set is a map of empty objects. It holds no message of its own.

use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Declares structs in Docker's wire form: names in `PascalCase`, a field that
/// is missing or `null` is its default, unknown fields are skipped.
macro_rules! wire {
    ($($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
    })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        pub struct $name {
            $($(#[$field_meta])*
            #[serde(deserialize_with = "crate::wire::null_is_default")]
            pub $field: $type,)*
        }
    )*};
}
pub(crate) use wire;

/// Reads `null` as the default.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Writes an empty list as `null`, as Go does with one that was never made.
pub(crate) fn empty_is_null<T, S>(list: &[T], serializer: S) -> Result<S::Ok, S::Error>
where
    T: Serialize,
    S: Serializer,
{
    match list.is_empty() {
        true => serializer.serialize_none(),
        false => list.serialize(serializer),
    }
}

/// Returns whether `value` is its type's zero value, which Go's `omitempty` leaves out.
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The value of a set written as a map, always `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Empty {}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self {})
    }
}

/// A list of words; one plain string reads as a list of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StringList(pub Vec<String>);

impl Deref for StringList {
    type Target = Vec<String>;
    fn deref(&self) -> &Vec<String> {
        &self.0
    }
}

impl From<Vec<String>> for StringList {
    fn from(words: Vec<String>) -> Self {
        Self(words)
    }
}

impl<'de> Deserialize<'de> for StringList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a string or a list of strings")]
        enum Form {
            One(String),
            Many(Vec<String>),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::One(word) => Self(vec![word]),
            Form::Many(words) => Self(words),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_string_or_a_list() {
        let read = |text| serde_json::from_str::<Option<StringList>>(text);
        assert_eq!(read("null").unwrap(), None);
        assert_eq!(
            read(r#""top""#).unwrap(),
            Some(vec!["top".to_owned()].into())
        );
        assert_eq!(read(r#"["a","b"]"#).unwrap().unwrap().len(), 2);
        assert!(read("7").is_err());
    }

    #[test]
    fn a_set_takes_any_value() {
        for text in ["{}", "null", r#"{"x":1}"#] {
            assert_eq!(serde_json::from_str::<Empty>(text).unwrap(), Empty {});
        }
    }
}
