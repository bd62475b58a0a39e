//! How many connections clients may have that may not do everything: so many
//! all together, so that they leave room for those that may, and so many each,
//! so that one of them leaves room for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::container::lock;

/// Connections of all of them together.
const LIMIT: usize = 256;
/// Connections of one of them.
const PEER_LIMIT: usize = 64;

/// The places that are taken, by peer.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    peer: String,
}

impl Places {
    /// Takes a place for a peer, if there is one.
    pub(super) fn take(&self, peer: &str) -> Option<Place> {
        let mut taken = lock(&self.taken);
        let all: usize = taken.values().sum();
        let own = taken.get(peer).copied().unwrap_or_default();
        if all >= LIMIT || own >= PEER_LIMIT {
            return None;
        }
        taken.insert(peer.to_owned(), own + 1);
        Some(Place {
            places: self.clone(),
            peer: peer.to_owned(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.places.taken);
        if let Some(count) = taken.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Places, peer: &str) -> Vec<Place> {
        std::iter::from_fn(|| places.take(peer)).collect()
    }

    #[test]
    fn one_client_leaves_room_for_others_and_all_for_root() {
        let places = Places::default();
        let first = take(&places, "uid:1");
        assert_eq!(first.len(), PEER_LIMIT);
        let others: Vec<_> = (2..10)
            .flat_map(|uid| take(&places, &format!("uid:{uid}")))
            .collect();
        assert_eq!(first.len() + others.len(), LIMIT);
        drop(others);
        assert_eq!(take(&places, "uid:2").len(), PEER_LIMIT);
        drop(first);
        assert!(lock(&places.taken).is_empty(), "nobody is remembered");
    }
}
