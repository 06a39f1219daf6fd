//! Carries out the tasks of the service, each on a thread of its own, with the commands' own means.

use std::sync::{Arc, PoisonError, RwLock};

use keeper::{
    service::Started,
    task::{Outcome, Task},
};

use super::{
    copies,
    doing::{Doing, Force, reason},
    making, rehearsing,
};
use crate::config::Config;

/// What tasks need of the configuration.
pub(crate) struct Worker {
    force: RwLock<Arc<Force>>,
}

impl Worker {
    pub(crate) fn new(config: Config) -> Self {
        Self { force: RwLock::new(Arc::new(Force::of(config))) }
    }

    /// Tasks that start from now on go by this.
    pub(crate) fn configure(&self, config: Config) {
        *self.force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Force::of(config));
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Config {
        self.force.read().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// Does it, and says how it ended.
    pub(crate) fn run(&self, started: &Started) -> Outcome {
        let force = Arc::clone(&self.force.read().unwrap_or_else(PoisonError::into_inner));
        let doing = Doing { force: &force, started };
        let done = match &started.task {
            Task::Backup { job, to, .. } => doing.job(job).and_then(|job| making::back_up(&doing, job, to)),
            Task::Look { destination } => copies::look(&doing, destination),
            Task::Copy { job, from, to, size, .. } => copies::copy(&doing, job, from, (to, *size)),
            Task::Remove { destination, removals, .. } => copies::remove(&doing, destination, removals),
            Task::Delete { copy } => copies::delete(&doing, copy),
            Task::Verify { job, copy } => copies::verify(&doing, job.as_deref(), copy),
            Task::Rehearse { job, copy } => doing.job(job).and_then(|job| rehearsing::rehearse(&doing, job, copy)),
            Task::Pin { copy, pinned } => copies::pin(&doing, copy, *pinned),
        };
        match done {
            Ok(outcome) => outcome,
            Err(_) if started.cancel.is_cancelled() => Outcome::cancelled(),
            Err(failure) => Outcome::failed(reason(&failure)),
        }
    }
}
