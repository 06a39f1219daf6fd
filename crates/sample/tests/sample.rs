//! The sample is what it claims to be: whole databases, the real schema, hidden files with their modes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use sample::{Error, Made, Options, Recorder, create};

fn small(dir: &Path) -> Made {
    create(dir, &Options { database_bytes: 3 << 20, seed: 7 }).unwrap()
}

fn ask<T: rusqlite::types::FromSql>(database: &Connection, sql: &str) -> T {
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn the_databases_are_whole_and_in_wal_mode() {
    let dir = tempfile::tempdir().unwrap();
    let made = small(dir.path());
    for name in ["home-assistant_v2.db", "zigbee.db"] {
        let database = Connection::open(dir.path().join(name)).unwrap();
        assert_eq!(ask::<String>(&database, "PRAGMA integrity_check"), "ok", "{name}");
        assert_eq!(ask::<String>(&database, "PRAGMA journal_mode"), "wal", "{name}");
        assert_eq!(ask::<i64>(&database, "PRAGMA page_size"), 4096, "{name}");
        assert_eq!(ask::<i64>(&database, "SELECT count(*) FROM pragma_foreign_key_check"), 0, "{name}");
    }
    let database = Connection::open(dir.path().join("home-assistant_v2.db")).unwrap();
    assert_eq!(ask::<i64>(&database, "SELECT count(*) FROM states"), made.states_rows as i64);
    assert_eq!(ask::<i64>(&database, "SELECT count(*) FROM states_meta"), made.entities as i64);
    assert!(ask::<i64>(&database, "SELECT count(*) FROM statistics") > 100);
    assert!(ask::<i64>(&database, "SELECT count(*) FROM state_attributes") > 100);
    assert!(ask::<i64>(&database, "PRAGMA freelist_count") > 0, "a purge leaves free pages");
    assert!(made.database_bytes.abs_diff(3 << 20) < 600_000, "{}", made.database_bytes);
}

#[test]
fn the_schema_is_home_assistants() {
    let dir = tempfile::tempdir().unwrap();
    small(dir.path());
    let database = Connection::open(dir.path().join("home-assistant_v2.db")).unwrap();
    let names = |kind: &str| -> Vec<String> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = ?1 AND name NOT LIKE 'sqlite_%' ORDER BY name";
        let mut statement = database.prepare(sql).unwrap();
        statement.query_map([kind], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(
        names("table"),
        [
            "event_data",
            "event_types",
            "events",
            "migration_changes",
            "recorder_runs",
            "schema_changes",
            "state_attributes",
            "states",
            "states_meta",
            "statistics",
            "statistics_meta",
            "statistics_runs",
            "statistics_short_term",
        ]
    );
    assert_eq!(
        names("index"),
        [
            "ix_event_data_hash",
            "ix_event_types_event_type",
            "ix_events_context_id_bin",
            "ix_events_data_id",
            "ix_events_event_type_id_time_fired_ts",
            "ix_events_time_fired_ts",
            "ix_recorder_runs_start_end",
            "ix_state_attributes_hash",
            "ix_states_attributes_id",
            "ix_states_context_id_bin",
            "ix_states_last_updated_ts",
            "ix_states_meta_entity_id",
            "ix_states_metadata_id_last_updated_ts",
            "ix_states_old_state_id",
            "ix_statistics_meta_statistic_id",
            "ix_statistics_runs_start",
            "ix_statistics_short_term_start_ts",
            "ix_statistics_short_term_statistic_id_start_ts",
            "ix_statistics_start_ts",
            "ix_statistics_statistic_id_start_ts",
        ]
    );
    assert_eq!(ask::<i64>(&database, "SELECT max(schema_version) FROM schema_changes"), 53);
    assert_eq!(ask::<i64>(&database, "SELECT count(*) FROM pragma_table_info('states')"), 20);
}

#[test]
fn hidden_files_are_there_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let made = small(dir.path());
    let version = fs::read_to_string(dir.path().join(".HA_VERSION")).unwrap();
    assert_eq!(version, sample::HOME_ASSISTANT_VERSION);
    for key in ["auth", "core.config_entries", "core.device_registry", "core.entity_registry", "onboarding"] {
        let path = dir.path().join(".storage").join(key);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{key}");
        let document: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(document["key"], key);
    }
    let registry = fs::read(dir.path().join(".storage/core.entity_registry")).unwrap();
    let registry: serde_json::Value = serde_json::from_slice(&registry).unwrap();
    assert_eq!(registry["data"]["entities"].as_array().unwrap().len(), made.entities);
    assert!(fs::symlink_metadata(dir.path().join("www/media")).unwrap().is_symlink());
}

#[test]
fn the_second_databases_last_rows_are_only_in_its_log() {
    let dir = tempfile::tempdir().unwrap();
    small(dir.path());
    assert!(fs::metadata(dir.path().join("zigbee.db-wal")).unwrap().len() > 0);
    let copy = tempfile::tempdir().unwrap();
    fs::copy(dir.path().join("zigbee.db"), copy.path().join("zigbee.db")).unwrap();
    let rows = "SELECT count(*) FROM attributes_cache_v14";
    let lost = Connection::open(copy.path().join("zigbee.db")).unwrap();
    assert_eq!(ask::<i64>(&lost, rows), 0);
    let whole = Connection::open(dir.path().join("zigbee.db")).unwrap();
    assert!(ask::<i64>(&whole, rows) > 50);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for dir in &dirs {
        small(dir.path());
    }
    for name in ["home-assistant_v2.db", ".storage/auth", "custom_components/hacs/utils/module_001.py"] {
        let [one, two] = dirs.each_ref().map(|dir| fs::read(dir.path().join(name)).unwrap());
        assert!(one == two, "{name} differs");
    }
    let [one, two] = dirs.each_ref().map(|dir| fs::metadata(dir.path().join("secrets.yaml")).unwrap());
    assert_eq!(one.modified().unwrap(), two.modified().unwrap());
}

#[test]
fn a_directory_that_holds_something_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine"), "x").unwrap();
    let error = create(dir.path(), &Options::default()).unwrap_err();
    assert!(matches!(error, Error::NotEmpty(_)), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn every_commit_of_the_recorder_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    small(dir.path());
    let before: i64 = {
        let database = Connection::open(dir.path().join("home-assistant_v2.db")).unwrap();
        ask(&database, "SELECT max(state_id) FROM states")
    };
    let recorder = Recorder::start(dir.path(), Duration::from_millis(1)).unwrap();
    {
        let database = Connection::open(dir.path().join("home-assistant_v2.db")).unwrap();
        while ask::<i64>(&database, "SELECT max(state_id) FROM states") < before + 500 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let found = recorder.stop().unwrap();
    assert!(found.commits > 10, "{}", found.commits);
    assert_eq!(found.latencies_us.len() as u64, found.commits);
    assert_eq!(found.busy_errors, 0);
    assert_eq!(found.first_state_id, Some(before + 1));
    let database = Connection::open(dir.path().join("home-assistant_v2.db")).unwrap();
    let sql = format!("SELECT count(*) FROM states WHERE state_id > {before}");
    assert_eq!(ask::<i64>(&database, &sql) as u64, found.rows);
    assert_eq!(ask::<i64>(&database, "SELECT max(state_id) FROM states"), found.last_state_id.unwrap());
    assert_eq!(ask::<String>(&database, "PRAGMA integrity_check"), "ok");
    assert_eq!(ask::<i64>(&database, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
}

#[test]
fn the_recorders_answer_is_one_line_that_can_be_read_back() {
    let dir = tempfile::tempdir().unwrap();
    small(dir.path());
    let mut answer = Vec::new();
    let summary = sample::run_recorder(dir.path(), Duration::from_millis(5), &b""[..], &mut answer).unwrap();
    let text = String::from_utf8(answer).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert_eq!(sample::RecordedSummary::from_json(&text), Some(summary));
    assert!(summary.commits >= 1 && summary.p50_us <= summary.p99_us && summary.p99_us <= summary.max_us);
    assert_eq!(sample::RecordedSummary::from_json("{}"), None);
}
