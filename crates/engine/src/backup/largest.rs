//! Finds what makes a backup large: the largest directories, and files of well-known programs that nobody needs back.

use std::collections::HashMap;

use crate::text::{in_units, shown};

/// A directory is named from this size on, or …
const LARGE: u64 = 1_000_000_000;
/// … when it is so much of everything (per cent), unless everything is small.
const SHARE: u64 = 30;
const SMALL: u64 = 100_000_000;
/// What is not needed is named from this size on.
const UNNEEDED: u64 = 1_000_000;
/// If a subdirectory has so much of a directory (per cent), it is named instead.
const MOST_OF_IT: u64 = 70;
/// So many are named.
const NAMED: usize = 3;
/// So many directories are counted separately; further ones count with their parents.
const MOST: usize = 10_000;

/// What can be left out, and what it is.
type Known = (&'static str, &'static str);

/// By the last names of their paths.
const DIRECTORIES: &[Known] = &[
    (".esphome", "ESPHome's build output"),
    ("deps", "packages that Home Assistant reinstalls"),
    ("node_modules", "packages that npm reinstalls"),
    (".venv", "packages that Python reinstalls"),
    ("venv", "packages that Python reinstalls"),
    (".cache", "a cache"),
    (".snapshots", "file system snapshots"),
    (".snapshot", "file system snapshots"),
    ("#snapshot", "file system snapshots"),
];

/// Sums of what goes in.
#[derive(Debug, Default)]
pub(crate) struct Largest {
    total: u64,
    /// Directories at the top, and those in them, by path.
    directories: HashMap<Vec<u8>, u64>,
    /// By what `--exclude` would be given.
    unneeded: HashMap<Vec<u8>, (u64, &'static str)>,
}

impl Largest {
    /// A file of this path below the config directory.
    pub(crate) fn add(&mut self, relative: &[u8], bytes: u64) {
        self.total += bytes;
        if let Some((pattern, what)) = known(relative) {
            if self.unneeded.len() < MOST || self.unneeded.contains_key(&pattern) {
                self.unneeded.entry(pattern).or_insert((0, what)).0 += bytes;
            }
            return;
        }
        let slashes = relative.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for at in slashes.take(2) {
            let directory = &relative[..at];
            if let Some(sum) = self.directories.get_mut(directory) {
                *sum += bytes;
            } else if self.directories.len() < MOST {
                self.directories.insert(directory.to_vec(), bytes);
            }
        }
    }

    /// One sentence, if there is anything to say.
    pub(crate) fn note(&self) -> Option<String> {
        let is_large = |bytes: u64| bytes >= LARGE || (bytes >= SMALL && bytes * 100 / SHARE > self.total);
        let mut named: Vec<(u64, &[u8], Option<&str>)> = self
            .unneeded
            .iter()
            .filter(|(_, (bytes, _))| *bytes >= UNNEEDED)
            .map(|(pattern, (bytes, what))| (*bytes, pattern.as_slice(), Some(*what)))
            .collect();
        let top = self
            .directories
            .iter()
            .filter(|(path, bytes)| !path.contains(&b'/') && *path != b".storage" && is_large(**bytes));
        named.extend(top.map(|(path, bytes)| self.inside(path, *bytes)).map(|(bytes, path)| (bytes, path, None)));
        named.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        named.truncate(NAMED);
        let (_, first, _) = named.first()?;
        let example = shown(first);
        let list: Vec<String> = named
            .iter()
            .map(|(bytes, path, what)| {
                let what = what.map_or_else(String::new, |what| format!(", {what}"));
                format!("{} ({}{what})", shown(path), in_units(*bytes))
            })
            .collect();
        Some(format!(
            "the largest parts of this backup: {}; for example, --exclude '{example}' leaves the first one out",
            list.join(", ")
        ))
    }

    /// The directory that has most of what is in this one, else this one.
    fn inside<'d>(&'d self, path: &'d [u8], bytes: u64) -> (u64, &'d [u8]) {
        let within = |other: &[u8]| other.strip_prefix(path).is_some_and(|rest| rest.starts_with(b"/"));
        let most = self.directories.iter().filter(|(other, _)| within(other)).max_by_key(|(_, bytes)| **bytes);
        match most {
            Some((other, of_it)) if of_it * 100 / MOST_OF_IT > bytes => (*of_it, other),
            _ => (bytes, path),
        }
    }
}

/// What is known not to be needed: the pattern that leaves it out, and what it is.
fn known(relative: &[u8]) -> Option<(Vec<u8>, &'static str)> {
    let steps: Vec<&[u8]> = relative.split(|byte| *byte == b'/').collect();
    let (name, directories) = steps.split_last()?;
    for (depth, step) in directories.iter().enumerate() {
        // `deps` is Home Assistant's only at the top.
        let found = DIRECTORIES
            .iter()
            .find(|(directory, _)| directory.as_bytes() == *step && (*directory != "deps" || depth == 0));
        if let Some((_, what)) = found {
            return Some((steps[..=depth].join(&b'/'), what));
        }
    }
    if directories.is_empty() && contains(name, b".db.corrupt.") {
        return Some((b"*.db.corrupt.*".to_vec(), "damaged databases that Home Assistant set aside"));
    }
    if let [directory] = directories
        && matches!(*directory, b"backup" | b"backups")
        && name.ends_with(b".tar")
    {
        return Some(([*directory, b"/*.tar"].concat(), "older backups"));
    }
    None
}

fn contains(name: &[u8], part: &[u8]) -> bool {
    name.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(files: &[(&str, u64)]) -> String {
        let mut largest = Largest::default();
        for (path, bytes) in files {
            largest.add(path.as_bytes(), *bytes);
        }
        largest.note().unwrap_or_default()
    }

    #[test]
    fn an_ordinary_backup_needs_no_note() {
        assert_eq!(note(&[("configuration.yaml", 1000), (".storage/x", 5000), ("www/a.png", 2_000_000)]), "");
        assert_eq!(note(&[("home-assistant_v2.db", 9_000_000_000), ("www/a.png", 200_000_000)]), "", "a small share");
        assert_eq!(note(&[]), "");
    }

    #[test]
    fn the_largest_directories_are_named_largest_first() {
        let files = [
            ("www/a/1", 600_000_000),
            ("www/b/1", 700_000_000),
            ("custom_components/eye/frames/1", 146_000_000_000),
            ("custom_components/other/x", 1_000_000),
            ("media/1", 2_000_000_000),
            ("share/1", 1_100_000_000),
        ];
        assert_eq!(
            note(&files),
            "the largest parts of this backup: custom_components/eye (146 GB), media (2.00 GB), www (1.30 GB); for \
             example, --exclude 'custom_components/eye' leaves the first one out"
        );
        assert!(note(&[("www/a", 200_000_000), ("b", 100_000_000)]).contains("www (200 MB)"), "a large share");
    }

    #[test]
    fn what_is_not_needed_is_named_with_its_nature() {
        let files = [
            ("backup/old.tar", 5_000_000),
            (".snapshots/1/x", 4_000_000),
            ("esphome/.esphome/build/x", 3_000_000),
            ("home-assistant_v2.db.corrupt.2025-07-17T23:45:05", 6_000_000),
            ("deps/small", 10),
            ("x/deps/x", 3_000_000),
        ];
        assert_eq!(
            note(&files),
            "the largest parts of this backup: *.db.corrupt.* (6.0 MB, damaged databases that Home Assistant set \
             aside), backup/*.tar (5.0 MB, older backups), \
             .snapshots (4.0 MB, file system snapshots); for example, --exclude '*.db.corrupt.*' leaves the first one \
             out"
        );
        assert!(
            note(&[("esphome/.esphome/build/x", 3_000_000)])
                .contains("esphome/.esphome (3.0 MB, ESPHome's build output)")
        );
        assert!(note(&[("deps/x", 3_000_000)]).contains("packages that Home Assistant reinstalls"));
    }
}
