//! `haul repair` as a user sees it. Its output is kept beside this file as printed: read it aloud when it changes.
//! `HAUL_GOLDEN=write` rewrites it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod endings;
mod restored;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use testkit::fixtures::Fixtures;

const PASSWORD: &str = "correct horse battery staple";

/// What is printed of each, and the exit code.
const SHOWN: [(&str, i32); 19] = [
    ("good-core-plain", 0),
    ("member-without-dot-slash", 0),
    ("bare-config-in-a-folder", 0),
    ("bare-homeassistant-tar-gz-encrypted", 0),
    ("wrapper-gzipped", 0),
    ("bsd-tar", 0),
    ("inner-several-gzip-members-encrypted", 0),
    ("securetar-v3", 0),
    ("folders-unknown", 3),
    ("fifo", 0),
    ("hard-link-to-nothing", 3),
    ("bad-gzip-crc", 3),
    ("truncated-in-inner", 3),
    ("truncated-in-last-part", 3),
    ("database-malformed", 4),
    ("database-truncated", 3),
    ("no-storage", 4),
    ("html-error-page", 4),
    ("truncated-after-manifest", 4),
];

struct Bench {
    made: Fixtures,
    out: tempfile::TempDir,
}

impl Bench {
    fn new(names: &[&str]) -> Option<Self> {
        Some(Self { made: Fixtures::make(names).unwrap()?, out: tempfile::tempdir().unwrap() })
    }

    fn to(&self, name: &str) -> PathBuf {
        self.out.path().join(name)
    }

    fn command(&self, name: &str, to: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command
            .arg("repair")
            .arg(self.made.path(name))
            .arg("--to")
            .arg(to)
            .args(["--progress", "none"])
            .env_clear()
            .env("HOME", self.out.path());
        if let Some(password) = self.made.password(name) {
            command.env("HAUL_PASSWORD", password);
        }
        command
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Without sizes and times: they differ with the version of zlib, and with the machine.
fn plain(text: &str, bad: &Path, good: &Path) -> String {
    let text = text.replace(&bad.display().to_string(), "BAD").replace(&good.display().to_string(), "GOOD");
    let mut words: Vec<&str> = text.split(' ').collect();
    for at in 1..words.len() {
        let unit = words[at].split(|character: char| !character.is_ascii_alphabetic()).next().unwrap_or_default();
        if matches!(unit, "B" | "kB" | "MB" | "s") {
            words[at - 1] = "N";
        }
    }
    words.join(" ")
}

#[test]
fn everything_that_was_done_is_printed_in_plain_words() {
    let Some(bench) = Bench::new(&SHOWN.map(|(name, _)| name)) else { return };
    for (name, code) in SHOWN {
        let to = bench.to(&format!("{name}.tar"));
        let output = bench.command(name, &to).output().unwrap();
        let said = String::from_utf8(output.stdout.clone()).unwrap() + &errors(&output);
        let said = plain(&said, &bench.made.path(name), &to);
        assert_eq!(output.status.code(), Some(code), "{name}: {said}");
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/repair/{name}.txt"));
        if std::env::var_os("HAUL_GOLDEN").is_some() {
            fs::write(&golden, &said).unwrap();
        }
        assert_eq!(said, fs::read_to_string(&golden).unwrap_or_default(), "{name}");
    }
}

#[test]
fn a_script_reads_what_was_done_and_what_was_lost() {
    let Some(bench) = Bench::new(&["truncated-in-inner"]) else { return };
    let output = bench.command("truncated-in-inner", &bench.to("good.tar")).arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", errors(&output));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["status"], "incomplete");
    let lost: Vec<_> = document["notes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|note| note["kind"] == "lost")
        .map(|note| &note["member"])
        .collect();
    assert_eq!(lost, ["data/home-assistant_v2.db", "homeassistant.tar.gz"]);
    assert_eq!(document["written"]["members"], 30);
}

/// A backup of Haul's own with noise in it, damaged in the middle, and its index whole.
fn damaged(folder: &Path, password: Option<&str>) -> PathBuf {
    let config = folder.join("config");
    sample::create(&config, &sample::Options { database_bytes: 100_000, seed: 3 }).unwrap();
    for number in 10..20 {
        fs::create_dir_all(config.join("www")).unwrap();
        fs::write(config.join(format!("www/picture-{number}.jpg")), testkit::noise::noise(200_000)).unwrap();
    }
    let bad = folder.join("bad.tar");
    let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
    command.arg("backup").arg(&config).arg("--to").arg(&bad).args(["--progress", "none"]).env_clear();
    command.env("HOME", folder).envs(password.map(|password| ("HAUL_PASSWORD", password)));
    assert!(command.output().unwrap().status.success());
    let mut bytes = fs::read(&bad).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 200_000].fill(0);
    fs::write(&bad, bytes).unwrap();
    bad
}

#[test]
fn files_that_are_lost_are_named_with_their_sizes_if_the_index_is_whole() {
    for password in [None, Some(PASSWORD)] {
        let folder = tempfile::tempdir().unwrap();
        let bad = damaged(folder.path(), password);
        let haul = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
            command.args(args).args(["--progress", "none"]).env_clear().env("HOME", folder.path());
            let output = command.envs(password.map(|password| ("HAUL_PASSWORD", password))).output().unwrap();
            (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap() + &errors(&output))
        };
        let (bad, good) = (bad.display().to_string(), folder.path().join("good.tar").display().to_string());
        let (code, said) = haul(&["verify", &bad]);
        let tip = format!("`haul repair {bad} --to repaired.tar` saves what can be saved, and lists what is lost");
        assert!(code == Some(4) && said.contains(&tip), "{code:?}: {said}");
        let (code, said) = haul(&["repair", &bad, "--to", &good]);
        assert_eq!(code, Some(3), "{said}");
        let lost: Vec<&str> = said.lines().filter(|line| line.starts_with("LOST: data/www/picture-")).collect();
        assert!(!lost.is_empty() && lost.len() <= 10, "{said}");
        let named = |line: &&&str| line.ends_with(".jpg: it had 200 kB; only its name is left, in the index");
        let gone = lost.iter().filter(named).count();
        // What was cut in its middle is said otherwise.
        assert!(gone >= lost.len() - 1 && gone > 0, "{said}");
        let (_, listed) = haul(&["ls", &good]);
        assert_eq!(listed.matches("www/picture-").count(), 10 - lost.len(), "{said}\n{listed}");
    }
}

#[test]
fn the_new_archive_is_its_owners_alone_and_the_old_one_stays_as_it_was() {
    use std::os::unix::fs::PermissionsExt;
    let Some(bench) = Bench::new(&["member-without-dot-slash"]) else { return };
    let (bad, good) = (bench.made.path("member-without-dot-slash"), bench.to("good.tar"));
    let state = |path: &Path| (fs::read(path).unwrap(), fs::metadata(path).unwrap().modified().unwrap());
    let before = state(&bad);
    fs::set_permissions(&bad, fs::Permissions::from_mode(0o444)).unwrap();
    assert_eq!(bench.command("member-without-dot-slash", &good).status().unwrap().code(), Some(0));
    assert_eq!(fs::metadata(&good).unwrap().permissions().mode() & 0o777, 0o600);
    let written = state(&good);
    for to in [&good, &bad] {
        let again = bench.command("member-without-dot-slash", to).output().unwrap();
        assert_eq!(again.status.code(), Some(1), "{}", errors(&again));
        assert!(errors(&again).contains("exists already"), "{}", errors(&again));
    }
    assert!(state(&good) == written && state(&bad) == before);
    assert_eq!(fs::read_dir(bench.out.path()).unwrap().count(), 1, "something was left behind");
}

#[test]
fn a_password_is_put_on_changed_and_taken_off() {
    let Some(bench) = Bench::new(&["good-core-plain"]) else { return };
    let new_password = |word: &str| {
        let path = bench.to(word);
        fs::write(&path, format!("{word}\n")).unwrap();
        path
    };
    let run = |archive: &Path, to: &Path, flag: &str, old: Option<&str>, new: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command
            .arg("repair")
            .arg(archive)
            .arg("--to")
            .arg(to)
            .arg(flag)
            .args(["--progress", "none"])
            .env_clear()
            .env("HOME", bench.out.path());
        command.envs(old.map(|old| ("HAUL_PASSWORD", old)));
        if let Some(new) = new {
            command.arg("--new-password-file").arg(new);
        }
        let output = command.output().unwrap();
        (output.status.code(), errors(&output))
    };
    let (plain, first, second, last) =
        (bench.made.path("good-core-plain"), bench.to("1.tar"), bench.to("2.tar"), bench.to("3.tar"));
    let (one, two) = (new_password("one"), new_password("two"));
    assert_eq!(run(&plain, &first, "--encrypt", None, Some(&one)), (Some(0), String::new()));
    assert_eq!(run(&first, &second, "--change-password", Some("one"), Some(&two)), (Some(0), String::new()));
    let (code, said) = run(&second, &last, "--decrypt", Some("one"), None);
    assert!(code == Some(1) && said.contains("password is wrong"), "{said}");
    let (code, said) = run(&second, &last, "--decrypt", None, None);
    assert!(code == Some(2) && said.contains("a password is needed"), "{said}");
    let (code, said) = run(&second, &last, "--encrypt", Some("two"), Some(&one));
    assert!(code == Some(1) && said.contains("is encrypted already"), "{said}");
    let (code, said) = run(&plain, &last, "--change-password", None, Some(&one));
    assert!(code == Some(1) && said.contains("is not encrypted"), "{said}");
    assert!(!last.exists());
    assert_eq!(run(&second, &last, "--decrypt", Some("two"), None), (Some(0), String::new()));
    let differ = Command::new(env!("CARGO_BIN_EXE_haul"))
        .arg("diff")
        .args([&plain, &last])
        .env_clear()
        .env("HOME", bench.out.path())
        .status()
        .unwrap();
    assert_eq!(differ.code(), Some(0));
}

#[test]
fn a_password_is_never_an_argument() {
    let Some(bench) = Bench::new(&["good-core-plain"]) else { return };
    let (nothing, to) =
        (bench.command("good-core-plain", &bench.to("a.tar")).arg("--encrypt").output().unwrap(), bench.to("b.tar"));
    assert_eq!(nothing.status.code(), Some(2), "{}", errors(&nothing));
    assert!(errors(&nothing).contains("HAUL_NEW_PASSWORD"), "{}", errors(&nothing));
    let given =
        bench.command("good-core-plain", &to).arg("--encrypt").env("HAUL_NEW_PASSWORD", PASSWORD).output().unwrap();
    assert_eq!(given.status.code(), Some(0), "{}", errors(&given));
    let unasked = bench
        .command("good-core-plain", &bench.to("c.tar"))
        .args(["--new-password-file", "/dev/null"])
        .output()
        .unwrap();
    assert_eq!(unasked.status.code(), Some(2), "{}", errors(&unasked));
}

#[test]
fn a_version_that_nothing_says_is_asked_for() {
    let Some(bench) = Bench::new(&["no-ha-version", "homeassistant-without-version"]) else { return };
    let folder = bench.to("config");
    fs::create_dir_all(folder.join(".storage")).unwrap();
    fs::write(folder.join("configuration.yaml"), "").unwrap();
    let bare = bench.to("bare.tar");
    assert!(Command::new("tar").arg("cf").arg(&bare).arg("-C").arg(&folder).arg(".").status().unwrap().success());
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command
            .arg("repair")
            .arg(&bare)
            .arg("--to")
            .arg(bench.to("good.tar"))
            .args(more)
            .args(["--progress", "none"])
            .env_clear();
        command.env("HOME", bench.out.path()).output().unwrap()
    };
    let output = run(&[]);
    assert!(output.status.code() == Some(2) && errors(&output).contains("--ha-version"), "{}", errors(&output));
    // It holds no user, and the report says so.
    assert_eq!(run(&["--ha-version", "2025.6.3"]).status.code(), Some(4));
    let printed = Command::new(env!("CARGO_BIN_EXE_haul"))
        .arg("cat")
        .arg(bench.to("good.tar"))
        .arg(".HA_VERSION")
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(printed.stdout, b"2025.6.3");
}
