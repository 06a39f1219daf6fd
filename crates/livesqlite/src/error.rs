//! Why a database could not be opened. What goes wrong later, while reading, is an `io::Error` of the reader.

use std::io;

/// Why there is no [`Snapshot`](crate::Snapshot) of a file. In every case the file and its companions are untouched.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file begins like a database, but SQLite (or this crate's own reader) cannot make sense of it.
    #[error("the database is damaged: {reason}")]
    Corrupt {
        /// What is wrong, in words.
        reason: String,
    },
    /// Somebody held a lock that excludes readers for the whole busy timeout.
    #[error("the database stayed locked: {reason}")]
    Locked {
        /// Who or what holds it, in words.
        reason: String,
    },
    /// The file is empty or does not begin with SQLite's magic.
    #[error("the file is not a SQLite database")]
    NotADatabase,
    /// The file could not be opened or read.
    #[error("the database could not be read: {0}")]
    Io(#[from] io::Error),
    /// The SQLite in this program was built without `SQLITE_ENABLE_DBPAGE_VTAB`.
    #[error("this program's SQLite was built without the sqlite_dbpage table")]
    NoDbPage,
}

impl OpenError {
    pub(crate) fn corrupt(reason: impl Into<String>) -> Self {
        Self::Corrupt { reason: reason.into() }
    }

    pub(crate) fn locked(reason: impl Into<String>) -> Self {
        Self::Locked { reason: reason.into() }
    }
}
