//! Stops the old Home Assistant for a while, with the user's own commands, and starts it again whatever happens: a
//! small shell waits at a pipe, and runs the start command when told to or when this program is gone.

use std::{
    io::{self, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use rustix::{
    io::retry_on_intr,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use store::{Cancellation, OnCancel};

use crate::failure::{FAILED, Failure};

/// Waits until its input says so or ends, deaf to what stops others, and runs its first argument. The stop command
/// holds the other end of that input too: should this program be killed meanwhile, the start does not overtake the
/// stop.
const WATCH: &str = "trap '' INT TERM HUP; while read -r line; do break; done; trap - INT TERM HUP; exec sh -c \"$1\"";
/// Runs its first argument; keeps its own input as an open file that nothing uses, and gives the command none.
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
    pub(crate) fn begin(stop: &str, start: Option<&str>, cancel: &Cancellation) -> Result<Self, NotStopped> {
        let failed = |what: String| {
            NotStopped::Failed(Failure::new(FAILED, what).hint("nothing was sent; the new Home Assistant is as it was"))
        };
        let could_not =
            |error: io::Error| failed(format!("the stop command could not be run: {}", engine::plain_reason(&error)));
        // First, so that there is no moment without it.
        let start = start.map(Waiting::new).transpose().map_err(could_not)?;
        let stopped = Self { start };
        let mut running = Running::start(stopped.stop(stop).map_err(could_not)?, cancel).map_err(could_not)?;
        if !running.has_ended() {
            running.give_up();
            return Err(NotStopped::Interrupted);
        }
        let status = running.command.wait().map_err(could_not)?;
        if cancel.is_cancelled() {
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
            // If nobody reads it, the shell is gone; waiting for it shows that.
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

/// The stop command while it runs.
struct Running {
    command: Child,
    /// True when it ends, false when the user wants to stop.
    events: Receiver<bool>,
    _waking: OnCancel,
}

impl Running {
    fn start(mut command: Command, cancel: &Cancellation) -> io::Result<Self> {
        let (event, events) = channel();
        let waking = cancel.on_cancel({
            let event = event.clone();
            move || {
                let _ = event.send(false);
            }
        });
        // First, so that nothing can fail once the command runs.
        let (started, has_started) = channel();
        thread::Builder::new().name("haul-stop".to_owned()).spawn(move || {
            let Ok(process) = has_started.recv() else { return };
            // It stays to be asked, so that its number is nobody else's meanwhile.
            let _ = retry_on_intr(|| waitid(WaitId::Pid(process), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT));
            let _ = event.send(true);
        })?;
        let command = command.spawn()?;
        let _ = started.send(Pid::from_child(&command));
        Ok(Self { command, events, _waking: waking })
    }

    /// Waits until it has, or the user wants to stop.
    fn has_ended(&self) -> bool {
        self.events.recv().unwrap_or(true)
    }

    fn has_ended_within(&self, time: Duration) -> bool {
        self.events.recv_timeout(time) == Ok(true)
    }

    /// Lets a command finish that nobody wants any more. What it started continues without it, so it is not killed
    /// early: a start must not overtake a stop.
    fn give_up(&mut self) {
        let group = Pid::from_child(&self.command);
        if !self.has_ended_within(GRACE) {
            let _ = kill_process_group(group, Signal::TERM);
            if !self.has_ended_within(OBEY) {
                let _ = kill_process_group(group, Signal::KILL);
            }
        }
        let _ = self.command.wait();
    }
}

/// In its own process group, so that only Haul handles Ctrl-C; standard output belongs to the report, and nobody else
/// gets passwords and tokens.
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
