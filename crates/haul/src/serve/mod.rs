//! `haul serve`: what jobs say happens by itself.
//!
//! [`keeper`] decides; this module drives it. [`worker`] carries out its tasks, each on a thread of its own; [`alarm`]
//! waits for the next moment.

mod alarm;
mod configuration;
pub(crate) mod control;
mod copies;
mod doing;
mod leaving;
mod listening;
pub(crate) mod lock;
mod looking;
mod making;
mod migrating;
mod mqtt;
mod notifying;
mod page;
mod rehearsing;
mod restoring;
mod settings;
mod worker;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use jiff::{Timestamp, Zoned};
use keeper::{
    catalog::Catalog,
    facts::Known,
    service::{Order, Service, Started},
    settings::{Scope, Settings},
    status::{Ending, Event, Failure as Reason, Level, Status},
    task::{Migrate, Outcome, Restore, RestoreParts, Task},
};
use store::Cancellation;
use tokio::sync::watch;

pub(crate) use self::leaving::Leave;
use self::{
    alarm::{Alarm, Bell},
    configuration::{Configuration, Read},
    control::Control,
    listening::Listening,
    looking::Looking,
    mqtt::Broker,
    notifying::Notifying,
    settings::{check_keys, place_questions, settings, unread_sources},
    worker::Worker,
};
use crate::{
    app::{App, Hears, Leaving, Sharing},
    args::{AppArgs, ServeArgs},
    clock,
    config::{Config, good},
    destination,
    failure::{DONE, FAILED, Failure},
    gentle, output, password,
};

/// What switches the page off.
const NONE: &str = "none";
const CATALOG: &str = "catalog.db";
/// Events that are logged at once at most.
const LOGGED: usize = 200;

/// The service, ready to be driven.
pub(crate) struct Running {
    pub(crate) service: Arc<Service>,
    worker: Arc<Worker>,
    alarm: Alarm,
    bell: Bell,
    /// Its number goes up with whatever a page would show otherwise.
    counting: watch::Sender<u64>,
    changes: watch::Receiver<u64>,
    notifying: Notifying,
    configuration: Arc<Configuration>,
    threads: Vec<Working>,
    is_stopping: Arc<AtomicBool>,
    logged: i64,
    is_logging: bool,
    // Sources that could not be read at the start.
    unread: Vec<String>,
    _lock: lock::Lock,
}

/// A task's thread.
struct Working {
    thread: JoinHandle<()>,
    /// It has nothing left to do, and holds nothing any more.
    is_done: Arc<AtomicBool>,
}

pub(crate) fn run(args: &ServeArgs, config: Config, cancel: &Cancellation) -> Result<u8, Failure> {
    // Before the first thread: all of them use one arena.
    gentle::share_memory();
    serve(args, config, None, cancel)
}

/// The same in an app of Home Assistant, which shows the page.
pub(crate) fn run_as_app(
    args: &AppArgs,
    mut config: Config,
    leave: &Leave,
    cancel: &Cancellation,
) -> Result<u8, Failure> {
    // As above.
    gentle::share_memory();
    let app = Arc::new(App::from_environment(args, cancel)?);
    good::remember(&config);
    // It was read before.
    config.tell_home_assistant();
    let args = ServeArgs { listen: NONE.to_owned(), base_path: String::new(), hosts: Vec::new(), https: false };
    serve(&args, config, Some((&app, leave)), cancel)
}

fn serve(
    args: &ServeArgs,
    config: Config,
    app: Option<(&Arc<App>, &Leave)>,
    cancel: &Cancellation,
) -> Result<u8, Failure> {
    output::keep_log();
    let lock = lock::for_service(&destination::state_directory())?;
    check_keys(&config, cancel)?;
    password::ask_nobody();
    tidy();
    if let Some(path) = config.path_or_usual() {
        page::forget_unfinished(&path);
    }
    let mut running = Running::start(config, lock, true, |_| ())?;
    if let Some((app, leave)) = app {
        running.share(app, leave, cancel)?;
    }
    let bell = running.bell.clone();
    let _waking = cancel.on_cancel(move || bell.ring());
    let listening = Listening::start(args, app.map(|(app, _)| &**app), &running)?;
    let shown = |path: &Path| engine::shown(path.as_os_str().as_encoded_bytes());
    let file = running.configuration.path.as_deref().map_or_else(|| "none".to_owned(), shown);
    let state = shown(&destination::state_directory());
    running.log_line(&format!("configuration {file}, state in {state}"));
    listening.tell();
    for line in &running.unread {
        running.log_line(line);
    }
    let broker = Broker::start(listening.runtime(), &running, listening.public_address(args));
    while !cancel.is_cancelled() {
        let settled = running.configuration.reload(Timestamp::now());
        let wake = running.step();
        running.wait(wake.into_iter().chain(settled).min())?;
    }
    running.log_line("stopping");
    broker.stop(listening.runtime());
    // What it ends now is begun again at the next start, as after a kill.
    running.is_stopping.store(true, Ordering::Relaxed);
    running.service.cancel_all();
    running.configuration.end_sharing();
    listening.stop();
    running.stop();
    Ok(DONE)
}

/// Removes what restores of an earlier run left that was killed: half a configuration, with everything that is secret in
/// it. It may be much, and nobody waits for it.
fn tidy() {
    let directory = page::restored();
    if directory.is_dir() {
        let work = move || engine::restore::remove_abandoned(&directory);
        let _ = std::thread::Builder::new().name("haul-tidy".to_owned()).spawn(work);
    }
}

/// What is known, without doing anything: by the service, if one is running, else by its catalog. Then nothing comes by
/// itself; `dues` says when it would.
pub(crate) fn glance(config: &Config, now: &Zoned, dues: bool) -> Result<Status, Failure> {
    if lock::is_held(&destination::state_directory())
        && let Ok(status) = Control::open().and_then(|service| service.status())
    {
        return Ok(status);
    }
    Ok(looked_up(config, now, dues)?.status(now))
}

/// The same for Prometheus.
pub(crate) fn metrics(config: &Config, now: &Zoned) -> Result<String, Failure> {
    if lock::is_held(&destination::state_directory())
        && let Ok(text) = Control::open().and_then(|service| service.metrics())
    {
        return Ok(text);
    }
    Ok(looked_up(config, now, false)?.metrics(now))
}

fn looked_up(config: &Config, now: &Zoned, dues: bool) -> Result<Service, Failure> {
    let path = destination::state_directory().join(CATALOG);
    let catalog = if path.exists() { Catalog::look_into(&path) } else { Catalog::in_memory() };
    let unreadable = |error: keeper::catalog::CatalogError| Failure::new(FAILED, error.to_string());
    let catalog = catalog.map_err(unreadable)?;
    let version = env!("CARGO_PKG_VERSION");
    let answers = Looking::new(|| ()).ask(place_questions(config));
    let mut settings = settings(config, &answers);
    if !dues && !lock::is_held(&destination::state_directory()) {
        settings.scope = Scope::Orders;
    }
    Service::glance(catalog, settings, version, now).map_err(unreadable)
}

/// What was known at last, whatever the configuration says now; nothing if nothing was kept.
pub(crate) fn remembered() -> Option<Known> {
    let path = destination::state_directory().join(CATALOG);
    Catalog::look_into(&path).ok()?.load().ok()
}

fn cannot_wait(error: &std::io::Error) -> Failure {
    Failure::new(FAILED, format!("can't wait for the next moment: {}", engine::plain_reason(error)))
        .hint("start it again")
}

impl Running {
    /// `narrow` may say that less is done than the configuration says.
    pub(crate) fn start(
        config: Config,
        lock: lock::Lock,
        is_logging: bool,
        narrow: impl FnOnce(&mut Settings),
    ) -> Result<Self, Failure> {
        let directory = destination::state_directory();
        let (catalog, aside) = Catalog::open_or_drift(&directory.join(CATALOG))
            .map_err(|error| Failure::new(FAILED, error.to_string()))?;
        if let Some(aside) = aside {
            let what = format!("the catalog could not be read and is kept as {aside}; a new one is made");
            output::notes("note", std::iter::once(what));
        }
        let path = config.path_or_usual();
        let alarm = Alarm::new(path.as_deref()).map_err(|error| cannot_wait(&error))?;
        let bell = alarm.bell();
        let (counting, changes) = watch::channel(0);
        let tell = {
            let (bell, counting) = (bell.clone(), counting.clone());
            Box::new(move || {
                counting.send_modify(|number| *number += 1);
                bell.ring();
            })
        };
        let version = env!("CARGO_PKG_VERSION");
        let looking = Looking::new({
            let bell = bell.clone();
            move || bell.ring()
        });
        let answers = looking.ask(place_questions(&config));
        let unread = unread_sources(&config, &answers);
        let mut settings = settings(&config, &answers);
        narrow(&mut settings);
        let service = Service::new(catalog, settings, version, Timestamp::now(), tell)
            .map_err(|error| Failure::new(FAILED, error.to_string()))?;
        let logged = service.events(None, 1).first().map_or(0, |event| event.id);
        let mqtt = watch::Sender::new(config.mqtt().cloned());
        let read = Mutex::new(Read { text: config.text().map(str::to_owned), unsettled: None });
        let (service, worker) = (Arc::new(service), Arc::new(Worker::new(config)));
        let notifying = Notifying::new(&service, &worker, bell.clone());
        let configuration = Configuration {
            service: Arc::clone(&service),
            worker: Arc::clone(&worker),
            notifying: notifying.clone(),
            mqtt,
            looking,
            path,
            read,
            sharing: OnceLock::new(),
            broker: Mutex::default(),
        };
        Ok(Self {
            notifying,
            configuration: Arc::new(configuration),
            unread,
            service,
            worker,
            alarm,
            bell,
            counting,
            changes,
            threads: Vec::new(),
            is_stopping: Arc::default(),
            logged,
            is_logging,
            _lock: lock,
        })
    }

    /// Home Assistant gets the destinations among its own locations, and the broker that it knows is used.
    fn share(&self, app: &Arc<App>, leave: &Leave, cancel: &Cancellation) -> Result<(), Failure> {
        let service = Arc::clone(&self.service);
        let changed = Arc::new(move |what: &str, is_bad: bool| {
            let level = if is_bad { Level::Error } else { Level::Ok };
            service.happened(level, "home-assistant", what, Timestamp::now());
            let _ = service.order(Order::Sync, Timestamp::now());
        });
        let service = Arc::clone(&self.service);
        let is_kept = Arc::new(move |destination: &str, name: &str| {
            let copies = service.archives(&clock::now()).into_iter().flat_map(|archive| archive.copies);
            let mut of_it = copies.filter(|copy| *copy.destination == *destination && *copy.name == *name);
            of_it.any(|copy| copy.pinned || copy.pinning == Some(true))
        });
        let configuration = Arc::downgrade(&self.configuration);
        let broker = Box::new(move |broker| {
            if let Some(configuration) = configuration.upgrade() {
                configuration.offer(broker);
            }
        });
        let sharing = Sharing::start(app, self.worker.config(), Hears { changed, is_kept, broker }, cancel)?;
        self.worker.share(app, sharing.folders());
        leave.by(Leaving::new(app, sharing.folders()), &self.service, cancel);
        self.configuration.share(sharing);
        Ok(())
    }

    /// Starts what is due, and says when to do that again.
    pub(crate) fn step(&mut self) -> Option<Timestamp> {
        let (started, wake) = self.service.step(&clock::now());
        // What ended is said before what begins because of it.
        self.log();
        for started in started {
            if let Some(line) = begins(&started.task) {
                self.log_line(&line);
            }
            self.spawn(started);
        }
        let worked = !self.threads.is_empty();
        for working in self
            .threads
            .extract_if(.., |working| working.thread.is_finished() || working.is_done.load(Ordering::Acquire))
        {
            let _ = working.thread.join();
        }
        if worked && self.threads.is_empty() {
            self.service.rest();
            gentle::return_memory();
        }
        let news = self.notifying.step(&clock::now());
        self.log();
        wake.into_iter().chain(news).min()
    }

    /// Waits until something has happened, or until then.
    pub(crate) fn wait(&mut self, until: Option<Timestamp>) -> Result<(), Failure> {
        self.alarm.wait(until).map_err(|error| cannot_wait(&error))
    }

    pub(crate) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    fn spawn(&mut self, started: Started) {
        // First the thread: nothing is said to have begun without one.
        let (give, take) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let waiting = move || {
            if let Ok(run) = take.recv() {
                run();
            }
        };
        let is_done = Arc::<AtomicBool>::default();
        match std::thread::Builder::new().name("haul-task".to_owned()).spawn(waiting) {
            Ok(thread) => self.threads.push(Working { thread, is_done: Arc::clone(&is_done) }),
            Err(error) => {
                let outcome = Outcome::failed(Reason {
                    message: format!("can't start a thread: {}", engine::plain_reason(&error)),
                    hint: Some("the machine may be short of memory, or too many programs run".to_owned()),
                    passes: true,
                });
                self.worker.forget(&started.task);
                return self.service.finish(started.id, &outcome, Timestamp::now());
            }
        }
        let (service, worker) = (Arc::clone(&self.service), Arc::clone(&self.worker));
        let is_stopping = Arc::clone(&self.is_stopping);
        let pinging = self.notifying.pinging(&started.task);
        let bell = self.bell.clone();
        let run = move || {
            let done = catch_unwind(AssertUnwindSafe(|| worker.run(&started)));
            let outcome = done.unwrap_or_else(|_| {
                Outcome::failed(Reason {
                    message: "the task ended unexpectedly".to_owned(),
                    hint: Some("please report this with the log".to_owned()),
                    passes: false,
                })
            });
            // Nobody wanted that one to end; the next start finds it unfinished.
            if outcome.ending != Ending::Cancelled || !is_stopping.load(Ordering::Relaxed) {
                service.finish(started.id, &outcome, Timestamp::now());
            }
            for pinging in pinging {
                pinging.end(&outcome);
            }
            drop((started, outcome));
            is_done.store(true, Ordering::Release);
            // The memory that it needed goes back when nobody works any more.
            bell.ring();
        };
        // The thread waits for it.
        let _ = give.send(Box::new(run));
    }

    /// Ends everything that runs, and waits for that.
    pub(crate) fn stop(&mut self) {
        self.service.cancel_all();
        for working in self.threads.drain(..) {
            let _ = working.thread.join();
        }
        self.notifying.stop();
        self.log();
    }

    /// Tells what is to be told, and waits a while for that.
    pub(crate) fn finish_telling(&self, cancel: &Cancellation) {
        self.notifying.step(&clock::now());
        self.notifying.finish(cancel);
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

/// What is said of a task that takes its time. Its end is an event.
fn begins(task: &Task) -> Option<String> {
    Some(match task {
        Task::Backup { job, to, .. } => format!("{job}: a backup to {} begins", to.join(" and ")),
        Task::Copy { job, from, to, .. } => {
            let source = from.first().map_or_else(String::new, |from| format!(" from {}", from.destination));
            format!("{job}, {}: a copy of {}{source} begins", to.destination, to.name)
        }
        Task::Verify { copy, .. } => format!("{}: the check of {} begins", copy.destination, copy.name),
        Task::Rehearse { job, copy } => {
            format!("{job}, {}: a restore of {} for a test begins", copy.destination, copy.name)
        }
        Task::Restore(Restore { copy, into, .. }) => {
            format!("{}: a restore of {} to {into} begins", copy.destination, copy.name)
        }
        Task::RestoreParts(RestoreParts { copy, storage, .. }) => {
            format!("{}: Supervisor is to restore {} from {storage}", copy.destination, copy.name)
        }
        Task::Migrate(Migrate { job, to, .. }) => format!("{job}: a move to {to} begins"),
        Task::Look { .. } | Task::Remove { .. } | Task::Pin { .. } | Task::Delete { .. } => return None,
    })
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
