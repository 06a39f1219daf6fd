//! Compares names of members by hashes with a random key: eight bytes a name, and no archive can aim at one.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

/// Whether this is the directory that holds all the rest of an inner archive: `data` in the config directory's, `.` in
/// others. Users do not see it, so Haul does not count it.
pub(crate) fn is_top(path: &[u8], is_config: bool) -> bool {
    let mut steps = path.split(|byte| *byte == b'/').filter(|step| !step.is_empty() && *step != b".");
    match steps.next() {
        None => true,
        Some(first) => is_config && first == b"data" && steps.next().is_none(),
    }
}

/// A name without `./`, a leading slash and doubled ones, as unpacking makes it.
pub(crate) fn normal(name: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    parts.join(&b'/')
}

/// The maximum number of names that are remembered, in a table of 36 MiB (54 MiB while it grows to that). Further names
/// count as new.
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

#[cfg(test)]
mod tests {
    use super::is_top;

    #[test]
    fn the_top_is_distinguished_from_what_lies_in_it() {
        for (path, of_config, of_others) in [
            ("data", true, false),
            ("data/", true, false),
            ("./data", true, false),
            (".", true, true),
            ("./", true, true),
            ("data/x", false, false),
            ("x", false, false),
        ] {
            assert_eq!(
                (is_top(path.as_bytes(), true), is_top(path.as_bytes(), false)),
                (of_config, of_others),
                "{path}"
            );
        }
    }
}
