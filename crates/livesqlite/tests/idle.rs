//! WAL databases that nobody has open when the snapshot begins: nothing is written, and a newcomer neither waits nor
//! spoils the image.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[allow(unreachable_pub)]
mod process;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use livesqlite::check::ImageChecker;
use livesqlite::{Options, Snapshot};
use process::{Other, say, wait};
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

/// What is beside the database when the snapshot begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// The last connection tidied up.
    Nothing,
    /// A log with commits that are not in the main file.
    Log,
    /// The same with the index, as a killed process leaves it.
    LogAndIndex,
}

const EVERYTHING: [Left; 3] = [Left::Nothing, Left::Log, Left::LogAndIndex];
const ROWS: i64 = 3000;

/// A database with [`ROWS`] rows in both tables, on a disk. Nobody has it open.
fn idle(left: Left) -> (TempDir, PathBuf) {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().canonicalize().unwrap().join("a.db");
    let mut maker = Other::start("make", &path);
    if left == Left::Nothing {
        maker.go_on();
    } else {
        maker.kill();
    }
    if left == Left::Log {
        fs::remove_file(beside(&path, "-shm")).unwrap();
    }
    let has = |suffix| beside(&path, suffix).exists();
    assert_eq!((has("-wal"), has("-shm")), (left != Left::Nothing, left == Left::LogAndIndex));
    (dir, path)
}

fn insert(db: &Connection, count: i64) -> rusqlite::Result<()> {
    db.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<{count}) INSERT INTO a(v) SELECT \
         randomblob(700) FROM n;
         INSERT INTO b SELECT id, hex(randomblob(20)) FROM a WHERE id > (SELECT coalesce(max(id), 0) FROM b);
         COMMIT"
    ))
}

/// Changes pages all over the file, in one transaction.
fn rewrite(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "BEGIN IMMEDIATE; UPDATE a SET v = randomblob(700); UPDATE b SET v = hex(randomblob(20)); COMMIT",
    )?;
    insert(db, 500)
}

fn checkpoint(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Name, size, time of the last change, for all files of the directory and itself.
fn listing(path: &Path) -> Vec<(PathBuf, u64, i64, i64)> {
    let dir = path.parent().unwrap();
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = files
        .chain([dir.to_owned()])
        .map(|file| (fs::metadata(&file).unwrap(), file))
        .map(|(m, file)| (file, m.len(), m.mtime(), m.mtime_nsec()))
        .collect();
    found.sort();
    found
}

fn open(path: &Path) -> Snapshot {
    Snapshot::open(path, &Options::default().busy_timeout(Duration::from_millis(400))).unwrap()
}

fn rest(snapshot: &mut Snapshot, mut image: Vec<u8>) -> Vec<u8> {
    snapshot.read_to_end(&mut image).unwrap();
    assert_eq!(image.len() as u64, snapshot.len());
    image
}

/// Checks an image, and that it is of one commit. Returns the rows.
fn rows(image: &[u8]) -> i64 {
    look_into(image).0
}

/// The same, with the number of different contents of rows.
fn look_into(image: &[u8]) -> (i64, i64) {
    let mut checker = ImageChecker::new();
    checker.push(image);
    assert_eq!(checker.finish(), Vec::<String>::new());
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("image.db");
    fs::write(&path, image).unwrap();
    let db = Connection::open(&path).unwrap();
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let counts =
        db.query_row("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b), (SELECT max(id) FROM a)", [], |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?])
        });
    let [a, b, last] = counts.unwrap();
    assert_eq!((a, b), (last, last));
    (a, db.query_row("SELECT count(DISTINCT v) FROM a", [], |row| row.get(0)).unwrap())
}

/// What this process has caused to be written to disks.
fn write_bytes() -> u64 {
    let account = fs::read_to_string("/proc/self/io").unwrap();
    account.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
}

/// Not a test: what the other process does.
#[test]
fn another_process() {
    process::play(|role, path| match role {
        "image" => {
            say("ready");
            wait();
            let before = write_bytes();
            let mut snapshot = open(path);
            let image = rest(&mut snapshot, Vec::new());
            drop(snapshot);
            let written = write_bytes() - before;
            say(&format!("{written} bytes written, {} read", image.len()));
            wait();
        }
        "make" => {
            let db = Connection::open(path).unwrap();
            db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0").unwrap();
            db.execute_batch(
                "CREATE TABLE a(id INTEGER PRIMARY KEY, v BLOB); CREATE TABLE b(id INTEGER PRIMARY KEY, v TEXT)",
            )
            .unwrap();
            insert(&db, ROWS - 1000).unwrap();
            assert_eq!(checkpoint(&db).unwrap(), 0);
            insert(&db, 1000).unwrap();
            say("ready");
            wait();
            drop(db);
            say("closed");
            wait();
        }
        "newcomer" => {
            let began = Instant::now();
            let db = Connection::open(path).unwrap();
            db.busy_timeout(Duration::ZERO).unwrap();
            rewrite(&db).unwrap();
            // In far less than the kernel would let anybody wait for the end of a lease.
            assert!(began.elapsed() < Duration::from_secs(20));
            say("ready");
            wait();
            say(&format!("busy {}", checkpoint(&db).unwrap()));
            wait();
            say(&format!("busy {}", checkpoint(&db).unwrap()));
            wait();
            drop(db);
            say("closed");
            wait();
        }
        "come and go" => come_and_go(path),
        other => panic!("no such role: {other}"),
    });
}

/// Opens, commits, checkpoints and closes until stopped.
fn come_and_go(path: &Path) {
    let stopped = AtomicBool::new(false);
    let mut visits = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait();
            stopped.store(true, Ordering::Relaxed);
        });
        say("ready");
        while !stopped.load(Ordering::Relaxed) {
            let db = Connection::open(path).unwrap();
            // As Home Assistant: whoever joins may hold the write lock for a moment.
            db.busy_timeout(Duration::from_secs(5)).unwrap();
            db.execute_batch("PRAGMA synchronous=OFF").unwrap();
            // Every row says which visit it is of.
            db.execute_batch(&format!(
                "BEGIN IMMEDIATE; UPDATE a SET v = printf('%0700d', {visits}); INSERT INTO a(v) VALUES \
                 (printf('%0700d', {visits}));
                 INSERT INTO b SELECT max(id), 'x' FROM a; COMMIT"
            ))
            .unwrap();
            checkpoint(&db).unwrap();
            drop(db);
            visits += 1;
            std::thread::sleep(Duration::from_millis(visits % 13 * 5));
        }
    });
    say(&format!("{visits}"));
    wait();
}

#[test]
fn not_one_byte_is_written_and_no_file_appears() {
    for left in EVERYTHING {
        let (_dir, path) = idle(left);
        let before = listing(&path);
        let mut reader = Other::start("image", &path);
        let answer = reader.go_on();
        // On a busy machine the kernel now and then counts one page of which nothing is to be seen; an index would be
        // eight and more.
        let written: u64 = answer.split_once(' ').unwrap().0.parse().unwrap();
        assert!(written <= 4096, "{left:?}: {answer}");
        assert_eq!(listing(&path), before, "{left:?}");
        let mut snapshot = open(&path);
        let mut first = vec![0; 5000];
        snapshot.read_exact(&mut first).unwrap();
        assert_eq!(listing(&path), before, "{left:?}, while it is read");
        assert_eq!(rows(&rest(&mut snapshot, first)), ROWS);
        assert_eq!(listing(&path), before, "{left:?}");
    }
}

#[test]
fn the_image_is_what_sqlite_would_have_seen() {
    for left in EVERYTHING {
        let (_dir, path) = idle(left);
        let as_it_is = Options::default().zero_unused(false);
        let ours = rest(&mut Snapshot::open(&path, &as_it_is).unwrap(), Vec::new());
        let db = Connection::open(&path).unwrap();
        assert_eq!(checkpoint(&db).unwrap(), 0);
        drop(db);
        assert!(ours == fs::read(&path).unwrap(), "{left:?}");
    }
}

/// Main file and log of a small database. The log has begun again once, so that older frames lie behind the last
/// commit.
fn main_and_log() -> (Vec<u8>, Vec<u8>) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA page_size=512; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0").unwrap();
    db.execute_batch("CREATE TABLE a(id INTEGER PRIMARY KEY, v BLOB); CREATE TABLE b(id INTEGER PRIMARY KEY, v TEXT)")
        .unwrap();
    insert(&db, 40).unwrap();
    db.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(())).unwrap();
    for _ in 0..4 {
        insert(&db, 5).unwrap();
    }
    (fs::read(&path).unwrap(), fs::read(beside(&path, "-wal")).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_damaged_log_counts_as_far_as_it_does_for_sqlite(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        head in prop::option::of((0_usize..32, any::<u8>())),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        static MADE: std::sync::LazyLock<(Vec<u8>, Vec<u8>)> = std::sync::LazyLock::new(main_and_log);
        let (main, mut log) = MADE.clone();
        for (at, value) in flips {
            let at = at.index(log.len());
            log[at] = value;
        }
        if let Some((at, value)) = head {
            log[at] = value;
        }
        if let Some(cut) = cut {
            log.truncate(cut.index(log.len() + 1));
        }
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a.db");
        fs::write(&path, &main).unwrap();
        fs::write(beside(&path, "-wal"), &log).unwrap();
        let as_it_is = Options::default().zero_unused(false);
        let ours = Snapshot::open(&path, &as_it_is).map(|mut snapshot| rest(&mut snapshot, Vec::new()));
        prop_assert!(fs::read(&path).unwrap() == main && fs::read(beside(&path, "-wal")).unwrap() == log);
        let db = Connection::open(&path).unwrap();
        let theirs = checkpoint(&db);
        drop(db);
        match (ours, theirs) {
            (Ok(ours), Ok(busy)) => prop_assert!(busy == 0 && ours == fs::read(&path).unwrap()),
            (Err(_), Err(_)) => {}
            (ours, theirs) => prop_assert!(false, "{:?}, {theirs:?}", ours.map(|image| image.len())),
        }
    }
}

#[test]
fn whoever_comes_while_it_is_read_commits_and_closes_and_the_image_stays_that_of_its_commit() {
    for left in EVERYTHING {
        for part in [0, 1, 50, 90] {
            let (_dir, path) = idle(left);
            let wanted = rest(&mut open(&path), Vec::new());
            let mut snapshot = open(&path);
            let mut image = vec![0; wanted.len() * part / 100];
            snapshot.read_exact(&mut image).unwrap();
            let mut newcomer = Other::start("newcomer", &path);
            // A checkpoint waits for this reader, as for any other.
            assert_eq!(newcomer.go_on(), "busy 1", "{left:?} {part}");
            let mut more = vec![0; wanted.len() / 200];
            snapshot.read_exact(&mut more).unwrap();
            image.append(&mut more);
            // The second one finds an index that an owner left while we read.
            newcomer.kill();
            let mut newcomer = Other::start("newcomer", &path);
            assert_eq!(newcomer.go_on(), "busy 1", "{left:?} {part}");
            let image = rest(&mut snapshot, image);
            assert!(image == wanted, "{left:?} {part}");
            assert_eq!(rows(&image), ROWS);
            assert_eq!(newcomer.go_on(), "busy 0", "{left:?} {part}");
            assert_eq!(newcomer.go_on(), "closed");
            assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "{left:?} {part}");
            assert_eq!(rows(&rest(&mut open(&path), Vec::new())), ROWS + 1000);
        }
    }
}

#[test]
fn a_held_snapshot_gives_its_image_again_whoever_came_in_between() {
    for left in EVERYTHING {
        let (_dir, path) = idle(left);
        let mut snapshot = Snapshot::open(&path, &Options::default().hold(true)).unwrap();
        let wanted = rest(&mut snapshot, Vec::new());
        let mut newcomer = Other::start("newcomer", &path);
        assert_eq!(newcomer.go_on(), "busy 1");
        snapshot.rewind().unwrap();
        assert!(rest(&mut snapshot, Vec::new()) == wanted);
        drop(snapshot);
        assert_eq!(newcomer.go_on(), "busy 0");
    }
}

#[test]
fn images_taken_while_others_come_and_go_are_whole() {
    let (_dir, path) = idle(Left::Nothing);
    let mut other = Other::start("come and go", &path);
    let (mut last, mut unused) = (0, 0);
    for _ in 0..60 {
        let mut snapshot = open(&path);
        unused += u64::from(!beside(&path, "-shm").exists());
        let (mut image, mut piece) = (Vec::new(), vec![0; 90_001]);
        loop {
            match snapshot.read(&mut piece).unwrap() {
                0 => break,
                count => image.extend(&piece[..count]),
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        let (count, contents) = look_into(&image);
        assert!(count >= last, "an older commit after a newer one");
        assert_eq!(contents, if count == ROWS { ROWS } else { 1 }, "of several commits");
        last = count;
    }
    let visits: u64 = other.go_on().parse().unwrap();
    println!("{visits} visits, {unused} images began with nobody there");
    assert!(visits > 10 && last > ROWS);
}

#[test]
fn what_is_made_for_a_newcomer_belongs_to_the_owner_of_the_database_and_goes_with_the_snapshot() {
    let (_dir, path) = idle(Left::Nothing);
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if is_root {
        std::os::unix::fs::chown(&path, Some(1234), Some(1235)).unwrap();
    } else {
        println!("without root: files of this user only");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
    let owner = fs::metadata(&path).unwrap();
    let before = fs::read_dir(path.parent().unwrap()).unwrap().count();
    let snapshot = open(&path);
    // Whoever opens it for writing may be no SQLite at all.
    drop(File::options().write(true).open(&path).unwrap());
    let made = fs::metadata(beside(&path, "-shm")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode(), made.len()), (owner.uid(), owner.gid(), owner.mode(), 0));
    drop(snapshot);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), before);
}
