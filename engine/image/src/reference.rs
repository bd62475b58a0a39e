//! Image references: `name[:tag][@digest]` by Docker's grammar and defaults.
//!
//! Parsing only; nothing is looked up. A [`Reference`] is always normalised:
//! the registry's host and, on Docker Hub, the `library/` prefix are filled in.

use std::fmt;
use std::str::FromStr;

use base::Digest;

/// The registry that names without a host belong to.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag that a reference without tag and digest means.
pub const DEFAULT_TAG: &str = "latest";
const OFFICIAL_PREFIX: &str = "library/";
const LEGACY_DOMAIN: &str = "index.docker.io";
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;
/// No reference is longer than name, tag and digest together.
const MAX_REFERENCE: usize = MAX_NAME + MAX_TAG + 80;

/// Says why a text is not an image reference.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// The grammar is broken somewhere.
    #[error("invalid reference format: {0:?}")]
    Format(String),
    /// Repository names have no capitals.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// 64 hexadecimal digits could only be an id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    IsAnId(String),
    /// The digest is of another algorithm or broken.
    #[error("invalid reference format: {0:?} ends in an unsupported digest")]
    Digest(String),
    /// The name alone is over 255 bytes.
    #[error("repository name must not be more than {MAX_NAME} characters")]
    TooLong,
}

/// A normalised image reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Returns the registry's host, with the port if one was given.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the repository within the registry, e.g. `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the tag, if one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, if one was given.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Returns the full name without tag and digest, e.g. `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// Returns the name as people write it, e.g. `busybox`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        let short = self.path.strip_prefix(OFFICIAL_PREFIX);
        let short = short.filter(|rest| !rest.contains('/'));
        short.unwrap_or(&self.path).to_owned()
    }

    /// Returns the reference with `latest` as tag if it has neither tag nor digest.
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// Returns the same name with only `digest`.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// Returns the same name with only the tag it has, `latest` if it has none.
    pub fn tagged(&self) -> Self {
        Self {
            tag: Some(self.tag.clone().unwrap_or_else(|| DEFAULT_TAG.to_owned())),
            digest: None,
            ..self.clone()
        }
    }

    /// Returns the same name with only the tag `tag`.
    ///
    /// # Errors
    /// When `tag` cannot be one.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Format(tag.chars().take(MAX_TAG).collect()));
        }
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// Returns whether both name the same repository.
    pub fn same_repository(&self, other: &Self) -> bool {
        self.domain == other.domain && self.path == other.path
    }
}

impl fmt::Display for Reference {
    /// Prints the familiar form, e.g. `busybox:latest` or `localhost:5000/a@sha256:…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar_name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let format = || ReferenceError::Format(text.chars().take(MAX_REFERENCE).collect());
        if text.is_empty() || text.len() > MAX_REFERENCE {
            return Err(format());
        }
        if text.len() == 64 && text.bytes().all(is_lower_hex) {
            return Err(ReferenceError::IsAnId(text.to_owned()));
        }
        let (rest, digest) = split_digest(text)?;
        let (name, tag) = split_tag(rest);
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(format());
        }
        let (domain, path) = split_domain(name);
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase(path));
        }
        if !is_domain(domain) || !path.split('/').all(is_path_component) {
            return Err(format());
        }
        if domain.len() + 1 + path.len() > MAX_NAME {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self {
            domain: domain.to_owned(),
            path,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

fn split_digest(text: &str) -> Result<(&str, Option<Digest>), ReferenceError> {
    let Some((rest, digest)) = text.split_once('@') else {
        return Ok((text, None));
    };
    let digest = digest
        .parse()
        .map_err(|_| ReferenceError::Digest(text.to_owned()))?;
    Ok((rest, Some(digest)))
}

fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        // A colon before a slash starts a port, not a tag.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

fn split_domain(name: &str) -> (&str, String) {
    let is_host = |first: &str| {
        first.contains(['.', ':'])
            || first == "localhost"
            || first.bytes().any(|b| b.is_ascii_uppercase())
    };
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (first, rest),
        _ => (DEFAULT_DOMAIN, name),
    };
    if domain != DEFAULT_DOMAIN && domain != LEGACY_DOMAIN {
        return (domain, path.to_owned());
    }
    if path.contains('/') {
        return (DEFAULT_DOMAIN, path.to_owned());
    }
    (DEFAULT_DOMAIN, format!("{OFFICIAL_PREFIX}{path}"))
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= MAX_TAG
        && bytes.next().is_some_and(word)
        && bytes.all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_domain(domain: &str) -> bool {
    if let Some(rest) = domain.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        let port_is_right = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return address.parse::<std::net::Ipv6Addr>().is_ok() && port_is_right;
    }
    let (host, port) = match domain.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (domain, None),
    };
    host.split('.').all(is_domain_component) && port.is_none_or(is_port)
}

fn is_domain_component(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('-')
        && !part.ends_with('-')
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_port(port: &str) -> bool {
    port.parse::<u16>().is_ok() && port.bytes().all(|b| b.is_ascii_digit())
}

/// Runs of letters and digits, joined by one dot, one or two underscores, or dashes.
fn is_path_component(part: &str) -> bool {
    let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    word(first)
        && word(last)
        && bytes.split(word).all(|joint| {
            matches!(joint, b"" | b"." | b"_" | b"__") || joint.iter().all(|b| *b == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Input, domain, path, familiar form.
    const GOOD: &[(&str, &str, &str, &str)] = &[
        ("busybox", "docker.io", "library/busybox", "busybox"),
        (
            "busybox:1.36",
            "docker.io",
            "library/busybox",
            "busybox:1.36",
        ),
        (
            "docker.io/busybox",
            "docker.io",
            "library/busybox",
            "busybox",
        ),
        (
            "index.docker.io/library/busybox",
            "docker.io",
            "library/busybox",
            "busybox",
        ),
        ("user/app:x", "docker.io", "user/app", "user/app:x"),
        ("library/a/b", "docker.io", "library/a/b", "library/a/b"),
        ("localhost/app", "localhost", "app", "localhost/app"),
        (
            "localhost:5000/web:1",
            "localhost:5000",
            "web",
            "localhost:5000/web:1",
        ),
        (
            "127.0.0.1:5000/a/b/c",
            "127.0.0.1:5000",
            "a/b/c",
            "127.0.0.1:5000/a/b/c",
        ),
        ("[::1]:5000/app", "[::1]:5000", "app", "[::1]:5000/app"),
        (
            "quay.io/a_b/c--d__e.f",
            "quay.io",
            "a_b/c--d__e.f",
            "quay.io/a_b/c--d__e.f",
        ),
        ("LOCAL/app", "LOCAL", "app", "LOCAL/app"),
        ("a:5000", "docker.io", "library/a", "a:5000"),
        ("xn--n3h.com/app", "xn--n3h.com", "app", "xn--n3h.com/app"),
    ];

    #[test]
    fn references_are_normalised_as_docker_does() {
        for (text, domain, path, familiar) in GOOD {
            let reference: Reference = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                (reference.domain(), reference.path()),
                (*domain, *path),
                "{text}"
            );
            assert_eq!(reference.to_string(), *familiar, "{text}");
            assert_eq!(familiar.parse::<Reference>().unwrap(), reference, "{text}");
        }
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        let hex = "a".repeat(64);
        let long = format!("{}/x", "a".repeat(256));
        let tag = format!("a:{}", "t".repeat(129));
        for bad in [
            "",
            ":tag",
            "a:",
            "a@",
            "Busybox",
            "a//b",
            "a/",
            "/a",
            "a/-b",
            "a/b-",
            "a/b..c",
            "a/b_-c",
            "a/b___c",
            "a:t@sha256:00",
            "a:-x",
            "a b",
            "a\n",
            "-host.io/a",
            "host:99999/a",
            "host:/a",
            "[::1/a",
            "[zz]:1/a",
            "a@md5:00",
            "..",
            "a/../b",
            "a:tag:tag",
            &hex,
            &long,
            &tag,
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_tag_and_a_digest_may_stand_together() {
        let digest = Digest::of(b"x");
        let both: Reference = format!("a:1@{digest}").parse().unwrap();
        assert_eq!((both.tag(), both.digest()), (Some("1"), Some(digest)));
        assert_eq!(both.clone().or_latest(), both);
        let plain: Reference = "a".parse().unwrap();
        assert_eq!(plain.or_latest().tag(), Some("latest"));
    }

    #[test]
    fn the_error_names_the_rule() {
        let message = |text: &str| text.parse::<Reference>().unwrap_err().to_string();
        assert!(message("Busybox").contains("must be lowercase"));
        assert!(message(&"0".repeat(64)).contains("64-byte hexadecimal"));
        assert!(message("a@sha512:00").contains("digest"));
    }
}
