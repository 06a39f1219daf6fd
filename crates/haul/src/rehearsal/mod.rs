//! Starts Home Assistant on what was restored for a test.
//!
//! ```text
//! Starter ──▶ entrance ──▶ inside ──▶ sh -c COMMAND
//!                             └─────▶ http://127.0.0.1:PORT
//! ```
//!
//! Processes of their own, this program again, do it: the entrance makes the isolation and starts the first process in
//! it, which starts the command, looks whether Home Assistant runs, and ends it. Only who is inside can see it. What is
//! to be done comes as one line on its input, what came of it goes as one to its output. When its input ends, because
//! the user has enough or because this program is gone, it ends everything.
//!
//! | module | owns |
//! |---|---|
//! | `isolation` | a place without network, devices and other programs |
//! | `inside` | the processes at its entrance and in it: start, look, end |
//! | `privileges` | what root may still do in it |
//! | `output` | what the command prints: its end, and how many errors |
//! | `processes` | ending everything that a command has started |

mod inside;
mod isolation;
mod output;
mod privileges;
mod processes;

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use engine::{
    Phase, Progress,
    rehearse::{Boot, BootError, Booted},
};
use homeassistant::Secret;
use serde::{Deserialize, Serialize};
use store::Cancellation;

use crate::{listening::StoredHttp, stored};

pub(crate) use inside::inside;

/// How long Home Assistant may take, if nothing else is said.
const PATIENCE: Duration = Duration::from_mins(10);
/// Home Assistant's port, if nothing else is said.
const USUAL_PORT: u16 = 8123;
/// What this program is called with to be one of these processes, which have no settings and parse no others.
const ENTRANCE: &str = "rehearsal-entrance";
const INSIDE: &str = "rehearsal-inside";
/// This program, even if its file was replaced meanwhile.
const ITSELF: &str = "/proc/self/exe";
const NO_ISOLATION: &str = "run haul as root or where user namespaces are allowed, or give --boot-with-network: then \
    the started Home Assistant can reach your network and your devices";

/// A command of the user that starts Home Assistant.
pub(crate) struct Starter {
    pub(crate) command: String,
    pub(crate) timeout: Duration,
    pub(crate) isolated: bool,
}

/// What the process inside is to do.
#[derive(Serialize, Deserialize)]
struct Task {
    command: String,
    isolated: bool,
    timeout: Duration,
    /// What the command is told.
    port: u16,
    /// Where to look.
    addresses: Vec<String>,
    /// Signs in as a user of the restored configuration.
    token: Option<String>,
}

/// What came of it.
#[derive(Serialize, Deserialize)]
enum Outcome {
    Ended(Booted),
    /// There is no such place here, and why.
    NotIsolated(String),
    /// The command could not be run, and why.
    NotStarted(String),
}

impl Boot for Starter {
    fn boot(&self, config: &Path, progress: &Progress, cancel: &Cancellation) -> Result<Booted, BootError> {
        progress.enter(Phase::Starting);
        let task = self.task(config)?;
        let outcome = run(config, &task, cancel).map_err(|error| BootError {
            message: format!("can't start the process that starts Home Assistant: {}", engine::plain_reason(&error)),
            hint: "nothing was changed; try again".to_owned(),
        })?;
        match outcome {
            None => Err(BootError {
                message: "the process that starts Home Assistant ended without a result".to_owned(),
                hint: "nothing was changed; try again".to_owned(),
            }),
            Some(Outcome::Ended(booted)) => Ok(booted),
            Some(Outcome::NotIsolated(why)) => Err(BootError {
                message: format!("can't isolate Home Assistant from the network and from devices: {why}"),
                hint: NO_ISOLATION.to_owned(),
            }),
            Some(Outcome::NotStarted(why)) => Err(BootError {
                message: format!("the command of --boot can't be run: {why}"),
                hint: "try it in a shell, with HAUL_REHEARSAL_CONFIG set to a config directory".to_owned(),
            }),
        }
    }
}

impl Starter {
    /// One that nobody watches: it never reaches out.
    pub(crate) fn isolated(command: &str) -> Arc<Self> {
        Arc::new(Self { command: command.to_owned(), timeout: PATIENCE, isolated: true })
    }

    fn task(&self, config: &Path) -> Result<Task, BootError> {
        let version = stored::version(config).and_then(|version| version.parse().ok());
        let mut listening: Vec<(u16, bool)> = StoredHttp::read(config)
            .listening(config, version.as_ref())
            .into_iter()
            .map(|listening| (listening.port.unwrap_or(USUAL_PORT), listening.tls))
            .collect();
        if listening.is_empty() {
            listening.push((USUAL_PORT, false));
        }
        let mut port = listening.first().map_or(USUAL_PORT, |(port, _)| *port);
        if !self.isolated {
            // What answers there before is another one: the one that is backed up, most likely.
            listening.retain(|(port, _)| !answers(*port));
            port = free_port().map_err(|error| BootError {
                message: format!("there is no free port: {}", engine::plain_reason(&error)),
                hint: "leave out --boot-with-network: inside its isolation, every port is free".to_owned(),
            })?;
            listening.push((port, false));
        }
        let address = |(port, tls): &(u16, bool)| format!("http{}://127.0.0.1:{port}", if *tls { "s" } else { "" });
        Ok(Task {
            command: self.command.clone(),
            isolated: self.isolated,
            timeout: self.timeout,
            port,
            addresses: listening.iter().map(address).collect(),
            token: token(config).map(|token| token.expose().to_owned()),
        })
    }
}

fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok()
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Runs the process inside to its end. Nothing if it ended without a word.
fn run(config: &Path, task: &Task, cancel: &Cancellation) -> io::Result<Option<Outcome>> {
    let mut command = Command::new(ITSELF);
    command.arg(if task.isolated { ENTRANCE } else { INSIDE }).arg(config).stdin(Stdio::piped()).stdout(Stdio::piped());
    // Ctrl-C at the terminal is for this program alone, which passes it on.
    command.process_group(0);
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let said = serde_json::to_string(task)? + "\n";
    // If it has ended already, its silence says so.
    let _ = input.write_all(said.as_bytes());
    let input: Arc<Mutex<Option<ChildStdin>>> = Arc::new(Mutex::new(Some(input)));
    let held = Arc::clone(&input);
    let _stopping = cancel.on_cancel(move || drop(held.lock().unwrap_or_else(PoisonError::into_inner).take()));
    let mut outcome = None;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            outcome = serde_json::from_str(&line).ok().or(outcome);
        }
    }
    drop(input.lock().unwrap_or_else(PoisonError::into_inner).take());
    child.wait()?;
    Ok(outcome)
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    users: Vec<User>,
    #[serde(default)]
    refresh_tokens: Vec<Token>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    #[serde(default)]
    is_active: bool,
}

#[derive(Deserialize)]
struct Token {
    id: String,
    user_id: String,
    jwt_key: String,
    #[serde(default, rename = "token_type")]
    kind: String,
    #[serde(default)]
    expire_at: Option<f64>,
}

/// A token with which the restored Home Assistant lets its own user in; it says more to users than to visitors.
fn token(config: &Path) -> Option<Secret> {
    let auth: Auth = stored::data(&config.join(".storage/auth"))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let is_active = |token: &Token| auth.users.iter().any(|user| user.id == token.user_id && user.is_active);
    let lasts = |token: &Token| token.expire_at.is_none_or(|expires| expires > now as f64 + 3600.0);
    let mut usable: Vec<&Token> = auth.refresh_tokens.iter().filter(|token| is_active(token) && lasts(token)).collect();
    // Those that nobody uses from a certain place, such as behind a proxy.
    usable.sort_by_key(|token| token.kind != "long_lived_access_token");
    usable.first().and_then(|token| homeassistant::access_token(&token.id, &token.jwt_key, now))
}
