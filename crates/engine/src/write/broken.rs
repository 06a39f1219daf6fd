//! Why an attempt made no archive: what failed in the pipeline, and what that is for the user.

use std::io;

use habackup::{outer::OuterError, securetar::SecureTarError};
use pargz::CompressError;
use store::{Cancellation, StoreError};

use crate::{error::BackupError, text::plain, write::destination};

/// Why an attempt ended without an archive.
pub(crate) enum Ended {
    Failed(BackupError),
    /// What was measured is no longer so.
    Stale,
}

impl<E: Into<BackupError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A failure in the pipeline, before the user knows it by the archive's name.
#[derive(Debug)]
pub(crate) enum Broken {
    Write(io::Error),
    Cancelled,
    Inside(String),
    /// A database changed since it was measured; nothing of the inner archive was sent.
    Stale,
}

impl Broken {
    /// Why there is no archive, for the user; `failures` are the destinations' errors.
    pub(crate) fn into_ended(self, failures: Vec<StoreError>, cancel: &Cancellation) -> Ended {
        Ended::Failed(match self {
            Self::Stale => return Ended::Stale,
            Self::Cancelled => BackupError::Cancelled,
            Self::Inside(reason) => BackupError::Pipeline(reason),
            Self::Write(_) if cancel.is_cancelled() => BackupError::Cancelled,
            Self::Write(source) => {
                destination::all_failed(failures).unwrap_or_else(|| BackupError::Pipeline(plain(&source)))
            }
        })
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<OuterError> for Broken {
    fn from(error: OuterError) -> Self {
        match error {
            OuterError::Io(source) => Self::Write(source),
            OuterError::WrongSize { .. } => Self::Inside(error.to_string()),
        }
    }
}

impl From<SecureTarError> for Broken {
    fn from(error: SecureTarError) -> Self {
        match error {
            SecureTarError::Io(source) => Self::Write(source),
            other => Self::Inside(other.to_string()),
        }
    }
}

impl From<CompressError> for Broken {
    fn from(error: CompressError) -> Self {
        match error {
            CompressError::Sink(source) => Self::Write(source),
            CompressError::Cancelled => Self::Cancelled,
            // The source pads what it can't read and never fails.
            CompressError::Source(source) => Self::Inside(source.to_string()),
            other => Self::Inside(other.to_string()),
        }
    }
}
