//! One line of comma-separated `key=value` fields, as `--mount` and
//! `--network` take them. A field may stand in double quotes.

use super::{ParseError, refuse};

/// Splits `text` at commas outside of quotes.
pub(crate) fn fields(text: &str) -> Result<Vec<String>, ParseError> {
    let mut fields = vec![String::new()];
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        let field = fields.last_mut().expect("it begins with one field");
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            '"' => return refuse(format!("bare \" in {text:?}")),
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    match quoted {
        true => refuse(format!("unterminated quote in {text:?}")),
        false => Ok(fields),
    }
}

/// Splits a field into key, in lower case, and value; `None` without `=`.
pub(crate) fn key_value(field: &str) -> (String, Option<&str>) {
    match field.split_once('=') {
        Some((key, value)) => (key.trim().to_lowercase(), Some(value)),
        None => (field.trim().to_lowercase(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_commas() {
        assert_eq!(fields("a=1,b").unwrap(), ["a=1", "b"]);
        assert_eq!(
            fields(r#""a=1,2",b=""x"#).unwrap_err(),
            ParseError::new("bare \" in \"\\\"a=1,2\\\",b=\\\"\\\"x\"")
        );
        assert_eq!(
            fields(r#""o=x,y","say ""hi""""#).unwrap(),
            ["o=x,y", "say \"hi\""]
        );
        assert!(fields("\"a").is_err());
    }
}
