//! A job's backup of everything: Supervisor writes it, and it is made anew while it comes.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc::RecvTimeoutError},
    time::{Duration, Instant},
};

use engine::{
    SecureTar,
    remake::{Remade, RemakeOptions},
    verdict::app_called,
};
use habackup::securetar::Password;
use keeper::job::Job;
use store::Cancellation;
use supervisor::{Job as SupervisorJob, JobKind, Kind, NewBackup, Place};

use super::{
    App, Reached, Unanswered,
    expected::{ORDERED, Order, Promise},
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
pub(super) const LOOK: Duration = Duration::from_secs(2);
/// It says that it has ended, and nothing has come: perhaps it comes yet.
const LATE: Duration = Duration::from_secs(30);
/// The same while its end is near.
pub(super) const SOON: Duration = Duration::from_millis(250);
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
    password: Option<Password>,
    progress: &Arc<engine::Progress>,
    cancel: &Cancellation,
) -> Result<Remade, Failure> {
    let mount = reached.mount_of(&goals.folder).ok_or_else(|| {
        Failure::new(FAILED, format!("Supervisor does not reach {} as a network storage", goals.folder))
            .hint("the log says why; it is tried again every few seconds")
    })?;
    let now = clock::now();
    let title =
        job.making.title.clone().unwrap_or_else(|| now.strftime("Haul, everything, %Y-%m-%d %H:%M").to_string());
    let file_name = format!("{ORDERED}{}.tar", now.strftime("%Y-%m-%d_%H.%M_%S%f"));
    let core = app.ask(cancel, app.supervisor.info())?.homeassistant;
    let run = Run { app: Arc::clone(app), cancel: cancel.clone(), started: Arc::default() };
    let order = Order {
        options: RemakeOptions {
            destinations: goals.destinations,
            file_name: file_name.clone(),
            level: (!job.making.uncompressed).then_some(job.making.level),
            password,
            securetar: SecureTar::Auto,
            ha_version: core.as_deref().and_then(|version| version.parse().ok()),
            folder: Some((LOCAL_APPS.to_owned(), LOCAL_APPS_HERE.into())),
            threads: if job.making.gentle { std::num::NonZeroUsize::new(1) } else { None },
            config: Some(job.source.clone()),
            now: now.timestamp(),
        },
        network: goals.network,
        complaints: {
            let run = run.clone();
            Box::new(move |manifest| run.complaints(|slug| app_called(manifest, slug)))
        },
        progress: Arc::clone(progress),
        cancel: cancel.clone(),
    };
    let promise = app.expected.order(&goals.folder, &file_name, order);
    let doubt = run.begin(&NewBackup {
        filename: Some(file_name),
        compressed: false,
        places: vec![Place::Mount(mount)],
        homeassistant_exclude_database: Some(job.making.exclude_database),
        ..NewBackup::named(title)
    })?;
    run.follow(&promise, doubt)
}

/// A backup that Supervisor was asked for.
#[derive(Clone)]
struct Run {
    app: Arc<App>,
    cancel: Cancellation,
    /// Supervisor's job, once it is known.
    started: Arc<Mutex<Option<String>>>,
}

impl Run {
    fn id(&self) -> Option<String> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is(&self, job: String) {
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
    }

    /// Supervisor's job, if it is known.
    fn job(&self) -> Result<Option<SupervisorJob>, Unanswered> {
        self.id().map(|id| self.app.ask(&self.cancel, self.app.supervisor.job(&id))).transpose()
    }

    /// Gives the order. An error that is returned in passing leaves it open whether it arrived.
    fn begin(&self, new: &NewBackup) -> Result<Option<Unanswered>, Failure> {
        match self.app.ask(&self.cancel, self.app.supervisor.new_full(new)) {
            Ok(begun) => {
                self.is(begun.job);
                Ok(None)
            }
            Err(Unanswered::Failed(error)) if error.may_have_happened() => Ok(Some(Unanswered::Failed(error))),
            Err(Unanswered::Failed(error)) if matches!(error.kind, Kind::Busy | Kind::NotReady) => {
                Err(waiting(&error.reason))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the end.
    fn follow(&self, promise: &Promise, doubt: Option<Unanswered>) -> Result<Remade, Failure> {
        let (mut doubt, begun) = (doubt, Instant::now());
        let (mut ended, mut heard) = (None, Instant::now());
        loop {
            match promise.done.recv_timeout(LOOK) {
                Ok(Ok(made)) => {
                    self.look_again();
                    return Ok(made);
                }
                Ok(Err(failure)) => return Err(self.with_words(failure)),
                Err(RecvTimeoutError::Disconnected) => return Err(lost()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.id().is_none() {
                self.find();
            }
            match self.job() {
                Ok(Some(job)) => {
                    heard = Instant::now();
                    // What has begun to come may still be on its way to a slow destination.
                    if job.is_done() && !promise.has_begun() {
                        let since = *ended.get_or_insert_with(Instant::now);
                        if let Some(words) = complaints_of_failure(&job) {
                            if supervisor::is_busy(&words) {
                                return Err(waiting(&words));
                            }
                            let message = format!("Supervisor could not make the backup: {words}");
                            return Err(Failure::new(FAILED, message)
                                .hint("its log says more, under Settings > System > Logs > Supervisor"));
                        }
                        if since.elapsed() > LATE {
                            return Err(doubt.take().map_or_else(lost, Failure::from));
                        }
                    }
                }
                Ok(None) if promise.has_begun() || begun.elapsed() < LATE => {}
                Ok(None) => return Err(doubt.take().map_or_else(lost, Failure::from)),
                // Once it has begun to come, whoever takes it knows its end, and Supervisor may have done its part.
                Err(error) if error.is_transient() && (promise.has_begun() || heard.elapsed() < SILENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The answer to the order was lost: it is the only backup that can be under way.
    fn find(&self) {
        let Ok(jobs) = self.app.ask(&self.cancel, self.app.supervisor.jobs()) else { return };
        let under_way = jobs.into_iter().find(|job| job.kind() == JobKind::Backup && !job.is_done());
        if let Some(job) = under_way {
            self.is(job.uuid);
        }
    }

    /// What of the backup is missing, asked when its last part has come.
    fn complaints(&self, called: impl Fn(&str) -> Option<String>) -> Vec<String> {
        // The answer to the order may come after a small backup, and Supervisor may be busy.
        for _ in 0..ASKED {
            if let Ok(Some(job)) = self.job() {
                return complaints(&job, called);
            }
            self.cancel.sleep(LOOK);
        }
        vec![UNKNOWN.to_owned()]
    }

    /// Supervisor knows the backup as it wrote it: neither encrypted nor compressed, and larger. It has to read what
    /// became of it, or it would restore without a key.
    fn look_again(&self) {
        self.await_end(ENDING);
        if let Err(Unanswered::Failed(error)) = self.app.ask(&self.cancel, self.app.supervisor.reload_backups()) {
            super::say(&format!(
                "warning: Supervisor shows the new backup as it was before Haul made it anew: {error}"
            ));
        }
    }

    /// Why it broke off may be known to Supervisor better than to whoever read it; it notes that a moment after it has
    /// removed what it wrote.
    fn with_words(&self, failure: Failure) -> Failure {
        if failure.code == INTERRUPTED {
            return failure;
        }
        match self.await_end(NOTED).as_ref().and_then(complaints_of_failure) {
            Some(words) => Failure { message: format!("{}; Supervisor says: {words}", failure.message), ..failure },
            None => failure,
        }
    }

    /// The job when it has ended, or as it is after so long.
    fn await_end(&self, patience: Duration) -> Option<SupervisorJob> {
        let until = Instant::now() + patience;
        loop {
            let job = self.job().ok().flatten()?;
            if job.is_done() || Instant::now() >= until || self.cancel.is_cancelled() {
                return Some(job);
            }
            self.cancel.sleep(SOON);
        }
    }
}

/// Supervisor takes no order for a backup at the moment, which is no failure. `said`: its own words.
fn waiting(said: &str) -> Failure {
    let other = said.contains("system is not running - ") && !said.contains("freeze") || said.contains("not ready");
    let why = if other {
        "Home Assistant is starting or stopping"
    } else {
        "Home Assistant is making another backup or restoring one"
    };
    Failure::new(FAILED, format!("{}{why}", keeper::status::WAITING)).hint("try again when that has ended")
}

fn lost() -> Failure {
    Failure::new(FAILED, "Supervisor says that the backup is done, but it did not come to Haul")
        .hint("restart the app, and try again")
}

/// What failed in a backup that goes on without it, in Supervisor's own words. `called`: apps by their names.
fn complaints(job: &SupervisorJob, called: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for (of, error) in job.all_errors() {
        let what = of.reference.as_deref().or(of.name.as_deref()).unwrap_or("Supervisor");
        let what = called(what).unwrap_or_else(|| what.to_owned());
        let words = error.message.as_deref().or(error.kind.as_deref()).unwrap_or("it failed");
        let line = format!("{what}: {words}");
        if !said.contains(&line) {
            said.push(line);
        }
    }
    said
}

fn complaints_of_failure(job: &SupervisorJob) -> Option<String> {
    // Nothing describes what was not made.
    let said = complaints(job, |_| None);
    (!said.is_empty()).then(|| said.join("; "))
}
