//! A bounded memory of answers by text: the same few thousand user agents and hosts come again and again.
//!
//! In:      a key, and how to find the answer when it is not remembered.
//! Out:     the answer.
//! Promise: at most `entries_max` answers are held, whatever comes; what is asked for stays, what is not asked for goes.
//!          An answer is the same whether remembered or not, so nothing but time depends on this.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64;

/// Two generations: when the young one is full it becomes the old one, and what of the old is asked for again moves over.
/// That is near to "least recently used" and needs no list of who was used when.
pub struct Cache<V> {
    young: Generation<V>,
    old: Generation<V>,
    generation_entries_max: usize,
}

/// By hash of the key. Two keys of one hash are not both remembered.
type Generation<V> = HashMap<u64, (Box<[u8]>, V), BuildHasherDefault<Hashed>>;

impl<V> Cache<V> {
    pub fn new(entries_max: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), generation_entries_max: (entries_max / 2).max(1) }
    }

    pub fn get_or(&mut self, key: &[u8], find: impl FnOnce() -> V) -> &V {
        let hash = xxh3_64(key);
        if self.young.get(&hash).is_none_or(|(known, _)| **known != *key) {
            let entry = match self.old.remove(&hash) {
                Some(entry) if *entry.0 == *key => entry,
                _ => (key.into(), find()),
            };
            if self.young.len() >= self.generation_entries_max {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(hash, entry);
        }
        &self.young[&hash].1
    }

    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The key is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_its_bound_and_keeps_what_is_asked_for() {
        let mut cache = Cache::new(100);
        for number in 0..10_000_u32 {
            let answer = *cache.get_or(&number.to_be_bytes(), || number);
            assert_eq!(answer, number);
            assert_eq!(*cache.get_or(b"often", || number), 0, "asked for again and again, so never forgotten");
            assert!(cache.len() <= 100, "{}", cache.len());
        }
    }
}
