//! The structural check against databases that SQLite made and judged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::io::Read;
use std::path::Path;

use livesqlite::check::{Column, Counts, ImageChecker, Span};
use livesqlite::{Options, Snapshot};
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

fn problems(image: &[u8], piece: usize) -> Vec<String> {
    let mut checker = ImageChecker::new();
    image.chunks(piece).for_each(|bytes| checker.push(bytes));
    checker.finish()
}

const MOMENTS: Column = Column { table: "s", column: "at", since: 1_000_000_000 };

fn counts(image: &[u8], piece: usize) -> Counts {
    let mut checker = ImageChecker::counting(MOMENTS);
    image.chunks(piece).for_each(|bytes| checker.push(bytes));
    checker.finish_counted().1.unwrap()
}

/// What SQLite itself counts.
fn counted(path: &Path) -> (Vec<(String, u64)>, Option<Span>) {
    let db = Connection::open(path).unwrap();
    let mut names = db
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND \
        name <> 'k' ORDER BY name",
        )
        .unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let rows = |name: &String| {
        db.query_row(&format!("SELECT COUNT(*) FROM {name}"), [], |row| row.get::<_, u32>(0)).map(u64::from).unwrap()
    };
    let tables = names.iter().map(|name| (name.clone(), rows(name))).collect();
    let span = db.query_row(
        "SELECT CAST(MIN(at) AS INTEGER), CAST(MAX(at) AS INTEGER) FROM s WHERE at >= 1000000000",
        [],
        |row| Ok(row.get::<_, Option<u32>>(0)?.zip(row.get(1)?).map(|(first, last)| Span { first, last })),
    );
    (tables, span.unwrap())
}

fn integrity(path: &Path) -> bool {
    let verdict =
        Connection::open(path).and_then(|db| db.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)));
    verdict.is_ok_and(|answer| answer == "ok")
}

#[derive(Clone, Debug)]
enum Step {
    Insert { rows: u32, bytes: u32 },
    Delete { modulo: u32 },
    Update { modulo: u32, bytes: u32 },
    Keyed { rows: u32 },
    Drop,
    Vacuum,
    IncrementalVacuum,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u32..400, 0_u32..9000).prop_map(|(rows, bytes)| Step::Insert { rows, bytes: bytes / (1 + rows / 30) }),
        2 => (2_u32..9).prop_map(|modulo| Step::Delete { modulo }),
        2 => (2_u32..9, 0_u32..5000).prop_map(|(modulo, bytes)| Step::Update { modulo, bytes }),
        2 => (1_u32..300).prop_map(|rows| Step::Keyed { rows }),
        1 => Just(Step::Drop),
        1 => Just(Step::Vacuum),
        1 => Just(Step::IncrementalVacuum),
    ]
}

fn apply(db: &Connection, index: usize, step: &Step) {
    let series = |rows: u32| format!("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<{rows})");
    let sql = match step {
        Step::Insert { rows, bytes } => {
            // Some moments are of a clock that was not set.
            let moment = "abs(random()) % 9 * (200000000 + abs(random()) % 1000000) / 1.7";
            format!(
                "{0} INSERT INTO t(v, w) SELECT randomblob(abs(random()) % {1}), hex(randomblob(x % 60)) FROM n;
                 {0} INSERT INTO s(state, at) SELECT hex(randomblob(x % 40)), {moment} FROM n;",
                series(*rows),
                bytes + 1
            )
        }
        Step::Delete { modulo } => {
            format!(
                "DELETE FROM t WHERE id % {modulo} = 0; DELETE FROM k WHERE length(a) % {modulo} = 0; DELETE FROM s \
                 WHERE id % {modulo} < 2"
            )
        }
        Step::Update { modulo, bytes } => format!("UPDATE t SET v = randomblob({bytes}) WHERE id % {modulo} = 1"),
        Step::Keyed { rows } => {
            format!("{} INSERT OR IGNORE INTO k SELECT hex(randomblob(x % 700)), x FROM n", series(*rows))
        }
        Step::Drop => format!(
            "CREATE TABLE d{index}(a, b); CREATE INDEX e{index} ON d{index}(b); INSERT INTO d{index} SELECT v, w FROM \
             t LIMIT 200; DROP TABLE d{}",
            if index.is_multiple_of(2) { index } else { return apply_extra(db, index) }
        ),
        Step::Vacuum => "VACUUM".to_owned(),
        Step::IncrementalVacuum => "PRAGMA incremental_vacuum(7)".to_owned(),
    };
    db.execute_batch(&sql).unwrap();
}

fn apply_extra(db: &Connection, index: usize) {
    db.execute_batch(&format!(
        "CREATE TABLE d{index}(a, b); CREATE VIEW v{index} AS SELECT 1; CREATE INDEX e{index} ON d{index}(b)"
    ))
    .unwrap();
}

fn build(path: &Path, page_size: u32, auto_vacuum: u32, secure: bool, steps: &[Step]) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA page_size={page_size}; PRAGMA auto_vacuum={auto_vacuum}; PRAGMA secure_delete={secure}; PRAGMA \
         synchronous=OFF; PRAGMA journal_mode=MEMORY;
         CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB, w TEXT); CREATE INDEX i ON t(w); CREATE INDEX j ON t(v);
         CREATE TABLE k(a TEXT PRIMARY KEY, b) WITHOUT ROWID; CREATE TABLE s(id INTEGER PRIMARY KEY, state \
         VARCHAR(255), at FLOAT);"
    ))
    .unwrap();
    for (index, step) in steps.iter().enumerate() {
        apply(&db, index, step);
    }
}

fn image(path: &Path) -> Vec<u8> {
    let (image, damage) = image_and_damage(path);
    assert_eq!(damage, Vec::<String>::new());
    image
}

fn image_and_damage(path: &Path) -> (Vec<u8>, Vec<String>) {
    let mut image = Vec::new();
    let mut snapshot = Snapshot::open(path, &Options::default()).unwrap();
    snapshot.read_to_end(&mut image).unwrap();
    (image, snapshot.damage().to_vec())
}

/// `PROPTEST_CASES` asks for more.
fn cases(usual: u32) -> ProptestConfig {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { ProptestConfig { cases: usual, ..config } }
}

proptest! {
    #![proptest_config(cases(48))]
    #[test]
    fn no_valid_database_gets_a_complaint(
        size in 9_u32..17,
        auto_vacuum in 0_u32..3,
        secure in any::<bool>(),
        steps in prop::collection::vec(step(), 1..14),
        piece in 1_usize..300_000,
    ) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a.db");
        build(&path, 1 << size, auto_vacuum, secure, &steps);
        prop_assert!(integrity(&path));
        let raw = std::fs::read(&path).unwrap();
        prop_assert_eq!(problems(&raw, piece), Vec::<String>::new());
        let (found, (tables, span)) = (counts(&raw, piece), counted(&path));
        prop_assert!(found.all_rows, "{found:?}");
        prop_assert_eq!(found.tables.iter().map(|table| (table.table.clone(), table.rows)).collect::<Vec<_>>(), tables);
        prop_assert!(found.whole_span);
        prop_assert_eq!(found.span, span);
        let zeroed = image(&path);
        prop_assert_eq!(counts(&zeroed, 1 << 20), found);
        prop_assert_eq!(problems(&zeroed, raw.len()), Vec::<String>::new());
        let copy = dir.path().join("copy.db");
        std::fs::write(&copy, &zeroed).unwrap();
        prop_assert!(integrity(&copy));
    }

    #[test]
    fn what_sqlite_calls_sound_is_sound_even_after_a_flip(
        size in 9_u32..13,
        auto_vacuum in 0_u32..3,
        steps in prop::collection::vec(step(), 1..6),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 12),
    ) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a.db");
        build(&path, 1 << size, auto_vacuum, false, &steps);
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, flip) in flips {
            // Not in the header: there SQLite forgives what an image must not have.
            let at = at.index(bytes.len() - 100) + 100;
            bytes[at] ^= flip;
            let found = problems(&bytes, 1 << 20);
            std::fs::write(&path, &bytes).unwrap();
            let (image, damage) = image_and_damage(&path);
            // While an image is made the number of pages is known, which shows a little more.
            prop_assert!(found.is_empty() || !damage.is_empty(), "byte {at} ^ {flip}: {found:?}");
            if !damage.is_empty() {
                prop_assert!(!integrity(&path), "a false alarm for byte {at} ^ {flip}: {damage:?} {found:?}");
                prop_assert!(image == bytes, "the image of a damaged database is as it is");
            }
            bytes[at] ^= flip;
        }
    }

    #[test]
    fn arbitrary_damage_never_panics(
        size in 9_u32..13,
        steps in prop::collection::vec(step(), 1..3),
        stretches in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..600)), 1..9),
        cut in any::<prop::sample::Index>(),
    ) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a.db");
        build(&path, 1 << size, 1, false, &steps);
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, stretch) in stretches {
            let at = at.index(bytes.len());
            let end = (at + stretch.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&stretch[..end - at]);
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let mut checker = ImageChecker::counting(MOMENTS);
        checker.push(&bytes);
        checker.finish_counted();
    }
}

/// A database with every kind of page, and its image.
fn sample() -> (TempDir, Vec<u8>) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let steps = [
        Step::Insert { rows: 900, bytes: 300 },
        Step::Keyed { rows: 200 },
        Step::Insert { rows: 20, bytes: 30_000 },
        Step::Delete { modulo: 3 },
    ];
    build(&path, 1024, 0, false, &steps);
    let image = image(&path);
    (dir, image)
}

#[test]
fn a_wrong_length_is_found_wherever_it_is_cut() {
    let (_dir, whole) = sample();
    for len in [0, 1, 15, 16, 99, 100, 1023, 1024, 1025, whole.len() / 2, whole.len() - 1024, whole.len() - 1] {
        assert_eq!(problems(&whole[..len], 4096).len(), 1, "{len}");
    }
    let longer = [&whole[..], &[0; 1024]].concat();
    assert_eq!(problems(&longer, 4096).len(), 1);
}

#[test]
fn a_page_of_garbage_zeros_or_another_page_is_found() {
    let (_dir, whole) = sample();
    let pages = whole.len() / 1024;
    let (mut missed, mut tried) = (0, 0);
    for page in 0..pages {
        let at = page * 1024;
        // The content of a long row is not structure, only where it continues; so the last page of one may be anything.
        if whole[at..at + 4] == [0; 4] {
            continue;
        }
        for (kind, filler) in [vec![0xa5; 1024], vec![0; 1024], whole[..1024].to_vec(), whole[1024..2048].to_vec()]
            .into_iter()
            .enumerate()
        {
            if whole[at..at + 1024] == filler {
                continue;
            }
            let mut bytes = whole.clone();
            bytes[at..at + 1024].copy_from_slice(&filler);
            tried += 1;
            if problems(&bytes, 65_536).is_empty() {
                missed += 1;
                println!("missed: page {} replaced by kind {kind}", page + 1);
            }
        }
    }
    println!("{missed} of {tried} replaced pages missed");
    assert!(missed * 100 < tried);
}

#[test]
fn most_flips_in_structure_that_sqlite_finds_are_found() {
    let (dir, whole) = sample();
    let path = dir.path().join("flipped.db");
    let (mut found, mut theirs) = (0_u32, 0_u32);
    let mut random = 12345_u64;
    for _ in 0..400 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let page = 1 + (random >> 33) as usize % (whole.len() / 1024 - 1);
        // In an overflow page only the number of the next page is structure.
        let structure = if whole[page * 1024] == 0 { 4 } else { 12 };
        let at = page * 1024 + (random >> 20) as usize % structure;
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (random >> 60 & 7);
        std::fs::write(&path, &bytes).unwrap();
        if !integrity(&path) {
            theirs += 1;
            found += u32::from(!problems(&bytes, 65_536).is_empty());
        }
    }
    println!("{found} of {theirs} flips in page headers found");
    assert!(theirs > 100 && found * 100 >= theirs * 97);
}

#[test]
fn impossible_header_fields_are_found() {
    let (_dir, whole) = sample();
    for (at, value) in
        [(0, b'X'), (16, 3), (18, 9), (20, 255), (21, 65), (28, 1), (35, 255), (39, 255), (47, 9), (59, 9)]
    {
        let mut bytes = whole.clone();
        // The sample is random: a page number may end in this value already.
        bytes[at] = if whole[at] == value { value - 1 } else { value };
        assert!(!problems(&bytes, 512).is_empty(), "byte {at}");
    }
}

#[test]
fn extreme_row_ids_full_text_and_utf_16_are_sound() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA encoding='UTF-16be'; PRAGMA page_size=512;
         CREATE TABLE t(id INTEGER PRIMARY KEY, v);
         INSERT INTO t VALUES (-9223372036854775808, 1), (9223372036854775807, 2), (0, 3), (-1, 4), (1099511627776, 5);
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<3000) INSERT INTO t SELECT -x*x*x*7919, \
         hex(randomblob(x % 90)) FROM n WHERE true ON CONFLICT DO NOTHING;
         CREATE VIRTUAL TABLE f USING fts5(v); INSERT INTO f SELECT v FROM t;
         CREATE VIRTUAL TABLE r USING rtree(id, a, b); INSERT INTO r SELECT rowid, rowid, rowid + 1 FROM f;
         CREATE TABLE e(x); CREATE INDEX ex ON e(x); ANALYZE;",
    )
    .unwrap();
    drop(db);
    assert!(integrity(&path));
    assert_eq!(problems(&std::fs::read(&path).unwrap(), 1 << 20), Vec::<String>::new());
}

#[test]
fn a_one_page_database_is_sound() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 7").unwrap();
    let image = image(&path);
    assert_eq!(image.len(), 4096);
    assert_eq!(problems(&image, 7), Vec::<String>::new());
}

#[test]
fn a_column_whose_position_comes_too_late_gives_a_span_that_is_called_incomplete() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    build(&path, 512, 0, false, &[Step::Insert { rows: 200_000, bytes: 1 }]);
    let before = counts(&std::fs::read(&path).unwrap(), 4096);
    assert!(before.whole_span);
    // The row of the schema grows and moves to a page behind the table's own.
    let columns: Vec<String> = (0..40).map(|number| format!("ALTER TABLE s ADD COLUMN a_long_name_{number}")).collect();
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&columns.join(";")).unwrap();
    db.execute_batch("INSERT INTO s(state, at) VALUES ('last', 1900000000.5)").unwrap();
    drop(db);
    let after = counts(&std::fs::read(&path).unwrap(), 4096);
    assert!(after.all_rows && !after.whole_span, "{after:?}");
    assert_eq!(after.tables.iter().find(|table| table.table == "s").unwrap().rows, 200_001);
    assert!(after.span.is_none_or(|span| span.last <= 1_900_000_000));
}

#[test]
fn a_database_cut_short_is_counted_as_far_as_it_goes() {
    let (_dir, image) = sample();
    let whole = counts(&image, 4096);
    let cut = counts(&image[..image.len() / 2], 4096);
    assert!(whole.all_rows && !cut.all_rows);
    for (before, after) in whole.tables.iter().zip(&cut.tables) {
        assert!(after.rows <= before.rows, "{before:?} {after:?}");
    }
}

/// A sound database of more than 2^21 pages, without a disk: one row, and the chain of its overflow pages. Page
/// `spoilt` holds something else at `at`.
fn problems_of_a_huge_one(spoilt: u32, at: usize, bytes: &[u8]) -> Vec<String> {
    const CHAIN: u32 = (2 << 20) + 5000;
    /// SQLite keeps its locks there, and never data.
    const LOCK_PAGE: u32 = (1 << 30) / 512 + 1;
    let pages = CHAIN + 3;
    let mut checker = ImageChecker::new();
    let mut page = [0; 512];
    for number in 1..=pages {
        page.fill(0);
        match number {
            1 => {
                page[..16].copy_from_slice(b"SQLite format 3\0");
                page[16..24].copy_from_slice(&[2, 0, 1, 1, 0, 64, 32, 32]);
                (page[27], page[95], page[47], page[59]) = (1, 1, 4, 1);
                page[28..32].copy_from_slice(&pages.to_be_bytes());
                page[100..107].copy_from_slice(&[13, 0, 0, 0, 0, 2, 0]);
            }
            2 => {
                // A leaf with one cell: payload, row number, 39 bytes, the chain.
                let payload = 39 + CHAIN * 508;
                page[..10].copy_from_slice(&[13, 0, 0, 0, 1, 1, 207, 0, 1, 207]);
                let varint = [28, 21, 14, 7, 0]
                    .map(|shift| ((payload >> shift) as u8 & 0x7f) | if shift == 0 { 0 } else { 0x80 });
                page[463..468].copy_from_slice(&varint);
                page[468] = 1;
                page[508..].copy_from_slice(&3_u32.to_be_bytes());
            }
            LOCK_PAGE => {}
            _ if number < pages => {
                let next = number + if number + 1 == LOCK_PAGE { 2 } else { 1 };
                page[..4].copy_from_slice(&next.to_be_bytes());
            }
            _ => {}
        }
        if number == spoilt {
            page[at..at + bytes.len()].copy_from_slice(bytes);
        }
        checker.push(&page);
    }
    checker.finish()
}

#[test]
fn the_pages_of_a_huge_database_are_judged_too() {
    let damages: [(u32, usize, &[u8], &str); 4] = [
        (2_100_001, 0, &[0xa5], "page 2100001 is damaged: it is of no known kind"),
        (2_097_500, 0, &[0, 0, 0, 77], "page 77 is used twice"),
        (5, 1, &[0xff], "the chain of pages behind page 5 is broken at page 16711686"),
        (2, 0, &[0], "page 2 belongs to nothing"),
    ];
    assert_eq!(problems_of_a_huge_one(0, 0, &[]), Vec::<String>::new());
    for (page, at, bytes, expected) in damages {
        let found = problems_of_a_huge_one(page, at, bytes);
        assert!(found.iter().any(|problem| problem == expected), "{expected}: {found:?}");
    }
}
