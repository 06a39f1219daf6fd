//! Since when each problem exists, and what is over.

use std::time::Duration;

use jiff::{Timestamp, Zoned};

use super::State;
use crate::{
    decide,
    notices::Notice,
    over, overview,
    status::{Event, Level},
    task::Task,
};

/// What a restore complains of is looked at so often.
const LISTEN: Duration = Duration::from_secs(10);

impl State {
    pub(super) fn overview<'s>(&'s self, now: &'s Zoned) -> overview::Facts<'s> {
        overview::Facts {
            settings: &self.settings,
            known: &self.known,
            plans: &self.plans,
            running: &self.running,
            asked: &self.asked,
            next: &self.next,
            unwritten: self.catalog.adrift().or(self.unwritten.as_deref()),
            unreached: &self.unreached,
            broker: self.broker.as_ref(),
            leaving: self.leaving,
            version: &self.version,
            now,
        }
    }

    /// When to look again what a restore complains of, which nobody rings for.
    pub(super) fn complaints_next(&self, now: Timestamp) -> Option<Timestamp> {
        let is_followed = self.running.values().any(|running| matches!(running.task, Task::RestoreParts(_)));
        is_followed.then(|| decide::later(now, LISTEN))
    }

    /// Whether somebody looks for problems there. What a job or destination had that is gone or paused is not over.
    pub(super) fn is_watched(&self, job: Option<&str>, destination: Option<&str>) -> bool {
        if job.is_none() && destination.is_none() {
            return true;
        }
        let mut jobs = self.settings.jobs.iter().filter(|job| !job.paused);
        jobs.clone().any(|known| job.is_none_or(|job| known.name == job))
            && destination.is_none_or(|destination| jobs.any(|job| job.target(destination).is_some()))
    }

    pub(super) fn happened(&mut self, level: Level, kind: &str, message: &str, at: Timestamp) {
        let event = Event {
            id: 0,
            at,
            level,
            kind: kind.to_owned(),
            job: None,
            destination: None,
            message: message.to_owned(),
            hint: None,
            problem: None,
        };
        let written = self.catalog.add_event(&event).map(|_| ());
        self.note_writing(written);
    }

    /// Whether the channel of a problem is still there, if it is about one.
    fn is_called(&self, key: &str) -> bool {
        let Some(name) = key.strip_prefix("notify-failed:") else { return true };
        self.settings.channels.iter().any(|channel| channel.name == name)
            || self.settings.pings.iter().any(|ping| ping == name)
    }

    /// Whether it would say that something is over which nobody knows yet.
    pub(super) fn is_early(&self, notice: &Notice, now: &Zoned) -> bool {
        matches!(notice, Notice::Over(problem) if overview::is_undecided(&self.overview(now), &problem.key))
    }

    /// Notes since when jobs have other destinations than those that hold their backups.
    pub(super) fn note_moved(&mut self, now: &Zoned) {
        let facts = self.overview(now);
        let moved: Vec<_> = self.settings.jobs.iter().map(|job| (job.name.clone(), facts.has_moved(job))).collect();
        for (name, has_moved) in moved {
            let Some(facts) = self.known.jobs.get_mut(&name) else { continue };
            let since = has_moved.then(|| facts.moved.unwrap_or(now.timestamp()));
            if facts.moved != since {
                facts.moved = since;
                let written = self.catalog.put_job(&name, facts);
                self.note_writing(written);
            }
        }
    }

    /// Notes since when each problem exists, and what is over. Returns whether there is something new.
    pub(super) fn look_for_problems(&mut self, now: &Zoned) -> bool {
        let problems = overview::problems(&self.overview(now));
        let (at, mut events) = (now.timestamp(), Vec::new());
        let before = self.problems.len();
        let gone: Vec<String> =
            self.problems.keys().filter(|key| problems.iter().all(|problem| problem.key != **key)).cloned().collect();
        for key in gone {
            let end = over::event(&key, at);
            if self.is_watched(end.job.as_deref(), end.destination.as_deref())
                && overview::is_undecided(&self.overview(now), &key)
            {
                continue;
            }
            self.problems.remove(&key);
            let written = self.catalog.drop_problem(&key);
            self.note_writing(written);
            let event = over::event(&key, at);
            let is_over = self.is_watched(event.job.as_deref(), event.destination.as_deref()) && self.is_called(&key);
            events.extend(Some(event).filter(|_| is_over));
        }
        for problem in problems {
            if !self.problems.contains_key(&problem.key) {
                self.problems.insert(problem.key.clone(), at);
                let written = self.catalog.put_problem(&problem.key, at);
                self.note_writing(written);
                // The backup's end is an event, and says the same.
                if problem.kind == "incomplete" {
                    continue;
                }
                events.push(Event {
                    id: 0,
                    at,
                    level: problem.level,
                    kind: problem.kind,
                    job: problem.job,
                    destination: problem.destination,
                    message: problem.message,
                    hint: problem.hint,
                    problem: Some(problem.key),
                });
            }
        }
        let is_news = !events.is_empty() || before != self.problems.len();
        for event in &events {
            let written = self.catalog.add_event(event).map(|_| ());
            self.note_writing(written);
        }
        is_news
    }
}
