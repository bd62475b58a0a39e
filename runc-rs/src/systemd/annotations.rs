//! Properties that annotations give: `org.systemd.property.NAME`, a value in
//! GVariant's text format. Pure.

use std::collections::HashMap;

use super::Property;
use super::value::Value;

const PREFIX: &str = "org.systemd.property.";
/// D-Bus has no longer types, and no deeper lists.
const SIGNATURE_LIMIT_BYTES: usize = 250;
const DEPTH_LIMIT: usize = 32;
const MICROSECONDS: f64 = 1e6;

/// Says which annotation is none of a property.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {PREFIX}{name}={text:?} is no property of systemd: {problem}")]
pub struct AnnotationError {
    name: String,
    text: String,
    problem: &'static str,
}

/// Returns the properties of a container's annotations, by name.
pub(super) fn properties(
    annotations: &HashMap<String, String>,
) -> Result<Vec<Property>, AnnotationError> {
    let named = annotations.iter().filter_map(|(key, text)| {
        let name = key.strip_prefix(PREFIX)?;
        Some((name, text))
    });
    let mut named: Vec<_> = named.collect();
    named.sort();
    let properties = named.into_iter().map(|(name, text)| {
        property(name, text).map_err(|problem| AnnotationError {
            name: name.to_owned(),
            text: text.clone(),
            problem,
        })
    });
    properties.collect()
}

fn property(name: &str, text: &str) -> Result<Property, &'static str> {
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err("a name has three letters or more, and only letters");
    }
    let value = parse(text)?;
    // On the bus times are in microseconds, and are named so.
    let stem = name.strip_suffix("Sec");
    match stem.filter(|stem| stem.ends_with(|last: char| last.is_ascii_lowercase())) {
        Some(stem) => Ok(Property::new(format!("{stem}USec"), microseconds(&value)?)),
        None => Ok(Property::new(name.to_owned(), value)),
    }
}

fn microseconds(value: &Value) -> Result<Value, &'static str> {
    const NO_TIME: &str = "it is no time in seconds";
    let seconds = match value {
        Value::Byte(value) => f64::from(*value),
        Value::Int32(value) => f64::from(*value),
        Value::Uint32(value) => f64::from(*value),
        Value::Int64(value) => *value as f64,
        Value::Uint64(value) => *value as f64,
        Value::Double(value) => *value,
        _ => return Err(NO_TIME),
    };
    match seconds >= 0.0 {
        true => Ok(Value::Uint64((seconds * MICROSECONDS) as u64)),
        false => Err(NO_TIME),
    }
}

/// Reads a value: `true`, `5`, `1.5`, `'text'`, `['a', 'b']`, or one with its type
/// before it, `uint64 5` or `@as []`.
fn parse(text: &str) -> Result<Value, &'static str> {
    let mut parser = Parser {
        rest: text.trim_start(),
        depth: 0,
    };
    let value = parser.value(None)?;
    if value.signature().len() > SIGNATURE_LIMIT_BYTES {
        return Err("its type is too long");
    }
    match parser.rest.is_empty() {
        true => Ok(value),
        false => Err("more follows its value"),
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self, wanted: Option<&str>) -> Result<Value, &'static str> {
        let wanted = match self.type_before()? {
            Some(kind) => Some(kind),
            None => wanted,
        };
        match self.rest.chars().next() {
            Some(quote @ ('\'' | '"')) => match wanted {
                None | Some("s") => Ok(Value::Text(self.quoted(quote)?)),
                Some(_) => Err("its value is not of its type"),
            },
            Some('[') => self.array(wanted),
            Some(_) => scalar(self.word(), wanted),
            None => Err("it has no value"),
        }
    }

    /// Takes a type, as `uint64` or `@t`.
    fn type_before(&mut self) -> Result<Option<&'a str>, &'static str> {
        if let Some(rest) = self.rest.strip_prefix('@') {
            let (kind, rest) = rest.split_once(' ').ok_or("a type has no value")?;
            self.rest = rest.trim_start();
            return Ok(Some(kind));
        }
        let names = [
            ("boolean ", "b"),
            ("byte ", "y"),
            ("int32 ", "i"),
            ("uint32 ", "u"),
            ("int64 ", "x"),
            ("uint64 ", "t"),
            ("double ", "d"),
            ("string ", "s"),
        ];
        for (name, kind) in names {
            if let Some(rest) = self.rest.strip_prefix(name) {
                self.rest = rest.trim_start();
                return Ok(Some(kind));
            }
        }
        Ok(None)
    }

    fn word(&mut self) -> &'a str {
        let end = self.rest.find([',', ']', ' ']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        word
    }

    fn quoted(&mut self, quote: char) -> Result<String, &'static str> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => match characters.next().ok_or("a text has no end")?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    other @ ('\\' | '\'' | '"') => text.push(other),
                    _ => return Err("a text has an unknown escape"),
                },
                end if end == quote => {
                    self.rest = self.rest[at + quote.len_utf8()..].trim_start();
                    return Ok(text);
                }
                other => text.push(other),
            }
        }
        Err("a text has no end")
    }

    fn array(&mut self, wanted: Option<&str>) -> Result<Value, &'static str> {
        let element = match wanted.map(|kind| kind.strip_prefix('a')) {
            None => None,
            Some(Some(element)) => Some(element),
            Some(None) => return Err("its value is not of its type"),
        };
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err("its lists are too deep");
        }
        self.rest = self.rest[1..].trim_start();
        let mut values = Vec::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix(']') {
                self.rest = rest.trim_start();
                break;
            }
            if !values.is_empty() {
                let rest = self.rest.strip_prefix(',').ok_or("a list has no end")?;
                self.rest = rest.trim_start();
            }
            values.push(self.value(element)?);
        }
        self.depth -= 1;
        let signature = match (element, values.first()) {
            (Some(element), _) => element.to_owned(),
            (None, Some(first)) => first.signature(),
            (None, None) => return Err("an empty list needs a type"),
        };
        match values.iter().all(|value| value.signature() == signature) {
            true => Ok(Value::Array(signature, values)),
            false => Err("the values of a list are of several types"),
        }
    }
}

fn scalar(word: &str, wanted: Option<&str>) -> Result<Value, &'static str> {
    fn number<T: std::str::FromStr>(word: &str) -> Result<T, &'static str> {
        word.parse().map_err(|_| "its value is no such number")
    }
    match (word, wanted) {
        ("true", None | Some("b")) => Ok(Value::Bool(true)),
        ("false", None | Some("b")) => Ok(Value::Bool(false)),
        (_, Some("y")) => number(word).map(Value::Byte),
        (_, Some("u")) => number(word).map(Value::Uint32),
        (_, Some("x")) => number(word).map(Value::Int64),
        (_, Some("t")) => number(word).map(Value::Uint64),
        (_, Some("d")) => number(word).map(Value::Double),
        (_, None) if word.contains('.') => number(word).map(Value::Double),
        (_, None | Some("i")) => number(word).map(Value::Int32),
        (_, Some(_)) => Err("its type is not known, or its value is of another"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let check = |text: &str, expected: Value| {
            assert_eq!(parse(text), Ok(expected), "{text}");
        };
        check("true", Value::Bool(true));
        check("-5", Value::Int32(-5));
        check("1.5", Value::Double(1.5));
        check("uint64 123456789", Value::Uint64(123_456_789));
        check("@t 5", Value::Uint64(5));
        check("'inactive-or-failed'", Value::text("inactive-or-failed"));
        check(r#""it's \"it\"""#, Value::text("it's \"it\""));
        check("['a', 'b']", Value::texts(["a", "b"]));
        check("@as []", Value::texts(Vec::<String>::new()));
        check("@ay [1, 2]", Value::bytes([1, 2]));
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for text in [
            "",
            "abc",
            "'open",
            "[1, 'a']",
            "[]",
            "[1",
            "5 6",
            "@t 'a'",
            "@t",
            "@zz 5",
            "{}",
            "'\\x'",
            "uint64 -1",
            "@s [1]",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_become_microseconds() {
        let one = |name: &str, text: &str| {
            let annotations = HashMap::from([
                (format!("{PREFIX}{name}"), text.to_owned()),
                ("other".to_owned(), "x".to_owned()),
            ]);
            properties(&annotations)
        };
        let microseconds =
            |name: &str, value| Ok(vec![Property::new(name.to_owned(), Value::Uint64(value))]);
        assert_eq!(
            one("TimeoutStopSec", "uint64 7"),
            microseconds("TimeoutStopUSec", 7_000_000)
        );
        assert_eq!(
            one("TimeoutStopSec", "1.5"),
            microseconds("TimeoutStopUSec", 1_500_000)
        );
        assert_eq!(
            one("TimeoutStopUSec", "uint64 7"),
            microseconds("TimeoutStopUSec", 7)
        );
        let text = one("TimeoutStopSec", "'x'").unwrap_err().to_string();
        assert!(
            text.contains("TimeoutStopSec") && text.contains("seconds"),
            "{text}"
        );
        assert!(one("A-b", "5").is_err() && one("Ab", "5").is_err());
    }

    #[test]
    fn what_is_too_deep_or_too_long_is_refused() {
        let deep = |depth: usize| parse(&format!("{}1{}", "[".repeat(depth), "]".repeat(depth)));
        deep(32).unwrap();
        for depth in [33, 400_000] {
            assert_eq!(deep(depth), Err("its lists are too deep"));
        }
        let long = format!("@{}s []", "a".repeat(300));
        assert_eq!(parse(&long), Err("its type is too long"));
    }
}
