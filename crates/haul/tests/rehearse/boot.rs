//! `--boot`: Home Assistant is started on what was restored, looked at, and ended, with all that it started.

use std::{
    fs,
    net::TcpListener,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use testkit::strace::{can_trace, failing};

use crate::{Place, Said, is_root};

const FAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rehearse/fake.py");

/// Whether a Home Assistant can be isolated here: not in every container.
fn can_isolate() -> bool {
    let spaces = if is_root() { "-nmp" } else { "-Urnmp" };
    let can = std::process::Command::new("unshare").args([spaces, "--fork", "--mount-proc", "true"]).status();
    let can = can.is_ok_and(|status| status.success());
    if !can {
        testkit::rig::tell("skipped: no namespaces can be made here");
    }
    can
}

/// Lets the users' sessions last.
fn ageless(config: &Path) {
    let path = config.join(".storage/auth");
    let mut auth: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for token in auth["data"]["refresh_tokens"].as_array_mut().unwrap() {
        token["expire_at"] = Value::Null;
    }
    fs::write(path, auth.to_string()).unwrap();
}

fn boot(how: &str) -> String {
    format!("exec python3 {FAKE} {how}")
}

pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn rehearse(place: &Place, how: &str, more: &[&str]) -> Said {
    place.haul(&[&["rehearse", "a.tar", "--boot", &boot(how)], more].concat())
}

#[test]
fn one_that_runs_proves_the_archive() {
    if !can_isolate() {
        return;
    }
    let place = Place::with(ageless);
    let said = rehearse(&place, "runs", &[]);
    let first = said.out.lines().next().unwrap();
    assert!(first.starts_with("Proved: Home Assistant 2026.11.9 itself started from it in "), "{said:?}");
    assert!(first.ends_with("states, all 2 databases sound"), "{first}");
    let how = "  Home Assistant was started without network or devices; it said that it runs; 1 error in its log";
    assert!(said.code == 0 && said.out.contains(how), "{said:?}");
    for how in ["slow", "restarts"] {
        let document = rehearse(&place, how, &["--json"]).json();
        assert_eq!((&document["status"], &document["how"]), (&"proved".into(), &"booted".into()), "{how}: {document}");
        assert_eq!(document["booted"]["home_assistant"], "2026.11.9", "{how}");
    }
    // What can't be asked as a user is seen from outside.
    let document = rehearse(&place, "no-token", &["--json"]).json();
    assert_eq!(
        (&document["status"], &document["booted"]["said_running"]),
        (&"proved".into(), &false.into()),
        "{document}"
    );
    assert_eq!(document["booted"]["home_assistant"], sample::HOME_ASSISTANT_VERSION, "as .HA_VERSION says");
    assert!(place.scratch().is_empty());
}

#[test]
fn one_that_does_not_come_up_proves_nothing_and_its_last_words_are_shown() {
    if !can_isolate() {
        return;
    }
    let place = Place::with(ageless);
    for (how, says) in [
        ("dies", "Home Assistant ended before it ran (exit code 3)"),
        ("recovery", "Home Assistant came up in recovery mode: it can't use this configuration"),
        ("safe", "Home Assistant came up in safe mode, without what others have added to it"),
        ("first-page", "Home Assistant asks for its first user: it found none"),
        ("silent", "Home Assistant did not answer in time"),
        ("only-core", "only the core of Home Assistant started: it is in recovery mode, or upgrades a large history"),
    ] {
        let timeout = if matches!(how, "silent" | "only-core") { "2s" } else { "5m" };
        let said = rehearse(&place, how, &["--boot-timeout", timeout]);
        let first = said.out.lines().next().unwrap_or_default();
        assert_eq!((said.code, first), (4, format!("Not proved: {says}").as_str()), "{how}: {said:?}");
        assert!(said.out.contains("[homeassistant.setup] no network here"), "{how}: {said:?}");
    }
    assert!(place.scratch().is_empty());
}

#[test]
fn a_command_that_can_not_be_run_says_nothing_of_the_archive() {
    if !can_isolate() {
        return;
    }
    let place = Place::with(ageless);
    let said = place.haul(&["rehearse", "a.tar", "--boot", "no-such-program --config x"]);
    assert!(said.code == 1 && said.err.contains("the command of --boot can't be run: "), "{said:?}");
    assert!(said.err.contains("no-such-program: "), "{said:?}");
    let said = place.haul(&["rehearse", "a.tar", "--boot", "true", "--max-size", "1kB"]);
    assert!(said.code == 1 && said.err.contains("the archive can't be unpacked in "), "{said:?}");
    assert_eq!(place.haul(&["rehearse", "a.tar", "--boot", "true", "--in-memory"]).code, 2);
    assert!(place.scratch().is_empty());
}

#[test]
fn it_reaches_nothing_outside() {
    if !can_isolate() {
        return;
    }
    let place = Place::with(ageless);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Where programs have their sockets, and anywhere else.
    let (usual, elsewhere) = ("/tmp", env!("CARGO_TARGET_TMPDIR"));
    let folders = [usual, elsewhere].map(|folder| tempfile::tempdir_in(folder).unwrap());
    let sockets = [folders[0].path().join("socket"), folders[1].path().join("socket")];
    let _listening = sockets.each_ref().map(|socket| UnixListener::bind(socket).unwrap());
    let victim = folders[1].path().join("victim");
    fs::write(&victim, "").unwrap();
    let mut command = place.command(&["rehearse", "a.tar", "--keep-scratch", "--json", "--boot", &boot("isolated")]);
    command.env("LISTENER", listener.local_addr().unwrap().port().to_string());
    command.env("VICTIM", &victim).env("SOCKETS", std::env::join_paths(&sockets).unwrap());
    let document = Said::of(&command.output().unwrap()).json();
    assert_eq!(document["status"], "proved", "{document}");
    let kept = PathBuf::from(document["kept"].as_str().unwrap());
    assert!(kept.join("written").exists());
    assert!(!kept.parent().unwrap().join("dev").exists());
}

#[test]
fn a_hostile_one_finds_no_way_out() {
    if !can_isolate() {
        return;
    }
    let place = Place::with(ageless);
    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "as it was").unwrap();
    let mut command = place.command(&["rehearse", "a.tar", "--keep-scratch", "--json", "--boot", &boot("hostile")]);
    command.env("VICTIM", &victim);
    let document = Said::of(&command.output().unwrap()).json();
    assert_eq!(document["status"], "proved", "{document}");
    let kept = PathBuf::from(document["kept"].as_str().unwrap());
    let ways: Vec<String> = serde_json::from_slice(&fs::read(kept.join("ways-out")).unwrap()).unwrap();
    assert!(ways.is_empty(), "{ways:#?}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "as it was");
    assert!(!Path::new("/tmp/haul-left-behind").exists(), "temporary files are its own");
}

#[test]
fn with_the_network_it_is_found_at_a_free_port_and_everything_it_started_is_ended() {
    let place = Place::with(ageless);
    let marker = place.path("marker");
    // A daemon that outlives its parent.
    let daemon = format!("(setsid sh -c 'echo $$ > {}; exec sleep 600' &) ; {}", marker.display(), boot("runs"));
    let said = place.haul(&["rehearse", "a.tar", "--boot", &daemon, "--boot-with-network"]);
    assert!(said.code == 0 && said.out.contains("was started with your network and devices; it said"), "{said:?}");
    let daemon: i32 = fs::read_to_string(&marker).unwrap().trim().parse().unwrap();
    assert!(test_kill_process(Pid::from_raw(daemon).unwrap()).is_err(), "it is ended");
    assert!(place.scratch().is_empty());
}

#[test]
fn where_it_can_not_be_isolated_it_is_not_started() {
    if !can_trace() {
        return;
    }
    let place = Place::with(ageless);
    let marker = place.path("marker");
    let command = format!("touch {}", marker.display());
    let refusing = |calls: &[&str]| {
        let mut traced = failing(calls, None, Path::new(env!("CARGO_BIN_EXE_haul")));
        traced.args(["rehearse", "a.tar", "--boot", &command]);
        traced.current_dir(place.path("")).env("HOME", place.path("")).env("XDG_STATE_HOME", place.path("state"));
        Said::of(&traced.output().unwrap())
    };
    // No namespaces; no mounts in them; a kernel that is too old; no loopback; rights that stay.
    for call in [
        "unshare:error=EPERM",
        "mount:error=EPERM",
        "mount_setattr:error=ENOSYS",
        "ioctl:error=EPERM",
        "capset:error=EPERM",
    ] {
        let said = refusing(&[call]);
        assert!(
            said.code == 1 && said.err.contains("can't isolate Home Assistant from the network"),
            "{call}: {said:?}"
        );
        assert!(said.err.contains("--boot-with-network"), "{call}: {said:?}");
        assert!(!marker.exists() && place.scratch().is_empty(), "{call}");
    }
}

/// One whose Home Assistant never answers, once that has started; and an argument that only that has.
fn waiting(place: &Place, more: &[&str]) -> (Child, PathBuf) {
    let marker = place.path("marker");
    let command = boot(&format!("silent {}", marker.display()));
    let mut command = place.command(&[&["rehearse", "a.tar", "--boot", &command], more].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_until("Home Assistant starts", || has_started(place));
    (child, marker)
}

/// It writes a file into its configuration.
fn has_started(place: &Place) -> bool {
    let folders = place.scratch().into_iter().filter_map(|scratch| fs::read_dir(scratch).ok()).flatten().flatten();
    folders.into_iter().any(|folder| folder.path().join("started").exists())
}

/// Whether a process has this argument.
fn is_running(what: &Path) -> bool {
    let what = what.to_str().unwrap();
    let commands = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
    commands
        .filter_map(|path| fs::read(path).ok())
        .any(|line| line.split(|byte| *byte == 0).any(|argument| argument == what.as_bytes()))
}

#[test]
fn ctrl_c_ends_home_assistant_and_removes_everything() {
    let place = Place::with(ageless);
    for more in [&["--boot-with-network"][..], &[]] {
        if more.is_empty() && !can_isolate() {
            continue;
        }
        let (child, marker) = waiting(&place, more);
        assert!(is_running(&marker));
        assert_eq!(place.scratch().len(), 1);
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let said = Said::of(&child.wait_with_output().unwrap());
        assert!(said.code == 130 && said.err.contains("interrupted; nothing was left behind"), "{more:?}: {said:?}");
        assert!(place.scratch().is_empty() && !is_running(&marker), "{more:?}");
    }
}

#[test]
fn a_killed_one_ends_home_assistant_and_the_next_one_cleans_up() {
    let place = Place::with(ageless);
    for more in [&["--boot-with-network"][..], &[]] {
        if more.is_empty() && !can_isolate() {
            continue;
        }
        let (mut child, marker) = waiting(&place, more);
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until("Home Assistant ends", || !is_running(&marker));
        let left = place.scratch();
        assert_eq!(left.len(), 1);
        assert_eq!(place.haul(&["rehearse", "a.tar"]).code, 0);
        assert!(place.scratch().is_empty(), "{left:?}");
    }
}
