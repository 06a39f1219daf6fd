//! Programs whose system calls fail, using `strace`.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

/// Whether it is there and may trace.
///
/// # Panics
///
/// In CI, where it must.
#[allow(clippy::print_stderr, reason = "a test says what it skips")]
pub fn can_trace() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let traced = Command::new("strace")
            .args(["-qq", "-o", "/dev/null", "true"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let can = traced.is_ok_and(|status| status.success());
        if !can {
            assert!(std::env::var("CI").is_err(), "strace is needed");
            eprintln!("skipped: strace is missing, or may not trace here");
        }
        can
    })
}

/// `program`, of which these calls fail: `pwrite64:error=EIO:when=2`. `at`: only those that concern this path.
pub fn failing(calls: &[&str], at: Option<&Path>, program: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null"]);
    let names: Vec<&str> = calls.iter().filter_map(|call| call.split(':').next()).collect();
    command.arg("-e").arg(format!("trace={}", names.join(",")));
    for call in calls {
        command.arg("-e").arg(format!("inject={call}"));
    }
    if let Some(path) = at {
        command.arg("-P").arg(path);
    }
    command.arg(program).stdin(Stdio::null());
    command
}
