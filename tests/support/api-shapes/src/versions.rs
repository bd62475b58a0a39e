//! Sets of minor versions of the API: `1.24-1.40,1.43`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Error, Result};

/// Minor versions; the major one is 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Versions(pub(crate) BTreeSet<u16>);

impl Versions {
    /// Returns all from one to another.
    pub fn range(first: u16, last: u16) -> Self {
        Self((first..=last).collect())
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut spans: Vec<(u16, u16)> = Vec::new();
        for &version in &self.0 {
            match spans.last_mut() {
                Some((_, last)) if *last + 1 == version => *last = version,
                _ => spans.push((version, version)),
            }
        }
        for (index, (first, last)) in spans.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match first == last {
                true => write!(f, "{comma}1.{first}")?,
                false => write!(f, "{comma}1.{first}-1.{last}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Versions {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let minor = |text: &str| -> Result<u16> {
            text.strip_prefix("1.")
                .and_then(|minor| minor.parse().ok())
                .with_context(|| format!("{text:?} is no version"))
        };
        let mut all = BTreeSet::new();
        for span in text.split(',') {
            let (first, last) = span.split_once('-').unwrap_or((span, span));
            all.extend(minor(first)?..=minor(last)?);
        }
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_and_read() {
        for text in ["1.24", "1.24-1.40,1.43", "1.40,1.42,1.44-1.51"] {
            assert_eq!(text.parse::<Versions>().unwrap().to_string(), text);
        }
        assert!("2.1".parse::<Versions>().is_err());
    }
}
