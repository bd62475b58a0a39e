//! Names for containers that were given none.

use std::hash::{BuildHasher as _, RandomState};

use base::ContainerId;

use crate::container::registry::{NameClaim, Registry};
use crate::error::Result;

const QUALITIES: [&str; 48] = [
    "amber", "ancient", "bold", "brave", "bright", "brisk", "calm", "clear", "clever", "cosy",
    "crisp", "curious", "eager", "early", "fair", "fresh", "gentle", "glad", "golden", "grand",
    "happy", "hardy", "honest", "jolly", "keen", "kind", "late", "light", "lively", "lucky",
    "merry", "mild", "noble", "patient", "plain", "polite", "proud", "quick", "quiet", "rapid",
    "serene", "sharp", "silent", "steady", "sunny", "swift", "tidy", "warm",
];

const THINGS: [&str; 48] = [
    "anchor", "barge", "beacon", "boat", "bridge", "buoy", "canal", "canoe", "cape", "cargo",
    "coast", "cove", "crane", "current", "deck", "delta", "dock", "ferry", "fjord", "float",
    "gull", "harbour", "haven", "hull", "island", "jetty", "kayak", "keel", "lagoon", "lantern",
    "lock", "mast", "oar", "pier", "port", "quay", "raft", "reef", "rudder", "sail", "shore",
    "sloop", "strait", "tide", "trawler", "tug", "wave", "wharf",
];

/// Random names tried before a number is added.
const TRIES: u64 = 16;
/// With a number there are two thousand million names: more tries are not needed.
const ALL_TRIES: u64 = 32;

/// Takes a name that no container has, whoever else looks for one at the moment.
///
/// # Errors
/// Conflict when all that were tried are taken.
pub fn claim<'a>(containers: &'a Registry, id: &ContainerId) -> Result<NameClaim<'a>> {
    let random = |attempt| candidate(RandomState::new().hash_one(attempt), attempt);
    for attempt in 0..ALL_TRIES {
        if let Ok(claim) = containers.claim(&random(attempt), id) {
            return Ok(claim);
        }
    }
    containers.claim(&random(ALL_TRIES), id)
}

fn candidate(random: u64, attempt: u64) -> String {
    let quality = QUALITIES[(random % 48) as usize];
    let thing = THINGS[(random / 48 % 48) as usize];
    if attempt < TRIES {
        return format!("{quality}_{thing}");
    }
    format!("{quality}_{thing}_{}", random / 2304 % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_is_a_valid_name() {
        for random in 0..10_000 {
            assert!(base::id::is_valid_name(&candidate(random, random % 32)));
        }
    }

    #[test]
    fn names_that_are_taken_at_the_same_time_are_not_taken_twice() {
        let containers = Registry::default();
        let id = ContainerId::random();
        let more_than_without_numbers = QUALITIES.len() * THINGS.len() + 1000;
        let claims: Result<Vec<_>> = (0..more_than_without_numbers)
            .map(|_| claim(&containers, &id))
            .collect();
        assert_eq!(claims.unwrap().len(), more_than_without_numbers);
    }
}
