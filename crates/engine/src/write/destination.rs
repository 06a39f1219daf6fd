//! Where an archive goes, and what became of each copy.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;
use store::{
    Checked, Context, Expected, LateSizes, Sink, StoreError,
    outbound::{Outcome, Target},
};

use crate::{error::BackupError, text::serialize_optional_path};

/// One destination of an archive.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "there is a handful of them")]
pub enum Destination {
    /// An existing directory, or the archive's own name, which ends in `.tar`.
    Path(PathBuf),
    /// Any other destination, connected; `name` instead of the usual one.
    Remote {
        /// The destination.
        sink: Arc<dyn Sink>,
        /// The archive's name there.
        name: Option<String>,
        /// Retry policy and part size of its own.
        context: Option<Context>,
    },
    /// One of these, whose copy is read back and compared after arrival.
    ReadBack(Box<Destination>),
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::Remote { sink, .. } => f.write_str(&sink.label()),
            Self::ReadBack(inner) => inner.fmt(f),
        }
    }
}

impl Destination {
    /// How it takes an archive whose sizes are known last.
    pub fn late_sizes(&self) -> LateSizes {
        match self {
            Self::Path(_) => LateSizes::AtOnce,
            Self::ReadBack(inner) => inner.late_sizes(),
            Self::Remote { sink, .. } => LateSizes::at(sink),
        }
    }

    /// Whether it wants archives neither compressed nor encrypted.
    pub(crate) fn takes_plain(&self) -> bool {
        match self {
            Self::Path(_) => false,
            Self::ReadBack(inner) => inner.takes_plain(),
            Self::Remote { sink, .. } => sink.takes_plain(),
        }
    }

    /// The destination itself, whatever becomes of the copy there.
    pub(crate) fn inner(&self) -> &Self {
        match self {
            Self::ReadBack(inner) => inner.inner(),
            other => other,
        }
    }

    pub(crate) fn is_read_back(&self) -> bool {
        matches!(self, Self::ReadBack(_))
    }

    pub(crate) fn target(&self, usual_name: &str) -> Target {
        match self {
            Self::Path(path) => Target::File(final_path(path, usual_name)),
            Self::ReadBack(inner) => inner.target(usual_name),
            Self::Remote { sink, name, context } => Target::Remote {
                sink: Arc::clone(sink),
                name: name.clone().unwrap_or_else(|| usual_name.to_owned()),
                context: context.clone(),
            },
        }
    }
}

/// Whether an archive goes to a vault, which compresses and encrypts itself. An error: only to some vaults.
pub(crate) fn is_vault(destinations: &[Destination]) -> Result<bool, BackupError> {
    match destinations.iter().filter(|destination| destination.takes_plain()).count() {
        0 => Ok(false),
        all if all == destinations.len() => Ok(true),
        _ => Err(BackupError::VaultBesideOthers),
    }
}

pub(crate) fn path(target: &Target) -> Option<PathBuf> {
    match target {
        Target::File(path) => Some(path.clone()),
        Target::Remote { .. } => None,
    }
}

/// In a directory, the name Home Assistant would give it.
fn final_path(destination: &Path, usual_name: &str) -> PathBuf {
    let is_directory = destination.is_dir() || destination.as_os_str().as_encoded_bytes().ends_with(b"/");
    let is_file_name = destination.extension().is_some_and(|extension| extension == "tar") && !is_directory;
    if is_file_name { destination.to_owned() } else { destination.join(usual_name) }
}

/// What became of one copy.
#[derive(Clone, Debug, Serialize)]
pub struct CopyReport {
    /// The destination: a directory, or an address without secrets.
    pub destination: String,
    /// The archive's name there.
    pub name: String,
    /// Its path, if it is a file of this machine.
    #[serde(serialize_with = "serialize_optional_path")]
    pub path: Option<PathBuf>,
    /// By what it was compared after it arrived; `None` when it did not.
    pub checked: Option<Checked>,
    /// Why it did not arrive. Nothing is left of it there, as far as the destination can be reached.
    pub error: Option<String>,
    /// What to do about that.
    pub advice: Option<String>,
    /// What the user should know of it although it arrived.
    pub notes: Vec<String>,
    /// Why it could not be read back, if that was requested.
    pub uncompared: Option<String>,
    /// Tries that had to be repeated on the way.
    pub retries: u64,
}

impl CopyReport {
    /// A destination that could not even be reached.
    pub fn unreachable(destination: &str, reason: &str, advice: Option<&str>) -> Self {
        let (error, advice) = (Some(reason.to_owned()), advice.map(str::to_owned));
        Self {
            destination: destination.to_owned(),
            name: String::new(),
            path: None,
            checked: None,
            error,
            advice,
            notes: Vec::new(),
            uncompared: None,
            retries: 0,
        }
    }

    /// Whether it arrived, and was compared if that was requested.
    pub fn is_fine(&self) -> bool {
        self.error.is_none() && self.uncompared.is_none()
    }
}

impl From<Outcome> for CopyReport {
    fn from(outcome: Outcome) -> Self {
        let Outcome { label, name, path, result, retries } = outcome;
        let report = Self {
            destination: label,
            name,
            path: None,
            checked: None,
            error: None,
            advice: None,
            notes: Vec::new(),
            uncompared: None,
            retries,
        };
        match result {
            Ok(arrived) => Self {
                path,
                checked: Some(arrived.checked),
                notes: arrived.notes,
                uncompared: arrived.uncompared,
                ..report
            },
            Err(error) => Self { error: Some(error.to_string()), advice: error.advice(), ..report },
        }
    }
}

/// Zeros become at best so many times less.
pub(crate) const ZEROS_SHRINK: u64 = 1000;
/// No installation compresses better than this: Haul certainly needs more space than that.
const MOST_SAVED: u64 = 8;

/// What is known of an archive's length from the length of the tar it is made of, `holes` bytes of which are zeros that
/// nothing is stored for.
pub(crate) fn expected_of(bytes: u64, holes: u64, compressed: bool) -> Expected {
    let stored = bytes.saturating_sub(holes);
    let (about, least) =
        if compressed { (stored + holes / ZEROS_SHRINK, stored / MOST_SAVED) } else { (bytes, bytes / 2) };
    Expected { about: Some(about), least: Some(least), ..Expected::default() }
}

/// The report about each copy; an error if none arrived.
pub(crate) fn settle(outcomes: Vec<Outcome>) -> Result<Vec<CopyReport>, BackupError> {
    if outcomes.iter().all(|outcome| outcome.result.is_err()) {
        let failures = outcomes.into_iter().filter_map(|outcome| outcome.result.err()).collect();
        return Err(all_failed(failures).unwrap_or(BackupError::Cancelled));
    }
    let mut copies: Vec<CopyReport> = outcomes.into_iter().map(CopyReport::from).collect();
    // Those that failed come last, where they are seen.
    copies.sort_by_key(|copy| copy.error.is_some());
    Ok(copies)
}

/// `None` when nothing is known to have failed.
pub(crate) fn all_failed(mut failures: Vec<StoreError>) -> Option<BackupError> {
    if failures.iter().any(|failure| matches!(failure, StoreError::Cancelled)) {
        return Some(BackupError::Cancelled);
    }
    match failures.len() {
        0 => None,
        1 => failures.pop().map(BackupError::Store),
        _ => Some(BackupError::AllFailed(failures)),
    }
}
