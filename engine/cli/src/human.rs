//! Times and sizes as people read them, in Docker's words.

use base::Timestamp;

/// Returns how long something took: `3 minutes`, `About an hour`.
pub(crate) fn duration(seconds: u64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// Returns how long ago `moment` was: `3 minutes ago`.
pub(crate) fn ago(moment: Timestamp, now: Timestamp) -> String {
    format!("{} ago", duration(now.since(moment).as_secs()))
}

/// Returns `text`, at most `width` characters of it, the last one an ellipsis
/// if something is left out.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Returns a size with four significant digits and units of 1024: `1.5MiB`.
pub(crate) fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        v if v < 10.0 => 3,
        v if v < 100.0 => 2,
        v if v < 1000.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let text = match decimals {
        0 => text.as_str(),
        _ => text.trim_end_matches('0').trim_end_matches('.'),
    };
    format!("{text}{}", UNITS[unit])
}

/// Returns the twelve digits of an id that tables show.
pub(crate) fn short_id(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

/// Returns `moment` to the second (RFC 3339), in UTC.
pub(crate) fn rfc3339(moment: Timestamp) -> String {
    let text = moment.to_string();
    let seconds = text.get(..19).unwrap_or(&text);
    format!("{seconds}Z")
}

/// Returns `moment` as Docker's `CreatedAt` columns write it, in UTC.
pub(crate) fn date(moment: Timestamp) -> String {
    let text = moment.to_string();
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{date} {} +0000 UTC", time.get(..8).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_dockers_words() {
        let cases = [
            (0, "Less than a second"),
            (59, "59 seconds"),
            (119, "About a minute"),
            (180, "3 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400, "2 months"),
            (800 * 86400, "2 years"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn sizes_in_memory_have_units_of_1024() {
        let cases = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1_610_612, "1.536MiB"),
            (104_857_600, "100MiB"),
            (25_143_853_056, "23.42GiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(binary_size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn texts_are_cut_by_characters() {
        assert_eq!(ellipsis("äöüß", 4), "äöüß");
        assert_eq!(ellipsis("äöüßx", 4), "äöü…");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("abc"), "abc");
        assert_eq!(
            date(Timestamp::from_seconds(0)),
            "1970-01-01 00:00:00 +0000 UTC"
        );
    }
}
