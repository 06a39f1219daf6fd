//! The findings of the source: everything that went in, and everything that did not, with the reason.

use habackup::{manifest::Stamp, readers::Content, settings};
use serde::Serialize;

use crate::text::shown;

/// How a backup ended that wrote an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything that belongs in is in.
    Complete,
    /// The archive is valid, but something in it is missing, doubtful, or was damaged on this machine already.
    Incomplete,
}

/// What is wrong with an entry of the config directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkippedKind {
    /// It never belongs into an archive.
    LeftOut,
    /// It belongs in and is missing, or part of it is.
    Lost,
    /// It is in the archive, but its copy may mix states of different moments.
    Doubtful,
    /// It is in the archive as it is on the disk, and what is on the disk is damaged.
    Damaged,
}

impl SkippedKind {
    /// The word before the colon when it is printed.
    pub fn label(self) -> &'static str {
        match self {
            Self::LeftOut => "left out",
            Self::Lost => "not saved",
            Self::Doubtful => "doubtful",
            Self::Damaged => "damaged on this machine",
        }
    }
}

/// An entry that is not in the archive, or not as it should be.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    /// What is wrong with it.
    pub kind: SkippedKind,
    /// Path below the config directory; bytes that are not UTF-8 are shown as `\xNN`.
    pub path: String,
    /// Why, in plain words.
    pub reason: String,
}

/// A database whose image went in.
#[derive(Clone, Debug, Serialize)]
pub struct DatabaseReport {
    /// Path below the config directory.
    pub path: String,
    /// Bytes per page.
    pub page_size: u32,
    /// Pages of the image.
    pub pages: u64,
    /// Of these, pages that hold no data any more; their old content was left out.
    pub free_pages: u64,
    /// `wal` or `rollback`.
    pub journal_mode: &'static str,
    /// It is the recorder's.
    pub history: bool,
    /// Its pages showed damage; `skipped` says so.
    pub damaged: bool,
}

/// A longer list of paths helps nobody; further ones are only counted.
const MOST_NAMED: usize = 1000;

/// What should be in the archive and is not, or not as it should be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gaps {
    /// Entries that make an instance what it is.
    pub(crate) essential: Vec<Vec<u8>>,
    /// How many others there are.
    pub(crate) others: u64,
    /// The first of those that are short enough for a stamp.
    pub(crate) named: Vec<Vec<u8>>,
    /// The entry that was met last: one may have several faults.
    last: Vec<u8>,
}

impl Gaps {
    /// A stamp has no space for more names.
    const MOST: usize = Stamp::TEXT_MAX / 3;

    fn essential(&mut self, path: &[u8]) {
        // There are only a few such names, and one may occur twice. A doubtful file that was then lost is reported as
        // lost.
        if !self.essential.iter().any(|known| known == path) {
            self.essential.push(path.to_vec());
        }
        if self.last == path && self.others > 0 {
            self.others -= 1;
            self.named.pop_if(|known| known == path);
            self.last.clear();
        }
    }

    fn other(&mut self, path: &[u8]) {
        if self.last == path && self.others > 0 || self.essential.iter().any(|known| known == path) {
            return;
        }
        self.others += 1;
        self.last = path.to_vec();
        if !path.is_empty() && path.len() <= Stamp::TEXT_MAX && self.named.len() < Self::MOST {
            self.named.push(path.to_vec());
        }
    }
}

/// What the source gathers on its way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) entries: u64,
    pub(crate) databases: Vec<DatabaseReport>,
    /// What went in, by its names and sizes.
    pub(crate) content: Content,
    pub(crate) gaps: Gaps,
    /// Where the recorder keeps its history, below the config directory; empty: not there.
    pub(crate) history: Vec<u8>,
    /// Whether that went in.
    pub(crate) has_history: bool,
    skipped: Vec<Skipped>,
    warnings: Vec<String>,
    unnamed_skipped: u64,
    unnamed_warnings: u64,
    incomplete: bool,
}

impl Findings {
    /// Something that belongs into the archive is not in it, or not as it was.
    pub(crate) fn lost(&mut self, path: &[u8], reason: impl Into<String>) {
        self.incomplete = true;
        self.gap(path, true);
        self.name(SkippedKind::Lost, path, reason.into());
    }

    /// Something is in the archive, but perhaps not as it was at any one moment.
    pub(crate) fn doubt(&mut self, path: &[u8], reason: impl Into<String>) {
        self.incomplete = true;
        self.gap(path, false);
        self.name(SkippedKind::Doubtful, path, reason.into());
    }

    /// Something is in the archive as it is on the disk, where it is damaged.
    pub(crate) fn damaged(&mut self, path: &[u8], reason: impl Into<String>) {
        self.incomplete = true;
        self.gap(path, true);
        self.name(SkippedKind::Damaged, path, reason.into());
    }

    /// An entry with a fault; `is_lost`: a restore does not bring back what it holds.
    fn gap(&mut self, path: &[u8], is_lost: bool) {
        let is_essential = settings::lost_without(path).is_some() || (!path.is_empty() && path == self.history);
        if is_lost && is_essential { self.gaps.essential(path) } else { self.gaps.other(path) }
    }

    /// Something that never belongs into an archive.
    pub(crate) fn left_out(&mut self, path: &[u8], reason: impl Into<String>) {
        self.name(SkippedKind::LeftOut, path, reason.into());
    }

    fn name(&mut self, kind: SkippedKind, path: &[u8], reason: String) {
        if self.skipped.len() < MOST_NAMED {
            self.skipped.push(Skipped { kind, path: shown(path), reason });
        } else {
            self.unnamed_skipped += 1;
        }
    }

    pub(crate) fn warn(&mut self, warning: impl Into<String>) {
        if self.warnings.len() < MOST_NAMED {
            self.warnings.push(warning.into());
        } else {
            self.unnamed_warnings += 1;
        }
    }

    pub(crate) fn warn_all(&mut self, warnings: impl IntoIterator<Item = String>) {
        warnings.into_iter().for_each(|warning| self.warn(warning));
    }

    pub(crate) fn status(&self) -> Status {
        if self.incomplete { Status::Incomplete } else { Status::Complete }
    }

    pub(crate) fn into_lists(mut self) -> (Vec<Skipped>, Vec<String>, Vec<DatabaseReport>) {
        if self.unnamed_skipped > 0 {
            self.warnings.push(format!("{} more entries like these are not listed", self.unnamed_skipped));
        }
        if self.unnamed_warnings > 0 {
            self.warnings.push(format!("{} more warnings like these are not listed", self.unnamed_warnings));
        }
        (self.skipped, self.warnings, self.databases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_troubles_are_counted_instead_of_named() {
        let mut findings = Findings::default();
        for n in 0..1500 {
            findings.lost(format!("{n}").as_bytes(), "gone");
        }
        assert_eq!(findings.status(), Status::Incomplete);
        let (skipped, warnings, _) = findings.into_lists();
        assert_eq!(skipped.len(), 1000);
        assert_eq!(warnings, ["500 more entries like these are not listed"]);
    }
}
