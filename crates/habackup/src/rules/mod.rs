//! What a backup leaves out, and what a restore would lose: the exclusion lists of both readers, the user's own
//! patterns, and the warnings. The caller walks the directory.
//!
//! Core and Supervisor walk the configuration directory from the top (securetar's `atomic_contents_add`), ask their
//! list about the path of each entry, and do not go into a directory that is excluded. So `tts/*` leaves `tts` in as an
//! empty directory and drops everything below it, although the pattern matches only its direct children; `x.log` drops
//! a directory of that name with all it holds. A caller that asks [`Rules::exclusion`] top-down and does not descend
//! gets the same outcome; [`Rules::exclusion_with_parents`] gives it for a path alone.

mod lengths;
mod losses;
mod pattern;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

pub use lengths::{NAME_MAX, PATH_MAX, TooLong, too_long};
pub use losses::{Loss, what_restore_drops};
pub use pattern::{Pattern, PatternError};

/// Left out by Core, Supervisor or both. `.HA_RESTORE` is Core's alone, the `corrupt` ones are Supervisor's.
const HOME_ASSISTANT: [&str; 13] = [
    "**/__pycache__/*",
    "**/.DS_Store",
    "*.db-shm",
    "*.log",
    "*.log.*",
    "OZW_Log.txt",
    "backups/*.tar",
    "tmp_backups/*.tar",
    "tts/*",
    ".cache/*",
    ".HA_RESTORE",
    "*.corrupt.*",
    ".storage/*.corrupt.*",
];

/// Left out as well when the backup is to hold no history.
const DATABASE: [&str; 2] = ["home-assistant_v?.db", "home-assistant_v?.db-wal"];

/// Which list an excluded path is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Home Assistant's own backup leaves it out.
    HomeAssistant,
    /// The recorder's database, in a backup without it.
    Database,
    /// The user's own patterns.
    User,
}

/// Why a path is left out.
#[derive(Clone, Copy, Debug)]
pub struct Exclusion<'a> {
    /// The list.
    pub list: List,
    /// The pattern on it.
    pub pattern: &'a Pattern,
}

/// The patterns of one backup. Paths are relative to the configuration directory, raw bytes, separated by `/`.
#[derive(Clone, Debug)]
pub struct Rules {
    patterns: Vec<(List, Pattern)>,
    /// Whether a pattern of the user's has left something out, in the order they were given; shared by all copies of
    /// these rules.
    used: Vec<Arc<AtomicBool>>,
}

impl Rules {
    /// What Home Assistant leaves out; with `database` false, the recorder's database too.
    pub fn new(database: bool) -> Self {
        let own = HOME_ASSISTANT.iter().map(|pattern| (List::HomeAssistant, Pattern::built_in(pattern)));
        let history = DATABASE.iter().filter(|_| !database).map(|pattern| (List::Database, Pattern::built_in(pattern)));
        Self { patterns: own.chain(history).collect(), used: Vec::new() }
    }

    /// Adds a pattern of the user's. Like all of them it takes in everything below a directory it matches.
    pub fn exclude(&mut self, pattern: &[u8]) -> Result<(), PatternError> {
        self.patterns.push((List::User, Pattern::new(pattern)?));
        self.used.push(Arc::default());
        Ok(())
    }

    /// The user's patterns that have excluded nothing so far.
    pub fn unused(&self) -> impl Iterator<Item = &Pattern> {
        let users = self.patterns.iter().filter(|(list, _)| *list == List::User);
        users.zip(&self.used).filter(|(_, used)| !used.load(Ordering::Relaxed)).map(|((_, pattern), _)| pattern)
    }

    /// Says which file holds the history, so that a backup without it leaves that one out, with its log.
    pub fn history_is(&mut self, path: &[u8]) {
        let leaves_out = self.patterns.iter().any(|(list, _)| *list == List::Database);
        if leaves_out && !path.is_empty() {
            let log = [path, b"-wal"].concat();
            self.patterns.extend([path, &log].into_iter().map(|path| (List::Database, Pattern::literal(path))));
        }
    }

    /// Why `path` itself is left out, if it is. A directory that is left out must not be entered.
    pub fn exclusion(&self, path: &[u8]) -> Option<Exclusion<'_>> {
        let components: Vec<&[u8]> = pattern::components(path).collect();
        self.find(&components)
    }

    /// Why `path` is left out, by itself or with a directory above it.
    pub fn exclusion_with_parents(&self, path: &[u8]) -> Option<Exclusion<'_>> {
        let components: Vec<&[u8]> = pattern::components(path).collect();
        (1..=components.len()).find_map(|depth| self.find(&components[..depth]))
    }

    fn find(&self, components: &[&[u8]]) -> Option<Exclusion<'_>> {
        let (place, (list, pattern)) =
            self.patterns.iter().enumerate().find(|(_, (_, pattern))| pattern.matches_components(components))?;
        if *list == List::User {
            let before = self.patterns.iter().take(place).filter(|(list, _)| *list == List::User).count();
            if let Some(used) = self.used.get(before) {
                used.store(true, Ordering::Relaxed);
            }
        }
        Some(Exclusion { list: *list, pattern })
    }
}

#[cfg(test)]
mod tests;
