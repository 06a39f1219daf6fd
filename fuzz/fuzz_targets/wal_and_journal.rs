//! Any bytes as the `-wal` or `-journal` beside a sound database, read without SQLite where that is possible. What is
//! read must be what SQLite itself makes of the same files.
//!
//! The first byte chooses. Bit 0: journal or log. Bit 1: the log's checksums, or the journal's magic, sizes and
//! checksums, are made to fit. Bits 2 and 3: damage to the main file's header is taken from the input too.
#![no_main]

use std::{
    cell::RefCell,
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use haul_fuzz::{Scratch, choice};
use libfuzzer_sys::fuzz_target;
use livesqlite::{Options, Snapshot};
use rusqlite::Connection;

const PAGE: usize = 512;
const FRAME: usize = 24 + PAGE;
/// A log of two frames may declare terabytes, which then read as zeros; a little of them is enough.
const MOST: u64 = 4 << 20;

struct Bench {
    scratch: Scratch,
    /// In journal mode `delete`, and in `wal`.
    databases: [Vec<u8>; 2],
}

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::new(Bench::new());
}

impl Bench {
    fn new() -> Self {
        let scratch = Scratch::new();
        let databases = ["delete", "wal"].map(|mode| {
            let path = scratch.path().join(mode);
            let connection = Connection::open(&path).expect("a database");
            let fill = format!(
                "PRAGMA page_size = {PAGE}; PRAGMA journal_mode = {mode}; CREATE TABLE t (a, b);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) INSERT INTO t SELECT i, \
                 hex(zeroblob(40)) FROM n;
                 DELETE FROM t WHERE a > 30;"
            );
            connection.execute_batch(&fill).expect("rows");
            drop(connection);
            fs::read(&path).expect("the database")
        });
        Self { scratch, databases }
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.scratch.path().join(format!("db{suffix}"))
    }

    fn lay_out(&self, main: &[u8], suffix: &str, beside: &[u8]) {
        for suffix in ["-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(self.path(suffix));
        }
        fs::write(self.path(""), main).expect("the database is written");
        fs::write(self.path(suffix), beside).expect("the file beside it is written");
    }
}

/// A log of the frames in `data`, 8 bytes and a page each, with everything that must fit made to.
fn mended_log(data: &[u8]) -> Vec<u8> {
    let mut log = Vec::new();
    for word in [0x377f_0682u32, 3_007_000, PAGE as u32, 7, 1, 2] {
        log.extend_from_slice(&word.to_be_bytes());
    }
    let mut sums = add((0, 0), &log);
    put(&mut log, sums);
    for frame in data.chunks(8 + PAGE) {
        let mut bytes = frame.to_vec();
        bytes.resize(8 + PAGE, 0);
        // Small numbers, or nothing would ever be read.
        for at in [0, 1, 2, 4, 5, 6] {
            bytes[at] &= bytes[7] >> 7;
        }
        sums = add(add(sums, &bytes[..8]), &bytes[8..]);
        log.extend_from_slice(&bytes[..8]);
        log.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2]);
        put(&mut log, sums);
        log.extend_from_slice(&bytes[8..]);
        assert_eq!((log.len() - 32) % FRAME, 0);
    }
    log
}

fn add((mut one, mut two): (u32, u32), bytes: &[u8]) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let words = [0, 4].map(|at| u32::from_le_bytes(pair[at..at + 4].try_into().expect("four bytes")));
        one = one.wrapping_add(words[0]).wrapping_add(two);
        two = two.wrapping_add(words[1]).wrapping_add(one);
    }
    (one, two)
}

fn put(log: &mut Vec<u8>, (one, two): (u32, u32)) {
    log.extend_from_slice(&one.to_be_bytes());
    log.extend_from_slice(&two.to_be_bytes());
}

/// A journal whose header names this page size and whose records have the checksums SQLite wants.
fn mended_journal(data: &[u8]) -> Vec<u8> {
    let Some(([count, pages, rest @ ..], records)) = data.split_first_chunk::<8>() else { return Vec::new() };
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    let count = if *count == 255 { u32::MAX } else { u32::from(*count) };
    let start = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]);
    for word in [count, start, u32::from(*pages), 512, PAGE as u32] {
        journal.extend_from_slice(&word.to_be_bytes());
    }
    journal.resize(512, 0);
    for record in records.chunks(1 + PAGE) {
        let mut bytes = record.to_vec();
        bytes.resize(1 + PAGE, 0);
        journal.extend_from_slice(&u32::from(bytes[0]).to_be_bytes());
        let page = &bytes[1..];
        // Every two hundredth byte from the end, the first one excepted.
        let picked = (1..).map_while(|step: usize| PAGE.checked_sub(step * 200)).filter(|at| *at > 0);
        let sum = picked.fold(start, |sum, at| sum.wrapping_add(u32::from(page[at])));
        journal.extend_from_slice(page);
        journal.extend_from_slice(&sum.to_be_bytes());
    }
    journal
}

fn image(path: &Path) -> Option<Vec<u8>> {
    let options = Options::default().busy_timeout(Duration::ZERO).zero_unused(false);
    let mut snapshot = Snapshot::open(path, &options).ok()?;
    let length = snapshot.len();
    let mut bytes = Vec::new();
    snapshot.by_ref().take(MOST).read_to_end(&mut bytes).ok()?;
    assert_eq!(bytes.len() as u64, length.min(MOST));
    Some(bytes)
}

fn zeroed(path: &Path) {
    let options = Options::default().busy_timeout(Duration::ZERO).zero_unused(true);
    if let Ok(snapshot) = Snapshot::open(path, &options) {
        let _ = snapshot.take(MOST).read_to_end(&mut Vec::new());
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, mut rest)) = choice(data) else { return };
    BENCH.with_borrow(|bench| {
        let is_log = mode & 1 == 1;
        let mut main = bench.databases[usize::from(is_log)].clone();
        if mode & 8 == 8
            && let Some((damage, after)) = rest.split_at_checked(100)
        {
            // The magic and the journal mode stay.
            main[20..100].copy_from_slice(&damage[20..]);
            rest = after;
        }
        let beside = match mode & 3 {
            0 | 1 => rest.to_vec(),
            2 => mended_journal(rest),
            _ => mended_log(rest),
        };
        bench.lay_out(&main, if is_log { "-wal" } else { "-journal" }, &beside);
        let path = bench.path("");
        zeroed(&path);
        if let Some(ours) = image(&path) {
            // SQLite writes into the main file what it makes of the two.
            let (settles, column) =
                if is_log { ("PRAGMA wal_checkpoint(TRUNCATE)", 1) } else { ("PRAGMA user_version", 0) };
            let settled = Connection::open(&path)
                .and_then(|connection| connection.query_row(settles, [], |row| row.get::<_, i64>(column)));
            // A log of -1 frames is one that it could not open.
            if settled.is_ok_and(|frames| !is_log || frames >= 0) {
                let mut theirs = Vec::new();
                fs::File::open(&path).and_then(|file| file.take(MOST).read_to_end(&mut theirs)).expect("the database");
                let length = ours.len().min(theirs.len());
                assert!(ours[..length] == theirs[..length], "SQLite sees another database in these files");
            }
        }
    });
});
