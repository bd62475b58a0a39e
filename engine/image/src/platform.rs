//! Platforms (operating system, architecture, variant) and the choice among an index's manifests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Says that a text is not `os[/architecture[/variant]]`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid platform {0:?}: expected os/architecture[/variant]")]
pub struct PlatformError(String);

/// An operating system, an architecture and perhaps a variant, in Go's names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7` and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Returns the platform this program runs on.
    pub fn host() -> Self {
        Self::normalised("linux", std::env::consts::ARCH, None)
    }

    fn normalised(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let lower = |text: &str| text.to_ascii_lowercase();
        let (architecture, default) = match lower(architecture).as_str() {
            "x86_64" | "x86-64" | "amd64" => ("amd64".to_owned(), None),
            "i386" | "i486" | "i586" | "i686" | "x86" | "386" => ("386".to_owned(), None),
            "aarch64" | "arm64" => ("arm64".to_owned(), None),
            "armhf" => ("arm".to_owned(), Some("v7")),
            "armel" => ("arm".to_owned(), Some("v6")),
            "powerpc64le" | "ppc64el" | "ppc64le" => ("ppc64le".to_owned(), None),
            other => (other.to_owned(), None),
        };
        let variant = variant.filter(|v| !v.is_empty()).or(default).map(lower);
        // The variant that every implementation of the architecture has is left out.
        let implied = match architecture.as_str() {
            "arm64" => Some("v8"),
            "amd64" => Some("v1"),
            "arm" => Some("v7"),
            _ => None,
        };
        Self {
            os: lower(os),
            architecture,
            variant: variant.filter(|v| Some(v.as_str()) != implied),
        }
    }

    /// Returns the same platform with the aliases of names resolved.
    pub fn normalise(&self) -> Self {
        Self::normalised(&self.os, &self.architecture, self.variant.as_deref())
    }

    /// Returns how well `offer` serves `self`: 0 is best, `None` not at all.
    fn distance(&self, offer: &Platform) -> Option<u32> {
        let (want, offer) = (self.normalise(), offer.normalise());
        if want.os != offer.os || want.architecture != offer.architecture {
            return None;
        }
        match variant_level(&want)?.checked_sub(variant_level(&offer)?) {
            Some(distance) => Some(distance),
            None => (want.variant == offer.variant).then_some(0),
        }
    }

    /// Returns whether an image of `offer` runs on `self`.
    pub fn accepts(&self, offer: &Platform) -> bool {
        self.distance(offer).is_some()
    }
}

fn variant_level(platform: &Platform) -> Option<u32> {
    let text = platform.variant.as_deref();
    match (platform.architecture.as_str(), text) {
        ("arm", None) => Some(7),
        ("arm64", None) => Some(8),
        (_, None) => Some(1),
        (_, Some(variant)) => variant.strip_prefix('v')?.split('.').next()?.parse().ok(),
    }
}

/// Returns the position of the offer that serves `want` best, the first among equals.
pub(crate) fn choose<'a>(
    want: &Platform,
    offers: impl Iterator<Item = Option<&'a Platform>>,
) -> Option<usize> {
    offers
        .enumerate()
        .filter_map(|(position, offer)| Some((want.distance(offer?)?, position)))
        .min()
        .map(|(_, position)| position)
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Parses `os/architecture[/variant]`, or `os` alone, or an architecture alone.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            !part.is_empty() && part.len() <= 64 && part.bytes().all(allowed)
        };
        if !parts.iter().all(word) {
            return Err(PlatformError(text.chars().take(128).collect()));
        }
        let host = Self::host();
        match parts.as_slice() {
            ["linux"] => Ok(host),
            [architecture] => Ok(Self::normalised("linux", architecture, None)),
            [os, architecture] => Ok(Self::normalised(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::normalised(os, architecture, Some(variant))),
            _ => Err(PlatformError(text.chars().take(128).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    fn check(want: &str, offers: &[&str], expected: Option<usize>) {
        let offers: Vec<Platform> = offers.iter().map(|o| platform(o)).collect();
        let chosen = choose(&platform(want), offers.iter().map(Some));
        assert_eq!(chosen, expected, "{want} of {offers:?}");
    }

    #[test]
    fn the_best_variant_that_runs_is_chosen() {
        check("linux/amd64", &["linux/arm64", "linux/amd64"], Some(1));
        check("linux/amd64", &["windows/amd64", "linux/386"], None);
        check(
            "linux/arm/v7",
            &["linux/arm/v5", "linux/arm/v6", "linux/arm64"],
            Some(1),
        );
        check("linux/arm/v6", &["linux/arm/v7", "linux/arm/v5"], Some(1));
        check("linux/arm/v6", &["linux/arm/v7"], None);
        check("linux/arm64", &["linux/arm64/v8"], Some(0));
        check("linux/x86_64", &["linux/amd64/v3", "linux/amd64"], Some(1));
        check(
            "linux/amd64/v3",
            &["linux/amd64", "linux/amd64/v2"],
            Some(1),
        );
        check(
            "linux/riscv64",
            &["linux/riscv64", "linux/riscv64"],
            Some(0),
        );
    }

    #[test]
    fn offers_without_a_platform_are_never_chosen() {
        assert_eq!(choose(&platform("linux/amd64"), [None].into_iter()), None);
    }

    #[test]
    fn broken_platforms_are_refused() {
        for bad in ["", "linux/", "a/b/c/d", "linux/amd 64", "/"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?}");
        }
        assert_eq!(platform("aarch64").to_string(), "linux/arm64");
    }
}
