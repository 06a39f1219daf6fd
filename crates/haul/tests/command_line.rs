//! The program as a user sees it: exit codes, messages, signals, and what is left behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::case_sensitive_file_extension_comparisons
)]

#[path = "command_line/secrets.rs"]
mod secrets;
#[path = "command_line/unreadable.rs"]
mod unreadable;
#[path = "command_line/version.rs"]
mod version;

use std::{
    fs,
    io::{BufRead, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::wait;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(place.config().join(".storage")).unwrap();
        fs::create_dir(place.out()).unwrap();
        place.write(".HA_VERSION", b"2026.11.0");
        place.write("configuration.yaml", b"default_config:\n");
        for name in ["auth", "auth_provider.homeassistant", "core.config_entries", "onboarding"] {
            place.write(&format!(".storage/{name}"), b"{}");
        }
        place
    }

    /// Large enough that a signal finds the backup at work.
    fn large() -> Self {
        let place = Self::new();
        let file = fs::File::create(place.config().join("large.bin")).unwrap();
        file.set_len(6 << 30).unwrap();
        place
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.config().join(name), content).unwrap();
    }

    fn haul(&self, args: &[&str]) -> Output {
        command(args).current_dir(self.dir.path()).output().unwrap()
    }

    fn left(&self) -> Vec<String> {
        fs::read_dir(self.out()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
    command.args(args).env_remove("HAUL_PASSWORD").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit code and everything that was printed.
fn told(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
}

/// Exit code and standard error.
fn said(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), text(&output.stderr))
}

fn start(place: &Place, args: &[&str]) -> Child {
    command(args).current_dir(place.dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the growing file has some megabytes in it.
fn wait_until_writing(place: &Place) {
    wait::until("the backup writes", || {
        let mut growing = fs::read_dir(place.out()).unwrap().flatten();
        growing.any(|entry| entry.metadata().is_ok_and(|metadata| metadata.len() > 2 << 20))
    });
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_backup_is_made_verified_and_restored() {
    let place = Place::new();
    let backup = place.haul(&["backup", "config", "--to", "out"]);
    assert_eq!(said(&backup).0, 0, "{}", said(&backup).1);
    assert!(text(&backup.stdout).starts_with("Backed up 7 entries ("), "{}", text(&backup.stdout));
    let name = place.left().remove(0);
    assert!(
        name.starts_with("Haul_backup_2026.11.0_") && Path::new(&name).extension().is_some_and(|e| e == "tar"),
        "{name}"
    );
    let archive = format!("out/{name}");

    let verify = place.haul(&["verify", &archive]);
    assert_eq!(said(&verify).0, 0);
    assert!(text(&verify.stdout).contains("Good: every byte is intact"), "{}", text(&verify.stdout));

    let restore = place.haul(&["restore", &archive, "--into", "back"]);
    assert_eq!(said(&restore).0, 0, "{}", said(&restore).1);
    assert_eq!(fs::read(place.dir.path().join("back/.storage/auth")).unwrap(), b"{}");

    let again = place.haul(&["restore", &archive, "--into", "back"]);
    assert_eq!(said(&again).0, 2);
    assert!(said(&again).1.contains("is not empty"), "{}", said(&again).1);
    fs::write(place.dir.path().join("back/mine.txt"), "mine").unwrap();
    let replaced = place.haul(&["restore", &archive, "--into", "back", "--replace"]);
    assert_eq!(said(&replaced).0, 0, "{}", said(&replaced).1);
    assert!(!place.dir.path().join("back/mine.txt").exists());
    let kept = fs::read_dir(place.dir.path()).unwrap().flatten().find(|entry| entry.path().join("mine.txt").exists());
    assert!(
        text(&replaced.stdout).contains(kept.unwrap().file_name().to_str().unwrap()),
        "the old directory is kept and named"
    );
}

#[test]
fn a_bare_name_is_read_back_where_it_is() {
    let place = Place::new();
    let (code, text) = said(&place.haul(&["backup", "config", "--to", "x.tar", "--verify", "read-back"]));
    assert_eq!(code, 0, "{text}");
    assert!(place.dir.path().join("x.tar").is_file());
}

#[test]
fn json_has_every_promised_field() {
    let place = Place::new();
    let output = place.haul(&["backup", "config", "--to", "out/b.tar", "--json", "--name", "Mine"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for field in [
        "status",
        "archive",
        "entries",
        "bytes_in",
        "seconds",
        "limited_by",
        "stages",
        "skipped",
        "warnings",
        "databases",
    ] {
        assert!(report.get(field).is_some(), "{field} is missing");
    }
    for field in ["path", "size_bytes", "sha256", "slug", "name", "protected"] {
        assert!(report["archive"].get(field).is_some(), "archive.{field} is missing");
    }
    for field in ["name", "busy_seconds", "blocked_seconds", "bytes"] {
        assert!(report["stages"][0].get(field).is_some(), "stages.{field} is missing");
    }
    assert_eq!(report["status"], "complete");
    assert_eq!(report["archive"]["name"], "Mine");
    let sum = Command::new("sha256sum").arg(place.out().join("b.tar")).output().unwrap();
    assert_eq!(text(&sum.stdout)[..64], *report["archive"]["sha256"].as_str().unwrap());

    let verify = place.haul(&["verify", "out/b.tar", "--json"]);
    let verdict: Value = serde_json::from_slice(&verify.stdout).unwrap();
    assert_eq!(verdict["status"], "good");
}

#[test]
fn every_mistake_is_answered_with_a_sentence_and_a_hint() {
    let place = Place::new();
    place.write("not-a-tar.tar", b"hello");
    fs::write(place.dir.path().join("empty"), "").unwrap();
    fs::write(place.out().join("taken.tar"), "mine").unwrap();
    fs::create_dir(place.dir.path().join("nothing")).unwrap();
    let cases: &[(&[&str], i32, &str)] = &[
        (
            &["backup", "none", "--to", "out"],
            2,
            "haul: can't read none: no such file or directory\n  give the directory that holds configuration.yaml and \
             .HA_VERSION\n",
        ),
        (
            &["backup", "config/configuration.yaml", "--to", "out"],
            2,
            "haul: config/configuration.yaml is not a directory\n  give the directory that holds configuration.yaml \
             and .HA_VERSION\n",
        ),
        (
            &["backup", ".", "--to", "out"],
            2,
            "so it does not look like a Home Assistant config directory\n  did you mean ",
        ),
        (&["backup", "nothing", "--to", "out"], 2, "give the version, for example --ha-version 2026.11.1\n"),
        (
            &["backup", "config", "--to", "./none"],
            2,
            "haul: ./none does not exist\n  create it first: mkdir -p ./none\n",
        ),
        (
            &["backup", "config", "--to", "none"],
            2,
            "haul: \"none\" is neither a directory on this machine nor a destination: ",
        ),
        (
            &["backup", "config", "--to", "out/taken.tar"],
            1,
            "haul: out/taken.tar exists already\n  Haul overwrites nothing: choose another name, or give a directory\n",
        ),
        (&["backup", "config", "--to", "out", "--name", "a/b"], 2, "haul: the name \"a/b\" can't be used: "),
        (
            &["backup", "config", "--to", "out", "--password-file", "empty"],
            2,
            "haul: the password file empty is empty\n",
        ),
        (
            &["backup", "config", "--to", "out", "--password-file", "none"],
            2,
            "haul: can't read the password file none: no such file or directory\n",
        ),
        (&["verify", "none.tar"], 2, "haul: can't read none.tar: no such file or directory\n"),
        (&["verify", "config/not-a-tar.tar"], 4, "haul: config/not-a-tar.tar is not a Home Assistant backup: "),
        (
            &["verify", "config"],
            2,
            "haul: config is a directory; expected an archive\n  `haul list config` shows its archives\n",
        ),
        (&["frobnicate"], 2, "unrecognized subcommand"),
    ];
    for (args, code, words) in cases {
        let output = place.haul(args);
        let (got, message) = said(&output);
        assert_eq!(got, *code, "{args:?}: {message}");
        assert!(message.contains(words), "{args:?} said:\n{message}");
        assert!(!message.contains("os error") && !message.contains("panicked"), "{message}");
    }
    assert_eq!(place.left(), ["taken.tar"]);
    assert_eq!(fs::read(place.out().join("taken.tar")).unwrap(), b"mine");
}

fn pipe(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[test]
fn a_pipe_or_a_device_is_no_archive_and_nothing_waits_for_one() {
    let place = Place::new();
    pipe(&place.dir.path().join("pipe.tar"));
    for (what, said_of_it) in
        [("pipe.tar", "it is a pipe, not a file"), ("/dev/zero", "it is a device without an end, not a file")]
    {
        let commands: [&[&str]; 7] = [
            &["verify", what],
            &["inspect", what],
            &["ls", what],
            &["cat", what, "configuration.yaml"],
            &["diff", what, what],
            &["restore", what, "--into", "back"],
            &["repair", what, "--to", "out/repaired.tar"],
        ];
        for args in commands {
            let (code, told) = said(&wait::ended(start(&place, args)));
            assert!(code != 0 && told.contains(said_of_it), "{args:?}: {code} {told}");
        }
        let (code, told) = said(&wait::ended(start(&place, &["push", what, "--to", "out/pushed.tar"])));
        assert!(code == 2 && told.contains("is not a file"), "{told}");
        let (code, told) = said(&wait::ended(start(&place, &["backup", what, "--to", "out"])));
        assert!(code == 2 && told.contains("is not a directory"), "{told}");
    }
    assert!(place.left().is_empty());
}

#[test]
fn a_history_that_is_only_linked_is_missed() {
    let place = Place::new();
    fs::write(place.dir.path().join("outside.db"), "").unwrap();
    std::os::unix::fs::symlink("../outside.db", place.config().join("home-assistant_v2.db")).unwrap();
    let (code, text) = told(&place.haul(&["backup", "config", "--to", "out/a.tar"]));
    assert!(
        code == 3 && text.contains("it is a symbolic link to ../outside.db: the history itself is NOT in this backup"),
        "{text}"
    );
    let (code, text) = told(&place.haul(&["verify", "out/a.tar"]));
    assert!(code == 4 && text.contains("incomplete: a restore loses"), "{text}");
    let (code, text) = told(&place.haul(&["restore", "out/a.tar", "--into", "there"]));
    assert!(code == 3 && text.contains("incomplete: a restore loses"), "{text}");
    // It does not replace an archive that has more.
    fs::write(place.dir.path().join("there/mine"), "mine").unwrap();
    let replace = ["restore", "out/a.tar", "--into", "there", "--replace"];
    let (code, text) = told(&place.haul(&replace));
    assert!(code == 4 && text.contains("loses the history; Haul does not replace"), "{text}");
    assert!(place.dir.path().join("there/mine").is_file());
    assert_eq!(told(&place.haul(&[&replace[..], &["--force"]].concat())).0, 3);
    assert!(!place.dir.path().join("there/mine").exists());
    // Who leaves the history out on purpose misses nothing.
    assert_eq!(told(&place.haul(&["backup", "config", "--to", "out/b.tar", "--exclude-database"])).0, 0);
}

#[test]
fn an_archive_that_somebody_padded_stops_no_list() {
    let place = Place::new();
    assert_eq!(said(&place.haul(&["backup", "config", "--to", "out/a.tar"])).0, 0);
    let file = fs::OpenOptions::new().write(true).open(place.out().join("a.tar")).unwrap();
    file.set_len(100 << 30).unwrap();
    let output = wait::ended(start(&place, &["list", "out", "--json"]));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("\"verdict\": \"whole\""), "{}", text(&output.stdout));
    // Reading a hundred gigabytes of nothing ends when the user wants it to.
    for args in [&["verify", "out/a.tar"][..], &["repair", "out/a.tar", "--to", "out/b.tar"]] {
        let child = start(&place, args);
        std::thread::sleep(Duration::from_millis(500));
        signal(&child, Signal::TERM);
        let (code, told) = said(&wait::ended(child));
        assert_eq!(code, 130, "{args:?}: {told}");
    }
}

#[test]
fn a_damaged_archive_is_exit_4_and_names_the_member() {
    let place = Place::new();
    place.haul(&["backup", "config", "--to", "out/a.tar"]);
    let path = place.out().join("a.tar");
    let mut bytes = fs::read(&path).unwrap();
    let inner = bytes.windows(3).position(|part| part == [0x1f, 0x8b, 0x08]).unwrap();
    bytes[inner + 60] ^= 0x40;
    fs::write(&path, &bytes).unwrap();
    let output = place.haul(&["verify", "out/a.tar"]);
    assert_eq!(said(&output).0, 4);
    assert!(
        text(&output.stdout).contains("DAMAGED") && text(&output.stdout).contains("homeassistant.tar.gz"),
        "{}",
        text(&output.stdout)
    );
    let restore = place.haul(&["restore", "out/a.tar", "--into", "back"]);
    assert_eq!(said(&restore).0, 4, "{}", said(&restore).1);
    assert!(!place.dir.path().join("back").exists());

    let mut noise = vec![0; 3_000_000];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    place.write("noise.bin", &noise);
    place.haul(&["backup", "config", "--to", "out/cut.tar"]);
    fs::File::options().write(true).open(place.out().join("cut.tar")).unwrap().set_len(1_500_000).unwrap();
    let output = place.haul(&["verify", "out/cut.tar"]);
    assert_eq!(said(&output).0, 4);
    assert!(text(&output.stdout).contains("damaged: data/noise.bin: "), "{}", text(&output.stdout));
}

#[test]
fn an_interrupted_backup_tidies_up_and_exits_130() {
    for which in [Signal::INT, Signal::TERM] {
        let place = Place::large();
        let mut child = start(&place, &["backup", "config", "--to", "out", "--threads", "1"]);
        wait_until_writing(&place);
        signal(&child, which);
        let status = child.wait().unwrap();
        let mut message = String::new();
        child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
        assert_eq!(status.code(), Some(130), "{message}");
        assert!(message.contains("interrupted; nothing was left behind"), "{message}");
        assert!(place.left().is_empty(), "{:?}", place.left());
    }
}

#[test]
fn a_killed_backup_leaves_no_final_name_and_the_next_one_tidies_up() {
    let place = Place::large();
    let mut child = start(&place, &["backup", "config", "--to", "out", "--threads", "1"]);
    wait_until_writing(&place);
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    let left = place.left();
    assert!(left.len() == 1 && left[0].starts_with(".haul-") && left[0].ends_with(".part"), "{left:?}");

    fs::remove_file(place.config().join("large.bin")).unwrap();
    assert_eq!(said(&place.haul(&["backup", "config", "--to", "out/next.tar"])).0, 0);
    assert_eq!(place.left(), ["next.tar"]);
}

#[test]
fn an_unreadable_file_makes_the_backup_incomplete_and_is_named() {
    let place = Place::new();
    place.write("secret.key", b"x");
    fs::set_permissions(place.config().join("secret.key"), std::os::unix::fs::PermissionsExt::from_mode(0o000))
        .unwrap();
    let mut command = if rustix::process::geteuid().is_root() {
        // Root reads everything, so somebody else makes the backup.
        for path in [place.dir.path().to_owned(), place.out()] {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        }
        let program = place.dir.path().join("haul");
        fs::copy(env!("CARGO_BIN_EXE_haul"), &program).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(env!("CARGO_BIN_EXE_haul"))
    };
    let output =
        command.args(["backup", "config", "--to", "out/a.tar"]).current_dir(place.dir.path()).output().unwrap();
    let (code, message) = said(&output);
    assert_eq!(code, 3, "{message}");
    assert!(
        message.contains("not saved: secret.key: permission denied (run haul as root or as Home Assistant's user)"),
        "{message}"
    );
    assert!(text(&output.stdout).contains("NOT everything"));
    assert_eq!(
        said(&place.haul(&["verify", "out/a.tar"])).0,
        3,
        "the archive itself is sound, and knows that something is missing"
    );
}

#[test]
fn memory_stays_bounded_whatever_the_input() {
    let place = Place::large();
    // Holes compress to nothing; noise keeps every buffer busy.
    let mut noise = vec![0; 200 << 20];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    place.write("noise.bin", &noise);
    for (threads, limit_mib) in [("1", 64), ("2", 64), ("4", 80)] {
        let mut child = start(&place, &["backup", "config", "--to", "out/m.tar", "--threads", threads]);
        let peak = wait::peak_kib(&mut child);
        assert!(child.wait().unwrap().success());
        assert!(peak > 0 && peak < limit_mib * 1024, "{peak} KiB with {threads} threads");
        fs::remove_file(place.out().join("m.tar")).unwrap();
    }
}

#[test]
fn nothing_of_database_or_archive_comes_to_stay_in_the_page_cache() {
    let place = Place::new();
    sample::create(&place.dir.path().join("sample"), &sample::Options { database_bytes: 30 << 20, seed: 3 }).unwrap();
    let config = place.dir.path().join("sample");
    let database = config.join("home-assistant_v2.db");
    let cached = |path: &Path| -> u64 {
        let output =
            Command::new("fincore").args(["--bytes", "--noheadings", "--output", "RES"]).arg(path).output().unwrap();
        text(&output.stdout).trim().parse().unwrap()
    };
    let file = fs::File::open(&database).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    drop(file);
    let before = cached(&database);
    let output = place.haul(&["backup", "sample", "--to", "out/a.tar"]);
    assert_eq!(said(&output).0, 0, "{}", said(&output).1);
    let size = fs::metadata(&database).unwrap().len();
    assert!(before < size / 10, "the test could not empty the cache");
    assert!(cached(&database) < size / 10, "{} of {size} bytes of the database are cached", cached(&database));
    assert!(
        cached(&place.out().join("a.tar")) < 2 << 20,
        "{} bytes of the archive are cached",
        cached(&place.out().join("a.tar"))
    );

    drop(fs::read(&database).unwrap());
    let output = place.haul(&["backup", "sample", "--to", "out/b.tar"]);
    assert_eq!(said(&output).0, 0);
    assert!(cached(&database) > size * 9 / 10, "what was in use must stay cached");
}

#[test]
fn help_completions_and_manual_are_complete() {
    let place = Place::new();
    let help = text(&place.haul(&["backup", "--help"]).stdout);
    for option in [
        "--to",
        "--name",
        "--password-file",
        "--securetar",
        "--exclude-database",
        "--exclude",
        "--uncompressed",
        "--level",
        "--threads",
        "--gentle",
        "--progress",
        "--json",
        "--ha-version",
        "Examples:",
    ] {
        assert!(help.contains(option), "{option} is missing");
    }
    assert!(text(&place.haul(&["--help"]).stdout).contains("Exit codes:"));
    for shell in ["bash", "zsh", "fish"] {
        let output = place.haul(&["completions", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("exclude-database"));
    }
    let output = place.haul(&["man", "out"]);
    assert!(output.status.success(), "{}", said(&output).1);
    for page in ["haul.1", "haul-backup.1", "haul-verify.1", "haul-restore.1"] {
        assert!(place.left().contains(&page.to_owned()), "{page} is missing");
    }
    assert!(!place.left().iter().any(|page| page.contains("recorder")), "hidden commands have no manual");
}

#[test]
fn gentle_and_plain_progress_work_without_a_terminal() {
    let place = Place::new();
    let output =
        place.haul(&["backup", "config", "--to", "out/a.tar", "--gentle", "--progress", "plain", "--level", "small"]);
    assert_eq!(said(&output).0, 0, "{}", said(&output).1);
    assert_eq!(said(&place.haul(&["verify", "out/a.tar", "--progress", "bar"])).0, 0);
}

#[test]
fn members_and_archives_over_8_gib_are_read_by_python_and_by_us() {
    let place = Place::new();
    let size: u64 = (8 << 30) + 12_345;
    let room = rustix::fs::statvfs(place.dir.path()).unwrap();
    if room.f_bavail * room.f_frsize < size + (2 << 30) {
        eprintln!("skipped: this needs 10 GiB of free disk");
        return;
    }
    fs::File::create(place.config().join("large.bin")).unwrap().set_len(size).unwrap();
    for (args, inner) in [(&[][..], "homeassistant.tar.gz"), (&["--uncompressed"], "homeassistant.tar")] {
        let output = place.haul(&[&["backup", "config", "--to", "out/l.tar"], args].concat());
        assert_eq!(said(&output).0, 0, "{}", said(&output).1);
        // Only headers are read: inflating 8 GiB in Python would take minutes.
        let script = "import sys,tarfile\no=tarfile.open(sys.argv[1],'r:')\nn=o.getnames()[1]\nsizes=[]\nif not \
            n.endswith('gz'): sizes=[m.size for m in tarfile.open(fileobj=o.extractfile(n),mode='r:') if \
            m.name=='data/large.bin']\nprint(n,o.getmember(n).size,sizes)";
        let listed = Command::new("python3").arg("-c").arg(script).arg(place.out().join("l.tar")).output().unwrap();
        let listed = text(&listed.stdout);
        assert!(listed.starts_with(inner), "{listed}");
        if !args.is_empty() {
            assert!(listed.trim().ends_with(&format!("[{size}]")), "{listed}");
            assert!(fs::metadata(place.out().join("l.tar")).unwrap().len() > 8 << 30);
        }
        let verify = place.haul(&["verify", "out/l.tar"]);
        assert_eq!(said(&verify).0, 0, "{}{}", text(&verify.stdout), said(&verify).1);
        fs::remove_file(place.out().join("l.tar")).unwrap();
    }
}

#[test]
fn a_wait_for_a_locked_database_is_reported_and_an_interruption_ends_it() {
    let place = Place::new();
    let script = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1],isolation_level=None)\nc.execute('create table \
        t(x)')\nc.execute('begin exclusive')\nprint('locked',flush=True)\nsys.stdin.read()";
    let mut owner = Command::new("python3")
        .args(["-c", script])
        .arg(place.config().join("locked.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 6];
    owner.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
    let mut child = command(&["backup", "config", "--to", "out", "--progress", "plain"])
        .current_dir(place.dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().contains("waiting for locked.db: another process has locked it exclusively"))
    );
    let sent = Instant::now();
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(sent.elapsed() < Duration::from_secs(10), "it waited for the lock");
    assert!(place.left().is_empty());
    drop(owner.stdin.take());
    owner.wait().unwrap();
}

#[test]
fn what_is_pushed_is_checked_and_sent_as_it_is() {
    let place = Place::new();
    let file = |name: &str| place.dir.path().join(name);
    assert!(place.haul(&["backup", "config", "--to", "whole.tar"]).status.success());
    let whole = fs::read(file("whole.tar")).unwrap();
    fs::write(file("cut.tar"), &whole[..whole.len() / 2]).unwrap();
    fs::write(file("letter.tar"), b"Dear Ada").unwrap();
    fs::remove_file(place.config().join(".storage/auth")).unwrap();
    place.haul(&["backup", "config", "--to", "users.tar"]);
    let cases = [
        ("whole.tar", ""),
        ("cut.tar", "note: the archive is damaged: "),
        ("letter.tar", "note: the archive is not a Home Assistant backup"),
        ("users.tar", "note: the archive is incomplete: "),
    ];
    for (archive, says) in cases {
        let (code, said) = said(&place.haul(&["push", archive, "--to", "out", "--progress", "none"]));
        assert_eq!(
            (code, said.lines().count(), said.starts_with(says)),
            (0, usize::from(!says.is_empty()), true),
            "{archive}: {said}"
        );
    }
    assert_eq!(place.left().len(), cases.len());
}

#[test]
fn help_names_every_environment_variable_and_the_receivers_name_is_its_own() {
    let place = Place::new();
    let help = |command: &str| text(&place.haul(&[command, "--help"]).stdout);
    for variable in ["[env: HAUL_TO=", "[env: HAUL_EXCLUDE=", "[env: HAUL_NAME="] {
        assert!(help("backup").contains(variable), "{variable}");
    }
    assert!(
        help("receive").contains("[env: HAUL_RECEIVE_NAME=") && !help("receive").contains("HAUL_NAME"),
        "{}",
        help("receive")
    );
    assert!(
        help("prune").contains("[env: HAUL_PRUNE_VERIFY=") && !help("prune").contains("HAUL_VERIFY"),
        "{}",
        help("prune")
    );
}

#[test]
fn several_archives_where_one_is_wanted_lead_to_a_loop() {
    let place = Place::new();
    let (code, words) = said(&place.haul(&["verify", "a.tar", "b.tar"]));
    assert!(
        code == 2
            && words.contains(
                "tip: give one archive at a time: for archive in DIR/*.tar; do haul verify \"$archive\"; done"
            ),
        "{words}"
    );
    let (code, words) = said(&place.haul(&["verify", "a.tar", "--fast"]));
    assert!(code == 2 && !words.contains("one archive at a time"), "{words}");
}
