//! A number of CPUs, `1.5`, as nanoseconds of CPU time per second.

use super::{ParseError, refuse};

const DIGITS: usize = 9;

/// Reads a decimal number of CPUs.
pub(crate) fn parse(text: &str) -> Result<i64, ParseError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !is_number(whole) || !is_number(fraction) {
        return refuse(format!("failed to parse {text} as a number of CPUs"));
    }
    if fraction.trim_end_matches('0').len() > DIGITS {
        return refuse(format!("value is too precise: {text}"));
    }
    let nano = format!("{whole}{:0<DIGITS$.DIGITS$}", fraction);
    nano.parse()
        .or_else(|_| refuse(format!("value is too large: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_read_as_docker_reads_them() {
        let cases = [
            ("1", 1_000_000_000),
            ("1.5", 1_500_000_000),
            (".25", 250_000_000),
            ("2.", 2_000_000_000),
            ("0.000000001", 1),
            ("1.0000000000", 1_000_000_000),
        ];
        for (text, nano) in cases {
            assert_eq!(parse(text), Ok(nano), "{text}");
        }
        for bad in [
            "",
            ".",
            "x",
            "-1",
            "1e3",
            "0.0000000001",
            "99999999999",
            "1.5.2",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
