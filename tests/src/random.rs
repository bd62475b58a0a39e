//! Choices that look random and can be repeated.

use std::time::SystemTime;

/// The variable that repeats the choices of an earlier test.
const SEED: &str = "ENGINE_TEST_SEED";

/// Splitmix64: enough to choose moments and victims.
#[derive(Debug, Clone)]
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// Returns choices by the seed that was asked for, else others each time; prints it.
    pub fn new() -> Self {
        let seed = seed();
        println!("{SEED}={seed}");
        Self { seed, state: seed }
    }

    /// Returns the seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns a number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }

    /// Returns one of several.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

fn seed() -> u64 {
    if let Ok(text) = std::env::var(SEED) {
        return text
            .parse()
            .unwrap_or_else(|_| panic!("{SEED} is no number"));
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("the clock is set").as_nanos() as u64
}
