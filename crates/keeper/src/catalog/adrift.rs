//! A catalog whose file can't be written, because its disk is full or read-only: what it knows lives on in memory, and
//! goes back to the file when that can be written again.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};

use super::{Catalog, CatalogError, Opened};
use crate::decide::later;

/// Away from its file.
pub(super) struct Adrift {
    path: PathBuf,
    why: String,
    /// There is a file that could not be read: it is put aside, not replaced.
    is_unread: bool,
    /// When the file was tried last.
    tried: Option<Timestamp>,
}

/// So long after an attempt the file is tried again: it may be written to its end before there is no more room.
pub(crate) const TRY_AGAIN: Duration = Duration::from_mins(1);

impl Catalog {
    /// Opens or creates it, like [`Catalog::open`], and does without its file where that can't be used.
    pub fn open_or_drift(path: &Path) -> Result<(Self, Option<String>), CatalogError> {
        Self::open(path).or_else(|error| Ok((Self::drift(path, &error)?, None)))
    }

    /// Opens one to look into it, as [`Catalog::open_to_read`] does; one that lies on a full disk is copied for that.
    pub fn look_into(path: &Path) -> Result<Self, CatalogError> {
        let catalog = Self::open_to_read(path)?;
        match catalog.load() {
            Ok(_) => Ok(catalog),
            Err(error) => Self::copied(path).ok_or(error),
        }
    }

    /// Leaves the file, which can't be written for this reason.
    pub(crate) fn leave_file(self, why: &CatalogError) -> Result<Self, CatalogError> {
        let Some(path) = self.file.clone() else { return Ok(self) };
        drop(self);
        Self::drift(&path, why)
    }

    fn drift(path: &Path, why: &CatalogError) -> Result<Self, CatalogError> {
        let holds_something = std::fs::metadata(path).is_ok_and(|about| about.len() > 0);
        let (mut catalog, is_unread) = match Self::copied(path) {
            Some(catalog) => (catalog, false),
            None => (Self::in_memory()?, holds_something),
        };
        catalog.path = engine::shown(path.as_os_str().as_encoded_bytes());
        catalog.adrift = Some(Adrift { path: path.to_owned(), why: why.to_string(), is_unread, tried: None });
        Ok(catalog)
    }

    /// What the file holds, in memory; nothing if that can't be read or is of no use.
    fn copied(path: &Path) -> Option<Self> {
        // Who alone has a database keeps no index of its log in a file, for which there may be no room. On a read-only
        // disk not even that is possible, and what is still in the log can't be read.
        let alone = || {
            let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE")?;
            into_memory(&connection)
        };
        let as_it_lies = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            into_memory(&Connection::open_with_flags(as_uri(path), flags)?)
        };
        [alone(), as_it_lies()].into_iter().flatten().find_map(|connection| {
            let catalog = Self { connection, path: String::new(), file: None, adrift: None };
            matches!(catalog.prepare(), Ok(Opened::Ready)).then_some(catalog)
        })
    }

    /// Why its file can't be used, as long as it lives in memory only for that.
    pub fn adrift(&self) -> Option<&str> {
        self.adrift.as_ref().map(|adrift| adrift.why.as_str())
    }

    /// Goes back to its file, with everything, if that can be.
    pub(crate) fn go_back(&mut self, now: Timestamp) {
        let Some(adrift) = &mut self.adrift else { return };
        // A clock that was put back does not put that off.
        if adrift.tried.is_some_and(|tried| tried <= now && later(tried, TRY_AGAIN) > now) {
            return;
        }
        adrift.tried = Some(now);
        if adrift.is_unread && Self::put_aside(&adrift.path).is_err() {
            return;
        }
        adrift.is_unread = false;
        let Ok((mut on_disk, _)) = Self::open(&adrift.path) else { return };
        let copied = Backup::new(&self.connection, &mut on_disk.connection).and_then(|backup| backup.step(-1));
        if matches!(copied, Ok(StepResult::Done)) {
            *self = on_disk;
        }
    }
}

fn into_memory(from: &Connection) -> rusqlite::Result<Connection> {
    let mut memory = Connection::open_in_memory()?;
    Backup::new(from, &mut memory)?.step(-1)?;
    Ok(memory)
}

/// The file, taken for one that nobody changes.
fn as_uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes().iter();
    let name: String = bytes
        .map(|byte| match byte {
            b'/' | b'.' | b'-' | b'_' => char::from(*byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
            byte => format!("%{byte:02x}"),
        })
        .collect();
    format!("file:{name}?immutable=1")
}
