//! Commands of the user's own around a job: one before it, such as to stop a container, and one after it, which runs
//! whatever happens. A small shell waits at a pipe, and runs the second when told to or when this program is gone.
//! [`alone`] runs one command that is about nothing but itself. Of what they print, the end is shown if they fail.

use std::{
    fs::File,
    io::{self, Seek, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::retry_on_intr,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use store::{Cancellation, OnCancel};

use crate::{
    failure::{FAILED, Failure},
    output,
    printed::Printed,
};

/// Waits until its input says so or ends, deaf to what stops others, and runs its first argument. The stop command
/// holds the other end of that input too: should this program be killed meanwhile, the start does not overtake the
/// stop. It must not fail because nobody reads any more what it prints.
const WATCH: &str = "trap '' INT TERM HUP PIPE; read -r line || exec >/dev/null 2>&1; trap - INT TERM HUP; \
    exec sh -c \"$1\"";
/// Runs its first argument; keeps its own input as an open file that nothing uses, and gives the command none.
const HOLD: &str = "exec 9<&0 </dev/null; exec sh -c \"$1\"";
/// How long one that is interrupted may take to end by itself, and then to obey. `docker stop` takes ten seconds.
const GRACE: Duration = Duration::from_mins(1);
const OBEY: Duration = Duration::from_secs(10);

/// The two commands, and the words for them.
pub(crate) struct Hooks<'a> {
    /// Runs before the job; if it fails, there is no job.
    pub(crate) before: Option<&'a str>,
    /// Runs after it, whatever happened.
    pub(crate) after: Option<&'a str>,
    /// Either is ended after so long.
    pub(crate) time_limit: Option<Duration>,
    /// What the first is called in messages, and what to do or know when it fails.
    pub(crate) before_called: (&'a str, &'a str),
    /// What the second is called, and what to do when it fails.
    pub(crate) after_called: (&'a str, &'a str),
    /// Whether the command may be in a message: whoever reads what a service says need not see it, and it may hold a
    /// password.
    pub(crate) is_shown: bool,
}

/// The job may run until this is ended, or dropped.
pub(crate) struct Prepared {
    start: Option<Waiting>,
}

/// A start command that waits for its moment.
struct Waiting {
    called: String,
    advice: String,
    by_hand: String,
    time_limit: Option<Duration>,
    shell: Child,
    printed: Printed,
}

/// Why the job can't run, or that the user had enough.
pub(crate) enum NotPrepared {
    Failed(Failure),
    Interrupted,
}

impl Prepared {
    /// Runs the command before the job. Should it fail, or the user interrupt it, the one after it runs before this
    /// returns.
    pub(crate) fn begin(hooks: &Hooks<'_>, cancel: &Cancellation) -> Result<Self, NotPrepared> {
        let (called, advice) = hooks.before_called;
        let failed = |what: String| NotPrepared::Failed(Failure::new(FAILED, what).hint(advice));
        let could_not =
            |error: io::Error| failed(format!("{called} could not be run: {}", engine::plain_reason(&error)));
        // First, so that there is no moment without it.
        let start = hooks.after.map(|text| Waiting::new(text, hooks)).transpose().map_err(could_not)?;
        let prepared = Self { start };
        let Some(before) = hooks.before else { return Ok(prepared) };
        let (stop, printed) = prepared.stop(before).map_err(could_not)?;
        let mut running = Running::start(stop, cancel).map_err(could_not)?;
        match running.event(hooks.time_limit) {
            Some(true) => {}
            Some(false) => {
                running.give_up(GRACE);
                return Err(NotPrepared::Interrupted);
            }
            None => {
                running.give_up(Duration::ZERO);
                show_end(called, &printed);
                return Err(failed(format!("{called} did not end within its time limit")));
            }
        }
        let status = running.command.wait().map_err(could_not)?;
        if cancel.is_cancelled() {
            return Err(NotPrepared::Interrupted);
        }
        if !status.success() {
            show_end(called, &printed);
            return Err(failed(format!("{called} failed ({})", ended(status))));
        }
        Ok(prepared)
    }

    /// The stop command, which must have ended before the start command runs.
    fn stop(&self, text: &str) -> io::Result<(Command, Printed)> {
        let (mut command, printed) = shell()?;
        match self.start.as_ref().and_then(|start| start.shell.stdin.as_ref()) {
            Some(input) => command.args(["-c", HOLD, "haul-stop", text]).stdin(input.as_fd().try_clone_to_owned()?),
            None => command.args(["-c", text]).stdin(Stdio::null()),
        };
        Ok((command, printed))
    }

    /// Runs the start command, and says what became of it if that was not good.
    pub(crate) fn end(mut self) -> Result<(), String> {
        self.start.take().map_or(Ok(()), Waiting::go)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(start) = self.start.take()
            && let Err(why) = start.go()
        {
            output::notes("note", std::iter::once(why));
        }
    }
}

impl Waiting {
    fn new(text: &str, hooks: &Hooks<'_>) -> io::Result<Self> {
        let (mut command, printed) = shell()?;
        let shell = command.args(["-c", WATCH, "haul-start", text]).stdin(Stdio::piped()).spawn()?;
        let (called, advice) = hooks.after_called;
        Ok(Self {
            called: called.to_owned(),
            advice: advice.to_owned(),
            by_hand: if hooks.is_shown { text.to_owned() } else { "it is in haul.toml".to_owned() },
            time_limit: hooks.time_limit,
            shell,
            printed,
        })
    }

    fn go(mut self) -> Result<(), String> {
        if let Some(mut input) = self.shell.stdin.take() {
            // If nobody reads it, the shell is gone; waiting for it shows that.
            let _ = input.write_all(b"now\n");
        }
        let wrong = |why: String| {
            show_end(&self.called, &self.printed);
            format!("{} failed ({why}): {}; run it by hand: {}", self.called, self.advice, self.by_hand)
        };
        // Nobody can want less of it than that it ends.
        let mut running = Running::watch(self.shell, &Cancellation::default())
            .map_err(|error| wrong(engine::plain_reason(&error)))?;
        if running.event(self.time_limit).is_none() {
            running.give_up(Duration::ZERO);
            return Err(wrong("it did not end within its time limit".to_owned()));
        }
        match running.command.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(wrong(ended(status))),
            Err(error) => Err(wrong(engine::plain_reason(&error))),
        }
    }
}

/// Runs a command by itself, with this environment and standard input. The error says what became of it; `called` it is
/// where its last words are shown.
pub(crate) fn alone(
    called: &str,
    text: &str,
    environment: &[(&str, String)],
    input: &[u8],
    time_limit: Duration,
    cancel: &Cancellation,
) -> Result<(), String> {
    let could_not = |error: io::Error| format!("could not be run: {}", engine::plain_reason(&error));
    // Whoever does not read it blocks nobody.
    let held = || -> io::Result<File> {
        let mut held = File::from(memfd_create("notice", MemfdFlags::CLOEXEC)?);
        held.write_all(input)?;
        held.rewind()?;
        Ok(held)
    };
    let (mut command, printed) = shell().map_err(could_not)?;
    command.args(["-c", text]).envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::from(held().map_err(could_not)?));
    let mut running = Running::start(command, cancel).map_err(could_not)?;
    match running.event(Some(time_limit)) {
        Some(true) => {}
        Some(false) => {
            running.give_up(Duration::ZERO);
            return Err("was stopped".to_owned());
        }
        None => {
            running.give_up(Duration::ZERO);
            show_end(called, &printed);
            return Err(format!("did not end within {} s", time_limit.as_secs()));
        }
    }
    match running.command.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            show_end(called, &printed);
            Err(format!("failed ({})", ended(status)))
        }
        Err(error) => Err(could_not(error)),
    }
}

/// A command while it runs.
struct Running {
    command: Child,
    /// True when it ends, false when the user wants to stop.
    events: Receiver<bool>,
    _waking: OnCancel,
}

impl Running {
    fn start(mut command: Command, cancel: &Cancellation) -> io::Result<Self> {
        Self::run(cancel, || command.spawn())
    }

    /// One that runs already.
    fn watch(command: Child, cancel: &Cancellation) -> io::Result<Self> {
        Self::run(cancel, || Ok(command))
    }

    fn run(cancel: &Cancellation, start: impl FnOnce() -> io::Result<Child>) -> io::Result<Self> {
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
        let command = start()?;
        let _ = started.send(Pid::from_child(&command));
        Ok(Self { command, events, _waking: waking })
    }

    /// Waits until it has ended (true), the user wants to stop (false), or the time is over.
    fn event(&self, within: Option<Duration>) -> Option<bool> {
        match within {
            None => Some(self.events.recv().unwrap_or(true)),
            Some(time) => match self.events.recv_timeout(time) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Disconnected) => Some(true),
                Err(RecvTimeoutError::Timeout) => None,
            },
        }
    }

    fn has_ended_within(&self, time: Duration) -> bool {
        self.events.recv_timeout(time) == Ok(true)
    }

    /// Lets a command finish that nobody wants any more. What it started continues without it, so it is not killed
    /// early: a start must not overtake a stop.
    fn give_up(&mut self, grace: Duration) {
        let group = Pid::from_child(&self.command);
        if !self.has_ended_within(grace) {
            let _ = kill_process_group(group, Signal::TERM);
            if !self.has_ended_within(OBEY) {
                let _ = kill_process_group(group, Signal::KILL);
            }
        }
        let _ = self.command.wait();
    }
}

/// The last lines of what a command that failed has printed.
fn show_end(called: &str, printed: &Printed) {
    printed.wait();
    output::printed(called, printed.end());
}

/// A shell in its own process group, so that only Haul handles Ctrl-C. Nobody but this program gets passwords and
/// tokens. What it prints may be anything and without end, so it goes neither to the terminal nor to the log.
fn shell() -> io::Result<(Command, Printed)> {
    let mut command = Command::new("sh");
    let (printed, writer) = Printed::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"HAUL_")) {
        command.env_remove(name);
    }
    command.process_group(0);
    Ok((command, printed))
}

fn ended(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}
