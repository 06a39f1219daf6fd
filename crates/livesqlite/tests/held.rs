//! Snapshots that stay open after their last page, to be read again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use livesqlite::{Options, Snapshot, is_pinned};
use rusqlite::Connection;

fn held() -> Options {
    Options::default().hold(true).busy_timeout(Duration::from_millis(200))
}

fn create(path: &Path, mode: &str) -> Connection {
    let db = Connection::open(path).unwrap();
    db.execute_batch(&format!("PRAGMA journal_mode={mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")).unwrap();
    insert(&db).unwrap();
    db
}

fn insert(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<500) INSERT INTO t(v) \
        SELECT randomblob(500) FROM n",
    )
}

fn all(snapshot: &mut Snapshot) -> Vec<u8> {
    let mut image = Vec::new();
    snapshot.read_to_end(&mut image).unwrap();
    assert_eq!(image.len() as u64, snapshot.len());
    image
}

fn database() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("a.db");
    (dir, path)
}

/// Commits in a process of its own: a connection here would share the locks.
fn commit_elsewhere(path: &Path) -> bool {
    let script = "import sqlite3,sys\nd=sqlite3.connect(sys.argv[1],timeout=0.2)\nd.execute('insert into t(v) values \
        (randomblob(90000))')\nd.execute('delete from t where id<100')\nd.commit()\nd.execute('pragma \
        wal_checkpoint(truncate)')";
    std::process::Command::new("python3")
        .arg("-c")
        .arg(script)
        .arg(path)
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap()
        .success()
}

#[test]
fn a_held_snapshot_gives_the_same_image_twice_while_others_commit() {
    let (_dir, path) = database();
    drop(create(&path, "wal"));
    let mut snapshot = Snapshot::open(&path, &held()).unwrap();
    let first = all(&mut snapshot);
    assert!(commit_elsewhere(&path));
    assert!(is_pinned(&path.symlink_metadata().unwrap()), "held behind its end");
    snapshot.rewind().unwrap();
    // In another rhythm, and not to its end.
    let mut part = vec![0; 10_001];
    snapshot.read_exact(&mut part).unwrap();
    assert_eq!(part, first[..10_001]);
    snapshot.rewind().unwrap();
    assert!(all(&mut snapshot) == first);
    drop(snapshot);
    assert!(!is_pinned(&path.symlink_metadata().unwrap()));
    let mut later = Snapshot::open(&path, &Options::default()).unwrap();
    assert!(all(&mut later) != first);
}

#[test]
fn a_snapshot_that_is_not_held_cannot_be_read_again() {
    let (_dir, path) = database();
    drop(create(&path, "wal"));
    let mut snapshot = Snapshot::open(&path, &Options::default()).unwrap();
    assert!(snapshot.rewind().is_err());
    all(&mut snapshot);
    assert!(snapshot.rewind().is_err());
    assert!(!is_pinned(&path.symlink_metadata().unwrap()));
}

#[test]
fn writers_of_a_rollback_database_wait_until_a_held_snapshot_is_dropped() {
    let (_dir, path) = database();
    drop(create(&path, "delete"));
    let mut snapshot = Snapshot::open(&path, &held()).unwrap();
    let first = all(&mut snapshot);
    let before = snapshot.info().change_counter;
    assert!(!commit_elsewhere(&path));
    snapshot.rewind().unwrap();
    assert!(all(&mut snapshot) == first);
    drop(snapshot);
    assert!(commit_elsewhere(&path));
    let after = Snapshot::open(&path, &Options::default()).unwrap().info().change_counter;
    assert_ne!(before, after, "the counter tells that somebody wrote");
}

#[test]
fn several_snapshots_are_held_beside_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..5).map(|n| dir.path().canonicalize().unwrap().join(format!("{n}.db"))).collect();
    for path in &paths {
        drop(create(path, "wal"));
    }
    let mut snapshots: Vec<_> = paths.iter().map(|path| Snapshot::open(path, &held()).unwrap()).collect();
    let first: Vec<_> = snapshots.iter_mut().map(all).collect();
    for path in &paths {
        assert!(commit_elsewhere(path));
    }
    for path in &paths {
        assert!(is_pinned(&path.symlink_metadata().unwrap()));
    }
    // One that is let go takes nothing from the others.
    drop(snapshots.remove(0));
    for (snapshot, first) in snapshots.iter_mut().zip(&first[1..]) {
        snapshot.rewind().unwrap();
        assert!(all(snapshot) == *first);
    }
}
