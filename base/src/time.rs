//! Wall-clock time with nanoseconds, in RFC 3339 as Docker and the event log write it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Says that a text is not an RFC 3339 time.
#[derive(Debug, thiserror::Error)]
#[error("invalid time {text:?}: expected RFC 3339")]
pub struct TimeError {
    text: String,
    #[source]
    source: jiff::Error,
}

/// Nanoseconds since 1970-01-01T00:00:00Z; prints as `2026-01-02T03:04:05.000000006Z`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// Returns the present moment.
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Self(now.tv_sec * 1_000_000_000 + now.tv_nsec)
    }

    /// Returns the moment `nanoseconds` after 1970 began.
    pub fn from_nanoseconds(nanoseconds: i64) -> Self {
        Self(nanoseconds)
    }

    /// Returns the moment `seconds` after 1970 began.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Returns whole seconds since 1970 began.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Returns nanoseconds since 1970 began.
    pub fn nanoseconds(self) -> i64 {
        self.0
    }

    /// Returns the time from `earlier` until this moment, zero if it is later.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_nanos(
            u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0),
        )
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(86_400_000_000_000));
        let in_day = self.0.rem_euclid(86_400_000_000_000);
        let (seconds, nanos) = (in_day / 1_000_000_000, in_day % 1_000_000_000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z"
        )
    }
}

/// Returns the Gregorian date of a day counted from 1970-01-01.
///
/// Printing happens for every event and log line, so it does not go through
/// the general formatter, which costs ten times as much.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468; // days from 0000-03-01
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Returns the day counted from 1970-01-01 of a Gregorian date; of one that does not
/// exist, another day.
fn days_from_civil((year, month, day): (i64, i64, i64)) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Reads the form that is printed here, with up to nine digits of a fraction or none.
///
/// Every line of a log and every record of the event log has such a time; all others
/// are left to the general parser, which costs ten times as much.
fn parse_printed(text: &[u8]) -> Option<i64> {
    let [date @ .., b'Z'] = text else { return None };
    let (date, fraction) = date.split_at_checked(19)?;
    let punctuation = [date[4], date[7], date[10], date[13], date[16]];
    if punctuation != *b"--T::" {
        return None;
    }
    let part = |begin: usize, end: usize| number(&date[begin..end]);
    let day = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let days = days_from_civil(day);
    if civil_from_days(days) != day || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add(nanoseconds(fraction)?)
}

fn nanoseconds(fraction: &[u8]) -> Option<i64> {
    let digits = match fraction {
        [] => return Some(0),
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => digits,
        _ => return None,
    };
    let missing = u32::try_from(9 - digits.len()).ok()?;
    Some(number(digits)? * 10_i64.pow(missing))
}

fn number(digits: &[u8]) -> Option<i64> {
    let append = |sum: i64, digit: &u8| {
        let is_digit = digit.is_ascii_digit();
        is_digit.then(|| sum * 10 + i64::from(digit - b'0'))
    };
    digits.iter().try_fold(0, append)
}

impl FromStr for Timestamp {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        if let Some(nanoseconds) = parse_printed(text.as_bytes()) {
            return Ok(Self(nanoseconds));
        }
        let parsed: jiff::Timestamp = text.parse().map_err(|source| TimeError {
            text: text.to_owned(),
            source,
        })?;
        Ok(Self(
            i64::try_from(parsed.as_nanosecond()).unwrap_or(i64::MAX),
        ))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimeError;
    fn try_from(text: String) -> Result<Self, TimeError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printing_agrees_with_the_general_formatter() {
        let mut nanoseconds: i64 = -62_000_000_000_000_000;
        while nanoseconds < 4_200_000_000_000_000_000 {
            let ours = Timestamp(nanoseconds).to_string();
            let theirs = jiff::Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap();
            assert_eq!(ours, format!("{theirs:.9}"));
            assert_eq!(ours.parse::<Timestamp>().unwrap(), Timestamp(nanoseconds));
            nanoseconds += 86_399_999_999_937 * 11;
        }
    }

    #[test]
    fn reading_agrees_with_the_general_parser() {
        for text in [
            "2024-02-29T23:59:59Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "0001-01-01T00:00:00.5Z",
            "1969-12-31T23:59:59.999999999Z",
            "2026-13-01T00:00:00Z",
            "2026-00-10T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:60:05Z",
            "2026-01-02T03:04:60Z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05.0123456789Z",
            "2026-01-02T03:04:05.012345678Z",
            "2026-01-02t03:04:05z",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04:05+01:00",
            "2026-01-02T03:04:0\u{661}Z",
            "9999-12-31T23:59:59Z",
            "Z",
            "",
        ] {
            if let Some(nanoseconds) = parse_printed(text.as_bytes()) {
                let theirs: jiff::Timestamp = text.parse().unwrap();
                assert_eq!(i128::from(nanoseconds), theirs.as_nanosecond(), "{text}");
            }
        }
        assert!(parse_printed(b"2024-02-29T23:59:59.25Z").is_some());
        assert!(parse_printed(b"2023-02-29T23:59:59.25Z").is_none());
    }
}
