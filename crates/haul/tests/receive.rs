//! Two machines as their users meet them: `haul receive` on one, `haul backup --to haul://…` on the other.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(place.path("config/.storage")).unwrap();
        fs::create_dir(place.path("backups")).unwrap();
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
        let mut child = command(&self.path("nas"), &["receive", "--to", "backups", "--listen", "127.0.0.1:0", "--name", "nas"])
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let first = line(&mut lines);
        let url = format!("haul://{}", first.rsplit(' ').next().unwrap());
        assert!(first.starts_with("Receiving into backups as nas, at 127.0.0.1:"), "{first}");
        let hint = line(&mut lines);
        assert!(hint.starts_with("Only this machine can reach it"), "{hint}");
        let code = line(&mut lines).split_whitespace().nth(2).unwrap().to_owned();
        Receiving { child, lines, url, code }
    }

    fn backups(&self) -> Vec<PathBuf> {
        fs::read_dir(self.path("backups")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

fn command(state: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
    command.args(args).env_remove("HAUL_PASSWORD").env_remove("HAUL_PAIRING_CODE").env("XDG_STATE_HOME", state).env("HOME", state);
    command
}

fn line(lines: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

struct Receiving {
    child: Child,
    lines: BufReader<ChildStdout>,
    url: String,
    code: String,
}

impl Drop for Receiving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
    let known: serde_json::Value = serde_json::from_slice(&place.haul("nas", &["peers", "--json"], None).stdout).unwrap();
    let name = known[0]["name"].as_str().unwrap();
    assert_eq!(known[0]["role"], "sender");

    let forgot = place.haul("nas", &["peers", "forget", name], None);
    assert_eq!(forgot.status.code(), Some(0), "{}", out(&forgot));
    let third = place.haul("green", &["backup", "config", "--to", &url], None);
    assert_eq!(third.status.code(), Some(1), "{}", out(&third));
    assert!(out(&third).contains("it does not know this machine") && out(&third).contains("haul peers forget 'nas'"), "{}", out(&third));
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
