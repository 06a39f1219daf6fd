#![allow(clippy::unwrap_used)]

use super::*;
use crate::tar::Kind;

fn full_match(pattern: &str, path: &str) -> bool {
    Pattern::new(pattern.as_bytes()).unwrap().matches(path.as_bytes())
}

#[test]
fn patterns_answer_as_cpython_does() {
    let vectors = include_str!("../../tests/vectors/full_match.tsv");
    for line in vectors.lines().filter(|line| !line.starts_with('#')) {
        let [expected, pattern, path] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(full_match(pattern, path), expected == "1", "{pattern} on {path}");
    }
}

#[test]
fn a_set_never_matches_a_separator() {
    assert!(!full_match("a[!x]b", "a/b"));
}

#[test]
fn bytes_that_are_no_utf8_count_one_each() {
    let two = Pattern::new(b"??").unwrap();
    assert!(two.matches(b"\xff\xfe"));
    assert!(!two.matches(b"\xff"));
    assert!(two.matches("éé".as_bytes()));
    assert!(Pattern::new(b"\xff*").unwrap().matches(b"\xffabc"));
    assert!(Pattern::new(b"[!a]").unwrap().matches(b"\xc3"));
}

#[test]
fn patterns_that_match_nothing_are_refused_with_the_reason() {
    assert_eq!(Pattern::new(b"").unwrap_err(), PatternError::Empty);
    assert_eq!(Pattern::new(b"./").unwrap_err(), PatternError::Empty);
    assert!(matches!(Pattern::new(b"/config/x").unwrap_err(), PatternError::Absolute(_)));
    assert!(matches!(Pattern::new(b"a/../b").unwrap_err(), PatternError::Parent(_)));
}

#[test]
fn long_hostile_patterns_end_soon() {
    let pattern = Pattern::new(&b"*a".repeat(2_000)).unwrap();
    assert!(!pattern.matches(&b"a".repeat(4_000).iter().chain(b"b").copied().collect::<Vec<u8>>()));
    let deep = Pattern::new(&[b"**/a/".repeat(500), b"b".to_vec()].concat()).unwrap();
    assert!(!deep.matches(&b"a/".repeat(4_000)));
}

/// Paths with the list that drops them in a backup with the database.
#[test]
fn home_assistants_own_exclusions_are_left_out() {
    let rules = Rules::new(true);
    let excluded = [
        "custom_components/x/__pycache__/a.pyc",
        "__pycache__/a.pyc",
        ".DS_Store",
        "www/.DS_Store",
        "home-assistant_v2.db-shm",
        "home-assistant.log",
        "home-assistant.log.1",
        "home-assistant.log.fault",
        "OZW_Log.txt",
        "backups/1.tar",
        "tmp_backups/1.tar",
        "tts/a.mp3",
        ".cache/x",
        ".HA_RESTORE",
        "home-assistant_v2.db.corrupt.2026-01-01T00:00:00",
        ".storage/core.config.corrupt.2026-01-01",
    ];
    for path in excluded {
        assert_eq!(rules.exclusion(path.as_bytes()).map(|why| why.list), Some(List::HomeAssistant), "{path}");
    }
    let included = [
        "tts",
        ".cache",
        "__pycache__",
        "sub/x.log",
        "sub/x.db-shm",
        "backups",
        "backups/sub/x.tar",
        "backups/x.zip",
        ".storage/core.config",
        ".HA_VERSION",
        ".HA_RESTORE_RESULT",
        "home-assistant_v2.db",
        "home-assistant_v2.db-wal",
        "sub/OZW_Log.txt",
    ];
    for path in included {
        assert!(rules.exclusion_with_parents(path.as_bytes()).is_none(), "{path}");
    }
}

#[test]
fn what_lies_below_an_excluded_directory_goes_with_it() {
    let rules = Rules::new(true);
    assert!(rules.exclusion(b"tts/deep/a.mp3").is_none());
    assert!(rules.exclusion_with_parents(b"tts/deep/a.mp3").is_some());
    assert!(rules.exclusion_with_parents(b"folder.log/inside").is_some());
}

#[test]
fn without_the_database_its_files_go_by_any_schema_version() {
    let rules = Rules::new(false);
    for path in ["home-assistant_v2.db", "home-assistant_v2.db-wal", "home-assistant_v3.db"] {
        assert_eq!(rules.exclusion(path.as_bytes()).map(|why| why.list), Some(List::Database), "{path}");
    }
    assert!(rules.exclusion(b"sub/home-assistant_v2.db").is_none());
    assert!(rules.exclusion(b"zigbee.db").is_none());
}

#[test]
fn the_users_patterns_take_whole_directories() {
    let mut rules = Rules::new(true);
    rules.exclude(b"www/**/cache/").unwrap();
    let why = rules.exclusion_with_parents(b"www/a/b/cache/x/y").unwrap();
    assert_eq!((why.list, why.pattern.to_string().as_str()), (List::User, "www/**/cache/"));
    assert!(rules.exclusion_with_parents(b"www/a/b").is_none());
    assert!(Pattern::new(b"www").unwrap().covers(b"www/a/b"));
}

#[test]
fn losses_of_cores_restore_are_named() {
    assert_eq!(what_restore_drops(b"backups", Kind::Directory, b""), []);
    assert_eq!(what_restore_drops(b"backups/x.zip", Kind::File, b""), [Loss::InBackups]);
    assert_eq!(what_restore_drops(b"www/backups", Kind::Directory, b""), [Loss::NamedBackups]);
    assert_eq!(what_restore_drops(b"www/backups/a", Kind::File, b""), [Loss::NamedBackups]);
    assert_eq!(what_restore_drops(b"backups", Kind::File, b""), [Loss::NamedBackups]);
    assert_eq!(what_restore_drops(b"link", Kind::Symlink, b"www"), [Loss::RelativeLink]);
    assert_eq!(what_restore_drops(b"link", Kind::Symlink, b"/media"), [Loss::AbsoluteLink]);
    assert_eq!(what_restore_drops(b"my_backups/a", Kind::File, b""), []);
}

#[test]
fn a_history_of_another_name_is_left_out_with_its_log() {
    let mut rules = Rules::new(false);
    rules.history_is(b"db/[old]*.db");
    for (path, is_out) in [
        ("db/[old]*.db", true),
        ("db/[old]*.db-wal", true),
        ("db/o.db", false),
        ("db/[old]x.db", false),
        ("home-assistant_v2.db", true),
    ] {
        assert_eq!(rules.exclusion(path.as_bytes()).is_some(), is_out, "{path}");
    }
    let mut rules = Rules::new(true);
    rules.history_is(b"db/history.db");
    assert!(rules.exclusion(b"db/history.db").is_none());
}

#[test]
fn patterns_that_left_nothing_out_are_known() {
    let mut rules = Rules::new(true);
    for pattern in ["www", "nothing", "*.log", "www/**/cache"] {
        rules.exclude(pattern.as_bytes()).unwrap();
    }
    let asked = rules.clone();
    for path in [&b"www"[..], b"x.log", b"configuration.yaml"] {
        asked.exclusion(path);
    }
    // *.log is excluded anyway, so the pattern is never asked about what is in www.
    assert_eq!(rules.unused().map(ToString::to_string).collect::<Vec<_>>(), ["nothing", "*.log", "www/**/cache"]);
}
