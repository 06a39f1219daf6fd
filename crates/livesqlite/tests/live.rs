//! Databases that another process is using, or left behind: what a running, crashed or stopped Home Assistant looks
//! like.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[allow(unreachable_pub)]
mod process;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use livesqlite::check::ImageChecker;
use livesqlite::{OpenError, Options, Snapshot, is_pinned};
use process::{Other, say, wait};
use rusqlite::Connection;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

fn quick() -> Options {
    Options::default().busy_timeout(Duration::from_millis(400))
}

fn read(path: &Path) -> Vec<u8> {
    let mut snapshot = Snapshot::open(path, &quick()).unwrap();
    let mut image = Vec::new();
    snapshot.read_to_end(&mut image).unwrap();
    assert_eq!(image.len() as u64, snapshot.len());
    image
}

/// Both tables get the same row in one transaction, so a torn image shows. Returns the rows.
fn rows(image: &[u8]) -> i64 {
    let mut checker = ImageChecker::new();
    checker.push(image);
    assert_eq!(checker.finish(), Vec::<String>::new());
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("image.db");
    fs::write(&path, image).unwrap();
    let db = Connection::open(&path).unwrap();
    let one = |sql: &str| -> i64 { db.query_row(sql, [], |row| row.get(0)).unwrap() };
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    assert_eq!(one("SELECT count(*) FROM a"), one("SELECT coalesce(max(id), 0) FROM a"));
    assert_eq!(one("SELECT count(*) FROM a"), one("SELECT count(*) FROM b"));
    one("SELECT count(*) FROM a")
}

fn create(path: &Path, mode: &str, count: u32) -> Connection {
    let db = Connection::open(path).unwrap();
    db.execute_batch(&format!("PRAGMA journal_mode={mode}; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0;"))
        .unwrap();
    db.execute_batch("CREATE TABLE a(id INTEGER PRIMARY KEY, v BLOB); CREATE TABLE b(id INTEGER PRIMARY KEY, v TEXT);")
        .unwrap();
    insert(&db, count);
    db
}

fn insert(db: &Connection, count: u32) {
    db.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<{count}) INSERT INTO a(v) SELECT \
         randomblob(500) FROM n;
         INSERT INTO b(id, v) SELECT id, hex(randomblob(20)) FROM a WHERE id > (SELECT coalesce(max(id), 0) FROM b);
         COMMIT"
    ))
    .unwrap();
}

fn database() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("home-assistant_v2.db");
    (dir, path)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn names(dir: &TempDir) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A test's privilege, said aloud when it is missing.
fn is_root(what: &str) -> bool {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        println!("skipped without root: {what}");
    }
    root
}

/// A read-only second view of a directory; unmounted when dropped.
struct ReadOnlyMount(TempDir);

impl ReadOnlyMount {
    fn of(dir: &TempDir) -> Option<Self> {
        let mount = Self(TempDir::new().unwrap());
        let ok = |args: &[&str]| Command::new("mount").args(args).arg(mount.0.path()).status().unwrap().success();
        if !ok(&["--bind", dir.path().to_str().unwrap()]) {
            println!("skipped: this machine does not let its root mount");
            return None;
        }
        assert!(ok(&["-o", "remount,bind,ro"]));
        Some(mount)
    }

    fn path(&self, of: &Path) -> PathBuf {
        self.0.path().join(of.file_name().unwrap())
    }
}

impl Drop for ReadOnlyMount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// Not a test: what the other process does.
#[test]
fn another_process() {
    process::play(|role, path| {
        let db = Connection::open(path).unwrap();
        db.busy_timeout(Duration::ZERO).unwrap();
        match role {
            "commit" => commit_until_stopped(&db),
            "immediate" => {
                db.execute_batch("BEGIN IMMEDIATE; INSERT INTO a(v) VALUES ('not committed')").unwrap();
                say("ready");
                wait();
            }
            "exclusive" => {
                db.execute_batch("BEGIN EXCLUSIVE").unwrap();
                say("ready");
                wait();
            }
            "connected" => {
                say("ready");
                wait();
            }
            "own" => {
                db.query_row("SELECT count(*) FROM a", [], |row| row.get::<_, i64>(0)).unwrap();
                say("ready");
                wait();
            }
            "log" => {
                db.execute_batch("PRAGMA wal_autocheckpoint=0").unwrap();
                insert(&db, 2000);
                say("ready");
                wait();
            }
            // A tiny cache makes SQLite write changed pages into the file long before the commit.
            "spill" => {
                db.execute_batch("PRAGMA cache_size=4; PRAGMA synchronous=NORMAL; BEGIN IMMEDIATE").unwrap();
                db.execute_batch(
                    "UPDATE a SET v = randomblob(500); DELETE FROM b WHERE id % 2; INSERT INTO b SELECT \
                    id + 100000, hex(v) FROM a",
                )
                .unwrap();
                say("ready");
                wait();
            }
            "checkpoint" => {
                say("ready");
                wait();
                let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
                say(&format!("busy {busy}"));
                wait();
            }
            other => panic!("no such role: {other}"),
        }
    });
}

/// With the patience of Home Assistant's own connection: whoever joins may hold SQLite's write lock for a moment when it
/// finds the head of the index half written. A lock that lasted while an image is read would show all the same.
fn commit_until_stopped(db: &Connection) {
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    let stopped = AtomicBool::new(false);
    let (mut commits, mut errors) = (0, Vec::new());
    db.execute_batch("PRAGMA wal_autocheckpoint=50; PRAGMA synchronous=OFF").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait();
            stopped.store(true, Ordering::Relaxed);
        });
        say("ready");
        while !stopped.load(Ordering::Relaxed) {
            let done = db.execute_batch(
                "BEGIN IMMEDIATE; INSERT INTO a(v) VALUES (randomblob(900));
                 INSERT INTO b(id, v) SELECT max(id), 'x' FROM a; COMMIT",
            );
            match done {
                Ok(()) => commits += 1,
                Err(error) => errors.push(format!("after {commits}: {error}")),
            }
        }
    });
    say(&format!("{commits} commits, errors: {errors:?}"));
}

#[track_caller]
fn assert_cost_nothing(report: &str) {
    assert!(report.ends_with(" errors: []"), "{report}");
}

#[test]
fn images_taken_while_another_process_commits_are_whole_and_cost_it_nothing() {
    let (_dir, path) = database();
    drop(create(&path, "wal", 5000));
    let mut writer = Other::start("commit", &path);
    let mut last = 0;
    for _ in 0..30 {
        let count = rows(&read(&path));
        assert!(count >= last, "an older commit after a newer one");
        last = count;
    }
    assert_cost_nothing(&writer.go_on());
    assert!(last > 5000, "the images never saw a commit");
}

#[test]
fn a_slow_read_still_shows_the_commit_it_began_with() {
    let (_dir, path) = database();
    drop(create(&path, "wal", 3000));
    let mut writer = Other::start("commit", &path);
    let mut snapshot = Snapshot::open(&path, &quick()).unwrap();
    let (mut image, mut piece) = (Vec::new(), [0; 7001]);
    let logged = || fs::metadata(beside(&path, "-wal")).unwrap().len();
    let begun = logged();
    loop {
        let count = snapshot.read(&mut piece).unwrap();
        if count == 0 {
            break;
        }
        image.extend(&piece[..count]);
        // While the image is read the log can't begin again: it grows with each commit.
        let before = logged();
        while image.len() as u64 * 4 < snapshot.len() && logged() == before {
            std::thread::yield_now();
        }
    }
    assert!(logged() > begun, "nobody committed while the image was read");
    rows(&image);
    assert_cost_nothing(&writer.go_on());
}

#[test]
fn a_write_lock_held_in_wal_mode_does_not_disturb() {
    let (_dir, path) = database();
    drop(create(&path, "wal", 100));
    let _locker = Other::start("immediate", &path);
    assert_eq!(rows(&read(&path)), 100);
}

#[test]
fn a_log_longer_than_the_database_is_part_of_the_image() {
    let (_dir, path) = database();
    let db = create(&path, "wal", 4000);
    assert!(fs::metadata(beside(&path, "-wal")).unwrap().len() > 10 * fs::metadata(&path).unwrap().len());
    assert_eq!(rows(&read(&path)), 4000);
    drop(db);
}

#[test]
fn a_log_left_by_a_killed_process_is_part_of_the_image_and_stays() {
    let (dir, path) = database();
    drop(create(&path, "wal", 10));
    Other::start("log", &path).kill();
    let _ = fs::remove_file(beside(&path, "-shm"));
    let wal = fs::read(beside(&path, "-wal")).unwrap();
    let before = names(&dir);
    assert_eq!(rows(&read(&path)), 2010);
    assert_eq!(names(&dir), before);
    assert_eq!(fs::read(beside(&path, "-wal")).unwrap(), wal);
}

#[test]
fn a_closed_wal_database_is_read_and_its_directory_left_as_it_was() {
    let (dir, path) = database();
    drop(create(&path, "wal", 100));
    let (before, content) = (names(&dir), fs::read(&path).unwrap());
    assert_eq!(before.len(), 1);
    assert_eq!(rows(&read(&path)), 100);
    assert_eq!(names(&dir), before);
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn a_hot_journal_is_undone_in_the_image_and_stays_where_it_is() {
    for mode in ["delete", "truncate", "persist"] {
        let (_dir, path) = database();
        drop(create(&path, mode, 3000));
        Other::start("spill", &path).kill();
        let (main, journal) = (fs::read(&path).unwrap(), fs::read(beside(&path, "-journal")).unwrap());
        assert!(journal.len() > 100_000, "the journal is not hot");
        assert_eq!(rows(&read(&path)), 3000);
        assert!(fs::read(&path).unwrap() == main && fs::read(beside(&path, "-journal")).unwrap() == journal);
        // The judge: SQLite rolls back for real and comes to the same content.
        let ours = read(&path);
        let db = Connection::open(&path).unwrap();
        db.query_row("SELECT count(*) FROM a", [], |row| row.get::<_, i64>(0)).unwrap();
        drop(db);
        let theirs = fs::read(&path).unwrap();
        assert_eq!(ours.len(), theirs.len());
        assert_eq!(rows(&theirs), 3000);
        // Only what is unused may differ, and ours is zeros there.
        assert!(ours.iter().zip(&theirs).all(|(ours, theirs)| ours == theirs || *ours == 0));
    }
}

#[test]
fn a_journal_whose_writer_lives_is_not_hot() {
    let (_dir, path) = database();
    drop(create(&path, "delete", 50));
    let _writer = Other::start("immediate", &path);
    assert_eq!(rows(&read(&path)), 50);
}

#[test]
fn a_journal_of_a_finished_super_journal_is_not_played_back() {
    let (dir, path) = database();
    drop(create(&path, "delete", 1000));
    Other::start("spill", &path).kill();
    // Only its last bytes make a journal part of a larger transaction.
    let name = dir.path().join("x.db-mj0123456 9AB".replace(' ', ""));
    let name = name.as_os_str().as_bytes();
    let mut journal = fs::read(beside(&path, "-journal")).unwrap();
    journal.extend(0x0004_0001_u32.to_be_bytes());
    journal.extend(name);
    journal.extend((name.len() as u32).to_be_bytes());
    journal.extend(name.iter().map(|b| u32::from(*b)).sum::<u32>().to_be_bytes());
    journal.extend([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    fs::write(beside(&path, "-journal"), &journal).unwrap();
    let main = fs::read(&path).unwrap();
    let committed = read(&path);
    assert_eq!(committed[..100], main[..100]);
    File::create(dir.path().join("x.db-mj01234569AB")).unwrap();
    assert_eq!(rows(&read(&path)), 1000);
}

fn until_raised(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
}

#[test]
fn a_database_locked_for_good_is_reported_as_locked() {
    let (_dir, path) = database();
    drop(create(&path, "delete", 50));
    let _holder = Other::start("exclusive", &path);
    let error = Snapshot::open(&path, &quick()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
}

#[test]
fn an_exclusive_lock_that_ends_in_time_only_delays() {
    let (_dir, path) = database();
    drop(create(&path, "delete", 50));
    let holder = Other::start("exclusive", &path);
    let waits = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let flag = Arc::clone(&waits);
        scope.spawn(move || {
            until_raised(&flag);
            holder.kill();
        });
        let patient = Options::default().busy_timeout(Duration::MAX).waiting(waits);
        assert!(Snapshot::open(&path, &patient).is_ok());
    });
}

#[test]
fn a_raised_flag_ends_a_wait_without_end() {
    let (_dir, path) = database();
    drop(create(&path, "delete", 50));
    let interrupted = |path: &Path, is_told: bool| {
        let (cancel, waits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let patient = Options::default().busy_timeout(Duration::MAX).cancel(cancel.clone()).waiting(waits.clone());
        std::thread::scope(|scope| {
            let open = scope.spawn(|| Snapshot::open(path, &patient).unwrap_err());
            if is_told {
                until_raised(&waits);
            }
            cancel.store(true, Ordering::Relaxed);
            let error = open.join().unwrap();
            assert!(matches!(error, OpenError::Cancelled), "{error}");
            assert_eq!(error.to_string(), "interrupted");
        });
    };
    let first = Snapshot::open(&path, &quick()).unwrap();
    interrupted(&path, false);
    drop(first);
    let _holder = Other::start("exclusive", &path);
    interrupted(&path, true);
}

#[test]
fn a_pipe_named_like_a_companion_is_an_error_and_no_wait() {
    for mode in ["wal", "delete"] {
        for suffix in ["-wal", "-shm", "-journal"] {
            let (_dir, path) = database();
            drop(create(&path, mode, 5));
            mknodat(CWD, beside(&path, suffix), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            let (done, result) = mpsc::channel();
            std::thread::spawn(move || done.send(Snapshot::open(&path, &quick()).map(drop)));
            let error = result.recv_timeout(Duration::from_secs(10)).expect("it hangs").unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("home-assistant_v2.db{suffix} beside the database is no regular file")
            );
        }
    }
}

/// What a walk over the directory does to every file it meets: open, look, close.
fn walk(dir: &Path, respects_pins: bool) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if respects_pins && is_pinned(&fs::symlink_metadata(entry.path()).unwrap()) {
            continue;
        }
        let mut first = [0; 16];
        let _ = File::open(entry.path()).unwrap().read(&mut first);
    }
}

#[test]
fn a_walk_that_respects_pins_keeps_the_read_lock_and_a_naive_one_loses_it() {
    for respects_pins in [true, false] {
        let (dir, path) = database();
        drop(create(&path, "wal", 10));
        let _owner = Other::start("log", &path);
        let mut checkpointer = Other::start("checkpoint", &path);
        let mut snapshot = Snapshot::open(&path, &quick()).unwrap();
        walk(dir.path(), respects_pins);
        let answer = checkpointer.go_on();
        let mut image = Vec::new();
        let result = snapshot.read_to_end(&mut image);
        if respects_pins {
            assert_eq!(answer, "busy 1", "the checkpoint went over a snapshot");
            result.unwrap();
            assert_eq!(rows(&image), 2010);
        } else {
            assert_eq!(answer, "busy 0", "the trap is gone, and with it the reason for the pins");
            assert!(result.is_err(), "a lost lock must not go unnoticed");
        }
    }
}

#[test]
fn the_read_lock_is_gone_the_moment_the_last_page_is_read() {
    let (_dir, path) = database();
    drop(create(&path, "wal", 10));
    let _owner = Other::start("log", &path);
    let mut checkpointer = Other::start("checkpoint", &path);
    let mut snapshot = Snapshot::open(&path, &quick()).unwrap();
    let mut image = vec![0; snapshot.len() as usize];
    snapshot.read_exact(&mut image).unwrap();
    assert!(!is_pinned(&fs::metadata(&path).unwrap()));
    assert_eq!(checkpointer.go_on(), "busy 0");
    assert_eq!(snapshot.read(&mut [0; 10]).unwrap(), 0);
    assert_eq!(rows(&image), 2010);
}

#[test]
fn all_companions_are_pinned_while_a_snapshot_is_open() {
    let (_dir, path) = database();
    let db = create(&path, "wal", 10);
    let snapshot = Snapshot::open(&path, &quick()).unwrap();
    let files = ["", "-wal", "-shm"].map(|suffix| fs::symlink_metadata(beside(&path, suffix)).unwrap());
    assert!(files.iter().all(is_pinned));
    snapshot.close();
    assert!(!files.iter().any(is_pinned));
    drop(db);
}

#[test]
fn a_hard_link_waits_for_the_snapshot_of_the_same_file() {
    let (dir, path) = database();
    drop(create(&path, "delete", 10));
    let link = dir.path().join("link.db");
    fs::hard_link(&path, &link).unwrap();
    let first = Snapshot::open(&path, &quick()).unwrap();
    assert!(matches!(Snapshot::open(&link, &quick()), Err(OpenError::Locked { .. })));
    drop(first);
    assert_eq!(rows(&read(&link)), 10);
}

/// SQLite finds log and locks by name, so under this name it would see neither.
#[test]
fn another_name_of_a_wal_database_in_use_is_refused() {
    let (dir, path) = database();
    drop(create(&path, "wal", 10));
    let link = dir.path().join("a-copy.db");
    fs::hard_link(&path, &link).unwrap();
    assert_eq!(rows(&read(&link)), 10);
    let _owner = Other::start("log", &path);
    let before = names(&dir);
    let error = Snapshot::open(&link, &quick()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the file is another name of home-assistant_v2.db, whose write-ahead log is not beside this name"
    );
    assert_eq!(names(&dir), before);
    assert_eq!(rows(&read(&path)), 2010);
}

#[test]
fn another_name_of_a_database_without_a_log_is_as_good_as_the_first() {
    let (dir, path) = database();
    drop(create(&path, "delete", 10));
    let link = dir.path().join("a-copy.db");
    fs::hard_link(&path, &link).unwrap();
    File::create(beside(&path, "-wal")).unwrap();
    assert_eq!(rows(&read(&link)), 10);
}

#[test]
fn a_database_deleted_or_replaced_while_open_is_read_to_its_end() {
    for replace in [false, true] {
        let (dir, path) = database();
        let db = create(&path, "wal", 500);
        let mut snapshot = Snapshot::open(&path, &quick()).unwrap();
        fs::remove_file(&path).unwrap();
        if replace {
            let other = dir.path().join("other.db");
            drop(create(&other, "delete", 3));
            fs::rename(&other, &path).unwrap();
        }
        let mut image = Vec::new();
        snapshot.read_to_end(&mut image).unwrap();
        assert_eq!(rows(&image), 500);
        drop(db);
    }
}

#[test]
fn a_read_only_mount_works_while_the_owner_has_the_database_open() {
    let (dir, path) = database();
    if !is_root("read-only mount") {
        return;
    }
    drop(create(&path, "wal", 10));
    let _owner = Other::start("log", &path);
    let Some(mount) = ReadOnlyMount::of(&dir) else { return };
    assert_eq!(rows(&read(&mount.path(&path))), 2010);
}

#[test]
fn a_read_only_mount_works_while_the_owner_commits() {
    let (dir, path) = database();
    if !is_root("read-only mount") {
        return;
    }
    drop(create(&path, "wal", 3000));
    let mut writer = Other::start("commit", &path);
    let Some(mount) = ReadOnlyMount::of(&dir) else { return };
    for _ in 0..10 {
        rows(&read(&mount.path(&path)));
    }
    assert_cost_nothing(&writer.go_on());
}

#[test]
fn a_read_only_mount_works_with_a_log_and_nobody_there() {
    let (dir, path) = database();
    if !is_root("read-only mount") {
        return;
    }
    drop(create(&path, "wal", 10));
    Other::start("log", &path).kill();
    let Some(mount) = ReadOnlyMount::of(&dir) else { return };
    // With the dead owner's -shm SQLite manages by itself, without it our own reader has to.
    assert_eq!(rows(&read(&mount.path(&path))), 2010);
    fs::remove_file(beside(&path, "-shm")).unwrap();
    assert_eq!(rows(&read(&mount.path(&path))), 2010);
    // An owner that comes while we read without any lock it respects spoils the image, and the snapshot reports that.
    let mut snapshot = Snapshot::open(&mount.path(&path), &quick()).unwrap();
    let _owner = Other::start("own", &path);
    assert!(snapshot.read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn a_read_only_mount_works_with_a_cleanly_closed_wal_database() {
    let (dir, path) = database();
    if !is_root("read-only mount") {
        return;
    }
    drop(create(&path, "wal", 10));
    let Some(mount) = ReadOnlyMount::of(&dir) else { return };
    assert_eq!(rows(&read(&mount.path(&path))), 10);
    assert_eq!(names(&dir).len(), 1);
}

#[test]
fn a_read_only_mount_works_with_a_hot_journal() {
    let (dir, path) = database();
    if !is_root("read-only mount") {
        return;
    }
    drop(create(&path, "delete", 1000));
    Other::start("spill", &path).kill();
    let Some(mount) = ReadOnlyMount::of(&dir) else { return };
    assert_eq!(rows(&read(&mount.path(&path))), 1000);
}

/// Somebody's connection, but not to the log yet: SQLite makes the index for us.
#[test]
fn root_leaves_files_that_their_owner_can_open() {
    let (_dir, path) = database();
    if !is_root("files of another user") {
        return;
    }
    drop(create(&path, "wal", 10));
    std::os::unix::fs::chown(&path, Some(1234), Some(1235)).unwrap();
    let _connected = Other::start("connected", &path);
    let snapshot = Snapshot::open(&path, &quick()).unwrap();
    let shm = fs::metadata(beside(&path, "-shm")).unwrap();
    assert_eq!((shm.uid(), shm.gid()), (1234, 1235));
    drop(snapshot);
}

#[test]
fn names_with_odd_bytes_are_only_names() {
    let dir = TempDir::new().unwrap();
    for name in [
        &b"a b.db"[..],
        b"what?.db",
        b"50%41.db",
        b"#1.db",
        b"file:x.db",
        b":memory:",
        b"caf\xe9.db",
        b"a?mode=memory&x=.db",
    ] {
        let path = dir.path().join(std::ffi::OsStr::from_bytes(name));
        drop(create(&path, "wal", 7));
        assert_eq!(rows(&read(&path)), 7);
        let db = Connection::open(&path).unwrap();
        insert(&db, 5);
        assert_eq!(rows(&read(&path)), 12);
    }
}

#[test]
fn a_relative_path_that_looks_like_a_uri_is_a_path() {
    let (dir, path) = database();
    let _ = dir;
    drop(create(&path, "delete", 7));
    assert!(Snapshot::open(Path::new(":memory:"), &quick()).is_err());
    assert!(Snapshot::open(Path::new("file::memory:"), &quick()).is_err());
}
