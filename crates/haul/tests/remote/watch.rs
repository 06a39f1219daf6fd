//! What a process costs, counted by the kernel to its very end.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::FileExt,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

pub(crate) struct Cost {
    pub(crate) status: ExitStatus,
    /// What it caused to be written to disks (`write_bytes` of proc_pid_io(5)).
    pub(crate) written: u64,
    /// Its largest resident memory, sampled.
    pub(crate) peak_kib: u64,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Cost {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Opened while it lives: what a process that has ended did can still be read, but not opened by everybody.
    let account = File::open(format!("/proc/{}/io", child.id())).unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let stdout = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        out.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let stderr = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        err.read_to_end(&mut bytes).unwrap();
        super::text(&bytes)
    });
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    // Awaited without being taken away, so that its account outlives it.
    while waitid(
        WaitId::Pid(Pid::from_child(&child)),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG,
    )
    .unwrap()
    .is_none()
    {
        peak_kib = peak_kib.max(number(&fs::read_to_string(&status).unwrap_or_default(), "VmHWM:"));
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut bytes = vec![0; 4096];
    let length = account.read_at(&mut bytes, 0).unwrap();
    let account = super::text(&bytes[..length]);
    assert!(account.contains("write_bytes:"), "the kernel keeps no account: {account}");
    let written = number(&account, "\nwrite_bytes:");
    Cost {
        status: child.wait().unwrap(),
        written,
        peak_kib,
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    }
}

fn number(text: &str, field: &str) -> u64 {
    text.split_once(field).and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
