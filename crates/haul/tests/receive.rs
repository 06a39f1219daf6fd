//! Two machines as their users see them: `haul receive` on one, `haul backup --to haul://…` on the other.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "common/receiving.rs"]
mod receiving;

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use receiving::{Receiving, line};
use testkit::{proxy::Proxy, wait};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(place.path("config/.storage")).unwrap();
        fs::create_dir(place.path("backups")).unwrap();
        for name in ["auth", "auth_provider.homeassistant", "core.config_entries", "onboarding"] {
            fs::write(place.path("config/.storage").join(name), "{}").unwrap();
        }
        fs::write(place.path("config/.HA_VERSION"), "2026.11.0").unwrap();
        fs::write(place.path("config/configuration.yaml"), "default_config:\n").unwrap();
        fs::write(place.path("config/large.bin"), vec![0x5a; 12_000_000]).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `haul` on the machine of this name.
    fn haul(&self, machine: &str, args: &[&str], code: Option<&str>) -> Output {
        let mut command = command(&self.path(machine), args);
        if let Some(code) = code {
            command.env("HAUL_PAIRING_CODE", code);
        }
        command.current_dir(self.dir.path()).stdin(Stdio::null()).output().unwrap()
    }

    fn receive(&self) -> Receiving {
        self.receive_at("127.0.0.1:0")
    }

    fn receive_at(&self, listen: &str) -> Receiving {
        let mut receive =
            command(&self.path("nas"), &["receive", "--to", "backups", "--listen", listen, "--name", "nas"]);
        Receiving::start(receive.current_dir(self.dir.path()), "Receiving into backups as nas, at 127.0.0.1:")
    }

    fn backups(&self) -> Vec<PathBuf> {
        fs::read_dir(self.path("backups")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

fn command(state: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
    command
        .args(args)
        .env_remove("HAUL_PASSWORD")
        .env_remove("HAUL_PAIRING_CODE")
        .env("XDG_STATE_HOME", state)
        .env("HOME", state);
    command
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn a_code_typed_once_joins_two_machines_until_one_forgets() {
    let place = Place::new();
    let mut receiving = place.receive();
    let url = receiving.url.clone();

    let unpaired = place.haul("green", &["backup", "config", "--to", &url], None);
    assert_eq!(unpaired.status.code(), Some(1), "{}", out(&unpaired));
    assert!(out(&unpaired).contains("HAUL_PAIRING_CODE"), "{}", out(&unpaired));

    let wrong = place.haul("green", &["backup", "config", "--to", &url], Some("babab-babab"));
    assert_eq!(wrong.status.code(), Some(1), "{}", out(&wrong));
    assert!(out(&wrong).contains("the pairing code is wrong"), "{}", out(&wrong));
    assert_eq!(line(&mut receiving.lines), "A wrong code was typed; 4 tries are left");

    let code = receiving.code.clone();
    let first = place.haul("green", &["backup", "config", "--to", &url], Some(&code));
    assert_eq!(first.status.code(), Some(0), "{}", out(&first));
    assert!(line(&mut receiving.lines).starts_with("Paired with "));
    let arrived = line(&mut receiving.lines);
    assert!(arrived.starts_with("Received Haul_backup_2026.11.0"), "{arrived}");
    let backups = place.backups();
    assert_eq!(backups.len(), 1, "{backups:?}");
    let verified = place.haul("nas", &["verify", backups[0].to_str().unwrap()], None);
    assert_eq!(verified.status.code(), Some(0), "{}", out(&verified));

    // Known from now on.
    let second = place.haul("green", &["backup", "config", "--to", &url, "--name", "second"], None);
    assert_eq!(second.status.code(), Some(0), "{}", out(&second));
    assert_eq!(place.backups().len(), 2);

    let known = place.haul("green", &["peers"], None);
    assert!(out(&known).contains("receives from here") && out(&known).contains("nas"), "{}", out(&known));
    let known: serde_json::Value =
        serde_json::from_slice(&place.haul("nas", &["peers", "--json"], None).stdout).unwrap();
    let name = known[0]["name"].as_str().unwrap();
    assert_eq!(known[0]["role"], "sender");

    let forgot = place.haul("nas", &["peers", "forget", name], None);
    assert_eq!(forgot.status.code(), Some(0), "{}", out(&forgot));
    let third = place.haul("green", &["backup", "config", "--to", &url], None);
    assert_eq!(third.status.code(), Some(1), "{}", out(&third));
    assert!(
        out(&third).contains("it does not know this machine") && out(&third).contains("haul peers forget 'nas'"),
        "{}",
        out(&third)
    );
    assert_eq!(place.backups().len(), 2);
    assert_eq!(place.haul("nas", &["peers", "forget", "nobody"], None).status.code(), Some(2));
}

#[test]
fn keys_are_nobody_elses_business() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let receiving = place.receive();
    let paired = place.haul("green", &["backup", "config", "--to", &receiving.url], Some(&receiving.code));
    assert_eq!(paired.status.code(), Some(0), "{}", out(&paired));
    for machine in ["green", "nas"] {
        let state = place.path(machine).join("haul/machines");
        assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
        for file in ["machine.pem", "peers.json"] {
            assert_eq!(fs::metadata(state.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        }
    }
}

#[test]
fn what_can_not_be_listened_at_is_a_usage_error() {
    let place = Place::new();
    let output = place.haul("nas", &["receive", "--to", "backups", "--listen", "nas"], None);
    assert_eq!(output.status.code(), Some(2), "{}", out(&output));
    let output = place.haul("nas", &["receive", "--to", "-"], None);
    assert_eq!(output.status.code(), Some(2), "{}", out(&output));
}

/// What `haul` says in JSON.
fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", out(output)))
}

#[test]
fn a_backup_made_by_the_other_machine_restores_like_one_made_here() {
    let place = Place::new();
    let receiving = place.receive();
    let (url, code) = (receiving.url.clone(), receiving.code.clone());
    let backup = |name: &str, more: &[&str]| {
        let args = [&["backup", "config", "--to", &url, "--name", name, "--json"], more].concat();
        place.haul("green", &args, Some(&code))
    };
    fs::write(place.path("password"), "correct horse\n").unwrap();

    for (name, more) in [
        ("plain", &["--compress", "there"][..]),
        ("stored", &["--compress", "there", "--uncompressed"]),
        ("sealed", &["--compress", "there", "--password-file", "password"]),
        (
            "sealed2",
            &["--compress", "there", "--password-file", "password", "--securetar", "v2", "--verify", "read-back"],
        ),
    ] {
        let sent = backup(name, more);
        assert_eq!(sent.status.code(), Some(0), "{name}: {}", out(&sent));
        let report = json(&sent);
        assert_eq!(report["division"]["there"], true, "{report}");
        assert_eq!(report["division"]["machine"], "nas", "{report}");
        let file = place.path("backups").join(report["copies"][0]["name"].as_str().unwrap());
        assert_eq!(report["archive"]["size_bytes"], fs::metadata(&file).unwrap().len(), "{report}");
        let expected = if name == "sealed2" { "read-back" } else { "size" };
        assert_eq!(report["copies"][0]["checked"], expected, "{report}");

        let file = file.to_str().unwrap();
        let password: &[&str] = if name.starts_with("sealed") { &["--password-file", "password"] } else { &[] };
        let verified = place.haul("nas", &[&["verify", file, "--json"], password].concat(), None);
        assert_eq!(verified.status.code(), Some(0), "{name}: {}", out(&verified));
        // By its index, which was begun on one machine and finished on the other.
        let target = format!("restored-{name}");
        let restored =
            place.haul("nas", &[&["restore", file, "--into", &target, "--only", "large.bin"], password].concat(), None);
        assert_eq!(restored.status.code(), Some(0), "{name}: {}", out(&restored));
        assert!(fs::read(place.path(&target).join("large.bin")).unwrap() == vec![0x5a; 12_000_000], "{name}");
    }
    assert_eq!(place.backups().len(), 4);
    assert!(
        place.backups().iter().all(|path| path.extension().is_some_and(|extension| extension == "tar")),
        "{:?}",
        place.backups()
    );
}

#[test]
fn the_faster_way_is_found_by_trying_both() {
    let place = Place::new();
    let receiving = place.receive();
    let sent = place.haul(
        "green",
        &["backup", "config", "--to", &receiving.url, "--compress", "auto", "--json"],
        Some(&receiving.code),
    );
    assert_eq!(sent.status.code(), Some(0), "{}", out(&sent));
    let report = json(&sent);
    for rate in ["here", "there", "line", "ratio"] {
        assert!(report["division"]["rates"][rate].as_f64().unwrap() > 0.0, "{report}");
    }
    assert_eq!(place.backups().len(), 1);
    let verified = place.haul("nas", &["verify", place.backups()[0].to_str().unwrap()], None);
    assert_eq!(verified.status.code(), Some(0), "{}", out(&verified));
}

#[test]
fn only_another_machine_can_compress_there() {
    let place = Place::new();
    let refused = place.haul("green", &["backup", "config", "--to", "backups", "--compress", "there"], None);
    assert_eq!(refused.status.code(), Some(2), "{}", out(&refused));
    assert!(out(&refused).contains("only another machine that runs `haul receive` can compress"), "{}", out(&refused));
    let here = place.haul("green", &["backup", "config", "--to", "backups", "--compress", "auto"], None);
    assert_eq!(here.status.code(), Some(0), "{}", out(&here));
}

/// Content that compresses a little, and takes a while on the line.
fn noise(place: &Place, length: u64) {
    let noise: Vec<u8> = (0..length).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29) as u8).collect();
    fs::write(place.path("config/noise.bin"), noise).unwrap();
}

#[test]
fn on_a_thin_line_this_machine_compresses() {
    let place = Place::new();
    let receiving = place.receive();
    let line = Proxy::raw(receiving.url.strip_prefix("haul://").unwrap().parse().unwrap()).unwrap();
    line.throttle(Some(4_000_000));
    let url = format!("haul://{}", line.address());
    let sent =
        place.haul("green", &["backup", "config", "--to", &url, "--compress", "auto", "--json"], Some(&receiving.code));
    assert_eq!(sent.status.code(), Some(0), "{}", out(&sent));
    let report = json(&sent);
    assert_eq!(report["division"]["there"], false, "{report}");
    assert!(report["division"]["rates"]["line"].as_f64().unwrap() < 8e6, "{report}");
}

#[test]
fn a_line_that_breaks_costs_what_is_made_there_nothing() {
    let place = Place::new();
    noise(&place, 60_000_000);
    let receiving = place.receive();
    let line = Proxy::raw(receiving.url.strip_prefix("haul://").unwrap().parse().unwrap()).unwrap();
    let url = format!("haul://{}", line.address());
    let paired = place.haul("green", &["backup", "config", "--to", &url, "--exclude", "*.bin"], Some(&receiving.code));
    assert_eq!(paired.status.code(), Some(0), "{}", out(&paired));
    line.cut_at_random(7, 8, 6_000_000);
    let sent = place.haul(
        "green",
        &["backup", "config", "--to", &url, "--compress", "there", "--name", "cut", "--json"],
        None,
    );
    assert_eq!(sent.status.code(), Some(0), "{}", out(&sent));
    let report = json(&sent);
    assert!(report["copies"][0]["retries"].as_u64().unwrap() > 0, "{report}");
    let file = place.path("backups").join(report["copies"][0]["name"].as_str().unwrap());
    let verified = place.haul("nas", &["verify", file.to_str().unwrap()], None);
    assert_eq!(verified.status.code(), Some(0), "{}", out(&verified));
}

#[test]
fn a_receiver_that_is_killed_and_started_again_gets_it_from_the_start() {
    let place = Place::new();
    noise(&place, 200_000_000);
    let mut receiving = place.receive();
    let url = receiving.url.clone();
    let paired = place.haul("green", &["backup", "config", "--to", &url, "--exclude", "*.bin"], Some(&receiving.code));
    assert_eq!(paired.status.code(), Some(0), "{}", out(&paired));
    let mut sending =
        command(&place.path("green"), &["backup", "config", "--to", &url, "--compress", "there", "--name", "again"]);
    let sending = sending
        .current_dir(place.dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait::until("an unfinished archive is there", || {
        place.backups().iter().any(|path| path.extension().is_some_and(|extension| extension == "part"))
    });
    receiving.child.kill().unwrap();
    receiving.child.wait().unwrap();
    let _again = place.receive_at(url.strip_prefix("haul://").unwrap());
    let sent = sending.wait_with_output().unwrap();
    assert_eq!(sent.status.code(), Some(0), "{}", out(&sent));
    // The first attempt's file went with the second attempt.
    let backups = place.backups();
    assert_eq!(backups.len(), 2, "{backups:?}");
    let made = backups.iter().find(|path| path.to_string_lossy().contains("again")).unwrap();
    let verified = place.haul("nas", &["verify", made.to_str().unwrap()], None);
    assert_eq!(verified.status.code(), Some(0), "{}", out(&verified));
}

#[test]
fn a_receiver_that_is_stopped_leaves_nothing_and_is_waited_for() {
    let place = Place::new();
    noise(&place, 60_000_000);
    let mut receiving = place.receive();
    let address = receiving.url.strip_prefix("haul://").unwrap().to_owned();
    let line = Proxy::raw(address.parse().unwrap()).unwrap();
    let url = format!("haul://{}", line.address());
    let paired = place.haul("green", &["backup", "config", "--to", &url, "--exclude", "*.bin"], Some(&receiving.code));
    assert_eq!(paired.status.code(), Some(0), "{}", out(&paired));
    // The maker waits for the line when it is stopped.
    line.throttle(Some(10_000_000));
    let mut sending =
        command(&place.path("green"), &["backup", "config", "--to", &url, "--compress", "there", "--name", "again"]);
    let sending = sending
        .current_dir(place.dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait::until("a second file is there", || place.backups().len() >= 2);
    assert!(Command::new("kill").args(["-INT", &receiving.child.id().to_string()]).status().unwrap().success());
    receiving.child.wait().unwrap();
    assert_eq!(place.backups().len(), 1, "{:?}", place.backups());
    line.throttle(None);
    let _again = place.receive_at(&address);
    let sent = sending.wait_with_output().unwrap();
    assert_eq!(sent.status.code(), Some(0), "{}", out(&sent));
    let backups = place.backups();
    assert_eq!(backups.len(), 2, "{backups:?}");
    let made = backups.iter().find(|path| path.to_string_lossy().contains("again")).unwrap();
    let verified = place.haul("nas", &["verify", made.to_str().unwrap()], None);
    assert_eq!(verified.status.code(), Some(0), "{}", out(&verified));
}

#[test]
fn nothing_stays_of_what_was_given_up_on_the_way() {
    let place = Place::new();
    let receiving = place.receive();
    let (url, code) = (receiving.url.clone(), receiving.code.clone());
    noise(&place, 200_000_000);
    let paired = place.haul("green", &["backup", "config", "--to", &url, "--exclude", "*.bin"], Some(&code));
    assert_eq!(paired.status.code(), Some(0), "{}", out(&paired));

    let backup = |name: &str| {
        let mut command =
            command(&place.path("green"), &["backup", "config", "--to", &url, "--compress", "there", "--name", name]);
        command
            .current_dir(place.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let unfinished =
        || place.backups().iter().any(|path| path.extension().is_some_and(|extension| extension == "part"));
    // Interrupted, it says so itself.
    let mut child = backup("interrupted");
    wait::until("it began", unfinished);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap();
    wait::until("it is gone", || place.backups().len() == 1);

    // Killed, the next run of the same machine says it.
    let mut child = backup("killed");
    wait::until("it began", unfinished);
    child.kill().unwrap();
    child.wait().unwrap();
    let next = place.haul("green", &["backup", "config", "--to", &url, "--compress", "there", "--name", "next"], None);
    assert_eq!(next.status.code(), Some(0), "{}", out(&next));
    wait::until("it is gone", || place.backups().len() == 2);
}

/// What a check tries out is no news for those who read the receiver's log, and does not look like a backup that
/// failed.
#[test]
fn a_check_of_a_receiver_leaves_no_alarm_in_its_log() {
    let place = Place::new();
    let mut receiving = place.receive();
    let (url, code) = (receiving.url.clone(), receiving.code.clone());
    let checked = place.haul("green", &["destination", "check", &url, "--measure", "1MiB"], Some(&code));
    assert!(checked.status.success(), "{}", out(&checked));
    receiving.child.kill().unwrap();
    let mut log = String::new();
    receiving.lines.read_to_string(&mut log).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert!(matches!(lines[..], [paired] if paired.starts_with("Paired with ")), "{log}");
}
