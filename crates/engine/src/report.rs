//! What a finished job tells: everything that went in, everything that did not and why, and where the time went.

use std::path::{Path, PathBuf};

use habackup::{manifest::Stamp, readers::Content, rules::PATH_MAX, settings};
use serde::Serialize;
use store::{Checked, outbound::Outcome};

use crate::verdict::Judgement;

/// How a backup ended that wrote an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything that belongs in is in.
    Complete,
    /// The archive is valid, but something in it is missing, doubtful, or was damaged on this machine already.
    Incomplete,
}

/// The stage of the road that the others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Taking bytes from the config directory.
    Reading,
    /// Deflating on all cores.
    Compressing,
    /// SecureTar.
    Encrypting,
    /// Taking bytes to the destination.
    Writing,
    /// Waiting for the rate that uploads may not exceed.
    #[serde(rename = "the rate limit")]
    Limit,
}

impl Stage {
    /// The word used in reports: the same in prose and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Compressing => "compressing",
            Self::Encrypting => "encrypting",
            Self::Writing => "writing",
            Self::Limit => "the rate limit",
        }
    }
}

/// Where the time of one stage went.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StageReport {
    /// Which stage.
    pub name: Stage,
    /// Seconds of work, added up over threads.
    pub busy_seconds: f64,
    /// Seconds in which it could have worked but had to wait for a neighbour, added up over threads.
    pub blocked_seconds: f64,
    /// Bytes that left it.
    pub bytes: u64,
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
    /// The word before the colon when it is told.
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
    /// Why, in words.
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
    /// Its pages showed damage, which `skipped` tells.
    pub damaged: bool,
}

/// The archive that was made.
#[derive(Clone, Debug, Serialize)]
pub struct ArchiveReport {
    /// Its usual file name.
    pub file_name: String,
    /// The first copy that is a file of this machine.
    #[serde(serialize_with = "serialize_optional_path")]
    pub path: Option<PathBuf>,
    /// Its size.
    pub size_bytes: u64,
    /// SHA-256 of a local copy as it was read back from the disk; only when it was asked for.
    pub sha256: Option<String>,
    /// Home Assistant's identifier of the backup.
    pub slug: String,
    /// Its name in Home Assistant.
    pub name: String,
    /// True when it is encrypted.
    pub protected: bool,
}

/// What became of one copy.
#[derive(Clone, Debug, Serialize)]
pub struct CopyReport {
    /// The place: a directory, or an address without secrets.
    pub place: String,
    /// The archive's name there.
    pub name: String,
    /// Where it stands, when that is a file of this machine.
    #[serde(serialize_with = "serialize_optional_path")]
    pub path: Option<PathBuf>,
    /// By what it was compared after it arrived; `None` when it did not.
    pub checked: Option<Checked>,
    /// Why it did not arrive. Nothing is left of it there, as far as the place can be reached.
    pub error: Option<String>,
    /// What to do about that.
    pub advice: Option<String>,
    /// What the user should know of it although it arrived.
    pub notes: Vec<String>,
    /// Why it could not be read back, where that was asked for.
    pub uncompared: Option<String>,
    /// Tries that had to be repeated on the way.
    pub retries: u64,
}

impl CopyReport {
    /// A place that could not even be reached.
    pub fn unreachable(place: &str, reason: &str, advice: Option<&str>) -> Self {
        let (error, advice) = (Some(reason.to_owned()), advice.map(str::to_owned));
        Self { place: place.to_owned(), name: String::new(), path: None, checked: None, error, advice, notes: Vec::new(), uncompared: None, retries: 0 }
    }

    /// Whether it arrived, and was compared as far as that was asked for.
    pub fn is_fine(&self) -> bool {
        self.error.is_none() && self.uncompared.is_none()
    }
}

impl From<Outcome> for CopyReport {
    fn from(outcome: Outcome) -> Self {
        let Outcome { label, name, path, result, retries } = outcome;
        let report = Self { place: label, name, path: None, checked: None, error: None, advice: None, notes: Vec::new(), uncompared: None, retries };
        match result {
            Ok(arrived) => Self { path, checked: Some(arrived.checked), notes: arrived.notes, uncompared: arrived.uncompared, ..report },
            Err(error) => Self { error: Some(error.to_string()), advice: error.advice(), ..report },
        }
    }
}

impl BackupReport {
    /// The first copy that is a file of this machine.
    pub fn local_path(&self) -> Option<&Path> {
        self.archive.path.as_deref()
    }
}

/// Which of two machines compressed and encrypted.
#[derive(Clone, Debug, Serialize)]
pub struct Division {
    /// Whether it was the other one.
    pub there: bool,
    /// What the other one is called.
    pub machine: String,
    /// What that was decided by, when it was to be decided.
    pub rates: Option<Rates>,
}

/// Bytes of the inner tar per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rates {
    /// What this machine compresses and encrypts.
    pub here: f64,
    /// What the other machine does.
    pub there: f64,
    /// What the line between them carries, as it is.
    pub line: f64,
    /// What is left of a byte after compression.
    pub ratio: f64,
}

/// A backup of which at least one copy arrived.
#[derive(Clone, Debug, Serialize)]
pub struct BackupReport {
    /// Whole and sound, or with faults that `skipped` names.
    pub status: Status,
    /// What it is worth.
    pub judgement: Judgement,
    /// The archive.
    pub archive: ArchiveReport,
    /// What became of each copy, those that failed last.
    pub copies: Vec<CopyReport>,
    /// Which machine compressed and encrypted, when there was a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub division: Option<Division>,
    /// Files, directories and symlinks in it, the config directory itself not counted.
    pub entries: u64,
    /// Bytes that went into the inner tar.
    pub bytes_in: u64,
    /// Wall-clock seconds from start to the final name.
    pub seconds: f64,
    /// What the others waited for.
    pub limited_by: Stage,
    /// Where the time went.
    pub stages: Vec<StageReport>,
    /// What is missing, doubtful or damaged in the archive, and what never belongs into one.
    pub skipped: Vec<Skipped>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// The databases.
    pub databases: Vec<DatabaseReport>,
}

/// More than this many paths of one kind help nobody; the rest is counted.
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
    /// No stamp has room for more names.
    const MOST: usize = Stamp::WORDS_MAX / 3;

    fn essential(&mut self, path: &[u8]) {
        // There are but a few such names, and one may be there twice. What was doubtful before is told as lost.
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
        if !path.is_empty() && path.len() <= Stamp::WORDS_MAX && self.named.len() < Self::MOST {
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
            self.warnings.push(format!("{} more entries like these are not named here", self.unnamed_skipped));
        }
        if self.unnamed_warnings > 0 {
            self.warnings.push(format!("{} more warnings like these are not shown", self.unnamed_warnings));
        }
        (self.skipped, self.warnings, self.databases)
    }
}

/// How much is shown of a name that no system can have.
const CUT: usize = 200;

/// A path of any bytes in printable form: control characters and what is not UTF-8 become `\xNN`, so that a name can't write to the terminal. One that is
/// longer than any path can be is cut.
pub fn shown(path: &[u8]) -> String {
    if path.len() <= PATH_MAX {
        return printable(path);
    }
    let end = (0..=CUT).rev().find(|end| path[*end] & 0xc0 != 0x80).unwrap_or(CUT);
    format!("{}… ({} bytes)", printable(&path[..end]), path.len())
}

fn printable(path: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || reorders(character) {
                let mut bytes = [0; 4];
                for byte in character.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(text, "\\x{byte:02x}");
                }
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Bytes in decimal units, as disks and clouds count them.
pub fn in_units(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(value < 9.95) + usize::from(value < 99.5 && unit > 1);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// Invisible characters that change how the ones around them are shown.
pub fn reorders(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Paths in JSON: any bytes, printable.
pub fn serialize_path<S: serde::Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown(path.as_os_str().as_encoded_bytes()))
}

#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
pub(crate) fn serialize_optional_path<S: serde::Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => serialize_path(path, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_reads_backwards_is_told_apart() {
        assert_eq!(shown("a\u{202e}txt.exe".as_bytes()), "a\\xe2\\x80\\xaetxt.exe");
    }

    #[test]
    fn a_name_that_no_system_can_have_is_cut() {
        let longest = "é".repeat(PATH_MAX / 2);
        assert_eq!(shown(longest.as_bytes()), longest);
        assert_eq!(shown(format!("a{longest}é").as_bytes()), format!("a{}… (4097 bytes)", "é".repeat(99)));
        assert_eq!(shown(&[0x80; 5000]), format!("{}… (5000 bytes)", "\\x80".repeat(200)));
    }

    #[test]
    fn a_name_of_any_bytes_is_printable() {
        assert_eq!(shown(b"caf\xc3\xa9/\x1b[31m\xff.txt"), "café/\\x1b[31m\\xff.txt");
    }

    #[test]
    fn endless_troubles_are_counted_instead_of_named() {
        let mut findings = Findings::default();
        for n in 0..1500 {
            findings.lost(format!("{n}").as_bytes(), "gone");
        }
        assert_eq!(findings.status(), Status::Incomplete);
        let (skipped, warnings, _) = findings.into_lists();
        assert_eq!(skipped.len(), 1000);
        assert_eq!(warnings, ["500 more entries like these are not named here"]);
    }
}
