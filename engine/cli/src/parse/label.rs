//! `key=value` options: labels, log and driver options, sysctls; and files of labels.

use engine_api::config::StringMap;

use super::{ParseError, refuse};

/// Checks a label, `key` or `key=value`.
pub(crate) fn parse(text: &str) -> Result<String, ParseError> {
    match text.is_empty() || text.starts_with('=') {
        true => refuse(format!("invalid label {text:?}: expected key or key=value")),
        false => Ok(text.to_owned()),
    }
}

/// Checks an option that must be `key=value`.
pub(crate) fn parse_option(text: &str) -> Result<String, ParseError> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(text.to_owned()),
        _ => refuse(format!("invalid option {text:?}: expected key=value")),
    }
}

/// Returns the options as a map; the last of the same key counts.
pub(crate) fn to_map<'a>(options: impl IntoIterator<Item = &'a String>) -> StringMap {
    let split = |option: &String| {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        (key.to_owned(), value.to_owned())
    };
    options.into_iter().map(split).collect()
}

/// Reads the content of a label file: a line each, `#` begins a comment.
pub(crate) fn parse_file(content: &str) -> Result<Vec<String>, ParseError> {
    let lines = content.lines().map(str::trim_start);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(parse)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_may_lack_a_value_and_options_may_not() {
        let labels = ["a=1", "b", "a=2=3"].map(|label| parse(label).unwrap());
        let map = to_map(&labels);
        assert_eq!((map["a"].as_str(), map["b"].as_str()), ("2=3", ""));
        assert!(parse("=x").is_err() && parse_option("x").is_err());
        assert_eq!(parse_file("# c\n a=1\n\nb\n").unwrap(), ["a=1", "b"]);
    }
}
