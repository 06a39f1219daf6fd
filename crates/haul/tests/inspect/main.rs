//! The output of `haul inspect`, kept beside this file as printed: read it aloud when it changes. `HAUL_GOLDEN=write`
//! rewrites it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod agreement;
mod asked;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use engine::inspect::{InspectOptions, inspect};
use habackup::{readers::Defect, securetar::Password};
use store::Cancellation;
use testkit::{fixtures::Fixtures, wait};

/// Every defect once at least. The exit code follows from the last lines.
const SHOWN: &[&str] = &[
    "good-core-plain",
    "good-supervisor-style",
    "good-supervisor-style-v2",
    "addon-without-slug",
    "all-zeros",
    "auth-empty",
    "bad-gzip-crc",
    "bare-config",
    "bsd-tar",
    "bytes-after-the-end",
    "compressed-missing",
    "config-empty",
    "damaged-beginning-of-inner",
    "damaged-inner-header",
    "data-a-symlink",
    "database-copied-without-its-wal",
    "database-missing-though-declared",
    "database-of-an-integration-malformed",
    "date-a-number",
    "device",
    "escaping-member-dot-dot",
    "escaping-member-through-symlink",
    "extra-null",
    "fifo",
    "folders-unknown",
    "good-without-end-of-archive",
    "hard-link",
    "hard-link-to-nothing",
    "homeassistant-a-version",
    "html-error-page",
    "inner-compressed-though-declared-not",
    "inner-not-compressed-though-named-gz",
    "inner-several-gzip-members-at-a-header-encrypted",
    "manifest-a-list",
    "manifest-twice",
    "manifest-version-3",
    "member-name-not-utf-8",
    "member-name-too-long",
    "member-twice",
    "member-without-dot-slash",
    "name-with-slash",
    "nested-backups",
    "no-config-entries",
    "no-configuration-yaml",
    "no-ha-version",
    "no-onboarding",
    "no-storage",
    "not-home-assistant-7z",
    "old-snapshot-json",
    "outer-member-dot-dot",
    "part-damaged",
    "part-not-declared",
    "part-still-encrypted",
    "parts-with-different-passwords",
    "password-not-given",
    "protected-a-word",
    "protected-flag-says-no-but-encrypted",
    "relative-symlink",
    "repository-of-home-assistant",
    "restore-wish-inside",
    "securetar-v1",
    "securetar-v3",
    "securetar-v3-damaged",
    "settings-cut-short",
    "sizes-in-records",
    "sizes-in-records-after-decryption",
    "sizes-never-filled-in",
    "sizes-of-an-inner-member-disagree",
    "sizes-too-large-for-what-follows",
    "slug-a-list",
    "supervisor-config-encrypted",
    "supervisor-version-newer",
    "truncated-in-inner-encrypted",
    "truncated-in-manifest",
    "type-missing",
    "version-newer-than-target",
    "wal-without-database",
    "wrapper-gzipped",
    "wrong-password",
    "zero-bytes",
];

/// Without sizes: they differ with the version of zlib.
fn plain(text: &str, path: &Path) -> String {
    let text = text.replace(&path.display().to_string(), "ARCHIVE");
    let mut words: Vec<&str> = text.split(' ').collect();
    for at in 1..words.len() {
        let unit = words[at].split(|character: char| !character.is_ascii_alphabetic()).next().unwrap_or_default();
        if matches!(unit, "B" | "kB" | "MB") {
            words[at - 1] = if words[at - 1].starts_with('(') { "(N" } else { "N" };
        }
    }
    words.join(" ")
}

#[test]
fn every_defect_is_printed_in_plain_words() {
    let Some(made) = Fixtures::make(SHOWN).unwrap() else { return };
    let mut words = String::new();
    for &name in SHOWN {
        let path = made.path(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command
            .arg("inspect")
            .arg(&path)
            .args(["--progress", "none"])
            .env_clear()
            .env("TZ", "Europe/Berlin")
            .env("HOME", path.parent().unwrap());
        if let Some(password) = made.password(name) {
            command.env("HAUL_PASSWORD", password);
        }
        if name == "version-newer-than-target" {
            command.args(["--target", "2025.6.3"]);
        }
        let output = command.output().unwrap();
        let said = plain(&String::from_utf8(output.stdout).unwrap(), &path);
        let restored = said
            .trim_end()
            .rsplit("\n\n")
            .next()
            .unwrap()
            .lines()
            .all(|verdict| verdict.contains(": restores it") && !verdict.contains("may not be whole"));
        let expected = match name {
            "password-not-given" => 2,
            "wrong-password" => 1,
            "good-without-end-of-archive" => 3,
            _ if restored => 0,
            _ => 4,
        };
        assert_eq!(output.status.code(), Some(expected), "{name}: {said}{}", String::from_utf8_lossy(&output.stderr));
        words.extend(["== ", name, "\n\n", &said, "\n"]);
    }
    let is_unsaid = |id: &&str| !words.contains(&format!("[{id}]"));
    let unsaid: Vec<&str> = Defect::ALL.iter().map(|defect| defect.id()).filter(is_unsaid).collect();
    assert_eq!(unsaid, [""; 0], "no fixture here shows these");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inspect/words.txt");
    if std::env::var_os("HAUL_GOLDEN").is_some() {
        fs::write(&golden, &words).unwrap();
    }
    assert_eq!(words, fs::read_to_string(&golden).unwrap_or_default());
}

#[test]
fn rows_are_reported_when_asked_for() {
    let Some(made) = Fixtures::make(&["good-core-plain", "database-truncated"]).unwrap() else { return };
    let rows = |name: &str| {
        let path = made.path(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command
            .args(["inspect", "--rows", "--progress", "none"])
            .arg(&path)
            .env_clear()
            .env("TZ", "Europe/Berlin")
            .env("HOME", path.parent().unwrap());
        let said = plain(&String::from_utf8(command.output().unwrap().stdout).unwrap(), &path);
        said.split("\n\n").next().unwrap().to_owned()
    };
    assert_eq!(rows("good-core-plain"), GOOD_ROWS.trim_end());
    let damaged = rows("database-truncated");
    assert!(
        damaged.ends_with("These are the rows that Haul could reach; the database is damaged or cut short."),
        "{damaged}"
    );
}

const GOOD_ROWS: &str = r#"ARCHIVE: N kB, whole
  "good-core-plain" of 2025-06-20 12:00, Home Assistant 2025.6.3
  homeassistant.tar.gz, N kB: 35 entries (N kB)
  history: N kB, states from 2026-11-22 08:54 to 2026-11-22 08:54
    event_data             111 rows
    event_types            12 rows
    events                 118 rows
    migration_changes      0 rows
    recorder_runs          1 row
    schema_changes         1 row
    state_attributes       17 rows
    states                 138 rows
    states_meta            16 rows
    statistics             0 rows
    statistics_meta        0 rows
    statistics_runs        1 row
    statistics_short_term  0 rows
"#;

#[test]
fn of_a_history_that_was_cut_only_what_is_there_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (config, archive) = (dir.path().join("config"), dir.path().join("a.tar"));
    sample::create(&config, &sample::Options { database_bytes: 4 << 20, seed: 5 }).unwrap();
    let haul = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_haul"))
            .args(args)
            .current_dir(dir.path())
            .env_clear()
            .env("HOME", dir.path())
            .output()
            .unwrap()
    };
    assert!(haul(&["backup", "config", "--to", "a.tar", "--level", "none"]).status.success());
    let (whole, size) = (fs::read(&archive).unwrap(), fs::metadata(config.join("home-assistant_v2.db")).unwrap().len());
    let history = |length: usize| {
        fs::write(&archive, &whole[..length]).unwrap();
        let document: serde_json::Value =
            serde_json::from_slice(&haul(&["inspect", "a.tar", "--json"]).stdout).unwrap();
        document["history"].clone()
    };
    let cuts: Vec<_> =
        (1..20).map(|twentieth| (whole.len() / 20 * twentieth, history(whole.len() / 20 * twentieth))).collect();
    let within = |(length, history): &&(usize, serde_json::Value)| {
        history["whole_bytes"] == size && history["bytes"].as_u64().unwrap() < *length as u64
    };
    assert!(cuts.iter().filter(within).count() > 5, "{cuts:?}");
    assert_eq!(history(whole.len())["bytes"], size);
}

#[test]
fn a_script_reads_each_readers_verdict_and_its_reason() {
    let Some(made) = Fixtures::make(&["member-without-dot-slash"]).unwrap() else { return };
    let path = made.path("member-without-dot-slash");
    let output = Command::new(env!("CARGO_BIN_EXE_haul"))
        .args(["inspect", "--json"])
        .arg(&path)
        .env_clear()
        .env("HOME", path.parent().unwrap())
        .output()
        .unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["status"], "bad");
    for verdict in document["verdicts"].as_array().unwrap() {
        assert_eq!(
            (&verdict["because"], &verdict["effect"]["kind"], &verdict["effect"]["detail"]),
            (&"manifest-without-dot-slash".into(), &"refuses".into(), &"list".into())
        );
    }
}

#[test]
fn whatever_is_changed_something_is_reported_and_a_verdict_has_a_reason() {
    let names = ["good-core-plain", "good-not-compressed", "good-supervisor-style-v2", "bsd-tar"];
    let Some(made) = Fixtures::make(&names).unwrap() else { return };
    let path = made.path("changed");
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..400 {
        let name = names[round % names.len()];
        let mut bytes = fs::read(made.path(name)).unwrap();
        if round % 3 == 0 {
            bytes.truncate(random(bytes.len()));
        } else {
            for _ in 0..=random(4) {
                // Headers stand at multiples of 512; most of what is interesting is there.
                let at =
                    if random(2) == 0 { random(bytes.len()) } else { random(bytes.len() / 512) * 512 + random(512) };
                let end = (at + 1 + random(40)).min(bytes.len());
                let byte = [0, 0xff, b'0', b'7', b'/', random(256) as u8][random(6)];
                bytes[at..end].fill(byte);
            }
        }
        fs::write(&path, &bytes).unwrap();
        let options = InspectOptions {
            password: made.password(name).map(Password::new),
            rows: true,
            ..InspectOptions::default()
        };
        let found = inspect(&path, &options, &|_, _| {}, &Cancellation::default()).unwrap();
        assert!(found.is_restored_everywhere() || !found.findings.is_empty(), "{name}, round {round}");
    }
}

#[test]
fn memory_stays_bounded_whatever_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config");
    sample::create(&config, &sample::Options { database_bytes: 150 << 20, seed: 11 }).unwrap();
    fs::File::create(config.join("holes.bin")).unwrap().set_len(1 << 30).unwrap();
    let archive = dir.path().join("a.tar");
    let haul = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command.env_clear().env("HOME", dir.path()).env("HAUL_PASSWORD", "sesame").stdout(Stdio::piped());
        command
    };
    let made = haul().arg("backup").arg(&config).arg("--to").arg(&archive).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut child = haul().args(["inspect", "--rows", "--progress", "none"]).arg(&archive).spawn().unwrap();
    let peak = wait::peak_kib(&mut child);
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains(", states from ") && said.contains("states_meta"), "{said}");
    println!("{peak} KiB");
    assert!(peak > 0 && peak < 48 << 10, "{peak} KiB");
    for way in [&[][..], &["--in-memory"]] {
        let mut child = haul().args(["rehearse", "--progress", "none"]).args(way).arg(&archive).spawn().unwrap();
        let peak = wait::peak_kib(&mut child);
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert!(said.starts_with("Proved: "), "{said}");
        println!("rehearse {way:?}: {peak} KiB");
        assert!(peak > 0 && peak < 80 << 10, "{peak} KiB");
    }
}
