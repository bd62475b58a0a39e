//! Which image a text means, by Docker's rules.

use super::record::{ImageRecord, Records};
use crate::reference::{Reference, ReferenceError};

/// Says why a text means no image.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Not a reference at all.
    #[error(transparent)]
    Invalid(#[from] ReferenceError),
    /// Nothing has this name or id.
    #[error("no such image: {reference}")]
    NotFound {
        /// The name with its tag.
        reference: String,
    },
    /// Several ids begin so.
    #[error("image id {0:?} is ambiguous: several images begin with it")]
    Ambiguous(String),
    /// A digest cannot be given to an image.
    #[error("refusing to create a tag with a digest reference: {0}")]
    TagWithDigest(String),
}

impl ResolveError {
    pub(super) fn not_found(text: &str) -> Self {
        let reference = match text.parse::<Reference>() {
            Ok(reference) => reference.or_latest().to_string(),
            Err(_) => text.to_owned(),
        };
        Self::NotFound { reference }
    }
}

/// Returns the record `text` means: a name first, else the beginning of an id.
pub(super) fn resolve<'a>(
    records: &'a Records,
    text: &str,
) -> Result<&'a ImageRecord, ResolveError> {
    let named = text.parse::<Reference>();
    if let Ok(reference) = &named
        && let Some(record) = records.named(&reference.clone().or_latest())
    {
        return Ok(record);
    }
    if let Some(record) = by_id(records, text)? {
        return Ok(record);
    }
    match named {
        Err(error) if id_digits(text).is_none() => Err(error.into()),
        _ => Err(ResolveError::not_found(text)),
    }
}

/// Returns the digits of `text` if it could be the beginning of an id.
pub(super) fn id_digits(text: &str) -> Option<&str> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    ((1..=64).contains(&digits.len()) && digits.bytes().all(is_hex)).then_some(digits)
}

fn by_id<'a>(records: &'a Records, text: &str) -> Result<Option<&'a ImageRecord>, ResolveError> {
    let Some(digits) = id_digits(text) else {
        return Ok(None);
    };
    let mut found = records
        .0
        .values()
        .filter(|image| image.id.hex().starts_with(digits));
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(ResolveError::Ambiguous(text.to_owned())),
        (first, _) => Ok(first),
    }
}
