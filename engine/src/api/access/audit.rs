//! Refused requests in the event log, so many of each client and no more: a
//! client that is refused all the time must not fill the log, nor hide the
//! refusals of others behind its own.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::Engine;
use crate::api::peer::{Caller, Peer};
use crate::container::lock;
use crate::event::{API_REFUSED, Refused};

/// Refusals of one client that are recorded in a row.
const BURST: u32 = 20;
/// How often one more is recorded after that.
const PAUSE: Duration = Duration::from_secs(5);
/// Clients that are counted apart; further ones share a count.
const PEERS_LIMIT: usize = 256;
/// Bytes of a path that are recorded.
const PATH_LIMIT: usize = 256;

/// What is counted of each client.
#[derive(Debug, Default)]
pub struct Audit {
    budgets: Mutex<HashMap<String, Budget>>,
}

#[derive(Debug)]
struct Budget {
    left: u32,
    since: Instant,
    unrecorded: u64,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            since: now,
            unrecorded: 0,
        }
    }

    fn refill(&mut self, now: Instant) {
        let pauses = now.saturating_duration_since(self.since).as_secs() / PAUSE.as_secs();
        let pauses = u32::try_from(pauses).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(pauses).min(BURST);
        if pauses > 0 {
            self.since = now;
        }
    }
}

impl Audit {
    /// Returns how many refusals of this client were not recorded before the
    /// one that now is to be; `None` where this one is not to be either.
    fn admit(&self, peer: &str, now: Instant) -> Option<u64> {
        let mut budgets = lock(&self.budgets);
        if budgets.len() >= PEERS_LIMIT && !budgets.contains_key(peer) {
            budgets.retain(|_, budget| {
                budget.refill(now);
                budget.left < BURST || budget.unrecorded > 0
            });
        }
        let is_full = budgets.len() >= PEERS_LIMIT && !budgets.contains_key(peer);
        let key = if is_full { "" } else { peer };
        let budget = budgets
            .entry(key.to_owned())
            .or_insert_with(|| Budget::new(now));
        budget.refill(now);
        if budget.left == 0 {
            budget.unrecorded += 1;
            return None;
        }
        budget.left -= 1;
        Some(std::mem::take(&mut budget.unrecorded))
    }
}

/// Records a refusal. One that cannot be recorded is a refusal all the same.
pub(in crate::api) fn record(
    engine: &Engine,
    caller: &Caller,
    (method, path): (&str, &str),
    reason: &str,
) {
    engine.metrics.count_refusal();
    let subject = caller.peer.to_string();
    let Some(unrecorded) = engine.audit.admit(&subject, Instant::now()) else {
        return;
    };
    let (uid, gid, pid) = match &caller.peer {
        Peer::Process { uid, gid, pid, .. } => (Some(*uid), Some(*gid), *pid),
        Peer::Certificate { .. } | Peer::Loopback | Peer::Scraper => (None, None, None),
    };
    let common_name = match &caller.peer {
        Peer::Certificate { common_name } => Some(common_name.clone()),
        Peer::Process { .. } | Peer::Loopback | Peer::Scraper => None,
    };
    let fact = Refused {
        uid,
        gid,
        pid,
        common_name,
        policy: caller.policy.name().to_owned(),
        method: shortened(method),
        path: shortened(path),
        reason: shortened(reason),
        unrecorded,
    };
    if let Err(error) = engine.bus.publish(API_REFUSED, subject, &fact) {
        tracing::warn!(%error, "cannot record a refused request");
    }
}

fn shortened(text: &str) -> String {
    let end = (0..=PATH_LIMIT.min(text.len())).rev();
    let end = end.into_iter().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or_default()].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_floods_is_recorded_now_and_then() {
        let (audit, begin) = (Audit::default(), Instant::now());
        let mut recorded = 0;
        for _ in 0..10_000 {
            recorded += u32::from(audit.admit("uid:1", begin).is_some());
        }
        assert_eq!(recorded, BURST);
        assert_eq!(audit.admit("uid:2", begin), Some(0), "others are seen");
        let later = begin + PAUSE;
        let unrecorded = 10_000 - u64::from(BURST);
        assert_eq!(audit.admit("uid:1", later), Some(unrecorded));
        assert_eq!(audit.admit("uid:1", later), None);
    }

    #[test]
    fn no_number_of_clients_takes_more_memory() {
        let (audit, now) = (Audit::default(), Instant::now());
        for peer in 0..10 * PEERS_LIMIT {
            audit.admit(&format!("cn:{peer}"), now);
        }
        assert!(lock(&audit.budgets).len() <= PEERS_LIMIT + 1);
        assert_eq!(audit.admit("cn:last", now + 100 * PAUSE), Some(0));
    }

    #[test]
    fn long_paths_are_cut_between_characters() {
        assert_eq!(shortened("/x"), "/x");
        let long = "é".repeat(PATH_LIMIT);
        assert_eq!(shortened(&long).len(), PATH_LIMIT);
        assert!(shortened(&format!("a{long}")).len() < PATH_LIMIT);
    }
}
