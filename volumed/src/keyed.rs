//! One lock per key, so that work on different containers or volumes never waits
//! for each other and work on the same one always does.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Locks named by `K`; a lock exists only while somebody holds or awaits it.
#[derive(Debug)]
pub struct KeyedLocks<K>(Mutex<HashMap<K, Arc<Mutex<()>>>>);

impl<K> Default for KeyedLocks<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq + Clone> KeyedLocks<K> {
    /// Runs `work` while nobody else works on `key`.
    pub fn with<T>(&self, key: &K, work: impl FnOnce() -> T) -> T {
        let lock = Arc::clone(self.table().entry(key.clone()).or_default());
        // A panic below left no state in the lock itself: the disk is the truth.
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _forget = Forget { locks: self, key };
        let result = work();
        drop(guard);
        drop(lock);
        result
    }

    fn table(&self) -> MutexGuard<'_, HashMap<K, Arc<Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops the table's entry once nobody but the table refers to the lock.
struct Forget<'a, K: Hash + Eq + Clone> {
    locks: &'a KeyedLocks<K>,
    key: &'a K,
}

impl<K: Hash + Eq + Clone> Drop for Forget<'_, K> {
    fn drop(&mut self) {
        let mut table = self.locks.table();
        if table
            .get(self.key)
            .is_some_and(|l| Arc::strong_count(l) == 1)
        {
            table.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn one_key_is_exclusive_and_leaves_no_entry() {
        let locks: KeyedLocks<&str> = KeyedLocks::default();
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        locks.with(&"a", || {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
        assert!(locks.table().is_empty());
    }

    #[test]
    fn different_keys_do_not_wait_for_each_other() {
        let locks: KeyedLocks<&str> = KeyedLocks::default();
        let nested = locks.with(&"a", || locks.with(&"b", || 7));
        assert_eq!(nested, 7);
    }
}
