//! What the service goes by, and what it is at.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use engine::Progress;
use jiff::Timestamp;
use store::Cancellation;

use crate::{
    job::Job,
    notices::Channel,
    status::ConfigurationStatus,
    task::{Sources, Task},
};

/// What is done by itself; what somebody orders is always done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    #[default]
    Everything,
    /// Backups that are due; nothing is copied, removed, verified or rehearsed.
    Backups,
    /// Nothing.
    Orders,
}

/// The jobs and destinations that are in force.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// All destinations, also those that no job names, which may have backups: their addresses, without secrets.
    pub destinations: BTreeMap<String, String>,
    /// What else tells each of them from other places than its address, such as the endpoint of a bucket.
    pub identities: BTreeMap<String, String>,
    /// What else the file says of how each of them is reached; of secrets only the files.
    pub options: BTreeMap<String, BTreeMap<String, String>>,
    /// Where each of those that jobs name really is, as far as that is known: two names may lead to one directory.
    pub places: BTreeMap<String, String>,
    /// Directories that have not answered where they are.
    pub unanswered: BTreeSet<String>,
    /// Where each job's source really is, as far as that is known.
    pub sources: Sources,
    /// Job and destination, where that is on the disk that the job's source is on.
    pub beside_source: BTreeSet<(String, String)>,
    /// The configuration file.
    pub configuration: Option<ConfigurationStatus>,
    /// Home Assistant's id of each job's instance, where its source could be read.
    pub instances: BTreeMap<String, String>,
    /// Who is told what.
    pub channels: Vec<Channel>,
    /// Who is only called when a backup begins and ends, by name.
    pub pings: Vec<String>,
    /// Only this job is worked on now; the others are known and left alone.
    pub only: Option<String>,
    /// What is done by itself.
    pub scope: Scope,
}

impl Settings {
    /// Destinations that no job names. One job alone is no time for them.
    pub(crate) fn idle(&self) -> Vec<String> {
        let is_idle = |name: &&String| self.jobs.iter().all(|job| job.target(name).is_none());
        if self.only.is_some() { Vec::new() } else { self.destinations.keys().filter(is_idle).cloned().collect() }
    }

    /// What was known before of destinations that do not answer now, and are the same.
    pub(crate) fn remember(&mut self, before: &Self) {
        for name in std::mem::take(&mut self.unanswered) {
            match before.places.get(&name) {
                Some(place) if !before.unanswered.contains(&name) && before.identity(&name) == self.identity(&name) => {
                    self.places.insert(name, place.clone());
                }
                _ => {
                    self.unanswered.insert(name);
                }
            }
        }
    }

    /// What tells a destination from all others: address and identity.
    pub(crate) fn identity(&self, destination: &str) -> Option<(&str, &str)> {
        let address = self.destinations.get(destination)?;
        Some((address, self.identities.get(destination).map_or("", String::as_str)))
    }
}

/// A task that runs.
pub(crate) struct RunningTask {
    pub(crate) task: Task,
    /// What the destinations meant when it began, by name.
    pub(crate) identities: BTreeMap<String, (String, String)>,
    pub(crate) started: Timestamp,
    pub(crate) progress: Arc<Progress>,
    pub(crate) cancel: Cancellation,
}
