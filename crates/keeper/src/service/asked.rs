//! What somebody asked for and is not done yet. The catalog keeps it, so it survives the program.

use jiff::Timestamp;

use super::State;
use crate::{
    decide, learn,
    status::{Ending, Event, Level},
    task::{Asked, Migrate, Outcome, Restore, RestoreParts, Task},
};

/// So much may wait.
pub(super) const MOST: usize = 500;

impl State {
    /// Everything that is asked for.
    pub(super) fn asked(&self) -> impl Iterator<Item = &Task> + Clone {
        self.asked.iter().map(|asked| &asked.task)
    }

    fn is_running(&self, task: &Task) -> bool {
        self.running.values().any(|running| running.task == *task)
    }

    fn keep_asked(&mut self) {
        let written = self.catalog.at_once(|| self.catalog.put_asked(&self.asked));
        self.note_writing(written);
    }

    /// Puts a task in line.
    pub(super) fn ask(&mut self, task: Task) {
        let place = task.destination().and_then(|name| self.settings.identity(name));
        let place = place.map(|(address, identity)| (address.to_owned(), identity.to_owned()));
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.task == task && asked.place == place) {
            // Whoever says it again wants it at once.
            (asked.is_new, asked.tries) = (true, 0);
            return;
        }
        let archive = match &task {
            Task::Delete { copy, .. } => {
                self.known.destinations.get(&copy.destination).and_then(|facts| facts.copies.get(&copy.name)?.archive())
            }
            _ => None,
        };
        self.asked.push(Asked { task, tries: 0, place, archive, is_new: true });
        self.keep_asked();
    }

    /// Whether a copy is to be protected is decided anew.
    pub(super) fn forget_pins_like(&mut self, task: &Task) {
        let running: Vec<Task> = self.running.values().map(|running| running.task.clone()).collect();
        let before = self.asked.len();
        self.asked.retain(|asked| !asked.task.pins_the_same(task) || running.contains(&asked.task));
        if self.asked.len() != before {
            self.keep_asked();
        }
    }

    pub(super) fn withdraw(&mut self) {
        let running: Vec<Task> = self.running.values().map(|running| running.task.clone()).collect();
        self.asked.retain(|asked| !asked.is_new || running.contains(&asked.task));
        self.keep_asked();
    }

    /// A task begins; whether it was asked for. The caller keeps what changes, in one step with the beginning: a program
    /// that is killed then has either not begun it, or finds it unfinished.
    pub(super) fn begin_asked(&mut self, task: &Task) -> bool {
        let Some(at) = self.asked().position(|asked| asked == task) else { return false };
        if task.is_asked_to_its_end() {
            self.asked[at].tries = self.asked[at].tries.saturating_add(1);
        } else {
            self.asked.remove(at);
        }
        true
    }

    /// A task ended; whether it was asked for until now. The caller keeps what changes, in one step with the end.
    pub(super) fn end_asked(&mut self, task: &Task, outcome: &Outcome) -> bool {
        let Some(at) = self.asked().position(|asked| asked == task) else { return false };
        let is_over = self.asked().any(|asked| asked.pins_the_same(task) && asked != task);
        let may_succeed = matches!(task, Task::Pin { .. }) && outcome.ending == Ending::Failed && outcome.passes;
        if !may_succeed || is_over {
            self.asked.remove(at);
        }
        true
    }

    /// A backup that waits goes to where its job now sends backups.
    pub(super) fn renew_asked(&mut self) {
        for asked in &mut self.asked {
            if let Task::Backup { job, to, counts_for } = &mut asked.task
                && let Some(job) = self.settings.jobs.iter().find(|known| known.name == *job)
            {
                *to = job.destinations.iter().map(|target| target.destination.clone()).collect();
                *counts_for = decide::groups(job).into_keys().collect();
            }
        }
    }

    /// A restore or a move that never began has lost what was typed for it, and whoever waited for it.
    pub(super) fn forget_what_is_never_begun_again(&mut self, now: Timestamp) {
        let is_never = |task: &Task| matches!(task, Task::Restore(_) | Task::Migrate(_));
        self.drop_asked(now, |_, asked| is_never(&asked.task).then(|| "Haul was stopped before it began".to_owned()));
    }

    /// Forgets what can't be done any more, and says so.
    pub(super) fn drop_obsolete(&mut self, now: Timestamp) {
        // One job alone leaves what others asked for as it is.
        if self.settings.only.is_none() && !self.asked.is_empty() {
            self.drop_asked(now, Self::why_obsolete);
            self.end_deletions(now);
        }
    }

    /// What was to be deleted and is gone is deleted, though the program ended before it knew.
    fn end_deletions(&mut self, now: Timestamp) {
        let is_done = |asked: &&Asked| {
            matches!(asked.task, Task::Delete { .. }) && !self.is_running(&asked.task) && self.is_gone(&asked.task)
        };
        let done: Vec<Asked> = self.asked.iter().filter(is_done).cloned().collect();
        if done.is_empty() {
            return;
        }
        self.planned = None;
        self.asked.retain(|asked| !done.contains(asked));
        for Asked { task, archive, .. } in &done {
            if let Some(facts) = task.destination().and_then(|name| self.known.destinations.get_mut(name)) {
                learn::note_deleted(facts, archive.clone());
            }
        }
        let written = self.catalog.at_once(|| {
            for Asked { task, .. } in &done {
                let Some((place, name)) = task.destination().zip(task.archive()) else { continue };
                if let Some(facts) = self.known.destinations.get(place) {
                    self.catalog.put_destination(place, facts)?;
                }
                let message = format!("removed {name} from {place}");
                self.catalog.add_event(&Event { level: Level::Ok, message, ..undone(task, "", now) })?;
            }
            self.catalog.put_asked(&self.asked)
        });
        self.note_writing(written);
    }

    /// Whether the copy that it is about is known to be no longer there.
    fn is_gone(&self, task: &Task) -> bool {
        let copy = task.destination().zip(task.archive());
        copy.and_then(|(place, name)| Some((self.known.destinations.get(place)?, name))).is_some_and(|(facts, name)| {
            facts.listed.is_some() && facts.away.is_none() && !facts.stale && !facts.copies.contains(name)
        })
    }

    fn why_obsolete(&self, Asked { task, place, .. }: &Asked) -> Option<String> {
        if matches!(task, Task::Restore(_) | Task::RestoreParts(_) | Task::Migrate(_)) || self.is_running(task) {
            return None;
        }
        if let Some(job) = task.job().filter(|name| self.settings.jobs.iter().all(|job| job.name != **name)) {
            return Some(format!("there is no automatic backup {job:?} any more"));
        }
        task.archive()?;
        let destination = task.destination()?;
        if !self.settings.destinations.contains_key(destination) {
            return Some(format!("there is no location {destination:?} any more"));
        }
        let is_there = |(address, identity): &(String, String)| {
            self.settings.identity(destination) == Some((address.as_str(), identity.as_str()))
        };
        if !place.as_ref().is_none_or(is_there) {
            return Some(format!("{destination:?} is another place now"));
        }
        if self.is_gone(task) && !matches!(task, Task::Delete { .. }) {
            return Some("it is no longer there".to_owned());
        }
        // The other copies may have gone since it was asked for.
        if let Task::Delete { copy, even_only: false } = task {
            let at = self.asked().position(|asked| asked == task).unwrap_or_default();
            return self.is_only(copy, &self.asked[..at]).then(|| "it is the only copy of this backup now".to_owned());
        }
        None
    }

    fn drop_asked(&mut self, now: Timestamp, why: impl Fn(&Self, &Asked) -> Option<String>) {
        let mut gone = Vec::new();
        let mut stay = Vec::new();
        for asked in &self.asked {
            match why(self, asked) {
                Some(why) => gone.push(undone(&asked.task, &why, now)),
                None => stay.push(asked.clone()),
            }
        }
        if gone.is_empty() {
            return;
        }
        self.asked = stay;
        let written = self.catalog.at_once(|| {
            gone.iter().try_for_each(|event| self.catalog.add_event(event).map(drop))?;
            self.catalog.put_asked(&self.asked)
        });
        self.note_writing(written);
    }
}

/// Says that it will not be done.
fn undone(task: &Task, why: &str, at: Timestamp) -> Event {
    let name = task.archive().unwrap_or_default();
    let place = task.destination().unwrap_or_default();
    let (kind, what) = match task {
        Task::Backup { job, .. } => ("backup", format!("the backup of {job} that was asked for was not made")),
        Task::Rehearse { .. } => ("rehearse", format!("{name} at {place} was not restored for a test")),
        Task::Pin { pinned: true, .. } => ("pin", format!("{name} at {place} was not protected from removal")),
        Task::Pin { pinned: false, .. } => ("pin", format!("{name} at {place} still is protected from removal")),
        Task::Delete { .. } => ("delete", format!("{name} at {place} was not deleted")),
        Task::Restore(Restore { into, .. }) => ("restore", format!("{name} was not restored into {into}")),
        Task::RestoreParts(RestoreParts { .. }) => ("restore", format!("{name} was not restored")),
        Task::Migrate(Migrate { to, .. }) => ("migrate", format!("the move to {to} was not begun")),
        Task::Verify { .. } | Task::Look { .. } | Task::Copy { .. } | Task::Remove { .. } => {
            ("verify", format!("{name} at {place} was not checked"))
        }
    };
    Event {
        id: 0,
        at,
        level: Level::Warning,
        kind: kind.to_owned(),
        job: task.job().map(str::to_owned),
        destination: task.destination().map(str::to_owned),
        message: format!("{what}: {why}"),
        hint: None,
        problem: None,
    }
}
