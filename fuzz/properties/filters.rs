//! What must hold for filters whatever a client sends: a condition that is misunderstood
//! could have a prune remove everything.

use engine_api::config::StringMap;
use engine_api::filters::{FilterError, Filters};

const KNOWN: &[&str] = &["label", "name", "dangling"];

/// Panics if filters are read otherwise than they were written.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let filters = match Filters::parse(text, KNOWN) {
        Ok(filters) => filters,
        Err(FilterError::UnknownKey { key, .. }) => {
            assert!(!KNOWN.contains(&key.as_str()));
            return;
        }
        Err(_) => return,
    };
    assert_eq!(
        Filters::parse(&filters.to_json(), KNOWN).ok().as_ref(),
        Some(&filters)
    );
    for key in KNOWN {
        assert!(filters.has(key) || filters.values(key).next().is_none());
        assert!(filters.has(key) || filters.allows(key, |_| false));
        assert!(!filters.has(key) || !filters.allows(key, |_| false));
    }
    let none = StringMap::new();
    let is_free = filters.values("label").next().is_none();
    assert_eq!(filters.allows_labels("label", &none), is_free);
    if let Ok(Some(_)) = filters.boolean("dangling") {
        assert!(filters.has("dangling"));
    }
}
