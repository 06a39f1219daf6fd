//! Two names for one place: each would remove what the other keeps, so neither removes anything.

use super::State;
use crate::{job::Job, sync};

/// A destination of a job, and where it really is.
struct Use<'a> {
    job: &'a Job,
    instance: Option<&'a str>,
    name: &'a str,
    /// `None`: a directory that does not answer, so it may be the same as any other.
    place: Option<&'a str>,
}

impl Use<'_> {
    fn is_same(&self, other: &Self) -> bool {
        self.job.name == other.job.name && self.name == other.name
    }

    fn is_at_place_of(&self, other: &Self) -> bool {
        self.place.is_some() && self.place == other.place
    }

    fn may_be_at_place_of(&self, other: &Self) -> bool {
        let is_directory = |place: Option<&str>| place.is_none_or(|place| place.starts_with('/'));
        (self.place.is_none() || other.place.is_none()) && is_directory(self.place) && is_directory(other.place)
    }
}

impl State {
    /// Nothing is removed where two names lead to one place, or where another job of the same instance has its backups;
    /// nor where that is not known yet.
    pub(super) fn hold_shared(&mut self) {
        let settings = &self.settings;
        let uses: Vec<Use<'_>> = settings
            .jobs
            .iter()
            .flat_map(|job| job.destinations.iter().map(move |target| (job, target.destination.as_str())))
            .map(|(job, name)| {
                let instance = self.known.jobs.get(&job.name).and_then(|facts| facts.instance.as_deref());
                let place = settings.places.get(name).map_or(name, String::as_str);
                let place = (!settings.unanswered.contains(name)).then_some(place);
                Use { job, instance, name, place }
            })
            .collect();
        for used in &uses {
            let others = || uses.iter().filter(|other| !used.is_same(other));
            let is_ours = |other: &Use<'_>| other.job.name == used.job.name;
            let is_theirs = |other: &Use<'_>| used.instance.is_some() && used.instance == other.instance;
            let removals = self.plans.get_mut(&used.job.name).and_then(|plan| plan.removals.get_mut(used.name));
            let Some(removals) = removals else { continue };
            let leaves = !removals.leaving.is_empty();
            // Two copies that are one are none of what the job asks for, whether anything leaves or not.
            if others().any(|other| used.is_at_place_of(other) && (is_ours(other) || (leaves && is_theirs(other)))) {
                removals.waits = Some(sync::Waits::Shared);
            } else if leaves
                && others().any(|other| used.may_be_at_place_of(other) && (is_ours(other) || is_theirs(other)))
            {
                removals.waits = Some(sync::Waits::Unanswered);
            }
        }
    }
}
