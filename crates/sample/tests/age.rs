//! A sample that grew older is still what a running Home Assistant would have: sound, complete, and of its size.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use sample::{Error, Options, age, create, scatter};

const DATABASE: &str = "home-assistant_v2.db";
/// 2026-11-20 00:00 UTC, where a new sample ends.
const NEWEST: f64 = 1_795_132_800.0;

fn made(dir: &Path) {
    create(dir, &Options { database_bytes: 3 << 20, seed: 7 }).unwrap();
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

fn ask<T: rusqlite::types::FromSql>(database: &Connection, sql: &str) -> T {
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_purged_database_is_sound_and_holds_as_much_as_before() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let storage = |key: &str| fs::read(dir.path().join(".storage").join(key)).unwrap();
    let (states, registry) = (storage("core.restore_state"), storage("core.device_registry"));
    let database = || Connection::open(dir.path().join(DATABASE)).unwrap();
    let first: i64 = ask(&database(), "SELECT min(state_id) FROM states");
    let rows: i64 = ask(&database(), "SELECT count(*) FROM states");
    let aged = age(dir.path(), hours(30)).unwrap();
    assert_eq!((aged.purges, aged.repacks), (2, 0), "nights");
    assert!(aged.purged > 0 && aged.written > aged.purged, "{aged:?}");
    let database = database();
    assert_eq!(ask::<String>(&database, "PRAGMA integrity_check"), "ok");
    assert_eq!(ask::<String>(&database, "PRAGMA journal_mode"), "wal");
    assert_eq!(ask::<i64>(&database, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert!(ask::<i64>(&database, "SELECT min(state_id) FROM states") > first, "the oldest are gone");
    let now: i64 = ask(&database, "SELECT count(*) FROM states");
    assert!(now >= rows && now - rows < rows / 5, "{rows} became {now}");
    let newest: f64 = ask(&database, "SELECT max(last_updated_ts) FROM states");
    assert!((newest - NEWEST - 30.0 * 3600.0).abs() < 1_800.0, "{newest}");
    let gaps = "SELECT count(*) FROM (SELECT start_ts - lag(start_ts) OVER (ORDER BY start_ts) AS gap FROM \
                (SELECT DISTINCT start_ts FROM statistics_short_term)) WHERE gap <> 300";
    assert_eq!(ask::<i64>(&database, gaps), 0, "statistics have no hole where the new ones begin");
    assert!(storage("core.restore_state") != states, "what the entities showed last is written again");
    assert!(storage("core.device_registry") == registry, "nobody changed a device");
}

#[test]
fn the_same_sample_ages_to_the_same_bytes_and_only_once() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for dir in &dirs {
        made(dir.path());
        assert!(age(dir.path(), hours(2)).unwrap().written > 0);
    }
    let database = |dir: &tempfile::TempDir| fs::read(dir.path().join(DATABASE)).unwrap();
    assert!(database(&dirs[0]) == database(&dirs[1]));
    assert_eq!(age(dirs[0].path(), hours(2)).unwrap().written, 0);
    let rows = |dir: &tempfile::TempDir| -> i64 {
        ask(&Connection::open(dir.path().join(DATABASE)).unwrap(), "SELECT count(*) FROM states")
    };
    assert_eq!(rows(&dirs[0]), rows(&dirs[1]));
    for name in ["core.restore_state", "core.entity_registry"] {
        let [one, two] = dirs.each_ref().map(|dir| fs::read(dir.path().join(".storage").join(name)).unwrap());
        assert!(one == two, "{name} differs");
    }
}

#[test]
fn scattered_changes_leave_valid_pages() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let before = fs::read(dir.path().join(DATABASE)).unwrap();
    let changed = scatter(dir.path(), 0.05).unwrap();
    let after = fs::read(dir.path().join(DATABASE)).unwrap();
    assert_eq!(changed, (before.len() / 4096) as u64 * 5 / 100);
    let bits = |one: &[u8], two: &[u8]| one.iter().zip(two).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
    let differing: Vec<u32> =
        before.chunks(4096).zip(after.chunks(4096)).map(|(one, two)| bits(one, two)).filter(|bits| *bits > 0).collect();
    assert_eq!(differing, vec![1; changed as usize]);
    let database = Connection::open(dir.path().join(DATABASE)).unwrap();
    for table in ["states", "statistics", "state_attributes"] {
        assert!(ask::<i64>(&database, &format!("SELECT count(*) FROM {table} NOT INDEXED")) > 0, "{table}");
    }
}

#[test]
fn a_database_of_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let database = Connection::open(dir.path().join(DATABASE)).unwrap();
    database.execute("UPDATE states_meta SET entity_id = 'sensor.other_' || metadata_id", []).unwrap();
    database.close().unwrap();
    let error = age(dir.path(), hours(1)).unwrap_err();
    assert!(matches!(error, Error::Foreign(_)), "{error}");
}
