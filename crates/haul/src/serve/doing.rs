//! What every task needs: the configuration in force, its destinations, and a connection.

use std::{collections::BTreeMap, time::Duration};

use keeper::{job::Job, service::Started};
use store::{Cancellation, Limit};

pub(super) use crate::failure::reason;
use crate::{
    config::Config,
    destination::{self, Destination, Network},
    failure::Failure,
};

/// A destination that does not answer within this time is away. The service calls again.
pub(super) const CONTACT: Duration = Duration::from_mins(2);

/// A task that gets no answer for so long ends, so that others get their turn. It is tried again, and an upload goes on
/// where it stopped.
const PATIENCE: Duration = Duration::from_mins(15);

/// The configuration in force.
pub(super) struct Force {
    pub(super) config: Config,
    /// The rates at destinations: all tasks of jobs that name the same rate keep to it together, and all of them keep to
    /// the highest.
    limits: BTreeMap<(String, u64), Limit>,
}

/// One task, and what it needs.
pub(super) struct Doing<'a> {
    pub(super) force: &'a Force,
    pub(super) started: &'a Started,
}

impl Force {
    /// `before` is what was in force: what is still under way by that keeps to the same rates.
    pub(super) fn of(config: Config, before: Option<&Self>) -> Self {
        let mut limits = BTreeMap::<(String, u64), Limit>::new();
        for target in config.jobs().iter().flat_map(|job| &job.destinations) {
            let Some(rate) = target.limit else { continue };
            let at = (target.destination.clone(), rate);
            let known = before.and_then(|before| before.limits.get(&at)).cloned();
            limits.insert(at, known.unwrap_or_else(|| Limit::new(rate)));
        }
        let highest: BTreeMap<String, Limit> =
            limits.iter().map(|((name, _), limit)| (name.clone(), limit.clone())).collect();
        for ((name, rate), limit) in &mut limits {
            if let Some(all) = highest.get(name) {
                *limit = if all.rate() > *rate { limit.within(all) } else { all.clone() };
            }
        }
        Self { config, limits }
    }
}

impl Doing<'_> {
    pub(super) fn cancel(&self) -> &Cancellation {
        &self.started.cancel
    }

    pub(super) fn job(&self, name: &str) -> Result<&Job, Failure> {
        let found = self.force.config.jobs().iter().find(|job| job.name == name);
        found.ok_or_else(|| Failure::usage(format!("there is no automatic backup {name:?} any more")))
    }

    /// A destination of the configuration, with what the job says of it.
    pub(super) fn destination(&self, job: Option<&str>, name: &str) -> Result<Destination, Failure> {
        if self.force.config.destination(name).is_none() {
            return Err(Failure::usage(format!("there is no location {name:?} any more")));
        }
        let mut destination = destination::resolve(&self.force.config, name)?;
        let target = job.and_then(|job| self.job(job).ok()?.target(name));
        let rate = target.and_then(|target| target.limit);
        if let Some(limit) = rate.and_then(|rate| self.force.limits.get(&(name.to_owned(), rate))) {
            destination.common.limit = Some(limit.clone());
        }
        Ok(destination)
    }

    pub(super) fn network(&self) -> Result<Network, Failure> {
        let mut network = Network::start(None, self.cancel())?.answering_within(Some(CONTACT));
        network.context.tuning.give_up_after = PATIENCE;
        Ok(network)
    }
}
