//! The process that starts Home Assistant, looks whether it runs, and ends it.

use std::{
    io::{self, BufRead, Read, Write, stdin, stdout},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use engine::rehearse::Booted;
use homeassistant::{Secret, Sight, Starting};
use rustix::process::{Pid, Signal, kill_process_group};
use store::Cancellation;
use tokio::sync::watch;

use super::{ENTRANCE, INSIDE, ITSELF, Outcome, Task, isolation, output, privileges, processes};
use crate::{
    failure::{DONE, FAILED, Failure},
    printed::Printed,
    stored,
};

/// Home Assistant ends with this code when it wants to be started again.
const RESTARTS: &str = "while :; do sh -c \"$1\"; code=$?; [ \"$code\" = 100 ] || exit \"$code\"; done";
/// What a shell ends with if there is no such command, or if it is no program.
const NO_COMMAND: [i32; 2] = [126, 127];
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(300);
/// How long only its core may answer: then it is in recovery mode.
const ONLY_CORE: Duration = Duration::from_mins(3);
/// How long it may take to end by itself.
const GRACE: Duration = Duration::from_secs(30);
/// The same, when the user has enough.
const NO_GRACE: Duration = Duration::from_millis(400);

/// Is one of the processes of a rehearsal, if this program was called as that.
pub(crate) fn inside() -> Option<Result<u8, Failure>> {
    let mut arguments = std::env::args_os().skip(1);
    let what = arguments.next()?;
    let serve = match what.to_str()? {
        ENTRANCE => entrance,
        INSIDE => start,
        _ => return None,
    };
    let config = arguments.next()?;
    Some(say(&serve(Path::new(&config))))
}

/// If nobody reads it, nobody wants to know.
fn say(outcome: &io::Result<Option<Outcome>>) -> Result<u8, Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::new(FAILED, format!("a rehearsal went wrong: {error}"));
    if let Some(outcome) = outcome.as_ref().map_err(|error| broken(error))? {
        let said = serde_json::to_string(outcome).map_err(|error| broken(&error))?;
        let _ = writeln!(stdout(), "{said}");
    }
    Ok(DONE)
}

/// Makes the isolation, and lets the first process in it speak.
fn entrance(config: &Path) -> io::Result<Option<Outcome>> {
    let scratch = config.parent().unwrap_or(config);
    if let Err(error) = isolation::enter(scratch, config) {
        return Ok(Some(Outcome::NotIsolated(engine::plain_reason(&error))));
    }
    let mut command = Command::new(ITSELF);
    command.arg(INSIDE).arg(config);
    isolation::first_inside(&mut command);
    match command.spawn() {
        Ok(mut first) => first.wait().map(|_| None),
        Err(error) => Ok(Some(Outcome::NotIsolated(engine::plain_reason(&error)))),
    }
}

fn start(config: &Path) -> io::Result<Option<Outcome>> {
    let mut line = String::new();
    stdin().lock().read_line(&mut line)?;
    let task: Task = serde_json::from_str(&line)?;
    privileges::close_to_others()?;
    processes::adopt();
    let cancel = Cancellation::default();
    let canceller = cancel.clone();
    thread::spawn(move || {
        let _ = stdin().lock().read_to_end(&mut Vec::new());
        canceller.cancel();
    });
    let started = run(config, &task, &cancel);
    processes::end_all();
    Ok(Some(started.unwrap_or_else(|error| Outcome::NotStarted(engine::plain_reason(&error)))))
}

/// A command that runs.
struct Running {
    pid: Pid,
    ended: watch::Receiver<Option<ExitStatus>>,
    printed: Printed,
}

fn run(config: &Path, task: &Task, cancel: &Cancellation) -> io::Result<Outcome> {
    // Fails only when there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let token = task.token.as_ref().map(Secret::new);
    let starting = Starting::at(&task.addresses, token).map_err(|error| io::Error::other(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (begun, clock) = (SystemTime::now(), Instant::now());
    let mut running = Running::start(config, task)?;
    let mut booted = runtime.block_on(running.follow(&starting, task, cancel));
    booted.seconds = clock.elapsed().as_secs_f64();
    let code = running.ended.borrow().and_then(|status| status.code());
    runtime.block_on(running.end(cancel));
    // What it started may still hold its output.
    processes::end_all();
    running.printed.wait();
    if code.is_some_and(|code| NO_COMMAND.contains(&code)) {
        let printed = running.printed.end();
        return Ok(Outcome::NotStarted(
            printed.last().cloned().unwrap_or_else(|| "there is no such command".to_owned()),
        ));
    }
    booted.isolated = task.isolated;
    booted.errors = output::errors(&running.printed, config, begun);
    if booted.failure.is_some() {
        booted.output = running.printed.end();
    } else if booted.home_assistant.is_none() {
        // It writes its own version there when it starts.
        booted.home_assistant = stored::version(config);
    }
    Ok(Outcome::Ended(booted))
}

impl Running {
    fn start(config: &Path, task: &Task) -> io::Result<Self> {
        let (printed, writer) = Printed::counting(output::is_error)?;
        let mut command = Command::new("sh");
        command.args(["-c", RESTARTS, "haul-boot", &task.command]);
        // What is there as code is not ours: it gets no password and no token.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"HAUL_")) {
            command.env_remove(name);
        }
        command.env("HAUL_REHEARSAL_CONFIG", config).env("HAUL_REHEARSAL_PORT", task.port.to_string());
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
        isolation::mortal(&mut command);
        let mut child = command.spawn()?;
        // It holds the writing end of the pipe.
        drop(command);
        let pid = Pid::from_child(&child);
        let (tell, ended) = watch::channel(None);
        thread::spawn(move || {
            let status = child.wait().ok();
            // Nobody may want to know any more.
            let _ = tell.send(status.or(Some(ExitStatus::default())));
        });
        Ok(Self { pid, ended, printed })
    }

    /// Looks until it runs, or clearly never will.
    async fn follow(&mut self, starting: &Starting, task: &Task, cancel: &Cancellation) -> Booted {
        let failed = |why: String| Booted { failure: Some(why), ..Booted::default() };
        let looking = look(starting, task.timeout);
        tokio::select! {
            biased;
            () = cancel.cancelled() => failed("interrupted".to_owned()),
            status = ended(&mut self.ended) => failed(format!("Home Assistant ended before it ran ({})", how(status))),
            booted = looking => booted,
        }
    }

    /// Ends all of it: kindly first.
    async fn end(&mut self, cancel: &Cancellation) {
        if self.ended.borrow().is_none() {
            let _ = kill_process_group(self.pid, Signal::TERM);
            let kindly = async {
                tokio::select! {
                    () = tokio::time::sleep(GRACE) => {}
                    () = async { cancel.cancelled().await; tokio::time::sleep(NO_GRACE).await } => {}
                    _ = ended(&mut self.ended) => {}
                }
            };
            kindly.await;
        }
        if self.ended.borrow().is_none() {
            let _ = kill_process_group(self.pid, Signal::KILL);
            ended(&mut self.ended).await;
        }
    }
}

async fn ended(ended: &mut watch::Receiver<Option<ExitStatus>>) -> ExitStatus {
    match ended.wait_for(Option::is_some).await {
        Ok(status) => status.unwrap_or_default(),
        Err(_) => ExitStatus::default(),
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "nobody knows how".to_owned(),
    }
}

async fn look(starting: &Starting, timeout: Duration) -> Booted {
    let failed = |why: &str| Booted { failure: Some(why.to_owned()), ..Booted::default() };
    let clock = Instant::now();
    let (mut last, mut only_core) = (Sight::Nothing, None);
    while clock.elapsed() < timeout {
        last = starting.look().await;
        match &last {
            Sight::Running(state) if state.recovery_mode => {
                return failed("Home Assistant came up in recovery mode: it can't use this configuration");
            }
            Sight::Running(state) if state.safe_mode => {
                return failed("Home Assistant came up in safe mode, without what others have added to it");
            }
            Sight::Running(state) => {
                let home_assistant = state.version.clone();
                return Booted { home_assistant, said_running: state.said_so, ..Booted::default() };
            }
            Sight::FirstPage => return failed("Home Assistant asks for its first user: it found none"),
            Sight::OnlyCore => {
                let since = *only_core.get_or_insert_with(Instant::now);
                if since.elapsed() >= ONLY_CORE {
                    break;
                }
            }
            Sight::Nothing | Sight::Starting => only_core = None,
        }
        tokio::time::sleep(PAUSE).await;
    }
    failed(match last {
        Sight::OnlyCore => {
            "only the core of Home Assistant started: it is in recovery mode, or upgrades a large history"
        }
        Sight::Starting => "Home Assistant answered and was not done with starting in time",
        _ => "Home Assistant did not answer in time",
    })
}
