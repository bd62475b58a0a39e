//! Which tags a repository has.

use serde::Deserialize;

use super::transport::Ask;
use super::{RegistryError, Repository, check};

/// Tags of one repository at most.
pub(super) const MAX_TAGS: usize = 100_000;
const MAX_PAGE: u64 = 4 << 20;

#[derive(Deserialize)]
struct Page {
    /// Null where there are none.
    tags: Option<Vec<String>>,
}

impl Repository {
    /// Returns every tag, in the registry's order.
    pub(crate) async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let mut all = Vec::new();
        let mut next = Some(self.origin.at(format!("/v2/{}/tags/list", self.path)));
        while let Some(url) = next {
            let answer = check(self.ask(url.clone(), Ask::default()).await?).await?;
            let link = answer.header("link").and_then(next_of);
            let following = link.and_then(|link| url.join(link));
            let origin = answer.from.to_string();
            let body = answer.body(MAX_PAGE).await?;
            let page: Page = serde_json::from_slice(&body)
                .map_err(|source| RegistryError::Answer { origin, source })?;
            let tags = page.tags.unwrap_or_default();
            // A page without tags that names another would have no end.
            next = following.filter(|_| !tags.is_empty());
            all.extend(tags);
            if all.len() > MAX_TAGS {
                return Err(RegistryError::Tags(self.origin.to_string()));
            }
        }
        Ok(all)
    }
}

/// Returns the address of `</v2/…>; rel="next"`.
fn next_of(header: &str) -> Option<&str> {
    let (address, relation) = header.strip_prefix('<')?.split_once('>')?;
    relation.contains("next").then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found() {
        let next = r#"</v2/a/tags/list?last=b&n=2>; rel="next""#;
        assert_eq!(next_of(next), Some("/v2/a/tags/list?last=b&n=2"));
        assert_eq!(next_of("</v2/a>; rel=\"prev\""), None);
        assert_eq!(next_of("x"), None);
    }
}
