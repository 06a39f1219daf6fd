//! Retention never removes the last good copy: links, names of one archive, backups without their history, random
//! bytes, and what paired machines sent.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

const SETTINGS: [&str; 5] =
    ["auth", "auth_provider.homeassistant", "core.config_entries", "onboarding", "core.device_registry"];
const DAY: u64 = 86_400;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.path("out")).unwrap();
        let config = place.path("config");
        sample::create(&config, &sample::Options { database_bytes: 100_000, seed: 3 }).unwrap();
        for name in SETTINGS {
            let path = config.join(".storage").join(name);
            if !path.exists() {
                fs::write(path, r#"{"version":1,"key":"x","data":{}}"#).unwrap();
            }
        }
        fs::write(config.join(".storage/core.uuid"), r#"{"version":1,"key":"core.uuid","data":{"uuid":"a1b2c3"}}"#)
            .unwrap();
        place
    }

    /// With three archives, `3.tar` the newest.
    fn with_three() -> Self {
        let place = Self::new();
        for name in ["1.tar", "2.tar", "3.tar"] {
            place.backup(name, &[]);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.dir.path());
        command.env("TZ", "UTC").stdin(Stdio::null());
        command
    }

    /// Exit code, and all output.
    fn haul(&self, args: &[&str]) -> (i32, String) {
        told(&self.command(args).output().unwrap())
    }

    fn backup(&self, name: &str, more: &[&str]) {
        let (code, said) = self.haul(&[&["backup", "config", "--to", &format!("out/{name}")], more].concat());
        assert_eq!(code, 0, "{said}");
    }

    fn prune(&self, more: &[&str]) -> (i32, String) {
        self.haul(&[&["prune", "out"], more].concat())
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path("out"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// `archive` once more, with another day in its description.
    fn redated(&self, archive: &str, to: &str, days_ago: u64) {
        let mut bytes = fs::read(self.path(archive)).unwrap();
        let key = b"\"date\":\"";
        let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len();
        let made =
            fs::metadata(self.path(archive)).unwrap().modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let day =
            jiff::Timestamp::from_second((made - days_ago * DAY) as i64).unwrap().strftime("%Y-%m-%d").to_string();
        bytes[at..at + 10].copy_from_slice(day.as_bytes());
        fs::write(self.path("out").join(to), bytes).unwrap();
    }

    /// What a receiver that keeps what it has puts beside an archive.
    fn received(&self, archive: &str, key: &str, days_ago: u64) {
        let note = format!(r#"{{"from":"green","key":"{key}","arrived":{}}}"#, now() - days_ago * DAY);
        fs::write(self.path("out").join(format!("{archive}.via")), note).unwrap();
    }

    /// Overwrites the configuration in an archive from this byte on, or from its middle, with what looks like random
    /// bytes.
    fn spoil(&self, archive: &str, from: Option<usize>) {
        let path = self.path("out").join(archive);
        let mut bytes = fs::read(&path).unwrap();
        let header = bytes.windows(20).position(|window| window == b"homeassistant.tar.gz").unwrap();
        assert_eq!(header % 512, 0);
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[header + 124..header + 135]).unwrap(), 8).unwrap();
        let content = &mut bytes[header + 512..][..size];
        let mut state = 7_u32;
        for byte in &mut content[from.unwrap_or(size / 2)..] {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        fs::write(path, bytes).unwrap();
    }
}

fn told(output: &Output) -> (i32, String) {
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), said)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_link_is_no_archive_and_what_it_leads_to_stays() {
    let place = Place::with_three();
    symlink("3.tar", place.path("out/latest.tar")).unwrap();
    let (_, listed) = place.haul(&["list", "out"]);
    assert!(listed.lines().any(|line| line.contains("link") && line.ends_with("latest.tar")), "{listed}");
    let (code, said) = place.prune(&["--keep-last", "1", "--yes"]);
    assert_eq!((code, place.names()), (0, vec!["3.tar".to_owned(), "latest.tar".to_owned()]), "{said}");

    // One that leads to what the rules do not keep.
    let place = Place::with_three();
    symlink("1.tar", place.path("out/chosen.tar")).unwrap();
    symlink("/nowhere/gone.tar", place.path("out/dangling.tar")).unwrap();
    let (code, said) = place.prune(&["--keep-last", "1", "--yes"]);
    assert_eq!(
        (code, place.names()),
        (0, ["1.tar", "3.tar", "chosen.tar", "dangling.tar"].map(str::to_owned).to_vec()),
        "{said}"
    );
    assert!(said.contains("the link chosen.tar leads to it"), "{said}");
    let (code, said) = place.haul(&["pin", "out/chosen.tar"]);
    assert!(code == 2 && said.contains("is a link") && !place.path("out/chosen.tar.pin").exists(), "{said}");
    // A link may be removed by its own name, and only it.
    let (code, said) = place.haul(&["rm", "out/chosen.tar", "--yes"]);
    assert_eq!((code, place.names()), (0, ["1.tar", "3.tar", "dangling.tar"].map(str::to_owned).to_vec()), "{said}");
}

#[test]
fn several_names_of_one_archive_count_once() {
    let place = Place::with_three();
    fs::hard_link(place.path("out/3.tar"), place.path("out/3-again.tar")).unwrap();
    fs::copy(place.path("out/1.tar"), place.path("out/1-copy.tar")).unwrap();
    let (code, said) = place.prune(&["--keep-last", "2", "--yes"]);
    assert_eq!((code, place.names()), (0, ["2.tar", "3-again.tar", "3.tar"].map(str::to_owned).to_vec()), "{said}");
}

#[test]
fn a_backup_without_history_does_not_push_out_the_last_that_has_it() {
    let place = Place::new();
    place.backup("full.tar", &[]);
    place.backup("bare-1.tar", &["--exclude-database"]);
    place.backup("bare-2.tar", &["--exclude-database"]);
    let (_, listed) = place.haul(&["list", "out"]);
    assert_eq!(
        listed.lines().filter(|line| line.contains("no history") && line.contains("bare-")).count(),
        2,
        "{listed}"
    );
    let (code, said) = place.prune(&["--keep-last", "1", "--yes"]);
    assert_eq!((code, place.names()), (0, ["bare-2.tar", "full.tar"].map(str::to_owned).to_vec()), "{said}");
    assert!(said.contains("newest with history"), "{said}");
}

#[test]
fn random_bytes_that_call_themselves_whole_replace_nothing() {
    // All of it, all behind the magic of gzip, all behind its header.
    for from in [0, 3, 10] {
        let place = Place::with_three();
        place.spoil("3.tar", Some(from));
        let (_, listed) = place.haul(&["list", "out"]);
        assert!(listed.lines().any(|line| line.contains("DAMAGED") && line.ends_with("3.tar")), "{from}: {listed}");
        let (code, said) = place.prune(&["--keep-last", "1", "--yes"]);
        assert_eq!((code, place.names()), (0, ["2.tar", "3.tar"].map(str::to_owned).to_vec()), "{from}: {said}");
        assert!(said.contains("newest whole (as its maker said)"), "{said}");
    }
}

#[test]
fn a_newest_archive_that_is_damaged_inside_lets_nothing_go_when_it_is_read() {
    let place = Place::with_three();
    let (code, said) = place.prune(&["--keep-last", "2", "--yes", "--verify"]);
    assert_eq!((code, place.names()), (0, ["2.tar", "3.tar"].map(str::to_owned).to_vec()), "{said}");
    place.spoil("3.tar", None);
    let (code, said) = place.prune(&["--keep-last", "1", "--yes", "--verify"]);
    assert_eq!((code, place.names().len()), (3, 2), "{said}");
    assert!(said.contains("2.tar: 3.tar, the newest that stays, is not whole: DAMAGED"), "{said}");
}

#[test]
fn an_encrypted_archive_is_read_with_its_password_or_not_relied_on() {
    let place = Place::new();
    fs::write(place.path("password"), "correct horse\n").unwrap();
    for name in ["1.tar", "2.tar"] {
        place.backup(name, &["--password-file", "password"]);
    }
    let (code, said) = place.prune(&["--keep-last", "1", "--yes", "--verify"]);
    assert!(code == 3 && place.names().len() == 2 && said.contains("a password is needed"), "{said}");
    let (code, said) = place.prune(&["--keep-last", "1", "--yes", "--verify", "--password-file", "password"]);
    assert_eq!((code, place.names()), (0, vec!["2.tar".to_owned()]), "{said}");
}

#[test]
fn numbers_are_printed_as_they_are() {
    let place = Place::new();
    place.backup("1.tar", &[]);
    let (code, said) = place.prune(&["--keep-last", "1", "--yes"]);
    assert!(code == 0 && said.contains("Nothing to remove: 1 archive stays\n"), "{said}");
    let (code, said) = place.prune(&["--keep-last", "0", "--yes"]);
    assert!(code == 2 && said.contains("the rules keep nothing: a rule of 0 has no effect"), "{said}");
}

/// What DESTINATIONS.md promises of `haul receive --append-only`: what a paired machine sends pushes out nothing within
/// a week of its arrival, nothing by the dates that it claims, and nothing that another machine sent.
#[test]
fn a_flood_from_a_paired_machine_pushes_out_nothing() {
    let place = Place::new();
    for name in ["own.tar", "false.tar"] {
        place.backup(name, &[]);
        fs::rename(place.path("out").join(name), place.path(name)).unwrap();
    }
    for ago in 8..=16 {
        let name = format!("real-{ago:02}.tar");
        place.redated("own.tar", &name, ago);
        place.received(&name, "aa", ago);
    }
    place.redated("own.tar", "other-09.tar", 9);
    place.received("other-09.tar", "bb", 9);
    // Today somebody who has taken over the machine sends archives for every day, in the past and to come.
    for n in 0..20 {
        let name = format!("forged-{n:02}.tar");
        place.redated("false.tar", &name, n);
        place.received(&name, "aa", 0);
    }
    let (code, said) = place.prune(&["--keep-daily", "7", "--yes"]);
    assert_eq!(code, 0, "{said}");
    let left = |prefix: &str| {
        place.names().into_iter().filter(|name| name.starts_with(prefix) && !name.contains(".via")).count()
    };
    assert_eq!((left("real-"), left("forged-"), left("other-")), (7, 20, 1), "{said}");
    assert!(
        said.contains("arrived less than a week ago") && said.contains("its date does not fit its arrival"),
        "{said}"
    );
    assert!(
        !place.path("out/real-16.tar").exists() && !place.path("out/real-16.tar.via").exists(),
        "its note went with it"
    );
    // A week later those with a date that fits count on the day they arrived, all together for one.
    for n in 0..20 {
        place.received(&format!("forged-{n:02}.tar"), "aa", 8);
    }
    let (code, said) = place.prune(&["--keep-daily", "7", "--yes"]);
    assert_eq!(code, 0, "{said}");
    assert!(left("real-") >= 6 && left("other-") == 1, "{said}");
    // A note that nobody understands decides nothing.
    fs::write(place.path("out/real-09.tar.via"), "{").unwrap();
    let (code, said) = place.prune(&["--keep-last", "1", "--yes"]);
    assert!(code == 0 && place.path("out/real-09.tar").exists(), "{said}");
}

/// A machine that keeps what it receives, until it is dropped.
struct Keeping {
    child: Child,
    url: String,
    code: String,
}

impl Drop for Keeping {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keeping(place: &Place) -> Keeping {
    let mut receive =
        place.command(&["receive", "--append-only", "--to", "out", "--listen", "127.0.0.1:0", "--name", "nas"]);
    let mut child = receive.env("XDG_STATE_HOME", place.path("nas")).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = format!("haul://{}", lines.next().unwrap().rsplit(' ').next().unwrap());
    let code =
        lines.find(|line| line.starts_with("Pairing code: ")).unwrap().split_whitespace().nth(2).unwrap().to_owned();
    std::thread::spawn(move || lines.for_each(drop));
    Keeping { child, url, code }
}

#[test]
fn a_receiver_that_keeps_what_it_has_notes_who_sent_what_and_takes_no_pins() {
    let place = Place::new();
    let nas = keeping(&place);
    let paired = place
        .command(&["backup", "config", "--to", &format!("{}/a.tar", nas.url)])
        .env("HAUL_PAIRING_CODE", &nas.code)
        .output()
        .unwrap();
    let (code, said) = told(&paired);
    assert_eq!(code, 0, "{said}");
    assert_eq!(place.names(), ["a.tar", "a.tar.via"]);
    let (code, said) = place.haul(&["pin", &format!("{}/a.tar", nas.url)]);
    assert!(
        code == 1 && said.contains("takes only archives (.tar)") && said.contains("on the receiving machine itself"),
        "{said}"
    );
    for more in [&["--yes"][..], &["--dry-run"]] {
        let (code, said) = place.haul(&[&["prune", &nas.url, "--keep-last", "1"], more].concat());
        assert!(
            code == 1 && said.contains("prune on the receiving machine itself") && !said.contains("Removed"),
            "{said}"
        );
    }
    drop(nas);
    let (_, listed) = place.haul(&["list", "out"]);
    assert!(listed.lines().any(|line| line.contains("from ") && line.ends_with("a.tar")), "{listed}");
    let (code, said) = place.haul(&["rm", "out/a.tar", "--yes"]);
    assert!(code == 0 && place.names().is_empty(), "{said}");
}
