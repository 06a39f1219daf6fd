//! Names of members, told apart by hashes keyed at random: eight bytes a name, and none that an archive could aim at.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

/// So many names are kept in mind, which fill a table of 36 MiB (54 MiB while it grows to that); further ones count as new.
const MOST: usize = 7 << 19;

/// The names met so far.
#[derive(Default)]
pub(crate) struct Names {
    hasher: RandomState,
    seen: HashSet<u64>,
}

impl Names {
    /// Takes a name in; whether it was there before.
    pub(crate) fn repeated(&mut self, path: &[u8]) -> bool {
        let hash = self.hasher.hash_one(path);
        if self.seen.len() < MOST { !self.seen.insert(hash) } else { self.seen.contains(&hash) }
    }

    /// Whether it was met.
    pub(crate) fn has(&self, path: &[u8]) -> bool {
        self.seen.contains(&self.hasher.hash_one(path))
    }
}
