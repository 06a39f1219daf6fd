//! The old Home Assistant stopped for a while, by the user's own commands. Started again it is whatever happens: a
//! small shell waits at a pipe, and starts it when told to or when this program is gone.

use std::{
    io::{self, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::failure::{FAILED, Failure};

/// Waits until its input says so or ends, deaf to what stops others, and runs its first argument. The stop command
/// holds the other end of that input too: should this program be killed meanwhile, the start does not overtake the
/// stop.
const WATCH: &str = "trap '' INT TERM HUP; while read -r line; do break; done; trap - INT TERM HUP; exec sh -c \"$1\"";
/// How often a command that runs is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Runs its first argument with the input it gets as an open file that nobody uses, and with none of its own.
const HOLD: &str = "exec 9<&0 </dev/null; exec sh -c \"$1\"";
/// How long one that is interrupted may take to end by itself, and then to obey. `docker stop` takes ten seconds.
const GRACE: Duration = Duration::from_mins(1);
const OBEY: Duration = Duration::from_secs(10);

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
        let failed = |what: String| {
            NotStopped::Failed(Failure::new(FAILED, what).hint("nothing was sent; the new Home Assistant is as it was"))
        };
        let could_not =
            |error: io::Error| failed(format!("the stop command could not be run: {}", engine::plain_reason(&error)));
        // First, so that there is no moment without it.
        let start = start.map(Waiting::new).transpose().map_err(could_not)?;
        let stopped = Self { start };
        let mut running = stopped.stop(stop).and_then(|mut command| command.spawn()).map_err(could_not)?;
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

    /// The stop command, which must have ended before the start command runs.
    fn stop(&self, text: &str) -> io::Result<Command> {
        let mut command = quiet(Command::new("sh"));
        match self.start.as_ref().and_then(|start| start.shell.stdin.as_ref()) {
            Some(input) => command.args(["-c", HOLD, "haul-stop", text]).stdin(input.as_fd().try_clone_to_owned()?),
            None => command.args(["-c", text]).stdin(Stdio::null()),
        };
        Ok(command)
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
        if let Some(mut input) = self.shell.stdin.take() {
            // If nobody reads it, the shell is gone, which waiting for it tells.
            let _ = input.write_all(b"now\n");
        }
        let wrong = |why: String| {
            format!(
                "the start command failed ({why}): the old Home Assistant may still be stopped; run it by hand: {}",
                self.text
            )
        };
        match self.shell.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(wrong(ended(status))),
            Err(error) => Err(wrong(engine::plain_reason(&error))),
        }
    }
}

/// Lets a command end that nobody wants any more. What it asked others to do goes on without it, so it is not ended
/// before its time: a start must not overtake a stop.
fn give_up(running: &mut Child) {
    let group = Pid::from_child(running);
    if has_ended(running, GRACE) {
        return;
    }
    let _ = kill_process_group(group, Signal::TERM);
    if has_ended(running, OBEY) {
        return;
    }
    let _ = kill_process_group(group, Signal::KILL);
    let _ = running.wait();
}

fn has_ended(running: &mut Child, within: Duration) -> bool {
    let since = Instant::now();
    while since.elapsed() < within {
        if matches!(running.try_wait(), Ok(Some(_)) | Err(_)) {
            return true;
        }
        std::thread::sleep(LOOK);
    }
    false
}

/// In a process group of its own, so that Ctrl-C is ours to judge; standard output is the report's, and passwords and
/// tokens are nobody else's.
fn quiet(mut command: Command) -> Command {
    if let Ok(err) = io::stderr().as_fd().try_clone_to_owned() {
        command.stdout(err);
    }
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"HAUL_")) {
        command.env_remove(name);
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
