//! Every command in every situation that goes wrong: exit code, a message for a person, one document for a script, and
//! nothing left behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and prints what it skips or measures"
)]

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::wait;

/// Commands that have no `--json`.
const WITHOUT_JSON: [&str; 5] = ["cat", "man", "completions", "auth", "receive"];

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A config directory `config`, a good archive `out/a.tar`, and what can stand in the way.
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        for directory in ["config/.storage", "out", "state"] {
            fs::create_dir_all(place.path(directory)).unwrap();
        }
        place.write("config/.HA_VERSION", b"2026.11.0");
        place.write("config/configuration.yaml", b"default_config:\n");
        for name in ["auth", "auth_provider.homeassistant", "core.config_entries", "onboarding"] {
            place.write(&format!("config/.storage/{name}"), b"{}");
        }
        place.write("file", b"no archive");
        let made = place.command(&["backup", "config", "--to", "out/a.tar"]).output().unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Destinations of `haul.toml` at this port of this machine.
    fn destinations(&self, port: u16) {
        let text = format!("[destinations.far]\nurl = \"webdav://127.0.0.1:{port}/dav\"\nallow_http = true\n");
        self.write("haul.toml", text.as_bytes());
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        self.set(command.args(args));
        command
    }

    fn set(&self, command: &mut Command) {
        command
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.path("home")).env("XDG_STATE_HOME", self.path("state")).env("TZ", "UTC");
        if self.path("haul.toml").exists() {
            command.env("HAUL_CONFIG", self.path("haul.toml"));
        }
    }

    /// Every file but those of the program's own state, with its size.
    fn everything(&self) -> BTreeMap<PathBuf, u64> {
        fn walk(directory: &Path, all: &mut BTreeMap<PathBuf, u64>) {
            for entry in fs::read_dir(directory).unwrap().flatten() {
                let metadata = entry.metadata().unwrap();
                all.insert(entry.path(), if metadata.is_file() { metadata.len() } else { 0 });
                if metadata.is_dir() && entry.file_name() != "state" {
                    walk(&entry.path(), all);
                }
            }
        }
        let mut all = BTreeMap::new();
        walk(self.dir.path(), &mut all);
        all
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a person may see: sentences, and nothing of how the program is made.
fn check_words(args: &[&str], words: &str) {
    for foreign in ["panicked", "RUST_BACKTRACE", "os error", "Error(", "Err(", "Some(", "::", "kind:"] {
        assert!(!words.contains(foreign), "{args:?} shows {foreign:?}:\n{words}");
    }
}

/// A failure is a sentence that says what happened, and one that says what to do.
fn check_failure(args: &[&str], output: &Output, code: i32) {
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {words}{}", text(&output.stdout));
    check_words(args, &words);
    if words.contains("error: ") || words.contains("Usage:") {
        assert!(words.contains("--help"), "{args:?}: {words}");
        return;
    }
    let mut lines = words.lines().skip_while(|line| !line.starts_with("haul: "));
    let sentence = lines.next().unwrap_or_default();
    assert!(sentence.len() > "haul: ".len(), "{args:?} says nothing of it:\n{words}");
    let is_told = code == 130 && sentence.contains(';');
    assert!(
        is_told || lines.next().is_some_and(|hint| hint.starts_with("  ") && hint.len() > 4),
        "{args:?} gives no advice:\n{words}"
    );
}

/// The one document of a command that failed.
fn check_document(args: &[&str], output: &Output, code: i32) {
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{args:?}: {error}: {:?}", text(&output.stdout)));
    let error = &document["error"];
    assert_eq!(document["status"], if code == 130 { "interrupted" } else { "failed" }, "{args:?}: {document}");
    assert_eq!(error["exit_code"], code, "{args:?}: {document}");
    assert!(error["what"].as_str().is_some_and(|what| !what.is_empty()), "{args:?}: {document}");
    for field in ["where", "why", "hint", "done"] {
        assert!(error.get(field).is_some(), "{args:?} has no {field}: {document}");
    }
}

/// Runs it for a person and for a script; both must fail alike and leave nothing.
fn fails(place: &Place, args: &[&str], code: i32) {
    let before = place.everything();
    let output = place.command(args).output().unwrap();
    check_failure(args, &output, code);
    assert_eq!(place.everything(), before, "{args:?} left something behind");
    if WITHOUT_JSON.contains(&args.first().copied().unwrap_or_default()) {
        return;
    }
    let args = [args, &["--json"]].concat();
    let output = place.command(&args).output().unwrap();
    check_document(&args, &output, code);
    check_failure(&args, &output, code);
    assert_eq!(place.everything(), before, "{args:?} left something behind");
}

#[test]
fn what_was_typed_wrongly_or_stands_in_the_way_is_reported() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).unwrap();
    let cases: &[(&[&str], i32)] = &[
        // Nothing, or something else than is wanted.
        (&["backup"], 2),
        (&["backup", "config"], 2),
        (&["backup", "config", "--to", "out/b.tar", "--threads", "0"], 2),
        (&["backup", "config", "--to", "out/b.tar", "--level", "tiny"], 2),
        (&["backup", "config", "--to", "out/b"], 2),
        (&["backup", "config", "--to", "out/b.tar", "--exclude", "../x"], 2),
        (&["backup", "config", "--to", "out/b.tar", "--limit", "fast"], 2),
        (&["backup", "config", "--to", "s3://"], 2),
        (&["backup", "config", "--to", "s3:"], 2),
        (&["backup", "config", "--to", "sftp://me:pw@host/x"], 2),
        (&["backup", "config", "--to", "https://host/x"], 2),
        (&["list", "s3://"], 2),
        (&["list", "nowhere:x"], 2),
        (&["push"], 2),
        (&["push", "out/a.tar"], 2),
        (&["verify"], 2),
        (&["verify", "out/a.tar", "--give-up-after", "soon"], 2),
        (&["inspect"], 2),
        (&["inspect", "out/a.tar", "--target", "next"], 2),
        (&["repair"], 2),
        (&["repair", "out/a.tar"], 2),
        (&["restore", "out/a.tar"], 2),
        (&["restore", "out/a.tar", "--into", "back", "--owner", "me"], 2),
        (&["restore", "out/a.tar", "--into", "back", "--only", "nothing-like-it"], 2),
        (&["list"], 2),
        (&["ls"], 2),
        (&["cat"], 2),
        (&["cat", "out/a.tar"], 2),
        (&["cat", "out/a.tar", "nothing-like-it"], 1),
        (&["diff", "out/a.tar"], 2),
        (&["get", "out/a.tar"], 2),
        (&["get", "out", "--to", "b.tar"], 2),
        (&["rm"], 2),
        (&["rm", "out", "--yes"], 2),
        (&["rm", "out/a.tar"], 2),
        (&["pin"], 2),
        (&["unpin", "out"], 2),
        (&["prune"], 2),
        (&["prune", "out"], 2),
        (&["prune", "out", "--keep-last", "few"], 2),
        (&["peers", "forget"], 2),
        (&["destination"], 2),
        (&["destination", "check"], 2),
        (&["receive", "--to", "out", "--listen", "here"], 2),
        (&["migrate", "config"], 2),
        (&["completions", "tcsh"], 2),
        (&["man"], 2),
        (&["frobnicate"], 2),
        (&[], 2),
        // What is missing.
        (&["backup", "none", "--to", "out/b.tar"], 2),
        (&["backup", "config", "--to", "none/b.tar"], 2),
        (&["backup", "config", "--to", "out/b.tar", "--password-file", "none"], 2),
        (&["push", "none.tar", "--to", "out"], 2),
        (&["push", "out/a.tar", "--to", "./none"], 2),
        (&["verify", "none.tar"], 2),
        (&["inspect", "none.tar"], 2),
        (&["repair", "none.tar", "--to", "b.tar"], 2),
        (&["repair", "out/a.tar", "--to", "none/b.tar", "--recompress", "small"], 2),
        (&["restore", "none.tar", "--into", "back"], 2),
        (&["list", "./none"], 2),
        (&["ls", "none.tar"], 2),
        (&["cat", "none.tar", "configuration.yaml"], 2),
        (&["diff", "out/a.tar", "none.tar"], 2),
        (&["get", "out/none.tar", "--to", "b.tar"], 2),
        (&["get", "none/a.tar", "--to", "b.tar"], 2),
        (&["get", "out/a.tar", "--to", "none/b.tar"], 2),
        (&["get", "out/a.tar", "--to", "none/"], 2),
        (&["rm", "out/none.tar", "--yes"], 2),
        (&["rm", "./none/a.tar", "--yes"], 2),
        (&["pin", "out/none.tar"], 2),
        (&["unpin", "none/a.tar"], 2),
        (&["prune", "./none", "--keep-last", "1", "--yes"], 2),
        (&["destination", "check", "./none"], 2),
        (&["receive", "--to", "./none"], 2),
        (&["migrate", "none", "--to", "http://127.0.0.1:1"], 2),
        (&["list", "out", "--config", "none.toml"], 2),
        // A directory instead of a file.
        (&["push", "out", "--to", "empty"], 2),
        (&["verify", "out"], 2),
        (&["inspect", "out"], 2),
        (&["repair", "out", "--to", "b.tar"], 2),
        (&["restore", "out", "--into", "back"], 2),
        (&["ls", "out"], 2),
        (&["cat", "out", "configuration.yaml"], 2),
        (&["diff", "out", "out/a.tar"], 2),
        (&["list", "out", "--config", "out"], 2),
        (&["backup", "config", "--to", "out/b.tar", "--password-file", "out"], 2),
        // A file instead of a directory, or of an archive.
        (&["backup", "file", "--to", "out/b.tar"], 2),
        (&["backup", "config", "--to", "file/b.tar"], 2),
        (&["verify", "file"], 4),
        (&["repair", "file", "--to", "b.tar"], 4),
        (&["restore", "file", "--into", "back"], 4),
        (&["restore", "out/a.tar", "--into", "file"], 2),
        (&["ls", "file"], 4),
        (&["cat", "file", "configuration.yaml"], 4),
        (&["diff", "out/a.tar", "file"], 4),
        (&["list", "file"], 2),
        (&["get", "out/a.tar", "--to", "file/b.tar"], 2),
        (&["get", "out/a.tar", "--to", "file/"], 2),
        (&["prune", "file", "--keep-last", "1", "--yes"], 2),
        (&["destination", "check", "file"], 2),
        (&["man", "file"], 1),
        // What would be overwritten.
        (&["backup", "config", "--to", "out/a.tar"], 1),
        (&["push", "out/a.tar", "--to", "out"], 1),
        (&["repair", "out/a.tar", "--to", "out/a.tar", "--recompress", "small"], 1),
        (&["get", "out/a.tar", "--to", "out/a.tar"], 1),
        (&["restore", "out/a.tar", "--into", "config"], 2),
    ];
    // All of them are tried before one is complained of.
    let failed: Vec<_> =
        cases.iter().filter(|(args, code)| std::panic::catch_unwind(|| fails(&place, args, *code)).is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// Commands that read `ARCHIVE`, or write what they read.
fn readers(archive: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["verify", archive],
        vec!["inspect", archive],
        vec!["repair", archive, "--to", "b.tar", "--recompress", "small"],
        vec!["restore", archive, "--into", "back"],
        vec!["ls", archive],
        vec!["cat", archive, "configuration.yaml"],
        vec!["diff", "out/a.tar", archive],
        vec!["get", archive, "--to", "b.tar"],
    ]
}

/// Those that make requests to the destination `far`.
fn askers() -> Vec<Vec<&'static str>> {
    let mut all = readers("far/a.tar");
    all.extend([
        vec!["list", "far"],
        vec!["rm", "far/a.tar", "--yes"],
        vec!["pin", "far/a.tar"],
        vec!["unpin", "far/a.tar"],
        vec!["prune", "far", "--keep-last", "1", "--yes"],
        vec!["destination", "check", "far"],
        vec!["push", "out/a.tar", "--to", "far"],
        vec!["backup", "config", "--to", "far"],
    ]);
    all
}

#[test]
fn a_destination_that_can_not_be_reached_is_waited_for_aloud_and_given_up() {
    let place = Place::new();
    // Nobody listens at a port that was free a moment ago.
    place.destinations(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    for args in askers() {
        let args = [&args[..], &["--give-up-after", "2500ms"]].concat();
        let before = place.everything();
        let with_json = if args[0] == "cat" { args.clone() } else { [&args[..], &["--json"]].concat() };
        let output = place.command(&with_json).output().unwrap();
        check_failure(&with_json, &output, 1);
        if args[0] != "cat" {
            check_document(&with_json, &output, 1);
            let document: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert!(document["error"]["where"].as_str().unwrap().starts_with("webdav://127.0.0.1:"), "{document}");
            assert!(document["error"]["why"].as_str().unwrap().contains("connection refused"), "{document}");
        }
        let words = text(&output.stderr);
        assert!(
            words.contains("waiting: could not connect to webdav://127.0.0.1:"),
            "{args:?} waits in silence:\n{words}"
        );
        assert_eq!(place.everything(), before, "{args:?} left something behind");
    }
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn whoever_waits_for_a_silent_destination_is_stopped_by_a_signal() {
    let place = Place::new();
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    place.destinations(silent.local_addr().unwrap().port());
    let before = place.everything();
    for (number, args) in askers().into_iter().enumerate() {
        let json: &[&str] = if args[0] == "cat" { &[] } else { &["--json"] };
        let args = [&args[..], json].concat();
        let child = place.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It is at work once it has made a connection.
        silent.accept().unwrap();
        send(&child, [Signal::INT, Signal::TERM, Signal::HUP][number % 3]);
        let output = wait::ended(child);
        check_failure(&args, &output, 130);
        if !json.is_empty() {
            check_document(&args, &output, 130);
        }
        assert_eq!(place.everything(), before, "{args:?} left something behind");
    }
    // The second one ends it at once.
    let args = ["list", "far"];
    let child = place.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    silent.accept().unwrap();
    send(&child, Signal::INT);
    send(&child, Signal::INT);
    assert_eq!(wait::ended(child).status.code(), Some(130));
}

#[test]
fn a_full_or_closed_standard_output_is_no_accident() {
    let place = Place::new();
    place.write("haul.toml", b"");
    let mut all = readers("out/a.tar");
    all.retain(|args| !matches!(args[0], "repair" | "restore" | "get"));
    all.extend([
        vec!["list", "out"],
        vec!["list", "out", "--json"],
        vec!["verify", "out/a.tar", "--json"],
        vec!["destination", "list"],
    ]);
    all.extend([
        vec!["peers"],
        vec!["completions", "bash"],
        vec!["--help"],
        vec!["backup", "--help"],
        vec!["--version"],
    ]);
    let before = place.everything();
    for args in all {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = place.command(&args).stdout(full).output().unwrap();
        check_failure(&args, &output, 1);
        assert!(
            text(&output.stderr).contains("can't write to standard output: no space"),
            "{args:?}: {}",
            text(&output.stderr)
        );

        let mut child = place.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
        check_words(&args, &text(&output.stderr));
        assert_eq!(place.everything(), before);
    }
    for (end, words) in [
        ("/dev/full", "free some space where standard output goes"),
        ("", "find out why the program at the other end of the pipe ended"),
    ] {
        let args = ["backup", "config", "--to", "-"];
        let mut command = place.command(&args);
        let output = if end.is_empty() {
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            drop(child.stdout.take());
            child.wait_with_output().unwrap()
        } else {
            command.stdout(fs::File::options().write(true).open(end).unwrap()).output().unwrap()
        };
        check_failure(&args, &output, 1);
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
    // What was done is done, whether or not it could be reported.
    for (args, made) in [
        (&["backup", "config", "--to", "out/b.tar"][..], "out/b.tar"),
        (&["restore", "out/a.tar", "--into", "back", "--json"], "back/configuration.yaml"),
        (&["get", "out/a.tar", "--to", "c.tar"], "c.tar"),
        (&["push", "out/a.tar", "--to", "out/d.tar"], "out/d.tar"),
        (&["repair", "out/a.tar", "--to", "e.tar", "--recompress", "small"], "e.tar"),
        (&["pin", "out/a.tar"], "out/a.tar.pin"),
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = place.command(args).stdout(full).output().unwrap();
        check_failure(args, &output, 1);
        let words = text(&output.stderr);
        assert!(words.contains("itself is complete") || words.contains("Pinned before that"), "{args:?}: {words}");
        assert!(place.path(made).exists());
    }
}

/// A file system that is taken away again.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_disk_without_space_is_named_and_keeps_nothing() {
    let place = Place::new();
    let mut noise = vec![0; 3 << 20];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom").unwrap(), &mut noise).unwrap();
    place.write("config/noise.bin", &noise);
    let made = place.command(&["backup", "config", "--to", "out/large.tar"]).output().unwrap();
    assert!(made.status.success());
    fs::create_dir(place.path("small")).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "none"]).arg(place.path("small")).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "a small file system can't be mounted");
        eprintln!("skipped: this needs to mount a small file system");
        return;
    }
    let _mounted = Mounted(place.path("small"));
    for args in [
        &["backup", "config", "--to", "small/b.tar"][..],
        &["push", "out/large.tar", "--to", "small"],
        &["repair", "out/large.tar", "--to", "small/b.tar", "--recompress", "fast"],
        &["restore", "out/large.tar", "--into", "small/back"],
    ] {
        fails(&place, args, 1);
    }
    // What was fetched stays, and the message says so.
    let args = ["get", "out/large.tar", "--to", "small/b.tar"];
    let output = place.command(&args).output().unwrap();
    check_failure(&args, &output, 1);
    assert!(text(&output.stderr).contains("Haul keeps what it has fetched"), "{}", text(&output.stderr));
    assert!(!place.path("small/b.tar").exists());
}

#[test]
fn what_may_not_be_read_or_written_is_reported() {
    let place = Place::new();
    place.write("closed.tar", &fs::read(place.path("out/a.tar")).unwrap());
    fs::set_permissions(place.path("closed.tar"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::create_dir(place.path("shut")).unwrap();
    fs::copy(place.path("out/a.tar"), place.path("shut/a.tar")).unwrap();
    fs::set_permissions(place.path("shut/a.tar"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(place.path("shut"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(place.path("out/a.tar"), fs::Permissions::from_mode(0o644)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let program = place.path("haul");
    fs::copy(env!("CARGO_BIN_EXE_haul"), &program).unwrap();
    fs::set_permissions(place.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(place.path("state"), fs::Permissions::from_mode(0o777)).unwrap();
    let before = place.everything();
    let cases = readers("closed.tar").into_iter().filter(|args| args[0] != "get").map(|args| (args, 1)).chain([
        (vec!["get", "shut/a.tar", "--to", "shut/b.tar"], 1),
        (vec!["backup", "config", "--to", "shut/b.tar"], 1),
        (vec!["push", "out/a.tar", "--to", "shut/b.tar"], 1),
        (vec!["push", "closed.tar", "--to", "out/b.tar"], 1),
        (vec!["repair", "out/a.tar", "--to", "shut/b.tar", "--recompress", "small"], 1),
        (vec!["restore", "out/a.tar", "--into", "shut/back"], 1),
        (vec!["rm", "shut/a.tar", "--yes"], 1),
        (vec!["pin", "shut/a.tar"], 1),
        (vec!["man", "shut/man"], 1),
    ]);
    for (args, code) in cases {
        let mut command = if is_root {
            // Root may do everything, so somebody else does it.
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
            command
        } else {
            Command::new(&program)
        };
        place.set(command.args(&args));
        let output = command.output().unwrap();
        check_failure(&args, &output, code);
        assert!(text(&output.stderr).contains("permission denied"), "{args:?}: {}", text(&output.stderr));
        assert_eq!(place.everything(), before, "{args:?} left something behind");
    }
    fs::set_permissions(place.path("shut"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_is_done_at_destinations_is_reported_in_one_document() {
    let place = Place::new();
    let json = |args: &[&str]| -> Value {
        let output = place.command(&[args, &["--json"]].concat()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let restored = json(&["restore", "out/a.tar", "--into", "back"]);
    assert_eq!(
        (restored["status"].as_str(), restored["archive"].as_str(), restored["kept"].is_null()),
        (Some("complete"), Some("out/a.tar"), true)
    );
    assert!(
        restored["into"].as_str().unwrap().ends_with("/back") && restored["entries"].as_u64().unwrap() > 0,
        "{restored}"
    );
    let fetched = json(&["get", "out/a.tar", "--to", "b.tar"]);
    let size = fs::metadata(place.path("b.tar")).unwrap().len();
    assert_eq!(
        (fetched["status"].as_str(), fetched["path"].as_str(), fetched["size_bytes"].as_u64()),
        (Some("complete"), Some("b.tar"), Some(size))
    );
    let pinned = json(&["pin", "out/a.tar"]);
    assert_eq!(pinned.to_string(), r#"{"archives":["out/a.tar"],"status":"pinned"}"#);
    fails(&place, &["rm", "out/a.tar", "--yes"], 1);
    assert_eq!(json(&["unpin", "out/a.tar"])["status"], "unpinned");
    // Without --yes somebody would have to be asked.
    fails(&place, &["rm", "out/a.tar"], 2);
    assert_eq!(json(&["rm", "out/a.tar", "--yes"])["status"], "removed");
    assert!(!place.path("out/a.tar").exists());
    assert_eq!(json(&["peers", "list"]), serde_json::json!([]));
    assert_eq!(json(&["destination", "list"]), serde_json::json!([]));
}
