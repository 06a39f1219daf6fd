//! What a backup says about what it holds, and what it lacks.

use super::*;

#[test]
fn what_a_restore_would_lose_is_reported() {
    let place = Place::new();
    fs::remove_dir_all(place.config().join(".storage")).unwrap();
    place.write("configuration.yaml", "recorder:\n  db_url: mysql://ha:hunter2@db/ha\n");
    place.write("custom_components/x/backups/keep.txt", "x");
    symlink("configuration.yaml", place.config().join("link")).unwrap();
    let warnings = place.backup().warnings;
    for part in [".storage", "MariaDB", "custom_components/x/backups", "link: "] {
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}: {warnings:?}");
    }
    assert!(!warnings.iter().any(|warning| warning.contains("hunter2")));
}

#[test]
fn an_excluded_database_takes_its_log_along_and_a_diary_stays() {
    let place = Place::sample();
    place.write("zigbee.db-journal.txt", "not SQLite's");
    place.write("home-assistant_v2.db-wal", "recent history");
    place.write("zigbee.db-journal", "Dear diary");
    let report =
        back_up(&BackupOptions { exclude: vec!["home-assistant_v2.db".to_owned()], ..place.options() }).unwrap();
    let archive = fs::read(report.local_path().unwrap()).unwrap();
    let description = String::from_utf8_lossy(&archive[..4096]);
    for said in [r#""exclude_database":true"#, r#""haul.excluded":"home-assistant_v2.db""#] {
        assert!(description.contains(said), "or a restore removes the one that is there: {description}");
    }
    let names = names(&report);
    assert!(!names.iter().any(|name| name.starts_with("data/home-assistant_v2.db")), "{names:?}");
    assert!(names.contains(&"data/zigbee.db-journal".to_owned()));
}

#[test]
fn a_history_that_is_not_there_is_missed() {
    let place = Place::new();
    assert!(place.backup().warnings.iter().any(|warning| warning.contains("no history")));
    symlink("/mnt/elsewhere/ha.db", place.config().join("home-assistant_v2.db")).unwrap();
    let options = BackupOptions { destinations: vec![Destination::Path(place.out().join("b.tar"))], ..place.options() };
    let report = back_up(&options).unwrap();
    assert_eq!(report.status, Status::Incomplete);
    assert!(
        report
            .skipped
            .iter()
            .any(|skipped| skipped.kind == SkippedKind::Lost && skipped.reason.contains("/mnt/elsewhere/ha.db")),
        "{:?}",
        report.skipped
    );
}

/// What is damaged before it is backed up comes into the archive as it is, and nobody takes it for sound.
#[test]
fn damage_on_this_machine_is_reported() {
    let cut = br#"{"version": 1, "key": "core.entity_registry", "data": {"entities": ["#;
    let mut long = br#"{"version": 1, "key": "core.entity_registry", "data": ""#.to_vec();
    long.resize(700_000, b'x');
    for (name, content, says) in [
        (".storage/auth", &b""[..], "it is empty; at its next start, Home Assistant will lose the users"),
        (
            ".storage/core.config_entries",
            &[0; 400],
            "nothing but zeros; at its next start, Home Assistant will lose all integrations",
        ),
        (".storage/core.entity_registry", cut, "not well-formed JSON"),
        (".storage/core.entity_registry", &long, "not well-formed JSON"),
        ("configuration.yaml", &[0; 40], "nothing but zeros"),
        ("home-assistant_v2.db", b"", "it is empty: the history is gone"),
        ("home-assistant_v2.db", &[0; 8192], "begins with zeros"),
        ("home-assistant_v2.db", &b"SQLite format 3\0".repeat(6), "only 96 bytes"),
        ("home-assistant_v2.db", &b"SQLite format 3\0".repeat(100), "the database is damaged"),
        ("zigbee.db", &[0; 8192], "begins with zeros"),
    ] {
        let place = Place::new();
        place.write(name, content);
        let report = place.backup();
        let told: Vec<_> = report.skipped.iter().map(|skipped| (skipped.kind, skipped.path.as_str())).collect();
        assert_eq!(told, [(SkippedKind::Damaged, name)], "{:?}", report.skipped);
        assert!(report.skipped[0].reason.contains(says), "{:?}", report.skipped);
        assert_eq!(report.status, Status::Incomplete, "{name}");
        assert_eq!(fs::read(place.restored(&report).join(name)).unwrap(), content, "{name}");
    }
}

/// A database with some hundred pages, in the mode of a rollback journal or a write-ahead log.
fn make_database(path: &Path, mode: &str) {
    let script = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.execute('pragma \
        journal_mode='+sys.argv[2])\nc.execute('create table t(a,b)')\n\
                  c.executemany('insert into t values(?,?)',[(n,'x'*400) for n in range(2000)])\nc.commit()";
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    assert!(Command::new("python3").arg("-c").arg(script).arg(path).arg(mode).status().unwrap().success());
}

#[test]
fn pages_that_cannot_be_right_are_reported() {
    for mode in ["delete", "wal"] {
        let place = Place::new();
        let path = place.config().join("home-assistant_v2.db");
        make_database(&path, mode);
        let sound = place.backup();
        assert_eq!(sound.status, Status::Complete, "{:?}", sound.skipped);
        assert!(sound.databases[0].history && !sound.databases[0].damaged);
        fs::remove_file(sound.local_path().unwrap()).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[9 * 4096..12 * 4096].fill(0xEE);
        fs::write(&path, &bytes).unwrap();
        let report = place.backup();
        assert_eq!(report.status, Status::Incomplete, "{mode}");
        assert!(report.databases[0].damaged);
        let skipped = &report.skipped[0];
        assert_eq!((skipped.kind, skipped.path.as_str()), (SkippedKind::Damaged, "home-assistant_v2.db"));
        assert!(
            skipped.reason.contains("page 10") && skipped.reason.contains("starts a new history"),
            "{}",
            skipped.reason
        );
    }
}

#[test]
fn the_history_is_found_where_the_recorder_keeps_it() {
    let place = Place::new();
    place.write("configuration.yaml", "recorder:\n  db_url: sqlite:////config/db/history.db\n");
    make_database(&place.config().join("db/history.db"), "wal");
    let report = place.backup();
    assert_eq!(notes(&report), [""; 0]);
    assert!(report.databases[0].history && report.databases[0].path == "db/history.db");
    fs::remove_file(report.local_path().unwrap()).unwrap();
    let without = back_up(&BackupOptions { exclude_database: true, ..place.options() }).unwrap();
    assert!(!names(&without).iter().any(|name| name.contains("history.db")), "{:?}", names(&without));
    assert_eq!(notes(&without), [""; 0]);
}

#[test]
fn a_history_that_is_no_longer_written_is_reported() {
    let place = Place::new();
    make_database(&place.config().join("home-assistant_v2.db"), "delete");
    let database = fs::File::options().write(true).open(place.config().join("home-assistant_v2.db")).unwrap();
    database.set_modified(SystemTime::now() - Duration::from_hours(73)).unwrap();
    let report = place.backup();
    assert!(
        report.warnings.iter().any(|warning| warning.contains("was last written 3 days before")),
        "{:?}",
        report.warnings
    );
}
