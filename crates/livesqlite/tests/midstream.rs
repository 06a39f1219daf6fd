//! What can happen to a database while its image is being read: each way in × what SQLite does to it, and what no
//! SQLite would do. An image is the one that was begun, or it is known to be none; it never passes for another.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it skips or measures"
)]

#[allow(unreachable_pub, dead_code)]
mod process;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use livesqlite::{Options, Snapshot};
use process::{Other, say, wait};
use rusqlite::Connection;
use tempfile::TempDir;

/// Not a test: what the other process does. Its role is the SQL that it runs on request.
#[test]
fn another_process() {
    process::play(|sql, path| {
        let db = Connection::open(path).unwrap();
        db.execute_batch("PRAGMA wal_autocheckpoint=0; PRAGMA busy_timeout=0").unwrap();
        if sql.starts_with("-- owner") {
            fill(&db);
        }
        say("ready");
        wait();
        let done = db.execute_batch(sql);
        say(if done.is_ok() { "done" } else { "refused" });
        wait();
    });
}

fn fill(db: &Connection) {
    db.execute_batch(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<800) INSERT INTO t SELECT \
        NULL, randomblob(700) FROM n",
    )
    .unwrap();
}

/// How the database is found.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Somebody has it open, and a part of it is in the log.
    Owned,
    /// In WAL mode, and nobody has it open.
    Idle,
    /// With a rollback journal.
    Rollback,
}

/// The database, and its owner if it has one, which runs `sql` on request.
fn database(way: Way, sql: &str) -> (TempDir, PathBuf, Option<Other>) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let db = Connection::open(&path).unwrap();
    let mode = if way == Way::Rollback { "delete" } else { "wal" };
    db.execute_batch(&format!("PRAGMA journal_mode={mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")).unwrap();
    fill(&db);
    drop(db);
    let owner = (way == Way::Owned).then(|| Other::start(&format!("-- owner\n{sql}"), &path));
    (dir, path, owner)
}

fn open(path: &Path) -> Snapshot {
    Snapshot::open(path, &Options::default()).unwrap()
}

fn whole(path: &Path) -> Vec<u8> {
    let mut image = Vec::new();
    open(path).read_to_end(&mut image).unwrap();
    image
}

#[test]
fn whatever_sqlite_does_meanwhile_the_image_is_the_one_that_was_begun() {
    for way in [Way::Owned, Way::Idle, Way::Rollback] {
        for sql in [
            "INSERT INTO t SELECT NULL, v FROM t",
            "DELETE FROM t",
            "VACUUM",
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "PRAGMA journal_mode=DELETE",
            "PRAGMA journal_mode=WAL",
            "PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t VALUES (NULL, 'x')",
            "DROP TABLE t; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)",
        ] {
            for part in [0, 2, 7] {
                let (_dir, path, owner) = database(way, sql);
                let wanted = whole(&path);
                let mut snapshot = open(&path);
                let mut image = vec![0; wanted.len() * part / 8];
                snapshot.read_exact(&mut image).unwrap();
                let mut other = owner.unwrap_or_else(|| Other::start(sql, &path));
                other.go_on();
                snapshot.read_to_end(&mut image).unwrap();
                assert!(
                    image == wanted && snapshot.damage().is_empty(),
                    "{way:?} {part} {sql}: {:?}",
                    snapshot.damage()
                );
            }
        }
    }
}

#[test]
fn what_no_sqlite_would_do_never_passes_for_a_sound_image() {
    for way in [Way::Owned, Way::Idle, Way::Rollback] {
        for (what, must_hold) in [
            ("rm a.db", true),
            ("mv a.db b.db", true),
            ("mv a.db b.db; head -c 8192 b.db >a.db", true),
            ("rm -f a.db-wal", true),
            ("rm -f a.db-shm", true),
            ("rm -f a.db-wal; head -c 99999 /dev/zero >a.db-wal", true),
            (": >a.db", false),
            ("truncate -s 20480 a.db", false),
            ("dd if=/dev/zero of=a.db bs=4096 seek=30 count=60 conv=notrunc 2>/dev/null", false),
            ("test -s a.db-wal && truncate -s 40000 a.db-wal; :", false),
            ("truncate -s +40960 a.db", false),
        ] {
            let (dir, path, _owner) = database(way, "SELECT 1");
            let wanted = whole(&path);
            let mut snapshot = open(&path);
            let mut image = vec![0; 8192];
            snapshot.read_exact(&mut image).unwrap();
            // A lease keeps writers off for a moment; who does not want to wait has to come again.
            let does = || Command::new("sh").arg("-c").arg(what).current_dir(dir.path()).status().unwrap().success();
            while !does() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            let read = snapshot.read_to_end(&mut image);
            let is_whole = read.is_ok() && image == wanted;
            assert!(is_whole || !must_hold, "{way:?} {what}: {read:?}");
            assert!(is_whole || read.is_err() || !snapshot.damage().is_empty(), "{way:?} {what}: it passes");
            drop(snapshot);
            let _ = fs::remove_file(path.with_extension("db-journal"));
        }
    }
}

#[test]
fn an_index_that_is_cut_or_holds_anything_costs_no_commit() {
    // So many bytes of this value are in the `-shm` when the image is begun; with the owner who made it, and without.
    for (length, value) in
        [(0, 0), (3, 0), (100, 0), (5000, 0), (32 << 10, 0), (40, 0xa5), (100, 0xa5), (32 << 10, 0xa5)]
    {
        for has_owner in [true, false] {
            let (_dir, path, mut owner) = database(Way::Owned, "SELECT 1");
            let wanted = whole(&path);
            if !has_owner {
                owner.take().unwrap().kill();
            }
            fs::write(path.with_extension("db-shm"), vec![value; length]).unwrap();
            let case = format!("{length} bytes of {value}, {has_owner}");
            let mut snapshot = open(&path);
            let mut image = vec![0; wanted.len() / 2];
            snapshot.read_exact(&mut image).unwrap();
            if !has_owner {
                // A newcomer rebuilds it, beside us.
                let mut other =
                    Other::start("INSERT INTO t SELECT NULL, v FROM t; PRAGMA wal_checkpoint(TRUNCATE)", &path);
                other.go_on();
            }
            snapshot.read_to_end(&mut image).unwrap();
            assert!(image == wanted && snapshot.damage().is_empty(), "{case}: {:?}", snapshot.damage());
        }
    }
}
