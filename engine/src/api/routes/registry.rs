//! `/auth`, `/distribution` and `/images/search`, and the header that carries what
//! a user has logged in with.

use std::sync::Arc;

use engine_api::filters::Filters;
use engine_api::registry::{
    AUTH_HEADER, AuthConfig, AuthResponse, Descriptor, DistributionInspect, Platform, SearchResult,
};
use engine_image::Credential;
use hyper::{Response, StatusCode};

use crate::Engine;
use crate::api::request::Request;
use crate::api::response::{self, Body};
use crate::distribution;
use crate::error::{OrFail as _, Result, invalid};

/// Repositories a search returns unless it says how many.
const SEARCH_LIMIT: usize = 25;
/// Repositories a search may ask for.
const MAX_SEARCH_LIMIT: usize = 100;

/// Reads the header of credentials; one that cannot be read is none, as with Docker.
pub(super) fn credential(request: &Request) -> Option<Credential> {
    let header = request.headers.get(AUTH_HEADER)?.to_str().ok()?;
    distribution::credential(AuthConfig::from_header(header)?)
}

/// `POST /auth`.
pub(in crate::api) async fn auth(
    engine: &Arc<Engine>,
    mut request: Request,
) -> Result<Response<Body>> {
    let auth: AuthConfig = request.json().await?;
    let identity_token = distribution::log_in(engine, auth).await?;
    let answer = AuthResponse {
        identity_token,
        status: "Login Succeeded".to_owned(),
    };
    response::json(StatusCode::OK, &answer)
}

/// `GET /distribution/{name}/json`.
pub(in crate::api) async fn inspect(
    engine: &Arc<Engine>,
    request: &Request,
    name: &str,
) -> Result<Response<Body>> {
    let found = distribution::inspect(engine, name, credential(request)).await?;
    let platform = |platform: engine_image::Platform| Platform {
        architecture: platform.architecture,
        os: platform.os,
        os_version: String::new(),
        variant: platform.variant.unwrap_or_default(),
    };
    let answer = DistributionInspect {
        descriptor: Descriptor {
            media_type: found.descriptor.media_type,
            digest: found.descriptor.digest.to_string(),
            size: found.descriptor.size,
        },
        platforms: found.platforms.into_iter().map(platform).collect(),
    };
    response::json(StatusCode::OK, &answer)
}

/// What of a search's results is wanted.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    is_official: Option<bool>,
    stars: i64,
}

/// `GET /images/search`.
pub(in crate::api) async fn search(
    engine: &Arc<Engine>,
    request: &Request,
) -> Result<Response<Body>> {
    let limit = request.parameter("limit").map(str::parse::<i64>);
    let limit = limit
        .transpose()
        .map_err(|error| invalid(format!("invalid limit specified: {error}")))?;
    let filters = request.filters(&["is-automated", "is-official", "stars"])?;
    let Some(wanted) = wanted(&filters)? else {
        return response::json(StatusCode::OK, &Vec::<SearchResult>::new());
    };
    let limit = match limit {
        None | Some(0) => SEARCH_LIMIT,
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=MAX_SEARCH_LIMIT).contains(limit))
            .ok_or_else(|| {
                invalid(format!(
                    "limit {limit} is outside the range of [1, {MAX_SEARCH_LIMIT}]"
                ))
            })?,
    };
    let term = request.parameter("term").unwrap_or_default();
    let found = distribution::search(engine, term, limit, credential(request)).await?;
    let chosen = found.into_iter().filter(|result| {
        wanted
            .is_official
            .is_none_or(|wanted| wanted == result.is_official)
            && result.star_count >= wanted.stars
    });
    let answer: Vec<SearchResult> = chosen
        .map(|result| SearchResult {
            star_count: result.star_count,
            is_official: result.is_official,
            name: result.name,
            // No registry says so truly any more.
            is_automated: false,
            description: result.description,
        })
        .collect();
    response::json(StatusCode::OK, &answer)
}

/// Reads the conditions of a search, `None` if nothing can fulfil them.
fn wanted(filters: &Filters) -> Result<Option<Wanted>> {
    if filters.boolean("is-automated").or_invalid()? == Some(true) {
        return Ok(None);
    }
    let mut stars = 0;
    for value in filters.values("stars") {
        let number: i64 = value
            .parse()
            .map_err(|error| invalid(format!("invalid filter 'stars={value}': {error}")))?;
        stars = stars.max(number);
    }
    Ok(Some(Wanted {
        is_official: filters.boolean("is-official").or_invalid()?,
        stars,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_of_a_search_are_read_or_refused() {
        let of = |pairs: &[(&str, &str)]| {
            let mut filters = Filters::default();
            for (key, value) in pairs {
                filters.add(*key, *value);
            }
            wanted(&filters)
        };
        let expected = Wanted {
            is_official: Some(true),
            stars: 7,
        };
        let several = [("is-official", "1"), ("stars", "3"), ("stars", "7")];
        assert_eq!(of(&several).unwrap(), Some(expected));
        assert_eq!(of(&[("is-automated", "true")]).unwrap(), None);
        for bad in [("stars", "a"), ("is-official", "a"), ("is-automated", "b")] {
            assert!(of(&[bad]).is_err(), "{bad:?}");
        }
    }
}
