//! Names of images, `[registry/]path[:tag][@digest]`, as far as the client has
//! to take them apart; the daemon checks them.

use super::{ParseError, refuse};

/// A name taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Registry and path.
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<String>,
}

impl Reference {
    /// Returns the tag a pull asks for: a digest, a tag, or `latest`.
    pub(crate) fn tag_or_digest(&self) -> &str {
        let tag = self.tag.as_deref().unwrap_or("latest");
        self.digest.as_deref().unwrap_or(tag)
    }

    /// Returns whether there is neither tag nor digest.
    pub(crate) fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    /// Returns the registry's host, `None` for Docker Hub.
    pub(crate) fn domain(&self) -> Option<&str> {
        domain(&self.repository)
    }

    /// Returns the full name, with Docker Hub's part where it is left out.
    pub(crate) fn normalized(&self) -> String {
        let mut name = match self.domain() {
            Some(_) => self.repository.clone(),
            None => hub_name(&self.repository),
        };
        if let Some(tag) = &self.tag {
            name = format!("{name}:{tag}");
        }
        match &self.digest {
            Some(digest) => format!("{name}@{digest}"),
            None => name,
        }
    }

    /// Returns the name with the tag that is meant written out.
    pub(crate) fn full(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.repository),
            None => format!("{}:{}", self.repository, self.tag_or_digest()),
        }
    }
}

/// What is said of a tag where all are meant.
pub(crate) const ALL_TAGS: &str = "tag can't be used with --all-tags/-a";
const HUB: &str = "docker.io";
const LEGACY_HUB: &str = "index.docker.io";

/// Returns the host that a name begins with, `None` for Docker Hub.
pub(crate) fn domain(name: &str) -> Option<&str> {
    let (first, _) = name.split_once('/')?;
    let is_host =
        first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase);
    (is_host && first != HUB && first != LEGACY_HUB).then_some(first)
}

fn hub_name(repository: &str) -> String {
    let hosts = [HUB, LEGACY_HUB].into_iter();
    let mut short = hosts.filter_map(|host| repository.strip_prefix(host)?.strip_prefix('/'));
    let path = short.next().unwrap_or(repository);
    match path.contains('/') {
        true => format!("{HUB}/{path}"),
        false => format!("{HUB}/library/{path}"),
    }
}

/// Reads a name.
pub(crate) fn parse(text: &str) -> Result<Reference, ParseError> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.to_owned())),
        None => (text, None),
    };
    let (repository, tag) = match rest.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag.to_owned())),
        _ => (rest, None),
    };
    let first = repository.chars().next();
    let is_name = first.is_some_and(|c| c.is_ascii_alphanumeric());
    let is_path = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
    if !is_name || !repository.chars().all(is_path) || tag.as_deref() == Some("") {
        return refuse(format!("invalid reference format: {text:?}"));
    }
    if repository
        .rsplit('/')
        .next()
        .is_some_and(|path| path.chars().any(char::is_uppercase))
    {
        return refuse(format!(
            "invalid reference format: {text:?}: repository name must be lowercase"
        ));
    }
    Ok(Reference {
        repository: repository.to_owned(),
        tag,
        digest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_out_as_docker_does() {
        for (name, domain, full) in [
            ("x", None, "docker.io/library/x"),
            ("a/x:1", None, "docker.io/a/x:1"),
            ("docker.io/x", None, "docker.io/library/x"),
            ("index.docker.io/a/x", None, "docker.io/a/x"),
            ("localhost/x:1", Some("localhost"), "localhost/x:1"),
            ("r.test:5/a/x", Some("r.test:5"), "r.test:5/a/x"),
        ] {
            let parsed = parse(name).unwrap();
            assert_eq!((parsed.domain(), &*parsed.normalized()), (domain, full));
        }
    }

    #[test]
    fn a_registrys_port_is_no_tag() {
        let full = |text| parse(text).unwrap().full();
        assert_eq!(full("busybox"), "busybox:latest");
        assert_eq!(full("localhost:5000/x"), "localhost:5000/x:latest");
        assert_eq!(full("localhost:5000/x/y:1"), "localhost:5000/x/y:1");
        assert_eq!(full("x:1@sha256:ab"), "x@sha256:ab");
        for bad in ["", "-", "a b", "x:", "X", "r/X:1", "/x", "a//-\n"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
