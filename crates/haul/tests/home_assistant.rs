//! Haul against a real Home Assistant, which `tests/rig` installs and drives: one instance lives, is backed up while
//! it writes, and every archive is restored into another. Says so and does nothing where the rig is missing, except
//! in CI, where a missing rig is a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "common/receiving.rs"]
mod receiving;

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::OnceLock,
};

use receiving::Receiving;
use testkit::{
    python,
    rig::{self, Version},
    s3::{self, S3Server},
    sshd::{self, Sshd},
    wsgidav::{self, Wsgidav},
};

const HAUL: &str = env!("CARGO_BIN_EXE_haul");
const PASSWORD: &str = "sesam öffne dich";

/// What Home Assistant's own backups are called.
const NATIVE: [(&str, Option<&str>); 2] = [("native-plain", None), ("native-protected", Some(PASSWORD))];

/// The tests of one Home Assistant.
macro_rules! tests {
    ($module:ident, $version:expr) => {
        mod $module {
            use super::*;

            #[test]
            fn a_plain_backup_of_a_running_instance_restores_in_a_fresh_one() {
                let Some(out) = lived($version) else { return };
                succeeds(haul("verify", None).arg(out.join("plain.tar")));
                succeeds($version.script("restore").arg(out).args(["plain", "--then-database"]));
            }

            #[test]
            fn a_protected_backup_of_a_running_instance_restores_with_its_password_only() {
                arrived($version, "protected", Some(PASSWORD));
            }

            #[test]
            fn a_backup_protected_by_securetar_2_restores() {
                arrived($version, "protected-v2", Some(PASSWORD));
            }

            #[test]
            fn what_went_through_a_pipe_measured_restores() {
                arrived($version, "pipe-plain", None);
            }

            #[test]
            fn what_went_through_a_pipe_measured_and_protected_restores() {
                arrived($version, "pipe-protected", Some(PASSWORD));
            }

            #[test]
            fn what_went_to_a_bucket_in_parts_restores() {
                arrived($version, "parts-plain", None);
            }

            #[test]
            fn what_went_to_a_bucket_in_parts_and_protected_restores() {
                arrived($version, "parts-protected", Some(PASSWORD));
            }

            #[test]
            fn own_backups_verify_and_restore() {
                home_assistants_own_backups_verify_and_restore($version);
            }

            #[test]
            fn an_own_protected_backup_is_refused_with_a_wrong_password() {
                let Some(out) = lived($version) else { return };
                let config = out.join("never-restored");
                let archive = out.join("native-protected.tar");
                let done = run(haul("restore", Some("not it")).arg(&archive).arg("--into").arg(&config));
                assert!(!done.success(), "a wrong password was accepted");
                assert!(!config.exists(), "something was unpacked with a wrong password");
            }
        }
    };
}

tests!(home_assistant_2025_6_3, Version::OLD);
tests!(home_assistant_2026_11_0, Version::TODAY);

// By which way an archive came makes no difference to the reader, so these ask one Home Assistant only.

#[test]
fn what_went_over_sftp_and_was_corrected_there_restores() {
    if sshd::is_installed() {
        arrived(Version::OLD, "random-plain", None);
    } else {
        let _ = writeln!(std::io::stderr(), "skipped: openssh-server is not installed");
    }
}

#[test]
fn what_went_to_another_machine_restores() {
    arrived(Version::OLD, "machine-plain", None);
}

#[test]
fn what_went_to_another_machine_protected_restores() {
    arrived(Version::OLD, "machine-protected", Some(PASSWORD));
}

#[test]
fn what_another_machine_made_restores() {
    arrived(Version::OLD, "elsewhere-plain", None);
}

#[test]
fn what_another_machine_made_and_protected_restores() {
    arrived(Version::OLD, "elsewhere-protected", Some(PASSWORD));
}

#[test]
fn what_another_program_read_in_a_vault_restores() {
    if python::with_what_a_vault_needs().is_some() {
        arrived(Version::OLD, "vault-plain", None);
    }
}

#[test]
fn what_went_to_a_web_server_measured_restores() {
    if wsgidav::is_installed() {
        arrived(Version::OLD, "web-plain", None);
    } else {
        let _ = writeln!(std::io::stderr(), "skipped: wsgidav is not installed");
    }
}

#[test]
fn what_went_to_a_web_server_measured_and_protected_restores() {
    if wsgidav::is_installed() {
        arrived(Version::OLD, "web-protected", Some(PASSWORD));
    } else {
        let _ = writeln!(std::io::stderr(), "skipped: wsgidav is not installed");
    }
}

/// An archive that came by a detour is as good as one that was written straight to disk.
fn arrived(version: Version, name: &str, password: Option<&str>) {
    let Some(out) = lived(version) else { return };
    succeeds(haul("verify", password).arg(out.join(format!("{name}.tar"))));
    let mut restore = version.script("restore");
    restore.arg(out).arg(name);
    if let Some(password) = password {
        restore.args(["--password", password]);
    }
    succeeds(&mut restore);
}

fn home_assistants_own_backups_verify_and_restore(version: Version) {
    let Some(out) = lived(version) else { return };
    for (name, password) in NATIVE {
        let archive = out.join(format!("{name}.tar"));
        let config = out.join(format!("{name}-by-haul"));
        succeeds(haul("verify", password).arg(&archive));
        succeeds(haul("restore", password).arg(&archive).arg("--into").arg(&config));
        succeeds(version.script("restore").arg(out).arg(name).arg("--started-on").arg(&config));
    }
}

/// The folder of archives that one life of Home Assistant left behind; `None` where the rig is missing.
fn lived(version: Version) -> Option<&'static Path> {
    static OLD: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    static TODAY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if !rig::is_ready().unwrap() {
        return None;
    }
    let out = if version == Version::OLD { &OLD } else { &TODAY }.get_or_init(|| live(version)).as_ref();
    Some(out.expect("Home Assistant lives and is backed up"))
}

fn live(version: Version) -> Result<PathBuf, String> {
    // Kept until the next run, so that a failure can be examined.
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("home-assistant-{}", version.as_str()));
    if out.exists() {
        fs::remove_dir_all(&out).map_err(|e| e.to_string())?;
    }
    fs::create_dir_all(&out).map_err(|e| e.to_string())?;
    let password_file = out.join("password");
    fs::write(&password_file, PASSWORD).map_err(|e| e.to_string())?;

    let backup = format!("'{HAUL}' backup {{config}} --to {{archive}} --progress none");
    let far = Far::start(&out).map_err(|e| e.to_string())?;
    let mut command = version.script("live");
    far.introduce(&mut command);
    command.arg(&out);
    command.arg("--backup").arg(format!("plain={backup}"));
    let protected = format!("protected={backup} --password-file '{}'", password_file.display());
    command
        .arg("--backup")
        .arg(format!("protected-v2={backup} --securetar v2 --password-file '{}'", password_file.display()));
    command.arg("--backup").arg(protected);
    for wish in far.wishes(&password_file, version) {
        command.arg("--backup").arg(wish);
    }
    for (name, password) in NATIVE {
        let wish = password.map_or_else(|| name.to_owned(), |password| format!("{name}={password}"));
        command.arg("--native").arg(wish);
    }
    let status = run(&mut command);
    if status.success() { Ok(out) } else { Err(format!("the rig's `live`: {status}")) }
}

/// Remote destinations, one of each way to accept an archive.
struct Far {
    bucket: S3Server,
    ssh: Option<Sshd>,
    web: Option<Wsgidav>,
    machine: Receiving,
    state: PathBuf,
    config: PathBuf,
    vault: PathBuf,
}

impl Far {
    fn start(out: &Path) -> std::io::Result<Self> {
        let ssh = if sshd::is_installed() { Some(Sshd::start("")?) } else { None };
        assert!(ssh.is_some() || env::var("CI").as_deref() != Ok("true"), "openssh-server is not installed");
        let mut toml = vec!["[destinations.bucket]".to_owned(), "url = \"s3://bucket/home\"".to_owned()];
        if let Some(ssh) = &ssh {
            let known = ssh.path("known_hosts");
            fs::write(&known, ssh.known_host("ed25519")?)?;
            toml.push("[destinations.ssh]".to_owned());
            toml.push(format!("url = \"sftp://root@127.0.0.1:{}{}\"", ssh.port(), ssh.root().display()));
            toml.push(format!("key_file = \"{}\"", ssh.user_key().display()));
            toml.push(format!("known_hosts = \"{}\"", known.display()));
        }
        let web = Wsgidav::start();
        if let Some(web) = &web {
            let password = out.join("web-password");
            fs::write(&password, wsgidav::PASSWORD)?;
            toml.push("[destinations.web]".to_owned());
            toml.push(format!("url = \"webdav://{}/\"", web.authority()));
            toml.push(format!("user = \"{}\"", wsgidav::USER));
            toml.push(format!("password_file = \"{}\"", password.display()));
        }
        let (there, state) = (out.join("machine"), out.join("state"));
        fs::create_dir(&there)?;
        let mut receive = haul("receive", None);
        receive
            .arg("--to")
            .arg(&there)
            .args(["--listen", "127.0.0.1:0", "--name", "nas"])
            .env("XDG_STATE_HOME", out.join("machine-state"));
        let machine = Receiving::start(&mut receive, "Receiving into ");
        toml.push("[destinations.machine]".to_owned());
        toml.push(format!("url = \"{}\"", machine.url));
        let vault = out.join("vault");
        let address = format!("vault+{}", vault.display());
        succeeds(haul("vault", None).args(["init", &address]).env("HAUL_VAULT_PASSWORD", PASSWORD));
        toml.push("[destinations.vault]".to_owned());
        toml.push(format!("url = \"{address}\""));
        let config = out.join("haul.toml");
        fs::write(&config, toml.join("\n"))?;
        Ok(Self { bucket: S3Server::start(&["bucket"])?, ssh, web, machine, state, config, vault })
    }

    fn introduce(&self, command: &mut Command) {
        command
            .env("HAUL_CONFIG", &self.config)
            .env("AWS_ENDPOINT_URL", self.bucket.url())
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("HAUL_VAULT_PASSWORD", PASSWORD);
        command.env("HAUL_PAIRING_CODE", &self.machine.code).env("XDG_STATE_HOME", &self.state);
        command.env("AWS_ACCESS_KEY_ID", s3::ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", s3::SECRET_KEY);
    }

    /// Backups there that end up in `{archive}`, as the rig wants them: one word for the shell in each.
    fn wishes(&self, password_file: &Path, version: Version) -> Vec<String> {
        let protection = format!("--password-file '{}'", password_file.display());
        let mut wishes = Vec::new();
        for (kind, protection) in [("plain", ""), ("protected", &protection)] {
            wishes.push(format!(
                "pipe-{kind}=sh -c \"'{HAUL}' backup {{config}} --to - --progress none {protection} > {{archive}}\""
            ));
            wishes.push(there_and_back(&format!("parts-{kind}"), "bucket", protection));
            if version == Version::TODAY {
                continue;
            }
            wishes.push(there_and_back(&format!("machine-{kind}"), "machine", protection));
            wishes.push(there_and_back(
                &format!("elsewhere-{kind}"),
                "machine",
                &format!("--compress there {protection}"),
            ));
            if self.web.is_some() {
                wishes.push(there_and_back(&format!("web-{kind}"), "web", protection));
            }
        }
        if let (Some(python), true) = (python::with_what_a_vault_needs(), version == Version::OLD) {
            let there = format!("'{HAUL}' backup {{config}} --to vault/vault-plain.tar --progress none");
            let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vault/export.py");
            let (reader, vault) = (reader.display(), self.vault.display());
            wishes.push(format!(
                "vault-plain=sh -c \"{there} && '{python}' '{reader}' '{vault}' vault-plain.tar {{archive}}\""
            ));
        }
        if self.ssh.is_some() && version == Version::OLD {
            wishes.push(there_and_back("random-plain", "ssh", ""));
        }
        wishes
    }
}

fn there_and_back(name: &str, place: &str, protection: &str) -> String {
    let there = format!("'{HAUL}' backup {{config}} --to {place}/{name}.tar --progress none {protection}");
    format!("{name}=sh -c \"{there} && '{HAUL}' get {place}/{name}.tar --to {{archive}} --progress none\"")
}

fn haul(command: &str, password: Option<&str>) -> Command {
    let mut haul = Command::new(HAUL);
    haul.arg(command).env_remove("HAUL_PASSWORD");
    if let Some(password) = password {
        haul.env("HAUL_PASSWORD", password);
    }
    haul
}

fn run(command: &mut Command) -> ExitStatus {
    command.stdin(Stdio::null()).status().expect("the command starts")
}

fn succeeds(command: &mut Command) {
    let status = run(command);
    assert!(status.success(), "{command:?}: {status}");
}
