//! A job's backup of everything: Supervisor writes it, and it is made anew while it comes.

use std::{
    sync::{Arc, mpsc::RecvTimeoutError},
    time::{Duration, Instant},
};

use engine::{
    SecureTar,
    remake::{Remade, RemakeOptions},
};
use keeper::job::Job;
use supervisor::{Job as SupervisorJob, NewBackup, Place};

use super::{
    App, Reached,
    expected::{ORDERED, Order},
    failed,
};
use crate::{
    clock,
    destination::Network,
    failure::{FAILED, Failure, INTERRUPTED},
};

/// The folder of apps that are built here: Supervisor leaves it out since 2026.06.
const LOCAL_APPS: &str = "addons/local";
const LOCAL_APPS_HERE: &str = "/addons";
/// Supervisor is asked so often what it is doing.
const LOOK: Duration = Duration::from_secs(2);
/// It says that it has ended, and nothing has come: perhaps it comes yet.
const LATE: Duration = Duration::from_secs(30);
/// Its own words for a failure come so much later than the failure, at most.
const NOTED: Duration = Duration::from_secs(5);
/// After the last byte, its job takes no longer.
const ENDING: Duration = Duration::from_mins(1);
/// What failed in it is asked so often.
const ASKED: u32 = 10;
/// No answer is no praise.
const UNKNOWN: &str = "perhaps what Supervisor could not save: it did not say";
/// Without an answer for so long it is gone.
const SILENT: Duration = Duration::from_mins(10);

/// Where a backup goes.
pub(crate) struct Goals {
    /// A folder by which it comes: one of the destinations.
    pub(crate) folder: String,
    /// All destinations.
    pub(crate) destinations: Vec<engine::Destination>,
    /// What they are reached by.
    pub(crate) network: Option<Network>,
}

/// Has Supervisor write a backup of everything, and brings it to the destinations. `password`: encrypts it.
pub(crate) fn back_up(
    (app, reached): (&Arc<App>, &Reached),
    job: &Job,
    goals: Goals,
    password: Option<habackup::securetar::Password>,
    progress: &Arc<engine::Progress>,
    cancel: &store::Cancellation,
) -> Result<Remade, Failure> {
    let mount = reached.mount_of(&goals.folder).ok_or_else(|| {
        Failure::new(FAILED, format!("Supervisor does not reach {} as a network storage", goals.folder))
            .hint("the log says why; it is tried again every few seconds")
    })?;
    let now = clock::now();
    let title =
        job.making.title.clone().unwrap_or_else(|| now.strftime("Haul, everything, %Y-%m-%d %H:%M").to_string());
    let file_name = format!("{ORDERED}{}.tar", now.strftime("%Y-%m-%d_%H.%M_%S%f"));
    let info = app.info()?;
    let bridge = &app.network.bridge;
    let started: Arc<std::sync::Mutex<Option<String>>> = Arc::default();
    let complaints = {
        let (app, started) = (Arc::clone(app), Arc::clone(&started));
        Box::new(move |_: &habackup::manifest::Manifest| {
            // The answer to the order may come after a small backup, and Supervisor may be busy.
            for _ in 0..ASKED {
                let job = started.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
                if let Some(Ok(job)) = job.map(|job| app.network.bridge.wait(app.supervisor.job(&job))) {
                    return complaints(&job);
                }
                std::thread::sleep(LOOK);
            }
            vec![UNKNOWN.to_owned()]
        })
    };
    let order = Order {
        options: RemakeOptions {
            destinations: goals.destinations,
            file_name: file_name.clone(),
            level: (!job.making.uncompressed).then_some(job.making.level),
            password,
            securetar: SecureTar::Auto,
            ha_version: info.homeassistant.as_deref().and_then(|version| version.parse().ok()),
            folder: Some((LOCAL_APPS.to_owned(), LOCAL_APPS_HERE.into())),
            threads: if job.making.gentle { std::num::NonZeroUsize::new(1) } else { None },
            config: Some(job.source.clone()),
            now: now.timestamp(),
        },
        network: goals.network,
        complaints,
        progress: Arc::clone(progress),
        cancel: cancel.clone(),
    };
    let promise = app.expected.order(&goals.folder, &file_name, order);
    let new = NewBackup {
        filename: Some(file_name),
        compressed: false,
        places: vec![Place::Mount(mount)],
        homeassistant_exclude_database: Some(job.making.exclude_database),
        ..NewBackup::named(title)
    };
    let begun = bridge.wait(app.supervisor.new_full(&new)).map_err(failed)?;
    *started.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(begun.job.clone());
    let (mut ended, mut heard) = (None, Instant::now());
    loop {
        match promise.done.recv_timeout(LOOK) {
            Ok(Ok(made)) => {
                look_again(app, &begun.job, cancel);
                return Ok(made);
            }
            Ok(Err(failure)) => return Err(with_words(failure, app, &begun.job)),
            Err(RecvTimeoutError::Disconnected) => return Err(lost()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if cancel.is_cancelled() {
            return Err(Failure::new(INTERRUPTED, "interrupted"));
        }
        match bridge.wait(app.supervisor.job(&begun.job)) {
            Ok(job) => {
                heard = Instant::now();
                // What has begun to come may still be on its way to a slow destination.
                if job.is_done() && !promise.has_begun() {
                    let since = *ended.get_or_insert_with(Instant::now);
                    if let Some(words) = complaints_of_failure(&job) {
                        return Err(Failure::new(FAILED, format!("Supervisor could not make the backup: {words}"))
                            .hint("its log says more, under Settings > System > Logs > Supervisor"));
                    }
                    if since.elapsed() > LATE {
                        return Err(lost());
                    }
                }
            }
            Err(error) if error.is_transient() && heard.elapsed() < SILENT => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Supervisor knows the backup as it wrote it: neither encrypted nor compressed, and larger. It has to read what became
/// of it, or it would restore without a key.
fn look_again(app: &App, job: &str, cancel: &store::Cancellation) {
    let until = Instant::now() + ENDING;
    while Instant::now() < until && !cancel.is_cancelled() {
        match app.network.bridge.wait(app.supervisor.job(job)) {
            Ok(job) if !job.is_done() => std::thread::sleep(NOTED / 20),
            _ => break,
        }
    }
    if let Err(error) = app.network.bridge.wait(app.supervisor.reload_backups()) {
        super::say(&format!("warning: Supervisor shows the new backup as it was before Haul made it anew: {error}"));
    }
}

fn lost() -> Failure {
    Failure::new(FAILED, "Supervisor says that the backup is done, but it did not come to Haul")
        .hint("restart the app, and try again")
}

/// What failed in a backup that goes on without it, in Supervisor's own words.
fn complaints(job: &SupervisorJob) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for (of, error) in job.all_errors() {
        let what = of.reference.as_deref().or(of.name.as_deref()).unwrap_or("Supervisor");
        let words = error.message.as_deref().or(error.kind.as_deref()).unwrap_or("it failed");
        let line = format!("{what}: {words}");
        if !said.contains(&line) {
            said.push(line);
        }
    }
    said
}

fn complaints_of_failure(job: &SupervisorJob) -> Option<String> {
    let said = complaints(job);
    (!said.is_empty()).then(|| said.join("; "))
}

/// Why it broke off may be known to Supervisor better than to whoever read it.
fn with_words(failure: Failure, app: &App, job: &str) -> Failure {
    if failure.code == INTERRUPTED {
        return failure;
    }
    // It notes that a moment after it has removed what it wrote.
    let until = Instant::now() + NOTED;
    loop {
        let asked = app.network.bridge.wait(app.supervisor.job(job));
        let is_open = asked.as_ref().is_ok_and(|job| !job.is_done());
        if let Some(words) = asked.ok().as_ref().and_then(complaints_of_failure) {
            return Failure { message: format!("{}; Supervisor says: {words}", failure.message), ..failure };
        }
        if !is_open || Instant::now() >= until {
            return failure;
        }
        std::thread::sleep(NOTED / 20);
    }
}
