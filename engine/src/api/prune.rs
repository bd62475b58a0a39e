//! Which objects a prune takes: those that its filters leave.

use base::Timestamp;
use engine_api::config::StringMap;
use engine_api::filters::Filters;

use super::request::Request;
use crate::error::{OrFail as _, Result, invalid};

/// The filters of a prune.
pub(super) struct Chosen {
    pub(super) filters: Filters,
    until: Option<Timestamp>,
}

impl Chosen {
    /// Reads filters on labels, and those an endpoint has more.
    ///
    /// # Errors
    /// Invalid for another filter, and for an `until` that is no moment.
    pub(super) fn read(request: &Request, more: &[&'static str]) -> Result<Self> {
        let filters = request.filters(&[&["label", "label!"], more].concat())?;
        let until = until(&filters, Timestamp::now())?;
        Ok(Self { filters, until })
    }

    /// Whether an object of these labels is among them; one of unknown age is old.
    pub(super) fn has(&self, labels: &StringMap, created: Option<Timestamp>) -> bool {
        let kept = self.filters.has("label!") && self.filters.allows_labels("label!", labels);
        let is_young = self
            .until
            .is_some_and(|until| created.is_some_and(|created| created >= until));
        self.filters.allows_labels("label", labels) && !kept && !is_young
    }
}

fn until(filters: &Filters, now: Timestamp) -> Result<Option<Timestamp>> {
    let mut values = filters.values("until");
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(invalid("more than one until filter specified"));
    }
    let parse = |text| engine_cli::moment(text, now).or_invalid();
    first.map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(filters: &str, now: Timestamp) -> Result<Chosen> {
        let filters = Filters::parse(filters, &["label", "label!", "until"]).unwrap();
        let until = until(&filters, now)?;
        Ok(Chosen { filters, until })
    }

    #[test]
    fn the_young_and_the_kept_stay() {
        let now = Timestamp::from_seconds(10_000);
        let hour_ago = Timestamp::from_seconds(10_000 - 3600);
        let labels = StringMap::from([("keep".to_owned(), "1".to_owned())]);
        let none = StringMap::new();

        let old = chosen(r#"{"until":["30m"]}"#, now).unwrap();
        assert!(old.has(&none, Some(hour_ago)) && old.has(&none, None));
        assert!(!old.has(&none, Some(now)));

        let unkept = chosen(r#"{"label!":["keep"]}"#, now).unwrap();
        assert!(unkept.has(&none, Some(now)) && !unkept.has(&labels, Some(now)));
        let kept = chosen(r#"{"label":["keep=1"]}"#, now).unwrap();
        assert!(kept.has(&labels, Some(now)) && !kept.has(&none, Some(now)));
    }

    #[test]
    fn an_until_is_one_moment() {
        let now = Timestamp::now();
        for bad in [r#"{"until":["tomorrow"]}"#, r#"{"until":["1h","2h"]}"#] {
            assert!(chosen(bad, now).is_err(), "{bad}");
        }
    }
}
