//! What a request is for: the version, path and query of its target, taken apart.
//!
//! Pure, and the first thing that sees what a client sends: nothing here may panic.

use std::collections::BTreeMap;

use crate::version::{ApiVersion, MAX_VERSION, MIN_VERSION};

/// Why a target has no meaning.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("invalid URL escape in {0:?}")]
    Escape(String),
    #[error(transparent)]
    Version(#[from] VersionRefused),
}

/// A version that is not served, as the path has it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionRefused {
    #[error("client version {0} is too new. Maximum supported API version is {MAX_VERSION}")]
    TooNew(String),
    #[error(
        "client version {0} is too old. Minimum supported API version is {MIN_VERSION}, please upgrade your client to a newer version"
    )]
    TooOld(String),
}

/// A request's target taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub version: ApiVersion,
    /// The path below the version, decoded, without empty parts.
    pub path: Vec<String>,
    /// The parameters, decoded; of several of one name the first.
    pub query: BTreeMap<String, String>,
}

impl Target {
    /// Takes a target apart.
    ///
    /// # Errors
    /// For a version out of range, and for what is no path or query.
    pub fn parse(path: &str, query: &str) -> Result<Self, TargetError> {
        let (version, path) = split_path(path)?;
        let query = split_query(query)?;
        Ok(Self {
            version,
            path,
            query,
        })
    }
}

/// Takes `/v1.43` off the path; without one, the newest version is meant.
fn split_path(path: &str) -> Result<(ApiVersion, Vec<String>), TargetError> {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let mut rest = parts.clone();
    let version = match rest.next().and_then(version_of) {
        Some(text) => {
            parts = rest;
            served(text)?
        }
        None => MAX_VERSION,
    };
    Ok((version, parts.map(decode).collect::<Result<_, _>>()?))
}

/// Returns the version that a part of a path is, whether there is such a one or not.
fn version_of(part: &str) -> Option<&str> {
    let is_version = |text: &&str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte == b'.' || byte.is_ascii_digit())
    };
    part.strip_prefix('v').filter(is_version)
}

/// Versions are compared number by number, as many as there are.
fn served(text: &str) -> Result<ApiVersion, VersionRefused> {
    let mut numbers: Vec<u16> = text
        .split('.')
        .map(|number| match number {
            "" => 0,
            digits => digits.parse().unwrap_or(u16::MAX),
        })
        .collect();
    while numbers.len() > 2 && numbers.last() == Some(&0) {
        numbers.pop();
    }
    numbers.resize(numbers.len().max(2), 0);
    if numbers > vec![MAX_VERSION.major, MAX_VERSION.minor] {
        return Err(VersionRefused::TooNew(text.to_owned()));
    }
    if numbers < vec![MIN_VERSION.major, MIN_VERSION.minor] {
        return Err(VersionRefused::TooOld(text.to_owned()));
    }
    Ok(ApiVersion::v1(numbers[1]))
}

fn split_query(query: &str) -> Result<BTreeMap<String, String>, TargetError> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((
            decode(&name.replace('+', " "))?,
            decode(&value.replace('+', " "))?,
        ))
    };
    let mut all = BTreeMap::new();
    for (name, value) in query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(pair)
        .collect::<Result<Vec<_>, TargetError>>()?
    {
        // Docker's server takes the first of several.
        all.entry(name).or_insert(value);
    }
    Ok(all)
}

fn decode(text: &str) -> Result<String, TargetError> {
    let bad = || TargetError::Escape(text.to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| (digit as char).to_digit(16));
        let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

/// Returns every value of a parameter that may be given more than once.
///
/// # Errors
/// For a value that is no text.
pub fn repeated(query: &str, name: &str) -> Result<Vec<String>, TargetError> {
    let mut values = Vec::new();
    for pair in query.split('&') {
        if let Some((key, value)) = pair.split_once('=')
            && key == name
        {
            values.push(decode(&value.replace('+', " "))?);
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_taken_off() {
        let split = |text: &str| split_path(text).unwrap();
        let (version, path) = split("/v1.41/images/a%2Fb/json");
        assert_eq!(version, ApiVersion::v1(41));
        assert_eq!(path, ["images", "a/b", "json"]);
        assert_eq!(split("/_ping"), (MAX_VERSION, vec!["_ping".to_owned()]));
        assert_eq!(split("/vx.y/info").1, ["vx.y", "info"]);
        assert!(split_path("/a%zz").is_err());
    }

    #[test]
    fn versions_out_of_range_are_refused_as_written() {
        for (text, expected) in [
            ("1.24", Ok(ApiVersion::v1(24))),
            ("1.51", Ok(ApiVersion::v1(51))),
            ("1.44.1", Ok(ApiVersion::v1(44))),
            ("1.51.1", Err(VersionRefused::TooNew("1.51.1".into()))),
            ("1.52", Err(VersionRefused::TooNew("1.52".into()))),
            ("2.0", Err(VersionRefused::TooNew("2.0".into()))),
            ("99999999", Err(VersionRefused::TooNew("99999999".into()))),
            ("1.23", Err(VersionRefused::TooOld("1.23".into()))),
            ("1", Err(VersionRefused::TooOld("1".into()))),
        ] {
            assert_eq!(served(text), expected, "{text}");
        }
    }

    #[test]
    fn a_query_is_decoded() {
        let query = split_query("filters=%7B%22a%22%3A+1%7D&all=1&all=0&x").unwrap();
        assert_eq!(query["filters"], "{\"a\": 1}");
        assert_eq!((query["all"].as_str(), query["x"].as_str()), ("1", ""));
    }
}
