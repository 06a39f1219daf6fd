//! A Linux with a kernel of its own, from the root that `tests/kernel` prepares: it mounts network folders as Home
//! Assistant OS does.

#![allow(clippy::unwrap_used, reason = "for tests only: what fails here fails a test")]

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::{rig::tell, supervisor::writer};

/// One that runs; ends when dropped.
pub struct Linux {
    process: Child,
    lines: BufReader<ChildStdout>,
    input: ChildStdin,
    shared: TempDir,
    scripts: u32,
}

impl Linux {
    /// Boots one. `None` where that can't be, which standard error says.
    ///
    /// # Panics
    /// If it does not boot; in CI, also if it was not prepared.
    pub fn boot() -> Option<Self> {
        if let Err(why) = is_ready() {
            tell(&format!("SKIPPED: no Linux that mounts: {why}"));
            return None;
        }
        let shared = tempfile::tempdir().unwrap();
        fs::copy(writer::SCRIPT, shared.path().join("write.py")).unwrap();
        let mut process = Command::new(Path::new(KERNEL).join("boot"))
            .arg(shared.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        let input = process.stdin.take().unwrap();
        let mut linux = Self { process, lines, input, shared, scripts: 0 };
        let (is_ready, ready) = mpsc::channel::<()>();
        let pid = Pid::from_child(&linux.process);
        // One that panics before its first process runs on for ever.
        let watching = thread::spawn(move || {
            if ready.recv_timeout(BOOT) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        linux.says("ready");
        drop(is_ready);
        watching.join().unwrap();
        Some(linux)
    }

    /// What is `/shared` there.
    pub fn shared(&self) -> &Path {
        self.shared.path()
    }

    /// Mounts a network folder of this machine on `/mnt`, as Supervisor does.
    ///
    /// # Panics
    /// If it does not succeed.
    pub fn mount(&mut self, share: &str, port: &str, user: &str, password: &str) {
        let credentials = format!("username={user}\npassword={password}\n");
        fs::write(self.shared().join("credentials"), credentials).unwrap();
        let options = format!("noserverino,soft,echo_interval=10,port={port},credentials=/shared/credentials");
        let said = self.run(&format!("mount -t cifs -o {options} //10.0.2.2/{share} /mnt"));
        assert!(said.is_ok(), "{said:?}");
    }

    /// Has it run a script of bash to its end: what that says, as an error if it fails.
    ///
    /// # Panics
    /// If the machine ends.
    pub fn run(&mut self, script: &str) -> Result<String, String> {
        self.start(script);
        self.end()
    }

    /// Has it start one.
    ///
    /// # Panics
    /// If the machine has ended.
    pub fn start(&mut self, script: &str) {
        self.scripts += 1;
        let name = format!("script-{}", self.scripts);
        fs::write(self.shared().join(&name), script).unwrap();
        self.tell(&name);
    }

    /// Writes a line to the script that runs.
    ///
    /// # Panics
    /// If the machine has ended.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// Waits until it says this: that line.
    ///
    /// # Panics
    /// If the machine ends, or the script.
    pub fn says(&mut self, what: &str) -> String {
        let mut said = String::new();
        loop {
            let line = self.line(&said);
            if line.contains(what) {
                return line;
            }
            assert!(!line.starts_with("exit "), "it has ended without saying {what:?}: {said}");
            let _ = writeln!(said, "{line}");
        }
    }

    /// Waits until the script ends: what it says until then, as an error if it fails.
    ///
    /// # Panics
    /// If the machine ends.
    pub fn end(&mut self) -> Result<String, String> {
        let mut said = String::new();
        loop {
            let line = self.line(&said);
            match line.strip_prefix("exit ") {
                Some("0") => return Ok(said),
                Some(_) => return Err(said),
                None => {
                    let _ = writeln!(said, "{line}");
                }
            }
        }
    }

    fn line(&mut self, said: &str) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the machine has ended: {said}");
        line.trim_end().to_owned()
    }
}

impl Drop for Linux {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A busy machine takes half a minute.
const BOOT: Duration = Duration::from_mins(4);
const KERNEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/kernel");

fn is_ready() -> Result<(), String> {
    if env::consts::ARCH != "x86_64" {
        return Err(format!("user-mode Linux is not made for {}", env::consts::ARCH));
    }
    let why = if geteuid().is_root() {
        let check = Command::new(Path::new(KERNEL).join("prepare")).arg("--check").output().unwrap();
        if check.status.success() {
            return Ok(());
        }
        String::from_utf8_lossy(&check.stdout).trim().to_owned()
    } else {
        "it needs root".to_owned()
    };
    assert!(env::var("CI").as_deref() != Ok("true"), "no Linux that mounts: {why}");
    Err(why)
}
