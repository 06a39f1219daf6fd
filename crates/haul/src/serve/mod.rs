//! `haul serve`: what jobs say happens by itself.
//!
//! [`keeper`] decides; this module drives it. [`worker`] carries out its tasks, each on a thread of its own; [`alarm`]
//! waits for the next moment.

mod alarm;
pub(crate) mod control;
mod copies;
mod doing;
mod listening;
pub(crate) mod lock;
mod making;
mod page;
mod rehearsing;
mod settings;
mod worker;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
};

use jiff::{Timestamp, Zoned};
use keeper::{
    catalog::Catalog,
    service::{Service, Started},
    status::{ConfigurationStatus, Event, Failure as Reason, Level, Status},
    task::Outcome,
};
use store::Cancellation;
use tokio::sync::watch;

use self::{
    alarm::{Alarm, Bell},
    control::Control,
    listening::Listening,
    settings::settings,
    worker::Worker,
};
use crate::{
    args::ServeArgs,
    config::Config,
    destination,
    failure::{DONE, FAILED, Failure},
    gentle, output,
};

const CATALOG: &str = "catalog.db";
/// Events that are logged at once at most.
const LOGGED: usize = 200;

/// The service, ready to be driven.
pub(crate) struct Running {
    pub(crate) service: Arc<Service>,
    worker: Arc<Worker>,
    alarm: Alarm,
    bell: Bell,
    changes: watch::Receiver<u64>,
    threads: Vec<JoinHandle<()>>,
    // The configuration file as it was read last.
    path: Option<PathBuf>,
    text: Option<String>,
    logged: i64,
    is_logging: bool,
    _lock: lock::Lock,
}

pub(crate) fn run(args: &ServeArgs, config: Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let lock = lock::for_service(&destination::state_directory())?;
    let mut running = Running::start(config, lock, true)?;
    let bell = running.bell.clone();
    let _waking = cancel.on_cancel(move || bell.ring());
    let listening = Listening::start(args, &running)?;
    for line in listening.lines() {
        running.log_line(&line);
    }
    while !cancel.is_cancelled() {
        running.reload();
        let wake = running.step()?;
        running.alarm.wait(wake).map_err(|error| cannot_wait(&error))?;
    }
    running.log_line("stopping");
    listening.stop();
    running.stop();
    Ok(DONE)
}

/// What is known, without doing anything: by the service, if one is running, else by its catalog.
pub(crate) fn glance(config: &Config, now: &Zoned) -> Result<Status, Failure> {
    if lock::is_held(&destination::state_directory())
        && let Ok(status) = Control::open().and_then(|service| service.status())
    {
        return Ok(status);
    }
    let path = destination::state_directory().join(CATALOG);
    let catalog = if path.exists() { Catalog::open_to_read(&path) } else { Catalog::in_memory() };
    let unreadable = |error: keeper::catalog::CatalogError| Failure::new(FAILED, error.to_string());
    let catalog = catalog.map_err(unreadable)?;
    let version = env!("CARGO_PKG_VERSION");
    let service = Service::glance(catalog, settings(config), version, now).map_err(unreadable)?;
    Ok(service.status(now))
}

fn cannot_wait(error: &std::io::Error) -> Failure {
    Failure::new(FAILED, format!("can't wait for the next moment: {}", engine::plain_reason(error)))
        .hint("start it again")
}

impl Running {
    pub(crate) fn start(config: Config, lock: lock::Lock, is_logging: bool) -> Result<Self, Failure> {
        let directory = destination::state_directory();
        let (catalog, aside) = Catalog::open(&directory.join(CATALOG)).map_err(|error| {
            Failure::new(FAILED, error.to_string())
                .hint("make room in the state directory, or name another one in the environment variable HAUL_STATE")
        })?;
        if let Some(aside) = aside {
            let what = format!("the catalog could not be read and is kept as {aside}; a new one is made");
            output::notes("note", std::iter::once(what));
        }
        let path = config.path_or_usual();
        let alarm = Alarm::new(path.as_deref()).map_err(|error| cannot_wait(&error))?;
        let bell = alarm.bell();
        let text = path.as_deref().and_then(|path| std::fs::read_to_string(path).ok());
        let (counting, changes) = watch::channel(0);
        let tell = {
            let bell = bell.clone();
            Box::new(move || {
                counting.send_modify(|number| *number += 1);
                bell.ring();
            })
        };
        let version = env!("CARGO_PKG_VERSION");
        let settings = settings(&config);
        let service = Service::new(catalog, settings, version, Timestamp::now(), tell)
            .map_err(|error| Failure::new(FAILED, error.to_string()))?;
        let logged = service.events(None, 1).first().map_or(0, |event| event.id);
        Ok(Self {
            service: Arc::new(service),
            worker: Arc::new(Worker::new(config)),
            alarm,
            bell,
            changes,
            threads: Vec::new(),
            path,
            text,
            logged,
            is_logging,
            _lock: lock,
        })
    }

    /// Starts what is due, and says when to do that again.
    pub(crate) fn step(&mut self) -> Result<Option<Timestamp>, Failure> {
        let (started, wake) = self.service.step(&Zoned::now());
        for started in started {
            self.spawn(started)?;
        }
        let worked = !self.threads.is_empty();
        self.threads.retain(|thread| !thread.is_finished());
        if worked && self.threads.is_empty() {
            gentle::return_memory();
        }
        self.log();
        Ok(wake)
    }

    /// Waits until something has happened, or until then.
    pub(crate) fn wait(&self, until: Option<Timestamp>) -> Result<(), Failure> {
        self.alarm.wait(until).map_err(|error| cannot_wait(&error))
    }

    pub(crate) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    fn spawn(&mut self, started: Started) -> Result<(), Failure> {
        let (service, worker) = (Arc::clone(&self.service), Arc::clone(&self.worker));
        let run = move || {
            let done = catch_unwind(AssertUnwindSafe(|| worker.run(&started)));
            let outcome = done.unwrap_or_else(|_| {
                Outcome::failed(Reason {
                    message: "the task ended unexpectedly".to_owned(),
                    hint: Some("please report this with the log".to_owned()),
                    passes: false,
                })
            });
            service.finish(started.id, &outcome, Timestamp::now());
        };
        let thread = std::thread::Builder::new()
            .name("haul-task".to_owned())
            .spawn(run)
            .map_err(|error| Failure::new(FAILED, format!("can't start a thread: {}", engine::plain_reason(&error))))?;
        self.threads.push(thread);
        Ok(())
    }

    /// Reads the configuration file again if it has changed. One that is wrong changes nothing.
    fn reload(&mut self) {
        let Some(path) = self.path.clone() else { return };
        let text = std::fs::read_to_string(&path).ok();
        if text == self.text {
            return;
        }
        self.text = text;
        match Config::load(Some(&path)) {
            Ok(config) => {
                let settings = settings(&config);
                self.worker.configure(config);
                self.service.configure(settings);
                self.log_line("the configuration was read again");
            }
            Err(failure) => {
                let path = engine::shown(path.as_os_str().as_encoded_bytes());
                self.service.configuration_problem(ConfigurationStatus { path, problem: Some(failure.message) });
            }
        }
    }

    /// Ends everything that runs, and waits for that.
    pub(crate) fn stop(&mut self) {
        self.service.cancel_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.log();
    }

    fn log(&mut self) {
        let mut new = self.service.events(None, LOGGED);
        new.retain(|event| event.id > self.logged);
        for event in new.iter().rev() {
            self.logged = event.id;
            self.log_line(&line(event));
        }
    }

    fn log_line(&self, text: &str) {
        if self.is_logging {
            output::log(text);
        }
    }
}

fn line(event: &Event) -> String {
    let level = match event.level {
        Level::Ok | Level::Unknown => "",
        Level::Warning => "warning: ",
        Level::Error => "error: ",
    };
    let of: Vec<&str> = event.job.as_deref().into_iter().chain(event.destination.as_deref()).collect();
    let of = if of.is_empty() { String::new() } else { format!("{}: ", of.join(", ")) };
    let hint = event.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
    format!("{level}{of}{}{hint}", event.message)
}
