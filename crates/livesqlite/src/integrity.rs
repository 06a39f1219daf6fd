//! What SQLite itself says of a database that nobody uses: `PRAGMA integrity_check`.
//!
//! It reads every page and compares every row with the indexes, which [`crate::check`] can't do in one pass. Only for
//! databases of our own, such as unpacked ones: while another process writes, an immutable file is none.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rusqlite::{Connection, ErrorCode, OpenFlags, limits::Limit};

/// More problems than this help nobody.
const MOST: usize = 20;
/// So many steps of SQLite's, and it looks whether it is to stop.
const PATIENCE: i32 = 500;
/// No row that Home Assistant writes is longer; a hostile schema may ask for one.
const LONGEST_ROW: i32 = 64 << 20;
/// SQLite's cache: kibibytes, negated.
const CACHE: i32 = -8192;

/// What SQLite says of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// What is wrong with it; nothing if it is sound.
    Known(Vec<String>),
    /// SQLite can't check it, and why: it may need an extension that is not here.
    Unknown(String),
    /// It was told to stop.
    Stopped,
}

/// Checks the database at `path`. A log beside it is read with it, as its next user would; then SQLite writes to the
/// file. Without a log, nothing is written.
pub fn check(path: &Path, stop: &Arc<AtomicBool>) -> Integrity {
    match checked(path, stop) {
        _ if stop.load(Ordering::Relaxed) => Integrity::Stopped,
        Ok(problems) => Integrity::Known(problems),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Integrity::Known(vec![said(&error)]),
            _ => Integrity::Unknown(said(&error)),
        },
    }
}

fn checked(path: &Path, stop: &Arc<AtomicBool>) -> rusqlite::Result<Vec<String>> {
    let mut connection = if has_log(path) {
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?
    } else {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(immutable(path), flags)?
    };
    // The schema is somebody else's: it may call nothing that could do harm.
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST_ROW)?;
    connection.execute_batch(&format!("PRAGMA trusted_schema = OFF; PRAGMA cache_size = {CACHE}"))?;
    let stop = Arc::clone(stop);
    connection.progress_handler(PATIENCE, Some(move || stop.load(Ordering::Relaxed)))?;
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({MOST})"))?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").take(MOST).collect())
}

/// Whether a log beside it holds something, and SQLite may write there: no link leads it to somebody else's file.
fn has_log(path: &Path) -> bool {
    let beside = |suffix: &str| {
        let mut name = OsString::from(path);
        name.push(suffix);
        std::fs::symlink_metadata(name).ok()
    };
    let is_log = |found: &std::fs::Metadata| found.is_file() && found.len() > 0;
    ["-wal", "-journal"].into_iter().any(|suffix| beside(suffix).is_some_and(|found| is_log(&found)))
        && ["-wal", "-journal", "-shm"].into_iter().all(|suffix| beside(suffix).is_none_or(|found| found.is_file()))
}

/// As a URI: what has a meaning there is written as its number.
fn immutable(path: &Path) -> OsString {
    let mut uri = b"file:".to_vec();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(byte);
        } else {
            uri.extend(format!("%{byte:02X}").bytes());
        }
    }
    uri.extend_from_slice(OsStr::new("?immutable=1").as_bytes());
    OsString::from_vec(uri)
}

fn said(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::{fs, path::PathBuf};

    use super::*;

    fn made(folder: &Path, name: &str, schema: &str) -> PathBuf {
        let path = folder.join(name);
        Connection::open(&path).unwrap().execute_batch(schema).unwrap();
        path
    }

    const ROWS: &str = "CREATE TABLE t(x, y); CREATE INDEX i ON t(y); WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT \
        v + 1 FROM n WHERE v < 5000) INSERT INTO t SELECT v, 'row ' || v FROM n;";

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_sound_database_with_any_name_is_sound_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(folder.path(), "a?b#c %41&.db", &format!("PRAGMA journal_mode = wal; {ROWS}"));
        let before = fs::read(&path).unwrap();
        assert_eq!(check(&path, &Arc::default()), Integrity::Known(Vec::new()));
        assert_eq!((fs::read(&path).unwrap(), names(folder.path()).len()), (before, 1));
    }

    #[test]
    fn a_row_that_an_index_lacks_is_found_which_no_look_at_the_pages_finds() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(folder.path(), "a.db", ROWS);
        let connection = Connection::open(&path).unwrap();
        // The index then stands for another column.
        let change = "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON t(x)' WHERE name = \
            'i'";
        connection.execute_batch(change).unwrap();
        drop(connection);
        let Integrity::Known(problems) = check(&path, &Arc::default()) else { panic!("it is not checked") };
        assert!(!problems.is_empty() && problems.len() <= MOST, "{problems:?}");
        let mut image = crate::check::ImageChecker::new();
        image.push(&fs::read(&path).unwrap());
        assert!(image.finish().is_empty());
    }

    #[test]
    fn what_is_cut_or_no_database_is_damaged_and_a_missing_one_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(folder.path(), "a.db", ROWS);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(matches!(check(&path, &Arc::default()), Integrity::Known(problems) if !problems.is_empty()));
        fs::write(&path, [b'x'; 5000]).unwrap();
        assert!(matches!(check(&path, &Arc::default()), Integrity::Known(problems) if !problems.is_empty()));
        assert!(matches!(check(&folder.path().join("none"), &Arc::default()), Integrity::Unknown(_)));
    }

    #[test]
    fn a_log_counts_and_a_hostile_schema_does_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(folder.path(), "a.db", &format!("PRAGMA journal_mode = wal; {ROWS}"));
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("PRAGMA wal_autocheckpoint = 0; DELETE FROM t WHERE x > 10").unwrap();
        let other = tempfile::tempdir().unwrap();
        for name in ["a.db", "a.db-wal"] {
            fs::copy(folder.path().join(name), other.path().join(name)).unwrap();
        }
        assert!(fs::metadata(other.path().join("a.db-wal")).unwrap().len() > 0);
        assert_eq!(check(&other.path().join("a.db"), &Arc::default()), Integrity::Known(Vec::new()));
        let hostile = made(
            folder.path(),
            "b.db",
            "CREATE TABLE t(x CHECK (length(zeroblob(1000000000)) > x)); PRAGMA ignore_check_constraints = ON; INSERT \
             INTO t VALUES (1)",
        );
        assert!(!matches!(check(&hostile, &Arc::default()), Integrity::Stopped));
    }

    #[test]
    fn a_link_in_place_of_a_log_leads_nobody_to_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(folder.path(), "a.db", &format!("PRAGMA journal_mode = wal; {ROWS}"));
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("PRAGMA wal_autocheckpoint = 0; DELETE FROM t WHERE x > 10").unwrap();
        for linked in ["-wal", "-shm", "-journal"] {
            let other = tempfile::tempdir().unwrap();
            let victim = other.path().join("victim");
            for suffix in ["", "-wal"] {
                fs::copy(folder.path().join(format!("a.db{suffix}")), other.path().join(format!("a.db{suffix}")))
                    .unwrap();
            }
            fs::copy(folder.path().join("a.db-wal"), &victim).unwrap();
            let link = other.path().join(format!("a.db{linked}"));
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(&victim, link).unwrap();
            let before = fs::read(&victim).unwrap();
            assert!(!matches!(check(&other.path().join("a.db"), &Arc::default()), Integrity::Stopped), "{linked}");
            assert_eq!(fs::read(&victim).unwrap(), before, "{linked}");
        }
    }

    #[test]
    fn it_stops_when_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(folder.path(), "a.db", ROWS);
        assert_eq!(check(&path, &Arc::new(AtomicBool::new(true))), Integrity::Stopped);
    }
}
