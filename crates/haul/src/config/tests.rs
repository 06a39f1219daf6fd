#![allow(clippy::unwrap_used)]
use std::time::Duration;

use super::*;

fn refusal(text: &str) -> String {
    Config::parse(Path::new("haul.toml"), text).unwrap_err().message
}

#[test]
fn every_mistake_names_the_line_and_the_nearest_word() {
    let cases = [
        (
            "[destinatons.x]\nurl = \"/b\"",
            "haul.toml, line 1: there is no table \"destinatons\"; did you mean \"destinations\"?",
        ),
        ("\n[backup]\nlevl = \"small\"", "haul.toml, line 3: there is no key \"levl\"; did you mean \"level\"?"),
        (
            "[backup]\nkeep_daily = 7",
            "haul.toml, line 2: \"keep_daily\" is not a key of [backup]; it belongs to [prune]",
        ),
        (
            "[receive]\nlimit = \"1MB/s\"",
            "haul.toml, line 2: \"limit\" is not a key of [receive]; it belongs to [backup] or [push]",
        ),
        (
            "[backup]\nlevel = \"tiny\"",
            "haul.toml, line 2: invalid value \"tiny\" for level; it is one of fast, balanced, small, none",
        ),
        ("[backup]\ngentle = \"yes\"", "haul.toml, line 2: gentle must be true or false"),
        (
            "[backup]\nthreads = 0",
            "haul.toml, line 2: invalid value \"0\" for threads: write a whole number, 1 or more",
        ),
        ("[destinations.x]\n", "haul.toml, line 1: [destinations.x] has no url"),
        ("[destinations.x]\nulr = \"/b\"", "haul.toml, line 2: there is no key \"ulr\"; did you mean \"url\"?"),
        (
            "[destinations.x]\nurl = \"/b\"\ngive_up_aftr = \"6h\"",
            "haul.toml, line 3: there is no key \"give_up_aftr\"; did you mean \"give_up_after\"?",
        ),
        (
            "[destinations.x]\nurl = \"/b\"\ngive_up_after = \"soon\"",
            "haul.toml, line 3: give_up_after: \"soon\" is not a length of time: write it like 90s, 45m, 6h, 2d12h, 8w \
             or 1y6mo",
        ),
        (
            "[destinations.x]\nurl = \"stfp://host/\"",
            "haul.toml, line 2: can't use stfp://host/: stfp:// is not a kind of destination; did you mean \
             sftp://?",
        ),
        (
            "[destinations.\"a/b\"]\nurl = \"/b\"",
            "haul.toml, line 1: \"a/b\" can't be a destination's name; use letters and digits",
        ),
        ("tme_zone = \"UTC\"", "haul.toml, line 1: there is no key \"tme_zone\"; did you mean \"time_zone\"?"),
        ("\ntime_zone = 1", "haul.toml, line 2: time_zone must be a string"),
        ("[time_zone]", "haul.toml, line 1: time_zone must be a string"),
        (
            "time_zone = \"Europe/Berlim\"",
            "haul.toml, line 1: there is no time zone \"Europe/Berlim\"; did you mean \"Europe/Berlin\"?",
        ),
        ("time_zone = \"\"", "haul.toml, line 1: there is no time zone \"\""),
        ("[backup]\ntime_zone = \"UTC\"", "haul.toml, line 2: there is no key \"time_zone\""),
    ];
    for (text, message) in cases {
        assert_eq!(refusal(text), message);
    }
}

#[test]
fn a_time_zone_is_a_name_at_the_top() {
    let parsed = |text| Config::parse(Path::new("haul.toml"), text);
    let zone = parsed("time_zone = \"Europe/Berlin\"\n[backup]\n").unwrap();
    assert_eq!(zone.time_zone().and_then(TimeZone::iana_name), Some("Europe/Berlin"));
    assert_eq!(parsed("[backup]\n").unwrap().time_zone(), None, "the system's");
    let hint = |text| parsed(text).unwrap_err().hint.unwrap();
    assert_eq!(hint("time_zone = \"my kitchen\""), "write it as \"Europe/Berlin\" or \"UTC\"");
    assert_eq!(
        hint("[backup]\ntime_zone = \"UTC\""),
        "write time_zone at the top of the file, above the first [table]"
    );
}

#[test]
fn a_password_in_an_address_is_refused_and_not_repeated() {
    let message = refusal("[destinations.x]\nurl = \"webdavs://me:hunter2@host/\"");
    assert!(message.contains("contains a password") && !message.contains("hunter2"), "{message}");
}

#[test]
fn paths_are_meant_from_where_the_file_is() {
    let config =
        Config::parse(Path::new("/etc/haul/haul.toml"), "[destinations.near]\nurl = \"backups\"\npart_size = \"8MiB\"")
            .unwrap();
    let named = config.destination("near").unwrap();
    assert_eq!(named.address, Address::Local("/etc/haul/backups".into()));
    assert_eq!(named.common.part_size, Some(8 << 20));
    assert_eq!(config.nearest_destination("naer"), Some("near"));
    assert_eq!(config.nearest_destination("photographs"), None);
    let far = "[destinations.far]\nurl = \"sftp://me@nas/b\"\nkey_file = \"id\"\nknown_hosts = \"hosts\"";
    let config = Config::parse(Path::new("/etc/haul/haul.toml"), far).unwrap();
    let options = config.destination("far").unwrap().options.clone();
    assert_eq!((options.get("key_file"), options.get("known_hosts")), (Some("/etc/haul/id"), Some("/etc/haul/hosts")));
}

#[test]
fn what_a_destination_says_of_itself_beats_the_commands_table_and_nothing_else() {
    let file = "[backup]\nto = \"x\"\ngive_up_after = \"1h\"\nverify = \"auto\"\n[destinations.x]\nurl \
        = \"/b\"\ngive_up_after = \"5m\"";
    let (args, config) = backup_and_config(file, &[]);
    assert_eq!(args.sending.waiting.give_up_after, Some(Duration::from_hours(1)));
    assert!(config.is_from_table("give_up_after") && config.is_from_table("verify"));
    let (args, config) = backup_and_config(file, &["--give-up-after", "2h"]);
    assert_eq!(args.sending.waiting.give_up_after, Some(Duration::from_hours(2)));
    assert!(!config.is_from_table("give_up_after") && config.is_from_table("verify"));
    assert!(!backup_and_config("", &["--to", "/b"]).1.is_from_table("give_up_after"));
}

fn backup(file: &str, typed: &[&str]) -> crate::args::BackupArgs {
    backup_and_config(file, typed).0
}

fn backup_and_config(file: &str, typed: &[&str]) -> (crate::args::BackupArgs, Config) {
    let mut config = Config::parse(Path::new("haul.toml"), file).unwrap();
    let arguments: Vec<&str> = ["haul", "backup", "/config"].iter().chain(typed).copied().collect();
    let early = Cli::command().ignore_errors(true).try_get_matches_from(&arguments).unwrap();
    let matches = config.apply(Cli::command(), &early).try_get_matches_from(&arguments).unwrap();
    config.note_sources(&matches);
    match Cli::from_arg_matches(&matches).unwrap().command {
        crate::args::Command::Backup(args) => (args, config),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flag_beats_the_file_and_the_file_beats_the_default() {
    let file = "[backup]\nto = \"/b\"\nlevel = \"small\"\nexclude = [\"*.log\", \"www/**\"]\nexclude_database = true";
    let args = backup(file, &[]);
    assert!(matches!(args.level, crate::args::LevelArg::Small));
    assert_eq!(args.exclude, ["*.log", "www/**"]);
    assert!(args.exclude_database);
    let args = backup(file, &["--level", "balanced", "--exclude", "x"]);
    assert!(matches!(args.level, crate::args::LevelArg::Balanced));
    assert_eq!(args.exclude, ["x"]);
}

#[test]
fn what_the_file_says_against_a_flag_is_left_aside() {
    let args = backup("[backup]\nto = \"/b\"\nuncompressed = true", &["--level", "small"]);
    assert!(!args.uncompressed);
    let args = backup("[backup]\nto = \"/b\"\nlevel = \"small\"", &["--uncompressed"]);
    assert!(args.uncompressed && matches!(args.level, crate::args::LevelArg::Fast));
}
