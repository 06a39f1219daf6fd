//! What the service goes by, and what it is at.

use std::{collections::BTreeMap, sync::Arc};

use engine::Progress;
use jiff::Timestamp;
use store::Cancellation;

use crate::{job::Job, status::ConfigurationStatus, task::Task};

/// The jobs and destinations that are in force.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// The destinations that they name: their addresses, without secrets.
    pub destinations: BTreeMap<String, String>,
    /// The configuration file.
    pub configuration: Option<ConfigurationStatus>,
    /// Home Assistant's id of each job's instance, where its source could be read.
    pub instances: BTreeMap<String, String>,
}

/// A task that runs.
pub(crate) struct RunningTask {
    pub(crate) task: Task,
    pub(crate) started: Timestamp,
    pub(crate) progress: Arc<Progress>,
    pub(crate) cancel: Cancellation,
}
