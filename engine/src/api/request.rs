//! A request as handlers see it: version, path and query taken apart, a body
//! that is read to a bound.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::FailureKind;
use engine_api::filters::Filters;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::{HeaderMap, Method, Uri};
use serde::de::DeserializeOwned;

use super::peer::Caller;
use crate::error::{OrFail as _, Result, internal, invalid};

/// The newest version of the API that is spoken.
pub const NEWEST: ApiVersion = ApiVersion(44);
/// The oldest version of the API that is spoken.
pub const OLDEST: ApiVersion = ApiVersion(40);
/// A JSON body may not be larger.
const JSON_LIMIT_BYTES: usize = 4 << 20;
/// How long a client may take to send a JSON body.
const JSON_TIMEOUT: Duration = Duration::from_secs(30);

/// The minor version of the API; the major one is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion(pub u16);

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "1.{}", self.0)
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
    /// Invalid, with Docker's sentence, for a version out of range.
    pub fn new(inner: hyper::Request<Incoming>, caller: Arc<Caller>) -> Result<Self> {
        let (version, path) = split_path(inner.uri())?;
        Ok(Self {
            method: inner.method().clone(),
            version,
            path,
            query: split_query(inner.uri().query().unwrap_or_default())?,
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
        serde_json::from_slice(&content).map_err(|error| invalid(format!("invalid JSON: {error}")))
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
        serde_json::from_slice(&content).map_err(|error| invalid(format!("invalid JSON: {error}")))
    }

    /// Reads the body as JSON; whoever reads it next gets the same bytes.
    ///
    /// # Errors
    /// As [`Request::json`].
    pub async fn keep_json<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.kept = Some(self.body().await?);
        self.json().await
    }

    /// The same with a body that may be empty.
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

/// Takes `/v1.43` off the path; without one, the newest version is meant.
fn split_path(uri: &Uri) -> Result<(ApiVersion, Vec<String>)> {
    let mut parts = uri.path().split('/').filter(|part| !part.is_empty());
    let mut rest = parts.clone();
    let version = rest.next().and_then(parse_version);
    if version.is_some() {
        parts = rest;
    }
    let version = version.unwrap_or(NEWEST);
    if version > NEWEST {
        return Err(invalid(format!(
            "client version {version} is too new. Maximum supported API version is {NEWEST}"
        )));
    }
    if version < OLDEST {
        return Err(invalid(format!(
            "client version {version} is too old. Minimum supported API version is {OLDEST}, please upgrade your client to a newer version"
        )));
    }
    Ok((version, parts.map(decode).collect::<Result<_>>()?))
}

fn parse_version(part: &str) -> Option<ApiVersion> {
    part.strip_prefix("v1.")?.parse().ok().map(ApiVersion)
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
    fn the_version_is_taken_off_and_checked() {
        let split = |text: &str| split_path(&text.parse().unwrap());
        let (version, path) = split("/v1.41/images/a%2Fb/json").unwrap();
        assert_eq!(
            (version, path),
            (
                ApiVersion(41),
                vec!["images".into(), "a/b".into(), "json".into()]
            )
        );
        assert_eq!(split("/_ping").unwrap(), (NEWEST, vec!["_ping".to_owned()]));
        assert!(
            split("/v1.99/info")
                .unwrap_err()
                .message
                .contains("too new")
        );
        assert!(
            split("/v1.12/info")
                .unwrap_err()
                .message
                .contains("too old")
        );
        assert!(split("/a%zz").is_err());
    }

    #[test]
    fn a_query_is_decoded() {
        let query = split_query("filters=%7B%22a%22%3A+1%7D&all=1&all=0&x").unwrap();
        assert_eq!(query["filters"], "{\"a\": 1}");
        assert_eq!((query["all"].as_str(), query["x"].as_str()), ("1", ""));
    }
}
