//! Why a database could not be opened. Errors during reading are `io::Error`s of the reader.

use std::io;

/// Why there is no [`Snapshot`](crate::Snapshot) of a file. In every case the file and its companions are untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file begins like a database, but SQLite (or this crate's own reader) cannot make sense of it.
    #[error("the database is damaged: {reason}")]
    Corrupt {
        /// What is wrong, in plain words.
        reason: String,
    },
    /// Somebody held a lock that excludes readers for the whole busy timeout.
    #[error("the database stayed locked: {reason}")]
    Locked {
        /// Who or what holds it, in plain words.
        reason: String,
    },
    /// The file is empty or does not begin with SQLite's magic.
    #[error("the file is not a SQLite database")]
    NotADatabase,
    /// The file could not be opened or read.
    #[error("the database could not be read: {}", without_number(.0))]
    Io(#[from] io::Error),
    /// Something that is no regular file has the name of a companion, so SQLite could wait for ever or read elsewhere.
    #[error("{name} beside the database is no regular file")]
    Companion {
        /// The companion's file name.
        name: String,
    },
    /// The file is a hard link of a database in use under another name. SQLite would miss its log.
    #[error("the file is another name of {name}, whose write-ahead log is not beside this name")]
    OtherName {
        /// The other file name, in the same folder.
        name: String,
    },
    /// [`Options::cancel`](crate::Options::cancel) was raised.
    #[error("interrupted")]
    Cancelled,
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

/// The text of a system error without its number, which tells a reader nothing more.
fn without_number(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error ").map(|(message, _)| message.to_owned()).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_system_is_shown_without_its_number() {
        let error = OpenError::from(io::Error::from_raw_os_error(13));
        assert_eq!(error.to_string(), "the database could not be read: Permission denied");
        assert_eq!(
            OpenError::from(io::Error::other("too long")).to_string(),
            "the database could not be read: too long"
        );
    }
}
