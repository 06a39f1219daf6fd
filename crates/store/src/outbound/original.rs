//! An archive that exists already and is sent elsewhere: a file of this machine, or an object of another destination,
//! which then passes through without touching the disk.

use std::{
    fs::File,
    io,
    num::NonZeroU64,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    time::UNIX_EPOCH,
};

use super::{Fingerprint, SEGMENT};
use crate::{
    context::Context,
    error::{Operation, StoreError},
    files,
    inbound::RemoteFile,
};

/// Where the bytes of an existing archive are.
#[derive(Clone, Copy)]
pub enum Original<'a> {
    /// In a file of this machine.
    File(&'a Path),
    /// At another destination.
    Remote(&'a RemoteFile),
    /// At the destination itself, sent first.
    Draft(&'a RemoteFile),
}

/// Its length, and when it was last changed: seconds and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) length: u64,
    pub(super) modified: (i64, i64),
}

/// It, open for reading.
pub(super) enum Opened<'a> {
    File(File, &'a Path),
    Remote(&'a RemoteFile),
}

impl<'a> Original<'a> {
    /// What it is called in messages.
    pub(super) fn label(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Remote(file) => file.label(),
            Self::Draft(file) => file.destination(),
        }
    }

    /// What tells it from others, whatever led to it.
    pub(super) fn identity(&self) -> String {
        match self {
            Self::File(path) => path.canonicalize().unwrap_or_else(|_| (*path).to_owned()).display().to_string(),
            Self::Remote(file) | Self::Draft(file) => file.label(),
        }
    }

    pub(super) fn is_draft(&self) -> bool {
        matches!(self, Self::Draft(_))
    }

    pub(super) fn version(&self) -> Result<Version, StoreError> {
        match self {
            Self::File(path) => {
                let metadata = path.metadata().map_err(unreadable(path))?;
                Ok(Version { length: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()) })
            }
            Self::Remote(file) | Self::Draft(file) => {
                let since = file.modified().and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
                let modified = since.map_or((0, 0), |since| (since.as_secs() as i64, i64::from(since.subsec_nanos())));
                Ok(Version { length: file.len(), modified })
            }
        }
    }

    /// Whether it is still the one of that version, as far as can be known.
    pub(super) fn is_still(&self, version: Version) -> bool {
        match self {
            Self::File(_) => self.version().is_ok_and(|now| now == version),
            Self::Remote(file) | Self::Draft(file) => file.unchanged().is_ok(),
        }
    }

    pub(super) fn open(self) -> Result<Opened<'a>, StoreError> {
        Ok(match self {
            Self::File(path) => Opened::File(files::open(path).map_err(unreadable(path))?, path),
            Self::Remote(file) | Self::Draft(file) => Opened::Remote(file),
        })
    }

    /// Reads all of it.
    pub(super) fn fingerprint(self, context: &Context) -> Result<Fingerprint, StoreError> {
        let mut fingerprint = Fingerprint::default();
        let length = self.version()?.length;
        let opened = self.open()?;
        let mut at = 0;
        while at < length {
            if context.is_cancelled() {
                return Err(StoreError::Cancelled);
            }
            let mut segment = vec![0; (length - at).min(SEGMENT as u64) as usize];
            opened.read_exact_at(&mut segment, at)?;
            fingerprint.push(&segment);
            at += segment.len() as u64;
        }
        Ok(fingerprint)
    }
}

impl Opened<'_> {
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> Result<(), StoreError> {
        match self {
            Self::File(file, path) => file.read_exact_at(buffer, at).map_err(unreadable(path)),
            Self::Remote(file) => file.read_exact_at(buffer, at).map_err(|error| match error.downcast() {
                Ok(error) => error,
                Err(error) => unreadable(Path::new(&file.label()))(error),
            }),
        }
    }

    /// What was read up to here is not needed any more.
    pub(super) fn has_read(&self, until: u64) {
        if let Self::File(file, _) = self {
            let _ = rustix::fs::fadvise(file, 0, NonZeroU64::new(until), rustix::fs::Advice::DontNeed);
        }
    }
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> StoreError + '_ {
    |source| StoreError::Io { operation: Operation::Read, path: path.to_owned(), source }
}
