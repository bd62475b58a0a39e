//! Names for containers that were given none.

use std::hash::{BuildHasher as _, RandomState};

use crate::container::registry::Registry;

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

/// Returns a name that no container has at the moment.
pub fn free(containers: &Registry) -> String {
    let mut attempt = 0;
    loop {
        let name = candidate(RandomState::new().hash_one(attempt), attempt);
        if containers.find(&name).is_err() {
            return name;
        }
        attempt += 1;
    }
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
}
