//! What a read leaves in the page cache, according to `fincore` (util-linux).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use livesqlite::{Options, Snapshot};
use rusqlite::Connection;
use tempfile::TempDir;

/// A database of about 40 MB on a real disk, nothing of it in the page cache. `None`, with a message, if that is not
/// possible.
fn cold_database() -> Option<(TempDir, PathBuf)> {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("a.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode=WAL; CREATE TABLE t(v);
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<10000) INSERT INTO t SELECT \
         randomblob(4000) FROM n;",
    )
    .unwrap();
    drop(db);
    drop_from_cache(&path);
    if resident(&path)? > 0 {
        println!("skipped: this file system keeps its files in memory");
        return None;
    }
    Some((dir, path))
}

fn drop_from_cache(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

/// Bytes of the file that are in the page cache.
fn resident(path: &Path) -> Option<u64> {
    let Ok(out) = Command::new("fincore").args(["--bytes", "--noheadings", "--output", "RES"]).arg(path).output()
    else {
        println!("skipped: fincore is not installed");
        return None;
    };
    String::from_utf8(out.stdout).unwrap().trim().parse().ok()
}

fn read(path: &Path) -> u64 {
    let mut snapshot = Snapshot::open(path, &Options::default()).unwrap();
    io::copy(&mut snapshot, &mut io::sink()).unwrap()
}

#[test]
fn a_database_that_was_not_cached_is_not_cached_afterwards() {
    let Some((_dir, path)) = cold_database() else { return };
    let len = read(&path);
    let left = resident(&path).unwrap();
    assert!(left * 100 < len, "{left} of {len} bytes are left in the page cache");
}

#[test]
fn a_database_that_was_cached_stays_cached() {
    let Some((_dir, path)) = cold_database() else { return };
    io::copy(&mut File::open(&path).unwrap(), &mut io::sink()).unwrap();
    let before = resident(&path).unwrap();
    read(&path);
    assert_eq!(resident(&path).unwrap(), before);
}

#[test]
fn the_cached_part_of_a_database_stays_and_no_other() {
    let Some((_dir, path)) = cold_database() else { return };
    let mut file = File::open(&path).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).unwrap();
    let mut page = [0; 4096];
    for at in (5_000_000..35_000_000_u64).step_by(1_000_000) {
        file.seek(SeekFrom::Start(at / 4096 * 4096)).unwrap();
        file.read_exact(&mut page).unwrap();
    }
    drop(file);
    let before = resident(&path).unwrap();
    assert!(before >= 30 * 4096);
    read(&path);
    let after = resident(&path).unwrap();
    // Opening reads a few pages of the beginning before anything can be judged.
    assert!((before..before + 300_000).contains(&after), "{before} before, {after} after");
}

#[test]
fn a_log_that_was_not_cached_is_not_cached_afterwards() {
    let Some((dir, path)) = cold_database() else { return };
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA wal_autocheckpoint=0; UPDATE t SET v = randomblob(3990) WHERE rowid % 2").unwrap();
    // Closed, but not checkpointed: opening files below would take an open connection's locks away.
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    drop(db);
    let wal = dir.path().join("a.db-wal");
    drop_from_cache(&path);
    drop_from_cache(&wal);
    assert_eq!(resident(&wal).unwrap(), 0);
    read(&path);
    let (left, len) = (resident(&wal).unwrap(), wal.metadata().unwrap().len());
    assert!(len > 20_000_000 && left * 20 < len, "{left} of {len} bytes of the log are left in the page cache");
}
