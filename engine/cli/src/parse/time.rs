//! Moments: RFC 3339, a date, seconds since 1970, or a duration before now.

use base::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::{ParseError, duration, refuse};

/// Reads a moment.
pub(crate) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, ParseError> {
    if let Some(moment) = unix_seconds(text) {
        return Ok(moment);
    }
    if let Ok(ago) = duration::parse(text) {
        return Ok(Timestamp::from_nanoseconds(now.nanoseconds() - ago));
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    match local(text) {
        Some(moment) => Ok(moment),
        None => refuse(format!(
            "invalid time {text:?}: expected RFC 3339, seconds since 1970 or a duration such as 10m"
        )),
    }
}

/// Returns the query parameter: seconds and nanoseconds since 1970.
pub(crate) fn to_query(moment: Timestamp) -> String {
    let nanoseconds = moment.nanoseconds().rem_euclid(1_000_000_000);
    format!("{}.{nanoseconds:09}", moment.seconds())
}

/// `1700000000` or `1700000000.5`.
fn unix_seconds(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(seconds) || !is_number(fraction) {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    let nanoseconds: i64 = format!("{fraction:0<9.9}").parse().ok()?;
    let total = seconds
        .checked_mul(1_000_000_000)?
        .checked_add(nanoseconds)?;
    Some(Timestamp::from_nanoseconds(total))
}

/// A date, or a date and a time without a zone, which is the host's.
fn local(text: &str) -> Option<Timestamp> {
    let civil = match text.contains(['T', ' ']) {
        true => text.parse::<DateTime>().ok()?,
        false => text.parse::<Date>().ok()?.at(0, 0, 0, 0),
    };
    let zoned = civil.to_zoned(TimeZone::system()).ok()?;
    let nanoseconds = i64::try_from(zoned.timestamp().as_nanosecond()).ok()?;
    Some(Timestamp::from_nanoseconds(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_four_forms() {
        let now = Timestamp::from_seconds(1_700_000_000);
        let read = |text| parse(text, now).map(to_query);
        assert_eq!(read("10m").unwrap(), "1699999400.000000000");
        assert_eq!(read("1600000000").unwrap(), "1600000000.000000000");
        assert_eq!(read("1600000000.25").unwrap(), "1600000000.250000000");
        assert_eq!(
            read("2023-11-14T22:13:20Z").unwrap(),
            "1700000000.000000000"
        );
        assert_eq!(
            read("2023-11-14T23:13:20.5+01:00").unwrap(),
            "1700000000.500000000"
        );
        assert!(read("2023-11-14").is_ok() && read("2023-11-14T22:13:20").is_ok());
        for bad in ["", "yesterday", "-1h", "2023-13-01", "1.2.3"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
