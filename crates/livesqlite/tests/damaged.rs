//! Databases that are already damaged: the image reports it, and keeps every byte that a repair could need.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use livesqlite::check::ImageChecker;
use livesqlite::{Options, Snapshot};
use rusqlite::Connection;
use tempfile::TempDir;

const PAGE: usize = 4096;

/// A database of a little more than `rows` pages, a third of whose rows were deleted. Nobody has it open.
fn database(dir: &TempDir, rows: u32, mode: &str) -> PathBuf {
    let path = dir.path().join("a.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA journal_mode={mode}; PRAGMA synchronous=OFF; PRAGMA secure_delete=OFF; CREATE TABLE t(id INTEGER \
         PRIMARY KEY, v); CREATE TABLE gone(v);
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<{rows}) INSERT INTO t(v) SELECT \
         randomblob(2500) FROM n;
         INSERT INTO gone SELECT v FROM t LIMIT 100; DROP TABLE gone; DELETE FROM t WHERE id % 3 = 0"
    ))
    .unwrap();
    path
}

fn damage_page(path: &Path, page: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[(page - 1) * PAGE..page * PAGE].fill(0xa5);
    fs::write(path, bytes).unwrap();
}

fn read(path: &Path, options: &Options) -> (Vec<u8>, Vec<String>) {
    let mut snapshot = Snapshot::open(path, options).unwrap();
    let mut image = Vec::new();
    snapshot.read_to_end(&mut image).unwrap();
    (image, snapshot.damage().to_vec())
}

fn checked(image: &[u8]) -> Vec<String> {
    let mut checker = ImageChecker::new();
    checker.push(image);
    checker.finish()
}

#[test]
fn the_image_of_a_small_damaged_database_is_the_file_byte_for_byte() {
    for mode in ["wal", "delete"] {
        let dir = TempDir::new().unwrap();
        let path = database(&dir, 600, mode);
        let (sound, damage) = read(&path, &Options::default());
        assert!(damage.is_empty() && sound != fs::read(&path).unwrap());
        damage_page(&path, 500);
        let (image, damage) = read(&path, &Options::default());
        assert_eq!(damage, ["page 500 is damaged: it is of no known kind"], "{mode}");
        assert!(image == fs::read(&path).unwrap(), "{mode}");
        assert!(!checked(&image).is_empty());
    }
}

#[test]
fn of_a_large_one_every_byte_is_kept_from_where_the_damage_shows() {
    let dir = TempDir::new().unwrap();
    let path = database(&dir, 3500, "wal");
    damage_page(&path, 500);
    let (image, damage) = read(&path, &Options::default());
    let file = fs::read(&path).unwrap();
    assert!(file.len() > 8 << 20);
    assert_eq!(damage, ["page 500 is damaged: it is of no known kind"]);
    let at = 499 * PAGE;
    assert!(image[..at] != file[..at] && image[at..] == file[at..]);
}

#[test]
fn a_damaged_database_gives_the_same_image_again_and_says_the_same() {
    let dir = TempDir::new().unwrap();
    let path = database(&dir, 3500, "wal");
    damage_page(&path, 1999);
    let mut snapshot = Snapshot::open(&path, &Options::default().hold(true)).unwrap();
    // Given up before the damage, then read to the end, twice.
    snapshot.read_exact(&mut vec![0; 100 * PAGE]).unwrap();
    assert!(snapshot.damage().is_empty());
    let mut images = Vec::new();
    for _ in 0..2 {
        snapshot.rewind().unwrap();
        let mut image = Vec::new();
        snapshot.read_to_end(&mut image).unwrap();
        assert_eq!(snapshot.damage(), ["page 1999 is damaged: it is of no known kind"]);
        images.push(image);
    }
    assert!(images[0] == images[1]);
}

#[test]
fn damage_is_reported_without_zeroing_too() {
    let dir = TempDir::new().unwrap();
    let path = database(&dir, 600, "delete");
    damage_page(&path, 300);
    let (image, damage) = read(&path, &Options::default().zero_unused(false));
    assert_eq!(damage, ["page 300 is damaged: it is of no known kind"]);
    assert!(image == fs::read(&path).unwrap());
}

/// The kinds of damage that users saw: the snapshot reports each, or is refused.
#[test]
fn no_kind_of_damage_passes_for_a_sound_database() {
    type Spoil = fn(&mut Vec<u8>);
    let table: &[(&str, Spoil)] = &[
        ("noise over three pages", |bytes| {
            bytes[9 * PAGE..12 * PAGE].iter_mut().enumerate().for_each(|(n, byte)| *byte = ((n * n * 31) >> 3) as u8);
        }),
        ("a page of zeros", |bytes| bytes[20 * PAGE..21 * PAGE].fill(0)),
        ("the first page of zeros", |bytes| bytes[..PAGE].fill(0)),
        ("the schema of zeros", |bytes| bytes[100..PAGE].fill(0)),
        ("half a page of zeros", |bytes| bytes[20 * PAGE..20 * PAGE + 2048].fill(0)),
        ("cut in the middle", |bytes| bytes.truncate(bytes.len() / 2 / PAGE * PAGE)),
        ("a stump", |bytes| bytes.truncate(100)),
        ("a list of free pages that leads nowhere", |bytes| bytes[32..36].fill(0x77)),
        ("a wrong count of free pages", |bytes| bytes[39] ^= 1),
    ];
    for mode in ["wal", "delete"] {
        for (name, spoil) in table {
            let dir = TempDir::new().unwrap();
            let path = database(&dir, 600, mode);
            let mut bytes = fs::read(&path).unwrap();
            spoil(&mut bytes);
            fs::write(&path, &bytes).unwrap();
            if Snapshot::open(&path, &Options::default()).is_err() {
                continue;
            }
            let (image, damage) = read(&path, &Options::default());
            assert!(!damage.is_empty(), "{name}, {mode}");
            assert!(image == bytes, "{name}, {mode}");
        }
    }
}
