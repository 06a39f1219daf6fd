//! When there is no snapshot, everything is as it was: for each reason there can be.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use livesqlite::{OpenError, Options, Snapshot, is_pinned};
use rusqlite::Connection;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

/// A database in this journal mode that nobody has open.
fn database(dir: &Path, mode: &str) -> PathBuf {
    let path = dir.join("a.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA journal_mode={mode}; CREATE TABLE t(x); INSERT INTO t VALUES (randomblob(20000))"
    ))
    .unwrap();
    path
}

/// The same with a log that has commits, as a killed process leaves it.
fn with_log(dir: &Path) -> PathBuf {
    let path = database(dir, "wal");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA wal_autocheckpoint=0; INSERT INTO t VALUES (randomblob(9000))").unwrap();
    let log = fs::read(beside(&path, "-wal")).unwrap();
    drop(db);
    fs::write(beside(&path, "-wal"), log).unwrap();
    path
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn write_at(path: &Path, bytes: &[u8], at: u64) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

fn cut(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// Every name in the directory with its bytes.
fn content(dir: &Path) -> BTreeMap<OsString, Option<Vec<u8>>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().to_owned(), path.is_file().then(|| fs::read(&path).unwrap())))
        .collect()
}

/// Prepares a directory and names the file that is then opened.
type Prepare = fn(&Path) -> PathBuf;
type Expected = fn(&OpenError) -> bool;

const CORRUPT: Expected = |error| matches!(error, OpenError::Corrupt { .. });
const NOT_A_DATABASE: Expected = |error| matches!(error, OpenError::NotADatabase);

const REFUSALS: &[(&str, Prepare, Expected)] = &[
    // SQLite opens this one, and makes what it needs for that; the refusal comes after it.
    (
        "cut inside its first page, size not in the header",
        |dir| {
            let path = database(dir, "wal");
            write_at(&path, &[0; 4], 28);
            cut(&path, 1000);
            path
        },
        CORRUPT,
    ),
    (
        "cut in the middle",
        |dir| {
            let path = database(dir, "wal");
            cut(&path, 8192);
            path
        },
        CORRUPT,
    ),
    (
        "cut in the middle, without a log",
        |dir| {
            let path = database(dir, "delete");
            cut(&path, 8192);
            path
        },
        CORRUPT,
    ),
    (
        "a stump",
        |dir| {
            let path = database(dir, "wal");
            cut(&path, 100);
            path
        },
        CORRUPT,
    ),
    (
        "an impossible page size",
        |dir| {
            let path = database(dir, "wal");
            write_at(&path, &[3], 16);
            path
        },
        CORRUPT,
    ),
    (
        "wrong payload fractions",
        |dir| {
            let path = database(dir, "delete");
            write_at(&path, &[1], 21);
            path
        },
        |error| matches!(error, OpenError::Corrupt { .. } | OpenError::NotADatabase),
    ),
    (
        "zeros",
        |dir| {
            let path = dir.join("a.db");
            fs::write(&path, [0; 8192]).unwrap();
            path
        },
        NOT_A_DATABASE,
    ),
    (
        "empty",
        |dir| {
            let path = dir.join("a.db");
            fs::write(&path, []).unwrap();
            path
        },
        NOT_A_DATABASE,
    ),
    ("not there", |dir| dir.join("a.db"), |error| matches!(error, OpenError::Io(_))),
    (
        "a pipe for a log",
        |dir| {
            let path = database(dir, "wal");
            mknodat(CWD, beside(&path, "-wal"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            path
        },
        |error| matches!(error, OpenError::Companion { .. }),
    ),
    (
        "another name of a database with a log",
        |dir| {
            let path = with_log(dir);
            let other = dir.join("other.db");
            fs::hard_link(path, &other).unwrap();
            other
        },
        |error| matches!(error, OpenError::OtherName { .. }),
    ),
];

#[test]
fn a_refusal_leaves_the_directory_as_it_was() {
    let options = Options::default().busy_timeout(Duration::from_millis(50));
    for (name, prepare, expected) in REFUSALS {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = prepare(dir.path());
        let before = content(dir.path());
        let error = Snapshot::open(&path, &options).map(drop).expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
        assert!(content(dir.path()) == before, "{name}: {:?} became {:?}", before.keys(), content(dir.path()).keys());
        for file in content(dir.path()).keys() {
            assert!(
                !is_pinned(&fs::symlink_metadata(dir.path().join(file)).unwrap()),
                "{name}: {file:?} stayed pinned"
            );
        }
    }
}

#[test]
fn a_database_that_is_locked_or_given_up_is_left_as_it_was() {
    let raised = Options::default().cancel(Arc::new(AtomicBool::new(true)));
    let quick = Options::default().busy_timeout(Duration::ZERO);
    for mode in ["wal", "delete"] {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = database(dir.path(), mode);
        let first = Snapshot::open(&path, &Options::default()).unwrap();
        let before = content_but(dir.path(), &path);
        assert!(matches!(Snapshot::open(&path, &quick), Err(OpenError::Locked { .. })), "{mode}");
        assert!(matches!(Snapshot::open(&path, &raised), Err(OpenError::Cancelled)), "{mode}");
        assert!(content_but(dir.path(), &path) == before, "{mode}");
        drop(first);
    }
}

/// As [`content`], without the bytes of files that this process must not open now.
fn content_but(dir: &Path, main: &Path) -> Vec<(OsString, u64)> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name(), entry.metadata().unwrap().len()))
        .collect();
    found.sort();
    assert!(found.iter().any(|(name, _)| Some(name.as_os_str()) == main.file_name()));
    found
}
