//! The report of a finished backup: everything that went in, everything that did not and why, and where the time went.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{
    findings::{DatabaseReport, Skipped, Status},
    progress::{Stage, StageReport},
    text::serialize_optional_path,
    verdict::Judgement,
    write::destination::CopyReport,
};

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
    /// SHA-256 of a local copy as read back from the disk; only on request.
    pub sha256: Option<String>,
    /// Home Assistant's identifier of the backup.
    pub slug: String,
    /// Its name in Home Assistant.
    pub name: String,
    /// True when it is encrypted.
    pub protected: bool,
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
