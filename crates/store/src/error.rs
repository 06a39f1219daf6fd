//! The one error of a destination: what was tried, on what, and why it failed.

use std::{fmt, io, path::PathBuf};

/// What was being done when a destination failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Making the temporary file.
    Create,
    /// Writing bytes.
    Write,
    /// Asking the disk to keep what was written.
    Sync,
    /// Giving the finished file its name.
    Publish,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create a file",
            Self::Write => "write",
            Self::Sync => "flush to the disk",
            Self::Publish => "give the finished archive its name",
        })
    }
}

/// A destination could not do what was asked; nothing stays behind under a final name.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The final name is taken, and nothing is overwritten unasked.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The destination is not a directory that can take an archive.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// The destination does not exist.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// Anything the operating system refused.
    #[error("could not {operation} at {}: {}", path.display(), reason(source))]
    Io {
        /// What was tried.
        operation: Operation,
        /// The directory or file concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl StoreError {
    /// True when the disk or the quota is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge))
    }
}

/// The system's reason without its number, as a person would say it.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => "no space is left on the disk".to_owned(),
        io::ErrorKind::QuotaExceeded => "the disk quota is used up".to_owned(),
        io::ErrorKind::FileTooLarge => "the file system can't hold a file this large".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "it is mounted read-only".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_lowercase()
        }
    }
}
