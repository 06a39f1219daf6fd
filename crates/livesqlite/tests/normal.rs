//! Databases that SQLite itself can read: every page size and journal mode.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use livesqlite::{JournalMode, OpenError, Options, Snapshot};
use rusqlite::Connection;
use tempfile::TempDir;

fn options() -> Options {
    Options { busy_timeout: Duration::from_millis(300), ..Options::default() }
}

fn read(path: &Path) -> Vec<u8> {
    let mut snapshot = Snapshot::open(path, &options()).unwrap();
    let mut image = Vec::new();
    snapshot.read_to_end(&mut image).unwrap();
    assert_eq!(image.len() as u64, snapshot.len());
    image
}

/// Puts an image into a file of its own and lets SQLite judge it.
fn rows(dir: &TempDir, image: &[u8]) -> i64 {
    let path = dir.path().join("image.db");
    std::fs::write(&path, image).unwrap();
    let db = Connection::open(&path).unwrap();
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let rows = db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    drop(db);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    rows
}

fn fill(path: &Path, page_size: u32, mode: &str, count: u32) -> Connection {
    let db = Connection::open(path).unwrap();
    db.execute_batch(&format!("PRAGMA page_size={page_size}; PRAGMA journal_mode={mode}; PRAGMA synchronous=OFF;")).unwrap();
    db.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); CREATE INDEX i ON t(v);").unwrap();
    db.execute_batch(&format!(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<{count}) INSERT INTO t(v) SELECT randomblob(x % 700) FROM n"
    ))
    .unwrap();
    db
}

fn new_db(dir: &TempDir) -> PathBuf {
    dir.path().join("a.db")
}

#[test]
fn every_page_size_and_journal_mode_gives_a_whole_image() {
    for page_size in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
        for mode in ["wal", "delete", "truncate", "persist"] {
            let dir = TempDir::new().unwrap();
            let db = fill(&new_db(&dir), page_size, mode, 1500);
            db.execute_batch("DELETE FROM t WHERE id % 3 <> 0").unwrap();
            let snapshot = Snapshot::open(&new_db(&dir), &options()).unwrap();
            assert_eq!(snapshot.info().page_size, page_size);
            assert!(snapshot.info().free_pages > 0);
            let wanted = if mode == "wal" { JournalMode::Wal } else { JournalMode::Rollback };
            assert_eq!(snapshot.info().journal_mode, wanted);
            drop(snapshot);
            assert_eq!(rows(&dir, &read(&new_db(&dir))), 500, "{page_size} {mode}");
        }
    }
}

#[test]
fn a_file_that_is_no_database_is_said_to_be_none() {
    let dir = TempDir::new().unwrap();
    for content in [&b""[..], b"hello", &[0; 8192]] {
        std::fs::write(new_db(&dir), content).unwrap();
        assert!(matches!(Snapshot::open(&new_db(&dir), &options()), Err(OpenError::NotADatabase | OpenError::Corrupt { .. })));
    }
}
