//! Go's durations: `1h30m`, `1.5s`, `300ms`.

use super::{ParseError, refuse};

const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Reads a duration that is not negative, in nanoseconds.
pub(crate) fn parse(text: &str) -> Result<i64, ParseError> {
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, tail) = rest.split_at(end.unwrap_or(rest.len()));
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, after) = tail.split_at(unit_end.unwrap_or(tail.len()));
        nanoseconds += value(text, number)? * scale(text, unit)?;
        rest = after;
    }
    if text.is_empty() || nanoseconds >= i64::MAX as f64 {
        return refuse(format!("invalid duration {text:?}"));
    }
    Ok(nanoseconds as i64)
}

fn value(text: &str, number: &str) -> Result<f64, ParseError> {
    number
        .parse()
        .or_else(|_| refuse(format!("invalid duration {text:?}")))
}

fn scale(text: &str, unit: &str) -> Result<f64, ParseError> {
    if unit.is_empty() {
        return refuse(format!("missing unit in duration {text:?}"));
    }
    match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, scale)) => Ok(*scale),
        None => refuse(format!("unknown unit {unit:?} in duration {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        let cases = [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("300ms", 300_000_000),
            ("7ns", 7),
            ("2µs", 2_000),
        ];
        for (text, nanoseconds) in cases {
            assert_eq!(parse(text), Ok(nanoseconds), "{text}");
        }
        for bad in [
            "",
            "5",
            "s",
            "5x",
            "-1s",
            "1..5s",
            "1s5",
            "999999999h",
            "1 s",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
