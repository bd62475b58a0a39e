//! Environment variables: `-e NAME=value`, `-e NAME` from the client's own
//! environment, and files of them.

use std::collections::HashMap;

use super::{ParseError, refuse};

/// Checks one `-e` value.
pub(crate) fn parse(text: &str) -> Result<String, ParseError> {
    match text.is_empty() || text.starts_with('=') {
        true => refuse(format!("invalid environment variable: {text}")),
        false => Ok(text.to_owned()),
    }
}

/// Reads the content of an environment file: a line each, `#` begins a comment.
pub(crate) fn parse_file(name: &str, content: &str) -> Result<Vec<String>, ParseError> {
    let content = content.strip_prefix('\u{feff}').unwrap_or(content);
    let mut variables = Vec::new();
    for line in content.lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let variable = line.split('=').next().unwrap_or(line);
        let what = match variable {
            "" => Some(format!("no variable name on line '{line}'")),
            name if name.contains([' ', '\t']) => {
                Some(format!("variable '{variable}' contains whitespaces"))
            }
            _ => None,
        };
        if let Some(what) = what {
            return refuse(format!("poorly formatted environment file {name}: {what}"));
        }
        variables.push(line.to_owned());
    }
    Ok(variables)
}

/// Gives a name without a value the value it has in `environment`; one that is
/// not set there is left out, as Docker does.
pub(crate) fn resolve(
    variables: impl IntoIterator<Item = String>,
    environment: &HashMap<String, String>,
) -> Vec<String> {
    let resolve = |variable: String| match variable.contains('=') {
        true => Some(variable),
        false => environment
            .get(&variable)
            .map(|value| format!("{variable}={value}")),
    };
    variables.into_iter().filter_map(resolve).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_takes_the_clients_value_and_is_left_out_without_one() {
        let environment = HashMap::from([("HOME".to_owned(), "/root".to_owned())]);
        let variables = ["A=1", "HOME", "UNSET", "B="].map(str::to_owned);
        assert_eq!(
            resolve(variables, &environment),
            ["A=1", "HOME=/root", "B="]
        );
        assert!(parse("=a").is_err() && parse("").is_err());
    }

    #[test]
    fn a_file_has_comments_and_blank_lines() {
        let content = "\u{feff}A=1 # kept\n\n  # comment\r\n  B\nC=x=y\n";
        let variables = parse_file("f", content).unwrap();
        assert_eq!(variables, ["A=1 # kept", "B", "C=x=y"]);
        let bad = parse_file("f", "A B=1").unwrap_err().to_string();
        assert_eq!(
            bad,
            "poorly formatted environment file f: variable 'A B' contains whitespaces"
        );
        assert!(parse_file("f", "=1").is_err());
    }
}
