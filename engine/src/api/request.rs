//! A request as handlers see it: version, path and query taken apart, a body
//! that is read to a bound.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::FailureKind;
use engine_api::filters::Filters;
use engine_api::version::{ApiVersion, MAX_VERSION, MIN_VERSION};
use engine_api::versions::{self, Body};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::{HeaderMap, Method, Uri};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::peer::Caller;
use crate::error::{OrFail as _, Result, internal, invalid};

/// A JSON body may not be larger.
const JSON_LIMIT_BYTES: usize = 4 << 20;
/// How long a client may take to send a JSON body.
const JSON_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a request has no handler.
#[derive(Debug)]
pub enum Refused {
    /// It cannot be read.
    Invalid(base::Failure),
    /// Its version is not served.
    Version(VersionRefused),
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

impl From<base::Failure> for Refused {
    fn from(failure: base::Failure) -> Self {
        Self::Invalid(failure)
    }
}

/// A request taken apart.
#[derive(Debug)]
pub struct Request {
    pub method: Method,
    pub version: ApiVersion,
    /// The path below the version, decoded, without empty parts.
    pub path: Vec<String>,
    pub query: BTreeMap<String, String>,
    pub headers: HeaderMap,
    pub inner: hyper::Request<Incoming>,
    /// Who asks.
    pub caller: Arc<Caller>,
    /// The body, where it had to be looked at before the handler is called.
    kept: Option<bytes::Bytes>,
}

impl Request {
    /// Takes a request apart.
    ///
    /// # Errors
    /// Fails for a version out of range, and for what is no path or query.
    pub fn new(inner: hyper::Request<Incoming>, caller: Arc<Caller>) -> Result<Self, Refused> {
        let (version, path) = split_path(inner.uri())?;
        let mut query = split_query(inner.uri().query().unwrap_or_default())?;
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        query.retain(|name, _| versions::is_known(&parts, name, version));
        Ok(Self {
            method: inner.method().clone(),
            version,
            query,
            path,
            headers: inner.headers().clone(),
            inner,
            caller,
            kept: None,
        })
    }

    /// Returns a query parameter; an empty one is as good as none.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Returns a query parameter as a truth value, as Docker reads it.
    pub fn flag(&self, name: &str) -> bool {
        !matches!(
            self.parameter(name)
                .unwrap_or("")
                .to_ascii_lowercase()
                .as_str(),
            "" | "0" | "no" | "false" | "none"
        )
    }

    /// Returns a query parameter as a number.
    ///
    /// # Errors
    /// Invalid when it is none.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| invalid(format!("invalid value for {name}: {text:?}")))
        };
        self.parameter(name).map(parse).transpose()
    }

    /// Returns the parameter `filters`.
    ///
    /// # Errors
    /// Invalid for anything but the two forms, or a key that is not known.
    pub fn filters(&self, known: &[&'static str]) -> Result<Filters> {
        Filters::parse(self.parameter("filters").unwrap_or_default(), known).or_invalid()
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    /// Invalid when it is too large, no JSON, or not a `T`.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        let content = self.body().await?;
        serde_json::from_slice(&content).map_err(|error| no_json(&error))
    }

    /// Reads the body as JSON of the request's version.
    ///
    /// # Errors
    /// As [`Request::json`], and invalid for what the version does not have.
    pub async fn versioned_json<T: DeserializeOwned>(&mut self, body: Body) -> Result<T> {
        let mut value = self.json().await?;
        self.read_as(body, &mut value)
    }

    /// Reads the body as JSON of the request's version; an empty one is the default.
    ///
    /// # Errors
    /// As [`Request::versioned_json`].
    pub async fn versioned_json_or_default<T>(&mut self, body: Body) -> Result<T>
    where
        T: DeserializeOwned + Default,
    {
        match self.json_or_default().await? {
            Value::Null => Ok(T::default()),
            mut value => self.read_as(body, &mut value),
        }
    }

    fn read_as<T: DeserializeOwned>(&self, body: Body, value: &mut Value) -> Result<T> {
        versions::read(body, self.version, value).or_invalid()?;
        serde_json::from_value(value.take()).map_err(|error| no_json(&error))
    }

    /// Reads the body as JSON; an empty one is the default.
    ///
    /// # Errors
    /// As [`Request::json`].
    pub async fn json_or_default<T: DeserializeOwned + Default>(&mut self) -> Result<T> {
        let content = self.body().await?;
        if content.iter().all(u8::is_ascii_whitespace) {
            return Ok(T::default());
        }
        serde_json::from_slice(&content).map_err(|error| no_json(&error))
    }

    /// Reads a body that says nothing: a client that is answered while it still
    /// sends finds its connection closed.
    ///
    /// # Errors
    /// Invalid when it is too large for nothing.
    pub async fn skip_body(&mut self) -> Result<()> {
        self.body().await.map(drop)
    }

    /// Reads the body as JSON of the request's version; whoever reads it next gets the
    /// same bytes.
    ///
    /// # Errors
    /// As [`Request::versioned_json`].
    pub async fn keep_versioned_json<T: DeserializeOwned>(&mut self, body: Body) -> Result<T> {
        self.kept = Some(self.body().await?);
        self.versioned_json(body).await
    }

    /// The same for a body that versions do not differ in and that may be empty.
    ///
    /// # Errors
    /// As [`Request::json`].
    pub async fn keep_json_or_default<T: DeserializeOwned + Default>(&mut self) -> Result<T> {
        self.kept = Some(self.body().await?);
        self.json_or_default().await
    }

    async fn body(&mut self) -> Result<bytes::Bytes> {
        if let Some(kept) = &self.kept {
            return Ok(kept.clone());
        }
        let too_large = || {
            invalid(format!(
                "the request body is larger than {JSON_LIMIT_BYTES} bytes"
            ))
        };
        // Of one that says how long it is, not a byte needs to come.
        if self.inner.body().size_hint().lower() > JSON_LIMIT_BYTES as u64 {
            return Err(too_large());
        }
        let limited = Limited::new(self.inner.body_mut(), JSON_LIMIT_BYTES);
        match tokio::time::timeout(JSON_TIMEOUT, limited.collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Ok(Err(error)) => Err(internal(format!("cannot read the request body: {error}"))),
            Err(_) => Err(invalid(format!(
                "the request body did not come within {} s",
                JSON_TIMEOUT.as_secs()
            ))),
        }
    }
}

fn no_json(error: &serde_json::Error) -> base::Failure {
    match error.is_eof() {
        true => invalid("invalid JSON: unexpected EOF"),
        false => invalid(format!("invalid JSON: {error}")),
    }
}

/// Takes `/v1.43` off the path; without one, the newest version is meant.
fn split_path(uri: &Uri) -> Result<(ApiVersion, Vec<String>), Refused> {
    let mut parts = uri.path().split('/').filter(|part| !part.is_empty());
    let mut rest = parts.clone();
    let version = match rest.next().and_then(version_of) {
        Some(text) => {
            parts = rest;
            served(text).map_err(Refused::Version)?
        }
        None => MAX_VERSION,
    };
    Ok((version, parts.map(decode).collect::<Result<_>>()?))
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

fn split_query(query: &str) -> Result<BTreeMap<String, String>> {
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
        .collect::<Result<Vec<_>>>()?
    {
        // Docker's server takes the first of several.
        all.entry(name).or_insert(value);
    }
    Ok(all)
}

fn decode(text: &str) -> Result<String> {
    let bad = || {
        base::Failure::new(
            FailureKind::Invalid,
            format!("invalid URL escape in {text:?}"),
        )
    };
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
pub fn repeated(uri: &Uri, name: &str) -> Result<Vec<String>> {
    let mut values = Vec::new();
    for pair in uri.query().unwrap_or_default().split('&') {
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
        let split = |text: &str| split_path(&text.parse().unwrap()).unwrap();
        let (version, path) = split("/v1.41/images/a%2Fb/json");
        assert_eq!(version, ApiVersion::v1(41));
        assert_eq!(path, ["images", "a/b", "json"]);
        assert_eq!(split("/_ping"), (MAX_VERSION, vec!["_ping".to_owned()]));
        assert_eq!(split("/vx.y/info").1, ["vx.y", "info"]);
        assert!(split_path(&"/a%zz".parse().unwrap()).is_err());
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
