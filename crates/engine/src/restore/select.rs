//! Which members of the archive a restore is for, and what a user may have meant by a pattern that matches none.

use std::collections::BTreeSet;

use habackup::{rules::Pattern, settings::RECORDER};

use crate::text::shown;

/// Its log.
const RECORDER_LOG: &[u8] = b"home-assistant_v2.db-wal";

/// What to restore.
pub(super) enum Selection {
    Everything,
    /// What a pattern fits, and all below it.
    Fitting(Vec<Pattern>),
    /// The recorder's database.
    Database,
}

impl Selection {
    /// Whether the entry at `path` (below the config directory) is wanted.
    pub(super) fn wants(&self, path: &[u8]) -> bool {
        match self {
            Self::Everything => true,
            Self::Fitting(patterns) => patterns.iter().any(|pattern| pattern.covers(path)),
            Self::Database => matches!(&*tidy(path), RECORDER | RECORDER_LOG),
        }
    }

    /// Notes in `fitting` which patterns an entry that is wanted fits.
    pub(super) fn note(&self, path: &[u8], fitting: &mut BTreeSet<usize>) {
        if let Self::Fitting(patterns) = self {
            for (number, pattern) in patterns.iter().enumerate() {
                if !fitting.contains(&number) && pattern.covers(path) {
                    fitting.insert(number);
                }
            }
        }
    }

    pub(super) fn is_everything(&self) -> bool {
        matches!(self, Self::Everything)
    }
}

/// The path without empty parts and `.`.
pub(crate) fn tidy(path: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    parts.join(&b'/')
}

/// How many names are offered.
const OFFERED: usize = 3;
/// Patterns and names longer than this are not compared: the time grows with the square.
const COMPARED: usize = 256;

/// Gathers the names nearest to patterns that fit nothing.
#[derive(Default)]
pub(crate) struct Nearest {
    patterns: Vec<Vec<u8>>,
    best: BTreeSet<(usize, Vec<u8>)>,
}

impl Nearest {
    pub(crate) fn new(patterns: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self {
            patterns: patterns.into_iter().filter(|pattern| pattern.len() <= COMPARED).collect(),
            best: BTreeSet::new(),
        }
    }

    pub(crate) fn consider(&mut self, path: &[u8]) {
        if path.is_empty() || path.len() > COMPARED {
            return;
        }
        let distance = self.patterns.iter().filter_map(|pattern| nearness(pattern, path)).min();
        if let Some(distance) = distance {
            self.best.insert((distance, path.to_vec()));
            if self.best.len() > OFFERED {
                self.best.pop_last();
            }
        }
    }

    pub(crate) fn names(self) -> Vec<String> {
        self.best.into_iter().map(|(_, path)| shown(&path)).collect()
    }
}

/// Smaller is nearer; `None` for names that nobody would mistake for the pattern.
fn nearness(pattern: &[u8], path: &[u8]) -> Option<usize> {
    let plain: Vec<u8> = pattern.iter().filter(|byte| !b"*?".contains(byte)).map(u8::to_ascii_lowercase).collect();
    let plain = plain.strip_prefix(b"/").unwrap_or(&plain);
    if plain.is_empty() {
        return None;
    }
    let path = path.to_ascii_lowercase();
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let wanted = plain.rsplit(|byte| *byte == b'/').find(|part| !part.is_empty()).unwrap_or_default();
    if name == wanted || (wanted.len() >= 3 && name.windows(wanted.len()).any(|window| window == wanted)) {
        return Some(name.len().abs_diff(wanted.len()));
    }
    let bound = (wanted.len() / 3).max(1);
    let distance = edits(wanted, name, bound)?;
    Some(distance + 8)
}

/// Levenshtein distance up to `bound`.
fn edits(a: &[u8], b: &[u8], bound: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > bound {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row.last().copied().filter(|distance| *distance <= bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_or_half_named_file_is_offered() {
        for (pattern, near) in [
            ("automation.yaml", "automations.yaml"),
            ("auth", ".storage/auth"),
            ("/configuration.yml", "configuration.yaml"),
        ] {
            let mut nearest = Nearest::new([pattern.as_bytes().to_vec()]);
            for path in ["automations.yaml", ".storage/auth", "configuration.yaml", "www/x.js"] {
                nearest.consider(path.as_bytes());
            }
            assert_eq!(nearest.names().first().map(String::as_str), Some(near), "{pattern}");
        }
    }
}
