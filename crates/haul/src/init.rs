//! The first process of a container. Whoever loses its parent there becomes its child and has to be waited for, and a
//! signal without a handler does not reach it. So it does only this, and the program runs as its child.

use std::{
    env,
    io::{IsTerminal, stdin},
    os::unix::process::CommandExt,
    process::Command,
};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::failure::FAILED;

const FIRST: u32 = 1;
/// This program, wherever its file is.
const ITSELF: &str = "/proc/self/exe";
/// What shells add to the number of the signal that ended a program.
const BY_SIGNAL: i32 = 128;

/// Runs the program, if this is the first process, and returns its exit code. Where it can't be a child, this process is
/// the program after all.
pub(crate) fn first_process() -> Option<u8> {
    if std::process::id() != FIRST {
        return None;
    }
    // Before there is a child, so that none of its signals is missed.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCHLD]).ok()?;
    let mut words = env::args_os();
    let child = Command::new(ITSELF).arg0(words.next()?).args(words).spawn().ok()?;
    let child = Pid::from_child(&child);
    for signal in signals.forever() {
        match signal {
            SIGCHLD => {
                if let Some(code) = reap(child) {
                    return Some(code);
                }
            }
            // The terminal has sent it to both.
            SIGINT if stdin().is_terminal() => {}
            signal => {
                if let Some(signal) = Signal::from_named_raw(signal) {
                    let _ = kill_process(child, signal);
                }
            }
        }
    }
    Some(FAILED)
}

/// Takes leave of whoever has ended. Returns the exit code of `child`, if it is among them.
fn reap(child: Pid) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((process, status))) = wait(WaitOptions::NOHANG) {
        if process == child {
            code = Some(exit_code(status));
        }
    }
    code
}

fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| Some(status.terminating_signal()? + BY_SIGNAL));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}
