//! The platform that a request about images asks for.

use engine_image::Platform;
use serde::Deserialize;

use crate::Engine;
use crate::api::request::Request;
use crate::error::{Result, invalid};
use crate::image;

/// An image index has it in this form (OCI image specification, image-index).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// Returns what the parameter `platform` says.
///
/// # Errors
/// Invalid where it is no platform.
pub(super) fn asked(request: &Request) -> Result<Option<Platform>> {
    request.parameter("platform").map(read).transpose()
}

fn read(text: &str) -> Result<Platform> {
    let asked: Asked = serde_json::from_str(text)
        .map_err(|error| invalid(format!("failed to parse platform: {error}")))?;
    if asked.os.is_empty() || asked.architecture.is_empty() {
        return Err(invalid("both OS and Architecture must be provided"));
    }
    Ok(Platform {
        os: asked.os,
        architecture: asked.architecture,
        variant: asked.variant,
    })
}

/// Refuses an image of another platform than the request asks for.
///
/// # Errors
/// Invalid where that is no platform; not found for an image that is not there, or not
/// of that platform.
pub(super) fn check(engine: &Engine, request: &Request, name: &str) -> Result<()> {
    match asked(request)? {
        Some(platform) => image::check_platform(engine, name, &platform),
        None => Ok(()),
    }
}

/// The same for each of the platforms of an image that is to be removed: it has one.
///
/// # Errors
/// As [`check`].
pub(super) fn check_each(engine: &Engine, platforms: &[String], name: &str) -> Result<()> {
    for text in platforms {
        image::check_platform(engine, name, &read(text)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_an_object_with_two_names() {
        let read = |text| read(text).map_err(|failure| failure.message);
        let platform = read(r#"{"os":"linux","architecture":"arm","variant":"v7"}"#).unwrap();
        assert_eq!(platform.to_string(), "linux/arm/v7");
        let said = read(r#"{"os":"linux"}"#).unwrap_err();
        assert_eq!(said, "both OS and Architecture must be provided");
        let said = read("linux/amd64").unwrap_err();
        assert!(said.starts_with("failed to parse platform: "), "{said}");
    }
}
