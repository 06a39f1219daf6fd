//! Carries out the tasks of the service, each on a thread of its own, with the commands' own means.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
};

use habackup::securetar::Password;
use keeper::{
    service::Started,
    task::{Outcome, Task},
};

use super::{
    copies,
    doing::{Doing, Force, reason},
    making,
    migrating::{self, Agreed},
    rehearsing, restoring,
};
use crate::{
    app::{self, App, Ordered, Reached},
    config::Config,
    failure::INTERRUPTED,
};

/// What tasks need of the configuration.
pub(crate) struct Worker {
    app: OnceLock<(Arc<App>, Reached)>,
    force: RwLock<Arc<Force>>,
    /// Keys that were typed for a restore.
    pub(super) keys: Kept<Password>,
    /// What Supervisor needs for a restore.
    pub(super) parts: Kept<Ordered>,
    /// What was typed for a move.
    pub(super) moves: Kept<Agreed>,
}

/// Secrets in memory until the task begins that names them by their number.
pub(super) struct Kept<T>(Mutex<BTreeMap<u64, T>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Kept<T> {
    pub(super) fn keep(&self, secret: T) -> u64 {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = kept.last_key_value().map_or(0, |(last, _)| last + 1);
        kept.insert(number, secret);
        number
    }

    /// One that is needed no more, or now.
    pub(super) fn take(&self, number: u64) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }
}

impl Worker {
    pub(crate) fn new(config: Config) -> Self {
        let force = RwLock::new(Arc::new(Force::of(config, None)));
        Self { app: OnceLock::new(), force, keys: Kept::default(), parts: Kept::default(), moves: Kept::default() }
    }

    /// This is an app of Home Assistant.
    pub(crate) fn share(&self, app: &Arc<App>, reached: Reached) {
        let _ = self.app.set((Arc::clone(app), reached));
    }

    /// Home Assistant, if this is an app of it.
    pub(super) fn app(&self) -> Option<&(Arc<App>, Reached)> {
        self.app.get()
    }

    /// Tasks that start from now on go by this.
    pub(crate) fn configure(&self, config: Config) {
        let mut force = self.force.write().unwrap_or_else(PoisonError::into_inner);
        *force = Arc::new(Force::of(config, Some(&force)));
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Config {
        self.force.read().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// It will not be done: what was typed for it is needed no more.
    pub(crate) fn forget(&self, task: &Task) {
        match task {
            Task::Restore(wanted) => drop(wanted.key.and_then(|number| self.keys.take(number))),
            Task::RestoreParts(wanted) => drop(self.parts.take(wanted.key)),
            Task::Migrate(wanted) => drop(self.moves.take(wanted.typed)),
            _ => {}
        }
    }

    /// Does it, and says how it ended.
    pub(crate) fn run(&self, started: &Started) -> Outcome {
        let force = Arc::clone(&self.force.read().unwrap_or_else(PoisonError::into_inner));
        let doing = Doing { force: &force, started };
        let done = match &started.task {
            Task::Backup { job, to, .. } => {
                doing.job(job).and_then(|job| making::back_up(&doing, job, to, self.app.get()))
            }
            Task::Look { destination } => copies::look(&doing, destination),
            Task::Copy { job, from, to, size, .. } => copies::copy(&doing, job, from, (to, *size)),
            Task::Remove { destination, removals, .. } => copies::remove(&doing, destination, removals),
            Task::Delete { copy, .. } => copies::delete(&doing, copy),
            Task::Verify { job, copy } => copies::verify(&doing, job.as_deref(), copy),
            Task::Rehearse { job, copy } => doing.job(job).and_then(|job| rehearsing::rehearse(&doing, job, copy)),
            Task::Restore(wanted) => {
                restoring::run(&doing, wanted, wanted.key.and_then(|number| self.keys.take(number)))
            }
            Task::RestoreParts(wanted) => {
                app::restore(self.app.get(), wanted, self.parts.take(wanted.key), &started.progress, &started.cancel)
            }
            Task::Migrate(wanted) => {
                let agreed = self.moves.take(wanted.typed);
                doing.job(&wanted.job).and_then(|job| migrating::run(&doing, job, agreed))
            }
            Task::Pin { copy, pinned } => copies::pin(&doing, copy, *pinned),
        };
        match done {
            Ok(outcome) => outcome,
            // What a restore could not take back is said, whoever stopped it.
            Err(failure) if matches!(started.task, Task::Restore(_)) && failure.code != INTERRUPTED => {
                Outcome::failed(reason(&failure))
            }
            Err(_) if started.cancel.is_cancelled() => Outcome::cancelled(),
            Err(failure) => Outcome::failed(reason(&failure)),
        }
    }
}
