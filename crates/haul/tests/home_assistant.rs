//! Haul against a real Home Assistant, which `tests/rig` installs and drives: one instance lives, is backed up while
//! it writes, and every archive is restored into another. Says so and does nothing where the rig is missing, except
//! in CI, where a missing rig is a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::OnceLock,
};

const HAUL: &str = env!("CARGO_BIN_EXE_haul");
const PASSWORD: &str = "sesam öffne dich";

/// Home Assistant of the rig reads and writes SecureTar 2, so `auto` has to choose that.
const NATIVE: [(&str, Option<&str>); 2] = [("native-plain", None), ("native-protected", Some(PASSWORD))];

#[test]
fn a_plain_backup_of_a_running_home_assistant_restores_in_a_fresh_one() {
    let Some(out) = lived() else { return };
    succeeds(haul("verify", None).arg(out.join("plain.tar")));
    succeeds(rig("restore").arg(out).args(["plain", "--then-database"]));
}

#[test]
fn a_protected_backup_of_a_running_home_assistant_restores_with_its_password_only() {
    let Some(out) = lived() else { return };
    succeeds(haul("verify", Some(PASSWORD)).arg(out.join("protected.tar")));
    succeeds(rig("restore").arg(out).args(["protected", "--password", PASSWORD]));
}

#[test]
fn home_assistants_own_backups_verify_and_restore() {
    let Some(out) = lived() else { return };
    for (name, password) in NATIVE {
        let archive = out.join(format!("{name}.tar"));
        let config = out.join(format!("{name}-by-haul"));
        succeeds(haul("verify", password).arg(&archive));
        succeeds(haul("restore", password).arg(&archive).arg("--into").arg(&config));
        succeeds(rig("restore").arg(out).arg(name).arg("--started-on").arg(&config));
    }
}

#[test]
fn home_assistants_own_protected_backup_is_refused_with_a_wrong_password() {
    let Some(out) = lived() else { return };
    let config = out.join("never-restored");
    let archive = out.join("native-protected.tar");
    let done = run(haul("restore", Some("not it")).arg(&archive).arg("--into").arg(&config));
    assert!(!done.success(), "a wrong password was accepted");
    assert!(!config.exists(), "something was unpacked with a wrong password");
}

/// The folder of archives that one life of Home Assistant left behind; `None` where the rig is missing.
fn lived() -> Option<&'static Path> {
    static OUT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if !rig_is_ready() {
        return None;
    }
    let out = OUT.get_or_init(live).as_ref();
    Some(out.expect("Home Assistant lives and is backed up"))
}

fn live() -> Result<PathBuf, String> {
    // Kept until the next run, so that a failure can be looked at.
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("home-assistant");
    if out.exists() {
        fs::remove_dir_all(&out).map_err(|e| e.to_string())?;
    }
    fs::create_dir_all(&out).map_err(|e| e.to_string())?;
    let password_file = out.join("password");
    fs::write(&password_file, PASSWORD).map_err(|e| e.to_string())?;

    let backup = format!("'{HAUL}' backup {{config}} --to {{archive}} --progress none");
    let mut command = rig("live");
    command.arg(&out);
    command.arg("--backup").arg(format!("plain={backup}"));
    let protected = format!("protected={backup} --password-file '{}'", password_file.display());
    command.arg("--backup").arg(protected);
    for (name, password) in NATIVE {
        let wish = password.map_or_else(|| name.to_owned(), |password| format!("{name}={password}"));
        command.arg("--native").arg(wish);
    }
    let status = run(&mut command);
    if status.success() { Ok(out) } else { Err(format!("the rig's `live`: {status}")) }
}

fn rig_is_ready() -> bool {
    let reason = if rustix::process::geteuid().is_root() {
        let check = rig("prepare").arg("--check").output().expect("tests/rig/prepare runs");
        if check.status.success() {
            return true;
        }
        String::from_utf8_lossy(&check.stdout).into_owned()
    } else {
        "it needs root".to_owned()
    };
    let required = env::var("CI").is_ok_and(|ci| ci == "true") || env::var_os("HAUL_REQUIRE_RIG").is_some();
    assert!(!required, "no real Home Assistant to test against: {reason}");
    // Past the test harness, which would swallow it.
    let _ = writeln!(std::io::stderr(), "skipped, no real Home Assistant to test against: {}", reason.trim());
    false
}

fn rig(script: &str) -> Command {
    // A killed test run takes its Home Assistants along.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/rig").join(script));
    command
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
