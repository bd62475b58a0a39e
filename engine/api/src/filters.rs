//! The `filters` query parameter: a JSON map of lists, or of maps to booleans
//! as the Docker command line writes it.
//!
//! A key that an endpoint does not know is an error, never skipped: a prune
//! whose filter is misspelt must not remove everything.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::StringMap;

/// Why filters are refused.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("invalid filters: expected a JSON map of lists")]
    Json(#[source] serde_json::Error),
    #[error("invalid filter '{key}'")]
    UnknownKey { key: String },
    #[error("invalid filter '{key}=[{value}]': expected true or false")]
    NotBoolean { key: String, value: String },
}

/// Conditions: values of one key are alternatives, keys must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Set(BTreeMap<String, bool>),
}

impl Filters {
    /// Reads the query parameter; an empty one holds no condition.
    ///
    /// # Errors
    /// When it is not JSON of either form, or a key is not in `known`.
    pub fn parse(text: &str, known: &[&'static str]) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let read: BTreeMap<String, Values> =
            serde_json::from_str(text).map_err(FilterError::Json)?;
        let filters = Self(
            read.into_iter()
                .map(|(key, values)| (key, values.into()))
                .collect(),
        );
        filters.check_keys(known)?;
        Ok(filters)
    }

    /// Refuses keys that are not in `known`.
    ///
    /// # Errors
    /// When there is one.
    pub fn check_keys(&self, known: &[&'static str]) -> Result<(), FilterError> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(FilterError::UnknownKey { key: key.clone() }),
        }
    }

    /// Adds an alternative for `key`.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.entry(key.into()).or_default().insert(value.into());
    }

    /// Returns whether there is no condition.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether there is a condition on `key`.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Returns the alternatives for `key`, none if it is free.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// Returns whether `key` is free or one of its alternatives passes `test`.
    pub fn allows(&self, key: &str, test: impl FnMut(&str) -> bool) -> bool {
        !self.has(key) || self.values(key).any(test)
    }

    /// Returns whether all conditions on `key` hold for `labels`; a condition
    /// is `name` or `name=value`, and unlike other keys they must all hold.
    pub fn allows_labels(&self, key: &str, labels: &StringMap) -> bool {
        self.values(key)
            .all(|condition| has_label(labels, condition))
    }

    /// Returns the condition on `key` as a boolean, `None` if it is free.
    ///
    /// # Errors
    /// When it is neither true nor false, or both.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, FilterError> {
        let mut answer = None;
        for value in self.values(key) {
            let read = match value {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                _ => return Err(not_boolean(key, value)),
            };
            if answer.is_some_and(|before| before != read) {
                return Err(not_boolean(key, value));
            }
            answer = Some(read);
        }
        Ok(answer)
    }

    /// Returns the query parameter in the form every daemon since API 1.22 reads.
    ///
    /// # Panics
    /// Never: the keys are strings.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("keys are strings")
    }
}

/// Returns whether `labels` holds `condition`, `name` or `name=value`.
pub fn has_label(labels: &StringMap, condition: &str) -> bool {
    match condition.split_once('=') {
        None => labels.contains_key(condition),
        Some((name, value)) => labels.get(name).is_some_and(|label| label == value),
    }
}

impl Serialize for Filters {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let set = |values: &BTreeSet<String>| -> BTreeMap<String, bool> {
            values.iter().map(|value| (value.clone(), true)).collect()
        };
        serializer.collect_map(self.0.iter().map(|(key, values)| (key, set(values))))
    }
}

impl From<Values> for BTreeSet<String> {
    fn from(values: Values) -> Self {
        match values {
            Values::List(list) => list.into_iter().collect(),
            Values::Set(set) => set
                .into_iter()
                .filter(|(_, on)| *on)
                .map(|(value, _)| value)
                .collect(),
        }
    }
}

fn not_boolean(key: &str, value: &str) -> FilterError {
    FilterError::NotBoolean {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["label", "name", "dangling"];

    #[test]
    fn both_forms_read_the_same() {
        let list = Filters::parse(r#"{"name":["a","b"]}"#, KNOWN).unwrap();
        let set = Filters::parse(r#"{"name":{"b":true,"a":true,"c":false}}"#, KNOWN).unwrap();
        assert_eq!(list, set);
        assert_eq!(list.to_json(), r#"{"name":{"a":true,"b":true}}"#);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let unknown = Filters::parse(r#"{"nmae":["a"]}"#, KNOWN).unwrap_err();
        assert_eq!(unknown.to_string(), "invalid filter 'nmae'");
        for bad in ["[]", "{", r#"{"name":"a"}"#, r#"{"name":[1]}"#] {
            assert!(
                matches!(Filters::parse(bad, KNOWN), Err(FilterError::Json(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn values_are_alternatives_and_labels_must_all_hold() {
        let filters = Filters::parse(r#"{"name":["a","b"],"label":["x","y=1"]}"#, KNOWN).unwrap();
        assert!(filters.allows("name", |value| value == "b"));
        assert!(!filters.allows("name", |value| value == "c"));
        assert!(
            filters.allows("dangling", |_| false),
            "a free key allows everything"
        );
        let labels = |list: &[(&str, &str)]| -> StringMap {
            list.iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        assert!(filters.allows_labels("label", &labels(&[("x", ""), ("y", "1")])));
        assert!(!filters.allows_labels("label", &labels(&[("x", "")])));
    }

    #[test]
    fn a_boolean_is_one_clear_value() {
        let of = |text| Filters::parse(text, KNOWN).unwrap().boolean("dangling");
        assert_eq!(of(r#"{"dangling":["1"]}"#).unwrap(), Some(true));
        assert_eq!(of("{}").unwrap(), None);
        assert!(of(r#"{"dangling":["1","0"]}"#).is_err());
        assert!(of(r#"{"dangling":["maybe"]}"#).is_err());
    }
}
