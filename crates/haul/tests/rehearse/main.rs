//! `haul rehearse` as a user sees it: what proves that an archive restores, what speaks against it, and that nothing of
//! it stays.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod boot;
mod rig;

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use testkit::strace::{can_trace, failing};

const PASSWORD: &str = "correct horse battery staple";

/// A home directory with a configuration, its archive, and Haul's state.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Place {
    /// With the archive of a configuration that `change` has changed.
    pub(crate) fn with(change: impl FnOnce(&Path)) -> Self {
        let place = Self::empty();
        place.archive("a.tar", 1, change);
        place
    }

    pub(crate) fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn archive(&self, name: &str, seed: u64, change: impl FnOnce(&Path)) {
        let config = self.path(&format!("config-{name}"));
        sample::create(&config, &sample::Options { database_bytes: 2_000_000, seed }).unwrap();
        change(&config);
        let made = self.haul(&["backup", config.to_str().unwrap(), "--to", name, "--progress", "none"]);
        assert!(self.path(name).exists(), "{made:?}");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command.args(args).current_dir(self.dir.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.dir.path());
        command.env("XDG_STATE_HOME", self.path("state"));
        command
    }

    pub(crate) fn haul(&self, args: &[&str]) -> Said {
        Said::of(&self.command(args).output().unwrap())
    }

    /// What is in the directory of scratch directories.
    pub(crate) fn scratch(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("state/haul/rehearse"));
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }
}

/// A mounted tmpfs; unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&path).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path).status();
        assert!(mount.unwrap().success());
        Self(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The rows that a database really has.
fn states(config: &Path) -> u64 {
    sample::history(config).unwrap().states
}

#[test]
fn a_whole_archive_is_proved_by_unpacking_it_and_in_memory_with_the_same_numbers() {
    let place = Place::with(|_| {});
    let unpacked = place.haul(&["rehearse", "a.tar", "--json"]);
    assert_eq!((unpacked.code, unpacked.err.as_str()), (0, ""), "{unpacked:?}");
    let unpacked = unpacked.json();
    assert!(place.scratch().is_empty(), "{:?}", place.scratch());
    let memory = place.haul(&["rehearse", "a.tar", "--json", "--in-memory"]).json();
    assert_eq!((&unpacked["status"], &memory["status"]), (&"proved".into(), &"proved".into()));
    assert_eq!((&unpacked["how"], &memory["how"]), (&"unpacked".into(), &"in memory".into()));
    assert_eq!(unpacked["counts"], memory["counts"]);
    assert_eq!(unpacked["entries"], memory["entries"]);
    let counts = &unpacked["counts"];
    assert_eq!(counts["states"], states(&place.path("config-a.tar")));
    assert_eq!((&counts["users"], &counts["owners"], &counts["can_log_in"]), (&1.into(), &1.into(), &1.into()));
    for what in ["integrations", "devices", "entities", "areas", "settings_files", "events", "statistics"] {
        assert!(counts[what].as_u64().unwrap() > 0, "{what}: {counts}");
    }
    assert!(counts["newest_state"].is_string() && counts["made"].is_string(), "{counts}");
    let by_sqlite = |document: &Value| {
        let databases = document["databases"].as_array().unwrap();
        assert_eq!(databases.len(), 2);
        databases.iter().all(|database| database["by_sqlite"] == true)
    };
    assert!(by_sqlite(&unpacked) && !by_sqlite(&memory));

    let said = place.haul(&["rehearse", "a.tar"]);
    let first = said.out.lines().next().unwrap();
    assert!(first.starts_with("Proved: it was unpacked, and everything in it was checked: 1 user, "), "{first}");
    assert!(first.ends_with("states, all 2 databases sound"), "{first}");
}

#[test]
fn what_does_not_fit_is_checked_in_memory_and_says_so() {
    let place = Place::with(|_| {});
    let said = place.haul(&["rehearse", "a.tar", "--max-size", "100kB"]);
    let first = said.out.lines().next().unwrap();
    assert!(
        first.starts_with("Proved: everything in it was read in memory, not unpacked, because it takes ")
            && first.contains(", and the limit is 100 kB: 1 user"),
        "{said:?}"
    );
    assert!(said.code == 0 && place.scratch().is_empty());
    // One that does not say beforehand what it takes.
    let repaired = place.haul(&["repair", "a.tar", "--to", "b.tar", "--rename", "other"]);
    assert!(place.path("b.tar").exists(), "{repaired:?}");
    strip_index(&place.path("b.tar"));
    let said = place.haul(&["rehearse", "b.tar", "--max-size", "100kB"]);
    assert!(said.code == 0 && said.out.contains("because it takes more than 100 kB, and the limit is"), "{said:?}");
    assert!(place.scratch().is_empty());
    if is_root() {
        let small = Mounted::new(place.path("small"), "size=256k");
        let said = place.haul(&["rehearse", "a.tar", "--scratch", small.0.to_str().unwrap()]);
        assert!(said.code == 0 && said.out.contains("may be used there: 1 user"), "{said:?}");
        assert_eq!(fs::read_dir(&small.0).unwrap().count(), 0);
    }
}

#[test]
fn a_disk_that_fills_up_meanwhile_or_fails_leaves_nothing() {
    if !can_trace() {
        return;
    }
    let place = Place::with(|_| {});
    let failed = |calls: &[&str]| {
        let mut traced = failing(calls, None, Path::new(env!("CARGO_BIN_EXE_haul")));
        traced.args(["rehearse", "a.tar", "--progress", "none"]);
        traced.current_dir(place.path("")).env("HOME", place.path("")).env("XDG_STATE_HOME", place.path("state"));
        Said::of(&traced.output().unwrap())
    };
    let full = failed(&["pwrite64:error=ENOSPC:when=5+", "write:error=ENOSPC:when=60"]);
    let why = "because the disk is full: ";
    assert!(full.code == 0 && full.out.contains("read in memory") && full.out.contains(why), "{full:?}");
    let broken = failed(&["syncfs:error=EIO"]);
    assert!(broken.code == 1 && broken.err.contains("as scratch space: input/output error"), "{broken:?}");
    assert!(place.scratch().is_empty());
}

/// An archive without Haul's index, as Home Assistant's own have none: another tar's end comes before it.
fn strip_index(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let at =
        bytes.windows(habackup::index::MEMBER.len()).rposition(|window| window == habackup::index::MEMBER.as_bytes());
    let at = at.unwrap() / 512 * 512;
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(at as u64).unwrap();
    file.set_len(at as u64 + 1024).unwrap();
}

/// What is wrong with a configuration, and what the first line then says.
#[test]
fn what_is_wrong_with_a_configuration_disproves_it_either_way() {
    type Change = fn(&Path);
    let cases: [(&str, Change, &str); 7] = [
        (
            "no users",
            |config| fs::remove_file(config.join(".storage/auth")).unwrap(),
            "a restore loses the users or their passwords: nobody can log in",
        ),
        (
            "nobody's password",
            |config| {
                let text = r#"{"version":1,"key":"auth_provider.homeassistant","data":{"users":[]}}"#;
                fs::write(config.join(".storage/auth_provider.homeassistant"), text).unwrap();
            },
            ".storage/auth: none of its users can log in",
        ),
        (
            "zeros",
            |config| fs::write(config.join(".storage/core.config_entries"), [0; 900]).unwrap(),
            "a restore loses all integrations",
        ),
        (
            "another form",
            |config| fs::write(config.join(".storage/core.device_registry"), r#"{"data":{"devices":7}}"#).unwrap(),
            ".storage/core.device_registry: it is not in the form that Home Assistant writes",
        ),
        (
            "no YAML",
            |config| fs::write(config.join("configuration.yaml"), "default_config:\nlight: [").unwrap(),
            "configuration.yaml: Haul can't parse it as YAML",
        ),
        ("a damaged history", |config| damage(&config.join("home-assistant_v2.db")), "a restore loses the history"),
        ("a damaged database", |config| damage(&config.join("zigbee.db")), "zigbee.db: the database is damaged: "),
    ];
    for (what, change, says) in cases {
        let place = Place::with(change);
        for way in [&["rehearse", "a.tar"][..], &["rehearse", "a.tar", "--in-memory"]] {
            let said = place.haul(way);
            let first = said.out.lines().next().unwrap_or_default();
            assert!(said.code == 4 && first.starts_with(&format!("Not proved: {says}")), "{what} {way:?}: {said:?}");
        }
        assert!(place.scratch().is_empty(), "{what}");
    }
}

/// Makes pages in the middle unreadable.
fn damage(database: &Path) {
    let file = OpenOptions::new().write(true).open(database).unwrap();
    let length = file.metadata().unwrap().len();
    for page in 2..length / 4096 {
        file.write_all_at(&[0xee; 64], page * 4096).unwrap();
    }
}

#[test]
fn a_damaged_archive_is_not_proved() {
    let place = Place::with(|_| {});
    let bytes = fs::read(place.path("a.tar")).unwrap();
    let file = OpenOptions::new().write(true).open(place.path("a.tar")).unwrap();
    file.write_all_at(&[0x55; 4096], bytes.len() as u64 / 2).unwrap();
    for way in [&["rehearse", "a.tar"][..], &["rehearse", "a.tar", "--in-memory"]] {
        let said = place.haul(way);
        assert!(said.code == 4 && said.out.starts_with("Not proved: the archive is damaged"), "{way:?}: {said:?}");
    }
    let document = place.haul(&["rehearse", "a.tar", "--json"]).json();
    assert_eq!(
        (&document["status"], &document["judgement"]["verdict"]),
        (&"not-proved".into(), &"damaged".into()),
        "{document}"
    );
    assert!(place.scratch().is_empty());
    fs::write(place.path("text.tar"), "no backup").unwrap();
    let said = place.haul(&["rehearse", "text.tar"]);
    assert!(said.code == 4 && said.err.contains("is not a Home Assistant backup"), "{said:?}");
    assert_eq!(place.haul(&["rehearse", "nowhere.tar"]).code, 2);
}

#[test]
fn an_encrypted_archive_needs_its_password() {
    let place = Place::empty();
    sample::create(&place.path("config"), &sample::Options { database_bytes: 2_000_000, seed: 1 }).unwrap();
    fs::write(place.path("key"), PASSWORD).unwrap();
    fs::write(place.path("other"), "not it").unwrap();
    let backup = ["backup", "config", "--to", "a.tar", "--password-file", "key"];
    assert_eq!(place.haul(&backup).code, 0);
    for way in [&["rehearse", "a.tar"][..], &["rehearse", "a.tar", "--in-memory"]] {
        let with = |file: &str| place.haul(&[way, &["--password-file", file]].concat());
        let said = with("key");
        assert!(said.code == 0 && said.out.starts_with("Proved: "), "{way:?}: {said:?}");
        let said = with("other");
        assert!(said.code == 1 && said.err.starts_with("haul: the password is wrong\n"), "{way:?}: {said:?}");
        let said = place.haul(way);
        assert!(said.code == 2 && said.err.contains("is encrypted: a password is needed"), "{way:?}: {said:?}");
    }
    assert!(place.scratch().is_empty());
}

#[test]
fn scratch_space_that_is_no_use_is_refused_with_what_to_do() {
    let place = Place::with(|_| {});
    let inside = place.path("config-a.tar/tmp");
    fs::create_dir(&inside).unwrap();
    let said = place.haul(&["rehearse", "a.tar", "--scratch", inside.to_str().unwrap()]);
    assert!(said.code == 2 && said.err.contains("is inside the config directory"), "{said:?}");
    assert!(said.err.contains("choose another one with --scratch"), "{said:?}");
    fs::write(place.path("file"), "").unwrap();
    for wrong in ["file", "missing"] {
        let said = place.haul(&["rehearse", "a.tar", "--scratch", wrong]);
        assert!(
            said.code == 2 && said.err.contains(&format!("the scratch directory {wrong} does not exist")),
            "{said:?}"
        );
    }
    if is_root() {
        let fixed = Mounted::new(place.path("fixed"), "ro");
        let said = place.haul(&["rehearse", "a.tar", "--scratch", fixed.0.to_str().unwrap()]);
        assert!(said.code == 1 && said.err.contains("as scratch space: "), "{said:?}");
        assert!(said.err.contains("--in-memory"), "{said:?}");
        assert_eq!(place.haul(&["rehearse", "a.tar", "--in-memory", "--scratch", fixed.0.to_str().unwrap()]).code, 0);
    }
}

#[test]
fn what_is_kept_is_the_configuration_and_private() {
    let place = Place::with(|_| {});
    let document = place.haul(&["rehearse", "a.tar", "--keep-scratch", "--json"]).json();
    let kept = PathBuf::from(document["kept"].as_str().unwrap());
    assert!(kept.starts_with(place.path("state/haul/rehearse").canonicalize().unwrap()), "{}", kept.display());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(kept.parent().unwrap()), 0o700);
    let origin = place.path("config-a.tar");
    for name in ["configuration.yaml", ".storage/auth"] {
        assert_eq!(fs::read(kept.join(name)).unwrap(), fs::read(origin.join(name)).unwrap(), "{name}");
    }
    assert!(!kept.join("home-assistant_v2.db-shm").exists(), "looking wrote nothing");
}

#[test]
fn two_archives_are_compared_and_what_shrank_is_named() {
    let place = Place::with(|_| {});
    place.archive("b.tar", 1, |config| {
        fs::write(config.join(".storage/core.device_registry"), r#"{"version":1,"key":"x","data":{"devices":[]}}"#)
            .unwrap();
    });
    // Which is the older one shows by their dates, not by their order.
    for both in [["a.tar", "b.tar"], ["b.tar", "a.tar"]] {
        let said = place.haul(&["rehearse", both[0], "--compare", both[1]]);
        assert!(said.code == 3 && said.out.contains("  shrank: devices: 0, before "), "{both:?}: {said:?}");
    }
    let said = place.haul(&["rehearse", "a.tar", "--compare", "a.tar"]);
    assert!(said.code == 0 && said.out.ends_with("  nothing shrank suspiciously\n"), "{said:?}");
    let document = place.haul(&["rehearse", "a.tar", "--compare", "b.tar", "--json"]).json();
    assert_eq!(document["compared"]["differences"][0]["what"], "devices");
    assert_eq!(document["compared"]["archive"], "b.tar");
}
