//! A request as handlers see it: version, path and query taken apart, a body
//! that is read to a bound.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine_api::filters::Filters;
use engine_api::target::{self, Target, TargetError, VersionRefused};
use engine_api::version::ApiVersion;
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

impl From<TargetError> for Refused {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::Version(refused) => Self::Version(refused),
            TargetError::Escape(_) => Self::Invalid(invalid(error.to_string())),
        }
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
        let uri = inner.uri();
        let Target {
            version,
            path,
            mut query,
        } = Target::parse(uri.path(), uri.query().unwrap_or_default())?;
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

/// Returns every value of a parameter that may be given more than once.
///
/// # Errors
/// Invalid for a value that is no text.
pub fn repeated(uri: &Uri, name: &str) -> Result<Vec<String>> {
    target::repeated(uri.query().unwrap_or_default(), name).or_invalid()
}
