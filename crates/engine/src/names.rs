//! Names of members, told apart by hashes keyed at random: eight bytes a name, and none that an archive could aim at.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

/// The names met so far.
#[derive(Default)]
pub(crate) struct Names {
    hasher: RandomState,
    seen: HashSet<u64>,
}

impl Names {
    /// Takes a name in; whether it was there before.
    pub(crate) fn repeated(&mut self, path: &[u8]) -> bool {
        !self.seen.insert(self.hasher.hash_one(path))
    }

    /// Whether it was met.
    pub(crate) fn has(&self, path: &[u8]) -> bool {
        self.seen.contains(&self.hasher.hash_one(path))
    }
}
