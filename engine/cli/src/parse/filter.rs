//! `-f key=value` of lists.

use std::fmt;

use engine_api::filters::Filters;

use super::{ParseError, refuse};

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    key: String,
    value: String,
}

impl Filter {
    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// Reads `key=value`.
pub(crate) fn parse(text: &str) -> Result<Filter, ParseError> {
    let Some((key, value)) = text.split_once('=') else {
        return refuse("bad format of filter (expected name=value)");
    };
    Ok(Filter {
        key: key.trim().to_lowercase(),
        value: value.trim().to_owned(),
    })
}

/// Returns all conditions together.
pub(crate) fn collect(filters: &[Filter]) -> Filters {
    let mut all = Filters::default();
    for filter in filters {
        all.add(&filter.key, &filter.value);
    }
    all
}

/// Returns the query parameter, `None` without a condition.
pub(crate) fn query(filters: &[Filter]) -> Option<String> {
    (!filters.is_empty()).then(|| collect(filters).to_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_collected_by_key() {
        let filters = ["Label = a=b", "status=running", "status=exited"].map(|f| parse(f).unwrap());
        assert_eq!(
            query(&filters).unwrap(),
            r#"{"label":{"a=b":true},"status":{"exited":true,"running":true}}"#
        );
        assert_eq!(query(&[]), None);
        assert!(parse("bogus").is_err());
    }
}
