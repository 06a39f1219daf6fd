//! Databases that SQLite itself can read: every page size and journal mode.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use livesqlite::{JournalMode, OpenError, Options, Snapshot};
use rusqlite::Connection;
use tempfile::TempDir;

fn options() -> Options {
    Options::default().busy_timeout(Duration::from_millis(300))
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
    db.execute_batch(&format!("PRAGMA page_size={page_size}; PRAGMA journal_mode={mode}; PRAGMA synchronous=OFF;"))
        .unwrap();
    db.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); CREATE INDEX i ON t(v);").unwrap();
    db.execute_batch(&format!(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<{count}) INSERT INTO t(v) SELECT \
         randomblob(x % 700) FROM n"
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
fn auto_vacuum_databases_are_read_like_others() {
    for auto_vacuum in [1, 2] {
        let dir = TempDir::new().unwrap();
        let db = Connection::open(new_db(&dir)).unwrap();
        db.execute_batch(&format!("PRAGMA auto_vacuum={auto_vacuum}; PRAGMA page_size=512")).unwrap();
        drop(db);
        let db = fill(&new_db(&dir), 512, "wal", 3000);
        db.execute_batch("DELETE FROM t WHERE id % 3 <> 0").unwrap();
        assert_eq!(rows(&dir, &read(&new_db(&dir))), 1000);
    }
}

#[test]
fn deleted_rows_are_not_in_the_image_unless_asked_for() {
    let dir = TempDir::new().unwrap();
    let db = fill(&new_db(&dir), 4096, "wal", 1);
    db.execute_batch("PRAGMA secure_delete=OFF; CREATE TABLE s(x);").unwrap();
    db.execute_batch(&format!("INSERT INTO s VALUES ('{}')", "a secret of yesterday ".repeat(5000))).unwrap();
    db.execute_batch("DROP TABLE s; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let has_it = |image: &[u8]| image.windows(21).any(|bytes| bytes == b"a secret of yesterday");
    let clean = read(&new_db(&dir));
    assert!(!has_it(&clean));
    assert_eq!(rows(&dir, &clean), 1);
    let as_it_is = options().zero_unused(false);
    let mut raw = Vec::new();
    Snapshot::open(&new_db(&dir), &as_it_is).unwrap().read_to_end(&mut raw).unwrap();
    assert!(has_it(&raw) && raw.len() == clean.len());
}

#[test]
fn a_broken_free_list_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let db = fill(&new_db(&dir), 1024, "delete", 2000);
    db.execute_batch("DELETE FROM t WHERE id > 5").unwrap();
    drop(db);
    let whole = std::fs::read(new_db(&dir)).unwrap();
    let trunk = u32::from_be_bytes(whole[32..36].try_into().unwrap());
    let at = (trunk as usize - 1) * 1024;
    // A loop, a leaf outside the file, a leaf that is page 1, a leaf listed twice, a count that cannot be.
    let leaf = whole[at + 8..at + 12].to_vec();
    for (offset, value) in
        [(0, trunk.to_be_bytes().to_vec()), (8, vec![9; 4]), (8, vec![0, 0, 0, 1]), (12, leaf), (4, vec![0, 0, 9, 9])]
    {
        let mut bytes = whole.clone();
        bytes[at + offset..at + offset + 4].copy_from_slice(&value);
        std::fs::write(new_db(&dir), &bytes).unwrap();
        assert!(read(&new_db(&dir)) == bytes, "offset {offset}");
    }
}

#[test]
fn a_schema_that_this_program_cannot_parse_is_no_obstacle() {
    for mode in ["wal", "delete"] {
        let dir = TempDir::new().unwrap();
        let db = fill(&new_db(&dir), 4096, mode, 500);
        db.execute_batch(
            "PRAGMA writable_schema=ON;
             INSERT INTO sqlite_schema VALUES ('table', 'virtual', 'virtual', 0, 'CREATE VIRTUAL TABLE virtual USING \
             nobody_has_this(x)');
             INSERT INTO sqlite_schema VALUES ('table', 'broken', 'broken', 77, 'CREATE TABLE broken(((');",
        )
        .unwrap();
        let image = read(&new_db(&dir));
        let snapshot = Snapshot::open(&new_db(&dir), &options()).unwrap();
        assert_eq!(image.len() as u64, snapshot.len());
        assert!(image.windows(15).any(|bytes| bytes == b"nobody_has_this"));
        drop(db);
    }
}

#[test]
fn damage_that_sqlite_sees_at_once_is_reported() {
    let dir = TempDir::new().unwrap();
    drop(fill(&new_db(&dir), 4096, "delete", 500));
    let whole = std::fs::read(new_db(&dir)).unwrap();
    let garbage = [&whole[..16], &vec![0xa5; 50_000][..]].concat();
    for (bytes, what) in [
        (&whole[..whole.len() / 2], "truncated"),
        (&whole[..100], "tiny"),
        (&whole[..30], "shorter"),
        (&garbage, "garbage"),
    ] {
        std::fs::write(new_db(&dir), bytes).unwrap();
        let error = Snapshot::open(&new_db(&dir), &options()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{what}: {error}");
    }
}

#[test]
fn a_database_of_one_page_and_a_missing_one() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(Snapshot::open(&new_db(&dir), &options()), Err(OpenError::Io(_))));
    assert!(matches!(Snapshot::open(dir.path(), &options()), Err(OpenError::NotADatabase)));
    Connection::open(new_db(&dir)).unwrap().execute_batch("PRAGMA user_version=3").unwrap();
    assert_eq!(read(&new_db(&dir)).len(), 4096);
}

#[test]
fn reads_of_any_size_give_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    let _db = fill(&new_db(&dir), 2048, "wal", 2000);
    let wanted = read(&new_db(&dir));
    for piece in [1, 7, 2047, 2048, 2049, 100_000, 131_072, 5_000_000] {
        let mut snapshot = Snapshot::open(&new_db(&dir), &options()).unwrap();
        let (mut image, mut buffer) = (Vec::<u8>::new(), vec![0; piece]);
        loop {
            match snapshot.read(&mut buffer).unwrap() {
                0 => break,
                count => image.extend(&buffer[..count]),
            }
        }
        assert!(image == wanted, "{piece}");
    }
}

/// The page at 1 GiB holds SQLite's locks and never data.
#[test]
fn a_database_of_more_than_a_gibibyte_skips_the_lock_page() {
    let dir = TempDir::new().unwrap();
    let db = Connection::open(new_db(&dir)).unwrap();
    db.execute_batch("PRAGMA page_size=65536; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; CREATE TABLE t(v);")
        .unwrap();
    db.execute_batch("INSERT INTO t VALUES (zeroblob(560000000)), (zeroblob(560000000)), ('behind the lock page')")
        .unwrap();
    drop(db);
    let mut snapshot = Snapshot::open(&new_db(&dir), &options()).unwrap();
    assert!(snapshot.len() > 1 << 30);
    let mut file = std::fs::File::open(new_db(&dir)).unwrap();
    let (mut image, mut raw) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut checker = livesqlite::check::ImageChecker::new();
    loop {
        let count = snapshot.read(&mut image).unwrap();
        if count == 0 {
            break;
        }
        file.read_exact(&mut raw[..count]).unwrap();
        assert!(image[..count] == raw[..count]);
        checker.push(&image[..count]);
    }
    assert_eq!(checker.finish(), Vec::<String>::new());
}

#[test]
fn a_file_that_is_not_a_database_is_reported() {
    let dir = TempDir::new().unwrap();
    for content in [&b""[..], b"hello", &[0; 8192]] {
        std::fs::write(new_db(&dir), content).unwrap();
        assert!(matches!(Snapshot::open(&new_db(&dir), &options()), Err(OpenError::NotADatabase)));
    }
}

/// Deletes two of three rows, whose text must be gone from the image while everything else is the same.
fn deleted_text_in_the_image(auto_vacuum: &str) -> bool {
    let dir = TempDir::new().unwrap();
    let path = new_db(&dir);
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA auto_vacuum={auto_vacuum}; PRAGMA secure_delete=OFF; PRAGMA journal_mode=wal; \
        CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE INDEX i ON t(v)"
    ))
    .unwrap();
    db.execute_batch(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<9000)
         INSERT INTO t SELECT x, CASE WHEN x % 3 = 0 THEN 'kept-' ELSE 'gone-' END || hex(randomblob(x % 40)) || x \
         FROM n;
         DELETE FROM t WHERE x_is_gone(v);"
            .replace("x_is_gone(v)", "v LIKE 'gone-%'")
            .as_str(),
    )
    .unwrap();
    let image = read(&path);
    assert_eq!(rows(&dir, &image), 3000);
    image.windows(5).any(|part| part == b"gone-")
}

#[test]
fn what_deleted_rows_left_behind_does_not_travel() {
    assert!(!deleted_text_in_the_image("none"));
}

#[test]
fn beside_pointer_maps_pages_are_left_as_they_are() {
    assert!(deleted_text_in_the_image("incremental"));
}
