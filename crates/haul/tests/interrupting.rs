//! Ctrl-C ends a command, whatever it waits for. Each test sees that it waits, and hangs if the signal wakes nobody.
//!
//! Other tests cover a locked database and a password from a pipe (`command_line`), a destination that says nothing
//! (`commands`), uploads (`remote`, `destinations`), and everything that a migration waits for (`migrate`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "common/receiving.rs"]
mod receiving;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use receiving::Receiving;
use rustix::process::{Pid, Signal, kill_process};
use testkit::drive::{CLIENT_ID, CLIENT_SECRET, Drive};

/// What a pipe holds by default (pipe(7)).
const PIPE: u64 = 64 << 10;

fn haul(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
    command.args(args).current_dir(home).env_clear().env("HOME", home).env("XDG_STATE_HOME", home.join("state"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A config directory with a file that no pipe holds.
fn config(home: &Path) {
    fs::create_dir_all(home.join("config/.storage")).unwrap();
    fs::write(home.join("config/.HA_VERSION"), "2026.11.0").unwrap();
    let mut state = 88_172_645_463_325_252_u64;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    fs::write(home.join("config/large.bin"), noise.take(1 << 17).flatten().collect::<Vec<u8>>()).unwrap();
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Presses Ctrl-C, and gives what was said on standard error.
fn interrupted(mut child: Child, code: i32) -> String {
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    // Nobody reads what it prints; what it says is little.
    let deadline = Instant::now() + Duration::from_mins(1);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it hangs");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(code), "{said}");
    said
}

#[test]
fn while_nobody_reads_what_it_prints() {
    let home = tempfile::tempdir().unwrap();
    config(home.path());
    let made = haul(home.path(), &["backup", "config", "--to", "a.tar"]).output().unwrap();
    assert!(home.path().join("a.tar").exists(), "{}", String::from_utf8_lossy(&made.stderr));
    for (args, code) in [(&["cat", "a.tar", "large.bin"][..], 130), (&["backup", "config", "--to", "-"], 130)] {
        let child = haul(home.path(), args).spawn().unwrap();
        let pipe = child.stdout.as_ref().unwrap();
        // What is written in small pieces fills it sooner.
        wait_until("the pipe is full", || rustix::io::ioctl_fionread(pipe).unwrap() >= PIPE / 2);
        assert!(interrupted(child, code).contains("interrupted"), "{args:?}");
    }
}

#[test]
fn while_it_pauses_before_the_next_try() {
    let home = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = server.local_addr().unwrap();
    let toml = format!("[destinations.far]\nurl = \"webdav://{place}/dav\"\nallow_http = true\n");
    fs::write(home.path().join("haul.toml"), toml).unwrap();
    let child = haul(home.path(), &["list", "far"]).env("HAUL_CONFIG", "haul.toml").spawn().unwrap();
    // The first try is refused with a wish for a pause.
    let (mut line, _) = server.accept().unwrap();
    let mut head = BufReader::new(line.try_clone().unwrap()).lines();
    while head.next().is_some_and(|line| !line.unwrap().is_empty()) {}
    let busy = b"HTTP/1.1 503 Busy\r\nretry-after: 20\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    std::io::Write::write_all(&mut line, busy).unwrap();
    drop((line, head));
    assert!(interrupted(child, 130).contains("interrupted"));
}

#[test]
fn while_google_waits_for_the_code() {
    let (drive, home) = (Drive::start(), tempfile::tempdir().unwrap());
    fs::write(home.path().join("secret"), CLIENT_SECRET).unwrap();
    let args = ["auth", "gdrive", "--client-id", CLIENT_ID, "--client-secret-file", "secret"];
    let mut child = haul(home.path(), &args)
        .env("HAUL_GDRIVE_API_URL", Drive::api_url(drive.address()))
        .env("HAUL_GDRIVE_OAUTH_URL", Drive::oauth_url(drive.address()))
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line.starts_with("Waiting for it")));
    assert!(interrupted(child, 130).contains("interrupted"));
}

#[test]
fn while_it_waits_for_other_machines() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("backups")).unwrap();
    let mut receive = haul(home.path(), &["receive", "--to", "backups", "--listen", "127.0.0.1:0"]);
    let mut receiving = Receiving::start(&mut receive, "Receiving into backups as ");
    kill_process(Pid::from_child(&receiving.child), Signal::INT).unwrap();
    assert_eq!(receiving.child.wait().unwrap().code(), Some(0), "it has done what it was there for");
}

/// Runs a command at a terminal until it has asked a question, interrupts it, and prints its exit code.
const AT_A_TERMINAL: &str = "
import os, pty, signal, subprocess, sys
question, command = sys.argv[1].encode(), sys.argv[2:]
terminal, own = pty.openpty()
child = subprocess.Popen(command, stdin=own, stderr=own, stdout=subprocess.DEVNULL)
os.close(own)
said = b''
while question not in said:
    said += os.read(terminal, 4096)
child.send_signal(signal.SIGINT)
print(child.wait(60))
";

#[test]
fn while_it_asks() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("backups")).unwrap();
    fs::write(home.path().join("backups/a.tar"), "x").unwrap();
    let mut receive = haul(home.path(), &["receive", "--to", "backups", "--listen", "127.0.0.1:0"]);
    let receiving = Receiving::start(&mut receive, "Receiving into backups as ");
    let elsewhere = home.path().join("elsewhere").display().to_string();
    for (question, args) in [("[y/N]", &["rm", "backups/a.tar"][..]), ("Pairing code", &["list", &receiving.url])] {
        let mut asked = Command::new("python3");
        asked.args(["-c", AT_A_TERMINAL, question, env!("CARGO_BIN_EXE_haul")]).args(args);
        asked.current_dir(home.path()).env("HOME", &elsewhere).env("XDG_STATE_HOME", &elsewhere);
        let output = asked.output().unwrap();
        let (code, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(code.trim(), "130", "{args:?}: {said}");
    }
    assert!(home.path().join("backups/a.tar").exists());
}
