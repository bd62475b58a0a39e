//! Sizes in bytes, written the way Docker's options are: `512m`, `1.5g`, `64k`.

use std::fmt;
use std::str::FromStr;

/// Says that a text is not a size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid size {0:?}: expected a number with an optional unit b, k, m, g or t")]
pub struct SizeError(String);

/// A number of bytes. Units are powers of 1024, as in Docker's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = SizeError;
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let error = || SizeError(text.to_owned());
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match &lower[digits.len()..] {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(error()),
        };
        let number = digits.trim_end();
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(1 << shift).map(Self).ok_or_else(error);
        }
        let fraction: f64 = number.parse().map_err(|_| error())?;
        let bytes = fraction * (1_u64 << shift) as f64;
        if !bytes.is_finite() || bytes < 0.0 || bytes >= u64::MAX as f64 {
            return Err(error());
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    /// Prints with three significant digits and decimal units, as `docker images` does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rounded(3))
    }
}

impl ByteSize {
    /// Returns the size with four significant digits, as `docker system df` prints it.
    pub fn precise(self) -> String {
        self.rounded(4)
    }

    fn rounded(self, digits: usize) -> String {
        const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
        let decimals = |value: f64| match value {
            v if v < 10.0 => digits - 1,
            v if v < 100.0 => digits - 2,
            _ => digits - 3,
        };
        let mut value = self.0 as f64;
        let mut unit = 0;
        // From here on rounding makes it a thousand.
        let full = 1000.0 - 0.5 * 10_f64.powi(3 - digits as i32);
        while value >= full && unit + 1 < UNITS.len() {
            value /= 1000.0;
            unit += 1;
        }
        if unit == 0 {
            return format!("{}B", self.0);
        }
        // Rounding may make the number longer: 9.996 has two decimals as 10.00.
        let tenths = 10_f64.powi(decimals(value) as i32);
        let text = format!("{value:.*}", decimals((value * tenths).round() / tenths));
        let text = match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.'),
            false => &text,
        };
        format!("{text}{}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_docker_reads_them() {
        let cases = [
            ("0", 0),
            ("64k", 65536),
            ("512M", 512 << 20),
            ("1.5g", 3 << 29),
            ("10 mb", 10 << 20),
            ("7b", 7),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for bad in ["", "m", "-1", "1x", "99999999999t", "1e400", "nan"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_print_with_four_digits() {
        let cases = [
            (0, "0B"),
            (1_000, "1kB"),
            (2_063_260, "2.063MB"),
            (16_430_000, "16.43MB"),
            (999_960_000, "1GB"),
            (123_456_000, "123.5MB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(ByteSize(bytes).precise(), text);
        }
    }

    #[test]
    fn sizes_print_with_three_digits() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1_000, "1kB"),
            (1_240_000, "1.24MB"),
            (77_800_000, "77.8MB"),
            (999_999, "1MB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
