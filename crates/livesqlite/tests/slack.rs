//! Zeros for unused space change nothing that SQLite reads: random databases, compared row by row with their images.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write;
use std::io::Read;
use std::path::Path;

use livesqlite::{Options, Snapshot};
use rusqlite::Connection;
use tempfile::TempDir;

const TABLES: [&str; 3] = ["plain", "keyed", "wide"];

/// How many databases; more with `LIVESQLITE_SLACK_ROUNDS`.
fn rounds() -> u64 {
    std::env::var("LIVESQLITE_SLACK_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A value as SQL: nothing, a number, a short or a long text, bytes up to several pages long.
fn value(dice: &mut Dice, page_size: u64) -> String {
    let (limit, key) = (dice.roll(4 * page_size.min(8192)), dice.roll(1 << 31));
    match dice.roll(8) {
        0 => "NULL".to_owned(),
        1 => key.to_string(),
        2 => format!("hex(randomblob({}))", limit % 3000),
        3 => format!("randomblob({limit})"),
        _ => format!("'text {key}' || hex(randomblob({}))", limit % 60),
    }
}

/// Tables of every kind of tree, changed at random in the way given by `seed`.
fn random_database(path: &Path, seed: u64) -> Connection {
    let mut dice = Dice(seed);
    let page_size = 512 << (seed % 8);
    let mode = ["wal", "delete", "persist"][dice.roll(3) as usize];
    let auto_vacuum = [0, 0, 0, 2][dice.roll(4) as usize];
    let encoding = ["UTF-8", "UTF-16le"][dice.roll(2) as usize];
    let db = Connection::open(path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA page_size={page_size}; PRAGMA auto_vacuum={auto_vacuum}; PRAGMA encoding='{encoding}'; PRAGMA \
         journal_mode={mode};
         PRAGMA synchronous=OFF; PRAGMA secure_delete=OFF; PRAGMA wal_autocheckpoint={};
         CREATE TABLE plain(id INTEGER PRIMARY KEY, a, b); CREATE INDEX by_a ON plain(a); CREATE INDEX by_both ON \
         plain(b, a) WHERE a IS NOT NULL;
         CREATE TABLE keyed(k PRIMARY KEY, a) WITHOUT ROWID; CREATE TABLE wide(a, b, c, d UNIQUE);",
        [5, 1000][dice.roll(2) as usize]
    ))
    .unwrap();
    for _ in 0..8 + dice.roll(10) {
        db.execute_batch(&changes(&mut dice, page_size)).unwrap();
    }
    db
}

/// One transaction.
fn changes(dice: &mut Dice, page_size: u64) -> String {
    let mut sql = "BEGIN;\n".to_owned();
    for _ in 0..5 + dice.roll(60) {
        let [one, two, three] = [(); 3].map(|()| value(dice, page_size));
        let id = dice.roll(300);
        let statement = match dice.roll(9) {
            0..=2 => format!("INSERT OR REPLACE INTO plain VALUES ({id}, {one}, {two})"),
            3 => format!("INSERT OR REPLACE INTO keyed VALUES ('key {id}', {one})"),
            4 => format!("INSERT OR IGNORE INTO wide VALUES ({one}, {two}, {three}, {id})"),
            5 => format!("UPDATE plain SET a = {one} WHERE id % 9 = {}", id % 9),
            6 => format!("UPDATE keyed SET a = {one} WHERE k LIKE '%{}'", id % 10),
            7 => format!("DELETE FROM {} WHERE a > {one}", TABLES[id as usize % 3]),
            _ => format!("DELETE FROM plain WHERE id % 5 = {}", id % 5),
        };
        writeln!(sql, "{statement};").unwrap();
    }
    sql.push_str("COMMIT;\n");
    match dice.roll(12) {
        0 => sql.push_str("VACUUM"),
        1 => sql.push_str("DELETE FROM wide"),
        2 => sql.push_str("DROP INDEX by_a; CREATE INDEX by_a ON plain(a)"),
        3 => sql.push_str("PRAGMA wal_checkpoint(TRUNCATE)"),
        _ => {}
    }
    sql
}

/// SQLite's verdict, the schema and every row of every table and index, as SQL literals in the order of the tree.
fn dump(db: &Connection) -> Vec<String> {
    let queries = [
        "PRAGMA integrity_check",
        "SELECT quote(type) || quote(name) || quote(rootpage) || quote(sql) FROM sqlite_schema",
        "SELECT id || quote(a) || quote(b) FROM plain NOT INDEXED",
        "SELECT id || quote(a) FROM plain INDEXED BY by_a ORDER BY a",
        "SELECT id || quote(a) || quote(b) FROM plain INDEXED BY by_both WHERE a IS NOT NULL ORDER BY b, a",
        "SELECT quote(k) || quote(a) FROM keyed",
        "SELECT rowid || quote(a) || quote(b) || quote(c) || quote(d) FROM wide NOT INDEXED",
        "SELECT quote(d) FROM wide ORDER BY d",
    ];
    let texts = |sql| {
        db.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect::<Vec<String>>()
    };
    queries.into_iter().flat_map(texts).collect()
}

#[test]
fn random_databases_and_their_images_hold_the_same_rows() {
    let mut changed = 0;
    for seed in 0..rounds() {
        let dir = TempDir::new().unwrap();
        let (path, copy) = (dir.path().join("a.db"), dir.path().join("image.db"));
        let db = random_database(&path, seed);
        let images = [true, false].map(|zero_unused| {
            let mut image = Vec::new();
            Snapshot::open(&path, &Options::default().zero_unused(zero_unused))
                .unwrap()
                .read_to_end(&mut image)
                .unwrap();
            image
        });
        changed += u64::from(images[0] != images[1]);
        let original = dump(&db);
        assert_eq!(original[0], "ok");
        let mut checker = livesqlite::check::ImageChecker::new();
        checker.push(&images[0]);
        assert_eq!(checker.finish(), Vec::<String>::new(), "seed {seed}");
        std::fs::write(&copy, &images[0]).unwrap();
        let image = Connection::open(&copy).unwrap();
        assert!(dump(&image) == original, "seed {seed}");
        // Writers trust free space as well.
        let mut dice = Dice(seed);
        image.execute_batch(&changes(&mut dice, 512 << (seed % 8))).unwrap();
        assert_eq!(dump(&image)[0], "ok", "seed {seed} after changes");
    }
    assert!(changed > rounds() / 2);
}
