//! The old Home Assistant stopped for a while, by the user's own commands. Started again it is whatever happens: a small shell waits at a pipe, and starts it when
//! told to or when this program is gone.

use std::{
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::failure::{FAILED, Failure};

/// Waits until its input ends, deaf to what stops others, and runs its first argument.
const WATCH: &str = "trap '' INT TERM HUP; while read -r line; do :; done; trap - INT TERM HUP; exec sh -c \"$1\"";
/// How often a command that runs is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long one that is interrupted may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// The old one is stopped until this is ended, or dropped.
pub(crate) struct Stopped {
    start: Option<Waiting>,
}

/// A start command that waits for its moment.
struct Waiting {
    text: String,
    shell: Child,
}

/// Why the old one could not be stopped, or that the user had enough.
pub(crate) enum NotStopped {
    Failed(Failure),
    Interrupted,
}

impl Stopped {
    /// Runs the stop command. Should it fail, or the user interrupt it, the start command runs before this returns.
    pub(crate) fn begin(stop: &str, start: Option<&str>, cancel: &AtomicBool) -> Result<Self, NotStopped> {
        let failed = |what: String| NotStopped::Failed(Failure::new(FAILED, what).hint("nothing was sent; the new Home Assistant is as it was"));
        let could_not = |error: io::Error| failed(format!("the stop command could not be run: {}", engine::plain_reason(&error)));
        // First, so that there is no moment without it.
        let start = start.map(Waiting::new).transpose().map_err(could_not)?;
        let stopped = Self { start };
        let mut running = command(stop).spawn().map_err(could_not)?;
        let status = loop {
            match running.try_wait().map_err(could_not)? {
                Some(status) => break status,
                None if cancel.load(Ordering::Relaxed) => {
                    give_up(&mut running);
                    return Err(NotStopped::Interrupted);
                }
                None => std::thread::sleep(LOOK),
            }
        };
        if cancel.load(Ordering::Relaxed) {
            return Err(NotStopped::Interrupted);
        }
        if !status.success() {
            return Err(failed(format!("the stop command failed ({})", ended(status))));
        }
        Ok(stopped)
    }

    /// Runs the start command, and says what became of it if that was not good.
    pub(crate) fn end(mut self) -> Result<(), String> {
        self.start.take().map_or(Ok(()), Waiting::go)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(start) = self.start.take()
            && let Err(why) = start.go()
        {
            crate::output::notes("note", std::iter::once(why));
        }
    }
}

impl Waiting {
    fn new(text: &str) -> io::Result<Self> {
        let mut command = quiet(Command::new("sh"));
        let shell = command.args(["-c", WATCH, "haul-start", text]).stdin(Stdio::piped()).spawn()?;
        Ok(Self { text: text.to_owned(), shell })
    }

    fn go(mut self) -> Result<(), String> {
        drop(self.shell.stdin.take());
        let wrong = |why: String| format!("the start command failed ({why}): the old Home Assistant may still be stopped; run it by hand: {}", self.text);
        match self.shell.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(wrong(ended(status))),
            Err(error) => Err(wrong(engine::plain_reason(&error))),
        }
    }
}

/// Ends a command and all it started: kindly, then for certain.
fn give_up(running: &mut Child) {
    let group = Pid::from_child(running);
    let _ = kill_process_group(group, Signal::TERM);
    let since = Instant::now();
    while since.elapsed() < GRACE {
        if matches!(running.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        std::thread::sleep(LOOK);
    }
    let _ = kill_process_group(group, Signal::KILL);
    let _ = running.wait();
}

fn command(text: &str) -> Command {
    let mut command = quiet(Command::new("sh"));
    command.args(["-c", text]).stdin(Stdio::null());
    command
}

/// In a process group of its own, so that Ctrl-C is ours to judge; standard output is the report's.
fn quiet(mut command: Command) -> Command {
    if let Ok(err) = io::stderr().as_fd().try_clone_to_owned() {
        command.stdout(err);
    }
    command.process_group(0);
    command
}

fn ended(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}
