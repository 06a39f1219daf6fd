//! One verdict: whatever is missing in a configuration, every command says the same of its backup, in its first line
//! and its exit code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

const SETTINGS: [&str; 5] =
    ["auth", "auth_provider.homeassistant", "core.config_entries", "onboarding", "core.device_registry"];
const PASSWORD: &str = "correct horse battery staple";

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        // Also for somebody who is not root.
        fs::set_permissions(place.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(place.path("out")).unwrap();
        fs::set_permissions(place.path("out"), fs::Permissions::from_mode(0o777)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A configuration with everything that makes a Home Assistant this one and no other.
    fn config(&self, name: &str, instance: &str) -> PathBuf {
        self.config_of(name, instance, 100_000)
    }

    fn config_of(&self, name: &str, instance: &str, database_bytes: u64) -> PathBuf {
        let config = self.path(name);
        sample::create(&config, &sample::Options { database_bytes, seed: 3 }).unwrap();
        for name in SETTINGS {
            let path = config.join(".storage").join(name);
            if !path.exists() {
                fs::write(path, r#"{"version":1,"key":"x","data":{}}"#).unwrap();
            }
        }
        fs::write(
            config.join(".storage/core.uuid"),
            format!(r#"{{"version":1,"key":"core.uuid","data":{{"uuid":"{instance}"}}}}"#),
        )
        .unwrap();
        config
    }

    fn haul(&self, args: &[&str], password: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.dir.path());
        command.stdin(Stdio::null());
        if let Some(password) = password {
            command.env("HAUL_PASSWORD", password);
        }
        command.output().unwrap()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn first_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(output)))
}

fn judged(output: &Output) -> (String, bool) {
    let judgement = &json(output)["judgement"];
    (judgement["verdict"].as_str().unwrap().to_owned(), judgement["essential"].as_bool().unwrap())
}

struct Case {
    name: &'static str,
    /// What is done to a whole configuration.
    spoil: fn(&Path),
    args: &'static [&'static str],
    /// What a restore loses, in part; empty: nothing that anybody would miss.
    lost: &'static str,
}

fn cases() -> Vec<Case> {
    fn remove(config: &Path, name: &str) {
        fs::remove_file(config.join(name)).unwrap();
    }
    fn without_database(config: &Path) {
        for name in ["home-assistant_v2.db", "home-assistant_v2.db-wal", "home-assistant_v2.db-shm"] {
            let _ = fs::remove_file(config.join(name));
        }
    }
    fn history_in_another_file(config: &Path) {
        fs::create_dir(config.join("db")).unwrap();
        fs::rename(config.join("home-assistant_v2.db"), config.join("db/history.db")).unwrap();
        without_database(config);
        fs::write(config.join("configuration.yaml"), "recorder:\n  db_url: sqlite:////config/db/history.db\n").unwrap();
    }
    fn overwrite(config: &Path, at: u64, bytes: &[u8]) {
        let database = config.join("home-assistant_v2.db");
        assert!(fs::metadata(&database).unwrap().len() > at + bytes.len() as u64);
        fs::OpenOptions::new().write(true).open(database).unwrap().write_all_at(bytes, at).unwrap();
    }
    let case = |name, spoil, lost| Case { name, spoil, args: &[], lost };
    vec![
        case("whole", |_| {}, ""),
        Case { args: &["--exclude-database"], ..case("history left out", |_| {}, "") },
        Case { args: &["--exclude", "home-assistant_v2.db*"], ..case("history left out by a pattern", |_| {}, "") },
        case("no history", without_database, ""),
        case(
            "history in MariaDB",
            |config| {
                without_database(config);
                fs::write(config.join("configuration.yaml"), "recorder:\n  db_url: mysql://ha:x@core-mariadb/ha\n")
                    .unwrap();
            },
            "",
        ),
        case("history in another file", history_in_another_file, ""),
        case(
            "damaged history in another file",
            |config| {
                history_in_another_file(config);
                fs::OpenOptions::new()
                    .write(true)
                    .open(config.join("db/history.db"))
                    .unwrap()
                    .write_all_at(&[0xa5; 4096 * 3], 4096 * 8)
                    .unwrap();
            },
            "the history",
        ),
        case(
            "no storage",
            |config| fs::remove_dir_all(config.join(".storage")).unwrap(),
            "users, integrations and devices",
        ),
        case("no users", |config| remove(config, ".storage/auth"), "nobody can log in"),
        case("no passwords", |config| remove(config, ".storage/auth_provider.homeassistant"), "nobody can log in"),
        case("no integrations", |config| remove(config, ".storage/core.config_entries"), "all integrations"),
        case("never set up", |config| remove(config, ".storage/onboarding"), "welcome page"),
        case(
            "no configuration.yaml",
            |config| remove(config, "configuration.yaml"),
            "the settings in configuration.yaml",
        ),
        case(
            "empty database",
            |config| {
                without_database(config);
                fs::write(config.join("home-assistant_v2.db"), "").unwrap();
            },
            "the history",
        ),
        case("empty users", |config| fs::write(config.join(".storage/auth"), "").unwrap(), "the users"),
        case(
            "zeros instead of integrations",
            |config| fs::write(config.join(".storage/core.config_entries"), [0; 400]).unwrap(),
            "all integrations",
        ),
        case(
            "devices cut short",
            |config| fs::write(config.join(".storage/core.device_registry"), r#"{"version":1,"da"#).unwrap(),
            "the devices",
        ),
        case("first page of the database is zeros", |config| overwrite(config, 0, &[0; 4096]), "the history"),
        case("pages of the database are noise", |config| overwrite(config, 4096 * 8, &[0xa5; 4096 * 3]), "the history"),
    ]
}

/// The ways in which an archive comes to be: with its verdict put in afterwards, encrypted, and measured before it is
/// written.
const WAYS: [(&str, Option<&str>, &[&str]); 3] =
    [("plain", None, &[]), ("encrypted", Some(PASSWORD), &[]), ("uncompressed", None, &["--uncompressed"])];

#[test]
fn every_command_says_the_same() {
    for case in cases() {
        let place = Place::new();
        let config = place.config("config", "a1b2c3");
        (case.spoil)(&config);
        let (verdict, essential) = if case.lost.is_empty() { ("whole", false) } else { ("incomplete", true) };
        for (way, password, args) in WAYS {
            let name = format!("{}, {way}", case.name);
            let archive = format!("out/{way}.tar");
            let backup = ["backup", "config", "--to", &archive, "--json"]
                .into_iter()
                .chain(args.iter().copied())
                .chain(case.args.iter().copied());
            let made = place.haul(&backup.collect::<Vec<_>>(), password);
            assert_eq!(code(&made), if essential { 3 } else { 0 }, "{name}: {}", told(&made));
            assert_eq!(judged(&made), (verdict.to_owned(), essential), "{name}: backup");
            agree(&place, &archive, password, &name, &case);
        }
        // Where nothing can be put in afterwards.
        let streamed = place.haul(
            &["backup", "config", "--to", "-"].into_iter().chain(case.args.iter().copied()).collect::<Vec<_>>(),
            None,
        );
        assert_eq!(
            code(&streamed),
            if essential { 3 } else { 0 },
            "{}: {}",
            case.name,
            String::from_utf8_lossy(&streamed.stderr)
        );
        fs::write(place.path("out/streamed.tar"), &streamed.stdout).unwrap();
        agree(&place, "out/streamed.tar", None, &format!("{}, streamed", case.name), &case);
    }
}

#[test]
fn a_history_in_another_file_is_not_called_missing() {
    let place = Place::new();
    let config = place.config("config", "a1b2c3");
    (cases().iter().find(|case| case.name == "history in another file").unwrap().spoil)(&config);
    let made = place.haul(&["backup", "config", "--to", "out/a.tar"], None);
    assert!(code(&made) == 0 && !told(&made).contains("without the history"), "{}", told(&made));
    let verified = place.haul(&["verify", "out/a.tar"], None);
    assert!(code(&verified) == 0 && !told(&verified).contains("it does not hold the history"), "{}", told(&verified));
    let repaired = place.haul(&["repair", "out/a.tar", "--to", "out/b.tar", "--recompress", "small"], None);
    assert!(code(&repaired) == 0 && !told(&repaired).contains("lost:"), "{}", told(&repaired));
    assert_eq!(judged(&place.haul(&["verify", "out/b.tar", "--json"], None)), ("whole".to_owned(), false));
}

#[test]
fn a_repair_counts_no_history_as_lost_that_is_kept_elsewhere() {
    let place = Place::new();
    let config = place.config("config", "a1b2c3");
    (cases().iter().find(|case| case.name == "history in MariaDB").unwrap().spoil)(&config);
    assert_eq!(code(&place.haul(&["backup", "config", "--to", "out/a.tar"], None)), 0);
    let repaired = place.haul(&["repair", "out/a.tar", "--to", "out/b.tar", "--recompress", "small"], None);
    assert!(code(&repaired) == 0 && !told(&repaired).contains("lost:"), "{}", told(&repaired));
}

#[test]
fn an_incomplete_archive_that_is_pushed_is_called_so() {
    let place = Place::new();
    let config = place.config("config", "a1b2c3");
    fs::remove_file(config.join(".storage/auth")).unwrap();
    assert_eq!(code(&place.haul(&["backup", "config", "--to", "a.tar"], None)), 3);
    let pushed = place.haul(&["push", "a.tar", "--to", "out/"], None);
    assert!(
        code(&pushed) == 0 && told(&pushed).contains("note: the archive is incomplete: a restore loses"),
        "{}",
        told(&pushed)
    );
}

/// Without compression nothing but sizes is measured: what is wrong with a large database shows when the description
/// has left.
#[test]
fn what_the_description_of_a_stream_could_not_say_is_reported() {
    let place = Place::new();
    let spoil = cases().iter().find(|case| case.name == "pages of the database are noise").unwrap().spoil;
    for (name, bytes) in [("large", 12_000_000), ("small", 100_000)] {
        spoil(&place.config_of(name, "a1b2c3", bytes));
    }
    for (args, too_late) in [
        (&["large", "--uncompressed"][..], true),
        (&["large"], false),
        (&["small", "--uncompressed"], false),
        (&["small"], false),
    ] {
        let streamed = place.haul(&[&["backup", "--to", "-"], args].concat(), None);
        let said = String::from_utf8_lossy(&streamed.stderr);
        assert_eq!(
            (code(&streamed), said.contains("after it had sent the archive's own description")),
            (3, too_late),
            "{args:?}: {said}"
        );
        assert_eq!(said.matches("damaged on this machine").count(), 1, "{args:?}: {said}");
        assert!(said.contains("image of a DAMAGED database"), "{args:?}: {said}");
    }
}

fn agree(place: &Place, archive: &str, password: Option<&str>, name: &str, case: &Case) {
    let is_whole = case.lost.is_empty();
    let expected = if is_whole { ("whole".to_owned(), false) } else { ("incomplete".to_owned(), true) };
    let target: &[&str] = &["--target", "2026.11.0"];
    for (command, more) in [("verify", &[][..]), ("inspect", target)] {
        let run = |json: &[&str]| place.haul(&[&[command, archive], more, json].concat(), password);
        assert_eq!(judged(&run(&["--json"])), expected, "{name}: {command}: {}", told(&run(&[])));
        let said = run(&[]);
        assert_eq!(code(&said), if is_whole { 0 } else { 4 }, "{name}: {command}: {}", told(&said));
        let line = first_line(&said);
        assert!(
            is_whole || line.contains("incomplete: a restore loses") && line.contains(case.lost),
            "{name}: {command}: {line}"
        );
        assert!(!line.contains("Good") || is_whole, "{name}: {line}");
    }
    let listed = json(&place.haul(&["list", "out", "--json"], None));
    let item = listed["archives"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| archive.ends_with(item["name"].as_str().unwrap()))
        .unwrap()
        .clone();
    assert_eq!(
        (item["verdict"].as_str().unwrap(), item["essential"].as_bool().unwrap()),
        (expected.0.as_str(), expected.1),
        "{name}: list"
    );
    assert_eq!(item["instance"].as_str(), place.path("config/.storage").exists().then_some("a1b2c3"), "{name}");
    let into = format!("restored-{}", archive.rsplit('/').next().unwrap());
    let restored = place.haul(&["restore", archive, "--into", &into], password);
    assert_eq!(code(&restored), if is_whole { 0 } else { 3 }, "{name}: {}", told(&restored));
    assert_eq!(told(&restored).contains("the archive is incomplete"), !is_whole, "{name}: {}", told(&restored));
    let fetched = place.haul(&["get", archive, "--to", &format!("{into}.tar")], None);
    assert_eq!(told(&fetched).contains("incomplete: a restore loses"), !is_whole, "{name}: {}", told(&fetched));
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The program as a user who may read less.
fn as_nobody(place: &Place, args: &[&str]) -> Output {
    let program = place.path("haul");
    if !program.exists() {
        fs::copy(env!("CARGO_BIN_EXE_haul"), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program)
        .args(args)
        .current_dir(place.dir.path());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/nonexistent").output().unwrap()
}

#[test]
fn nights_as_the_wrong_user_do_not_push_out_the_good_archive() {
    if !is_root() {
        eprintln!("skipped: this needs root");
        return;
    }
    let place = Place::new();
    let config = place.config("config", "a1b2c3");
    for name in ["config/.storage", "config/home-assistant_v2.db"] {
        let mode = if Path::new(name).extension().is_some_and(|end| end == "db") { 0o600 } else { 0o700 };
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    assert_eq!(code(&place.haul(&["backup", "config", "--to", "out/0-good.tar"], None)), 0);
    for night in 1..=3 {
        let made = as_nobody(&place, &["backup", config.to_str().unwrap(), "--to", &format!("out/{night}-bad.tar")]);
        assert_eq!(code(&made), 3, "{}", told(&made));
        assert!(first_line(&made).contains("incomplete: a restore loses"), "{}", told(&made));
    }
    let listed = told(&place.haul(&["list", "out"], None));
    assert_eq!(
        listed
            .lines()
            .filter(|line| line.contains("incomplete (loses essentials)") && line.ends_with("-bad.tar"))
            .count(),
        3,
        "{listed}"
    );
    let verified = place.haul(&["verify", "out/1-bad.tar"], None);
    assert_eq!(code(&verified), 4, "{}", told(&verified));
    for rule in ["--keep-last=3", "--keep-daily=7"] {
        let pruned = place.haul(&["prune", "out", rule, "--yes"], None);
        assert_eq!(code(&pruned), 0, "{}", told(&pruned));
        assert!(place.path("out/0-good.tar").exists(), "{}", told(&pruned));
    }
    // An archive that another user may not read is no foreign file.
    fs::set_permissions(place.path("out/0-good.tar"), fs::Permissions::from_mode(0o600)).unwrap();
    let listed = as_nobody(&place, &["list", place.path("out").to_str().unwrap()]);
    assert_eq!(code(&listed), 3, "{}", told(&listed));
    assert!(
        told(&listed).lines().any(|line| line.contains("unreadable") && line.ends_with("0-good.tar")),
        "{}",
        told(&listed)
    );
}

#[test]
fn what_was_unreadable_is_named_wherever_its_archive_is_mentioned() {
    if !is_root() {
        eprintln!("skipped: this needs root");
        return;
    }
    let place = Place::new();
    let config = place.config("config", "a1b2c3");
    assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(&config).status().unwrap().success());
    for name in [&b"www.bin"[..], b"odd\n\xff.bin", b"a; b"] {
        let path = config.join(OsStr::from_bytes(name));
        fs::write(&path, "x").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let named = "3 entries that were unreadable, doubtful or damaged when the backup was made: a\\x3b b, \
        odd\\x0a\\xff.bin, www.bin";
    for (archive, essential) in [("out/a.tar", false), ("out/b.tar", true)] {
        if essential {
            fs::remove_file(config.join(".storage/auth")).unwrap();
        }
        let lost = if essential { "incomplete: a restore loses " } else { "incomplete: 3 entries" };
        let tells = |output: &Output, expected: i32| {
            assert_eq!(code(output), expected, "{}", told(output));
            assert!(told(output).lines().any(|line| line.contains(lost) && line.contains(named)), "{}", told(output));
        };
        tells(&as_nobody(&place, &["backup", config.to_str().unwrap(), "--to", archive]), 3);
        tells(&place.haul(&["verify", archive], None), if essential { 4 } else { 3 });
        tells(&place.haul(&["inspect", archive, "--target", "2026.11.0"], None), if essential { 4 } else { 3 });
        tells(&place.haul(&["list", "out"], None), 0);
        tells(&place.haul(&["restore", archive, "--into", &format!("{archive}-restored")], None), 3);
        let listed = json(&place.haul(&["list", "out", "--json"], None));
        let item = listed["archives"]
            .as_array()
            .unwrap()
            .iter()
            .find(|item| archive.ends_with(item["name"].as_str().unwrap()))
            .unwrap();
        assert!(item["missing"].as_str().unwrap().ends_with(named), "{listed}");
    }
    let listed = told(&place.haul(&["list", "out"], None));
    assert!(
        listed.contains("  incomplete                     a.tar")
            && listed.contains("  incomplete (loses essentials)  b.tar"),
        "{listed}"
    );
}

#[test]
fn two_instances_at_one_destination_are_distinguished_and_kept_apart() {
    let place = Place::new();
    for (name, instance) in [("home", "0123456789abcdef"), ("cabin", "fedcba9876543210")] {
        place.config(name, instance);
        assert_eq!(code(&place.haul(&["backup", name, "--to", &format!("out/{name}.tar")], None)), 0);
    }
    let listed = told(&place.haul(&["list", "out"], None));
    for words in ["INSTANCE", "01234567", "fedcba98"] {
        assert!(listed.contains(words), "{listed}");
    }
    let pruned = place.haul(&["prune", "out", "--keep-daily", "7", "--yes"], None);
    assert!(told(&pruned).contains("Nothing to remove: 2 archives stay"), "{}", told(&pruned));
}

#[test]
fn what_would_leave_only_incomplete_archives_is_refused() {
    let place = Place::new();
    let config = place.config("config", "a1b2c3");
    fs::remove_file(config.join(".storage/auth")).unwrap();
    for name in ["out/1.tar", "out/2.tar"] {
        assert_eq!(code(&place.haul(&["backup", "config", "--to", name], None)), 3);
    }
    let refused = place.haul(&["prune", "out", "--keep-last", "1", "--yes"], None);
    assert_eq!(code(&refused), 1, "{}", told(&refused));
    assert!(
        told(&refused).contains("whole") && place.path("out/1.tar").exists() && place.path("out/2.tar").exists(),
        "{}",
        told(&refused)
    );
    // Another instance is pruned all the same.
    place.config("other", "d4e5f6");
    for name in ["out/3.tar", "out/4.tar"] {
        assert_eq!(code(&place.haul(&["backup", "other", "--to", name], None)), 0);
    }
    let pruned = place.haul(&["prune", "out", "--keep-last", "1", "--yes", "--json"], None);
    assert_eq!(code(&pruned), 3, "{}", told(&pruned));
    let document: serde_json::Value = serde_json::from_slice(&pruned.stdout).unwrap();
    assert_eq!(
        (&document["removed"], &document["failed"][0]["name"]),
        (&serde_json::json!(["3.tar"]), &"1.tar".into()),
        "{document}"
    );
    assert!(document["destination"].is_string() && document.get("place").is_none(), "{document}");
    assert!(
        !place.path("out/3.tar").exists()
            && ["1", "2", "4"].iter().all(|n| place.path(&format!("out/{n}.tar")).exists())
    );
    fs::remove_file(place.path("out/4.tar")).unwrap();
    let planned = place.haul(&["prune", "out", "--keep-last", "1", "--dry-run"], None);
    assert!(code(&planned) == 0 && told(&planned).contains("only incomplete"), "{}", told(&planned));
    let pruned = place.haul(&["prune", "out", "--keep-last", "1", "--yes", "--even-without-whole"], None);
    assert_eq!((code(&pruned), fs::read_dir(place.path("out")).unwrap().count()), (0, 1), "{}", told(&pruned));
}

#[test]
fn an_archive_that_was_cut_is_still_hauls_and_goes() {
    let place = Place::new();
    place.config("config", "a1b2c3");
    for name in ["out/1.tar", "out/2.tar"] {
        assert_eq!(code(&place.haul(&["backup", "config", "--to", name], None)), 0);
    }
    let cut = fs::OpenOptions::new().write(true).open(place.path("out/1.tar")).unwrap();
    cut.set_len(cut.metadata().unwrap().len() / 2).unwrap();
    let listed = told(&place.haul(&["list", "out"], None));
    assert!(
        listed.lines().any(|line| line.contains("  Haul  ") && line.contains("DAMAGED") && line.ends_with("1.tar")),
        "{listed}"
    );
    assert_eq!(code(&place.haul(&["prune", "out", "--keep-last", "2", "--yes"], None)), 0);
    assert!(!place.path("out/1.tar").exists() && place.path("out/2.tar").exists());
}

/// What is around the members of an archive, damaged in each way that leaves every member whole.
#[test]
fn where_only_the_end_or_the_index_is_damaged_every_command_says_so() {
    let place = Place::new();
    let config = place.config("config", "one");
    for (password, made) in [(None, "plain.tar"), (Some(PASSWORD), "completed.tar")] {
        let output = place.haul(&["backup", config.to_str().unwrap(), "--to", made], password);
        assert_eq!(code(&output), 0, "{}", told(&output));
        let whole = fs::read(place.path(made)).unwrap();
        let opened = habackup::archive::Archive::open(whole.as_slice()).unwrap();
        let index = opened.member(habackup::index::MEMBER).unwrap();
        let (begin, end) =
            (index.data_offset as usize, (index.data_offset + index.size).next_multiple_of(512) as usize);
        let flipped = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            bytes
        };
        for (kind, bytes) in [
            ("without its end mark", whole[..end].to_vec()),
            ("without half of its end mark", whole[..end + 512].to_vec()),
            ("without the zeros behind its end mark", whole[..end + 1024].to_vec()),
            ("with a damaged index", flipped(begin + index.size as usize - 9)),
        ] {
            if bytes.len() == whole.len() && bytes == whole {
                continue;
            }
            fs::write(place.path("bad.tar"), &bytes).unwrap();
            for command in ["verify", "inspect"] {
                let output = place.haul(&[command, "bad.tar"], password);
                assert!(
                    code(&output) == 3 && first_line(&output).contains("every file in it is whole"),
                    "{kind}, {command}: {}",
                    told(&output)
                );
                assert_eq!(
                    json(&place.haul(&[command, "bad.tar", "--json"], password))["judgement"]["verdict"],
                    "wrapper",
                    "{kind}, {command}"
                );
            }
            let output = place.haul(&["repair", "bad.tar", "--to", "good.tar"], password);
            assert_eq!(code(&output), 0, "{kind}: {}", told(&output));
            let output = place.haul(&["verify", "good.tar"], password);
            assert_eq!(code(&output), 0, "{kind}: {}", told(&output));
            fs::remove_file(place.path("good.tar")).unwrap();
        }
        // A wrong bit in the index's header: readers refuse such an archive, and repair leaves nothing of the old index
        // in the new one.
        fs::write(place.path("bad.tar"), flipped(begin - 512 + 2)).unwrap();
        for command in ["verify", "inspect"] {
            let output = place.haul(&[command, "bad.tar"], password);
            assert!(code(&output) == 4 && first_line(&output).contains("DAMAGED"), "{command}: {}", told(&output));
        }
        let output = place.haul(&["repair", "bad.tar", "--to", "good.tar"], password);
        assert_eq!(code(&output), 0, "{}", told(&output));
        assert_eq!(code(&place.haul(&["verify", "good.tar"], password)), 0);
        let repaired = fs::read(place.path("good.tar")).unwrap();
        assert_eq!(
            habackup::archive::Archive::open(repaired.as_slice()).unwrap().members().len(),
            opened.members().len()
        );
        fs::remove_file(place.path("good.tar")).unwrap();
    }
}

#[test]
fn a_link_instead_of_configuration_yaml_is_not_praised() {
    let place = Place::new();
    let config = place.config("config", "a1b2c3");
    fs::remove_file(config.join("configuration.yaml")).unwrap();
    symlink("/nowhere/configuration.yaml", config.join("configuration.yaml")).unwrap();
    assert_eq!(code(&place.haul(&["backup", "config", "--to", "out/a.tar"], None)), 3);
    let verified = place.haul(&["verify", "out/a.tar"], None);
    assert_eq!(code(&verified), 4, "{}", told(&verified));
    assert!(first_line(&verified).contains("incomplete: a restore loses configuration.yaml"), "{}", told(&verified));
}

/// What a repair makes of an incomplete archive is incomplete.
#[test]
fn a_repaired_archive_carries_the_verdict_of_what_is_in_it() {
    let place = Place::new();
    let config = place.config("config", "a1b2c3");
    for (name, lost) in [("whole", false), ("users", true)] {
        if lost {
            fs::remove_file(config.join(".storage/auth")).unwrap();
        }
        let (old, new) = (format!("out/{name}.tar"), format!("out/{name}-small.tar"));
        place.haul(&["backup", "config", "--to", &old], None);
        place.haul(&["repair", &old, "--to", &new, "--recompress", "small"], None);
        let listed = json(&place.haul(&["list", "out", "--json"], None));
        let item = listed["archives"]
            .as_array()
            .unwrap()
            .iter()
            .find(|item| new.ends_with(item["name"].as_str().unwrap()))
            .unwrap()
            .clone();
        assert_eq!(
            (item["verdict"].as_str(), item["essential"].as_bool()),
            (Some(if lost { "incomplete" } else { "whole" }), Some(lost)),
            "{listed}"
        );
        assert_eq!(item["instance"], "a1b2c3");
    }
}
