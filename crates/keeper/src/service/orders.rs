//! What somebody wants: checked against what is known, and put in line.

use jiff::Timestamp;

use super::{State, asked};
use crate::{
    decide,
    facts::Copy,
    job::Job,
    status::Failure,
    sync::Plan,
    task::{Asked, Location, Migrate, Restore, RestoreParts, Task},
};

/// What somebody wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// A backup now.
    BackUp {
        /// Of this job.
        job: String,
    },
    /// Every destination is looked at now.
    Sync,
    /// A task ends.
    Cancel {
        /// Its number.
        run: i64,
    },
    /// A copy is read and checked.
    Verify(Location),
    /// A copy is restored for a test; nothing: the newest whole one of the job.
    Rehearse {
        /// The job.
        job: String,
        /// The copy.
        copy: Option<Location>,
    },
    /// An archive is restored.
    Restore(Restore),
    /// Home Assistant's Supervisor restores parts of an archive.
    RestoreParts(RestoreParts),
    /// A job's source moves to another machine.
    Migrate(Migrate),
    /// A copy is protected from removal, or no longer.
    Pin {
        /// The copy.
        copy: Location,
        /// Whether it is to be protected.
        pinned: bool,
    },
    /// A copy is removed.
    Delete {
        /// The copy.
        copy: Location,
        /// Also if it is the only one.
        even_only: bool,
    },
    /// What waits to be removed at a destination may go.
    AgreeToRemovals {
        /// The destination.
        destination: String,
    },
    /// A note is kept with an archive.
    Note {
        /// The archive.
        archive: String,
        /// The note; an empty one removes it.
        text: String,
    },
}

impl State {
    pub(super) fn order(&mut self, order: Order, now: Timestamp) -> Result<(), Failure> {
        self.planned = None;
        let no = |message: String, hint: &str| Err(Failure { message, hint: Some(hint.to_owned()), passes: false });
        let task = match order {
            Order::BackUp { job } => {
                let job = self.job(&job)?;
                // What an earlier program was asked for, and this one has not begun, is this one.
                let asked = self.asked.iter().filter(|asked| asked.is_new).map(|asked| &asked.task);
                let mut running = self.running.values().map(|running| &running.task).chain(asked);
                if running.any(|task| matches!(task, Task::Backup { job: name, .. } if *name == job.name)) {
                    return no(format!("a backup of {:?} is being made already", job.name), "wait for it to end");
                }
                Task::Backup {
                    job: job.name.clone(),
                    to: job.destinations.iter().map(|target| target.destination.clone()).collect(),
                    counts_for: decide::groups(job).into_keys().collect(),
                }
            }
            Order::Sync => {
                for facts in self.known.destinations.values_mut() {
                    (facts.stale, facts.retry, facts.rest) = (true, None, None);
                }
                return Ok(());
            }
            Order::Cancel { run } => {
                let Some(running) = self.running.get(&run) else {
                    return no(format!("no task {run} is running"), "it has ended already");
                };
                if matches!(running.task, Task::RestoreParts(_)) {
                    return no(
                        "Supervisor can't be stopped while it restores".to_owned(),
                        "wait for it to end; if it hangs, restart the machine",
                    );
                }
                running.cancel.cancel();
                return Ok(());
            }
            Order::Verify(copy) => {
                self.copy(&copy)?;
                let job = self.job_of(&copy);
                Task::Verify { job, copy }
            }
            Order::Rehearse { job, copy } => {
                let known = self.job(&job)?;
                let Some(copy) = copy.or_else(|| decide::newest_whole(&self.known, known, now)) else {
                    return no(format!("no location of {job:?} has a whole backup"), "make a backup first");
                };
                self.copy(&copy)?;
                Task::Rehearse { job, copy }
            }
            Order::Restore(restore) => {
                self.reachable(&restore.copy)?;
                self.copy(&restore.copy)?;
                let is_restored = |task: &&Task| matches!(task, Task::Restore(other) if other.into == restore.into);
                let at_work = self.running.values().map(|running| &running.task).chain(self.asked());
                if at_work.clone().any(|task| is_restored(&task)) {
                    return no(
                        format!("a backup is being restored into {} already", restore.into),
                        "wait for it to end",
                    );
                }
                let wanted = Task::Restore(restore.clone());
                let mut in_the_way = at_work.filter(|task| task.excludes(&wanted, &self.settings.sources));
                if in_the_way.clone().any(|task| matches!(task, Task::Backup { .. })) {
                    return no(
                        "a backup is being made, and would read what a restore replaces".to_owned(),
                        "wait for it to end, or stop it",
                    );
                }
                if in_the_way.clone().any(|task| matches!(task, Task::RestoreParts(_))) {
                    return no("a backup is being restored already".to_owned(), "wait for it to end, then try again");
                }
                if in_the_way.any(|task| matches!(task, Task::Migrate(_))) {
                    return no(
                        "an installation is being moved, which reads what a restore replaces".to_owned(),
                        "wait for it to end, or stop it",
                    );
                }
                wanted
            }
            Order::RestoreParts(parts) => {
                self.reachable(&parts.copy)?;
                self.copy(&parts.copy)?;
                let wanted = Task::RestoreParts(parts);
                let at_work = self.running.values().map(|running| &running.task).chain(self.asked());
                let mut in_the_way =
                    at_work.filter(|task| task.excludes(&wanted, &self.settings.sources)).map(|task| match task {
                        Task::Restore(_) | Task::RestoreParts(_) => "a backup is being restored already",
                        Task::Migrate(_) => "an installation is being moved",
                        Task::Backup { .. } => "a backup is being made",
                        _ => "old backups are being removed there",
                    });
                if let Some(message) = in_the_way.next() {
                    return no(message.to_owned(), "wait for it to end, then try again");
                }
                wanted
            }
            Order::Migrate(migrate) => {
                let Migrate { job, to, .. } = &migrate;
                self.job(job)?;
                let wanted = Task::Migrate(migrate.clone());
                let at_work = self.running.values().map(|running| &running.task).chain(self.asked());
                let mut in_the_way =
                    at_work.filter(|task| task.excludes(&wanted, &self.settings.sources)).map(|task| match task {
                        Task::Migrate(other) if other.to == *to => {
                            format!("an installation is being moved to {to} already")
                        }
                        Task::Migrate(_) => format!("{job:?} is being moved already"),
                        Task::Restore(_) | Task::RestoreParts(_) => {
                            "a backup is being restored in place of what would be moved".to_owned()
                        }
                        _ => format!("a backup of {job:?} is being made"),
                    });
                if let Some(message) = in_the_way.next() {
                    return no(message, "wait for it to end, or stop it");
                }
                wanted
            }
            Order::Pin { copy, pinned } => {
                let is_so = self.copy(&copy)?.item.pinned == pinned;
                let is_away = self.reachable(&copy).is_err();
                let task = Task::Pin { copy, pinned };
                self.forget_pins_like(&task);
                // What runs may yet make it otherwise.
                let is_contradicted = self.asked().any(|asked| asked.pins_the_same(&task) && *asked != task);
                if is_so && is_away && !is_contradicted {
                    return Ok(());
                }
                task
            }
            Order::Delete { copy, even_only } => {
                self.reachable(&copy)?;
                let known = self.copy(&copy)?;
                if known.item.pinned {
                    return no(format!("{} is protected from removal", copy.name), "allow its removal first");
                }
                if !even_only && self.is_only(&copy, &self.asked) {
                    return no(
                        format!("{} is the only copy of this backup that stays", copy.name),
                        "say that you want to delete the only copy",
                    );
                }
                Task::Delete { copy, even_only }
            }
            Order::AgreeToRemovals { destination } => {
                let Some(facts) = self.known.destinations.get_mut(&destination) else {
                    return no(format!("there is no location {destination:?}"), "`haul status` lists them");
                };
                let removals = self.plans.values().filter_map(|plan| plan.removals.get(&destination));
                facts.agreed =
                    removals.flat_map(|removals| &removals.leaving).map(|removal| removal.name.clone()).collect();
                return Ok(());
            }
            Order::Note { archive, text } => {
                let written = self.catalog.put_note(&archive, &text);
                if let Err(error) = written {
                    return no(format!("the note could not be kept: {error}"), "make room in the state directory");
                }
                if text.is_empty() {
                    self.notes.remove(&archive)
                } else {
                    self.notes.insert(archive, text)
                };
                return Ok(());
            }
        };
        self.refuse_when_leaving()?;
        if self.asked.len() >= asked::MOST {
            return no(format!("{} orders wait already", asked::MOST), "wait until some of them are done");
        }
        self.ask(task);
        Ok(())
    }

    /// Refuses what can't be done now, instead of losing it.
    fn reachable(&self, location: &Location) -> Result<(), Failure> {
        match self.known.destinations.get(&location.destination).and_then(|facts| facts.away.as_ref()) {
            None => Ok(()),
            Some((_, failure)) => Err(Failure {
                message: format!("{} can't be reached: {}", location.destination, failure.message),
                hint: Some("do it again when it is back".to_owned()),
                passes: true,
            }),
        }
    }

    fn job(&self, name: &str) -> Result<&Job, Failure> {
        self.settings.jobs.iter().find(|known| known.name == name).ok_or_else(|| Failure {
            message: format!("there is no automatic backup {name:?}"),
            hint: Some("`haul jobs` lists them".to_owned()),
            passes: false,
        })
    }

    fn copy(&self, location: &Location) -> Result<&Copy, Failure> {
        let known = self.known.destinations.get(&location.destination);
        known.and_then(|facts| facts.copies.get(&location.name)).ok_or_else(|| Failure {
            message: format!("{:?} has no archive {:?}", location.destination, location.name),
            hint: Some("look at the list of backups".to_owned()),
            passes: false,
        })
    }

    /// Whether no other sound copy of this archive is known, and will be once what was asked for before is done.
    pub(super) fn is_only(&self, location: &Location, before: &[Asked]) -> bool {
        let Ok(copy) = self.copy(location) else { return false };
        let archive = copy.archive();
        let mut others =
            self.known.destinations.iter().flat_map(|(destination, facts)| {
                facts.copies.iter().map(move |copy| (destination, &copy.item.name, copy))
            });
        // What is about to go is no other copy.
        let is_going = |destination: &str, name: &str| {
            let tasks =
                self.running.values().map(|running| &running.task).chain(before.iter().map(|asked| &asked.task));
            let leaves = |plan: &Plan| {
                let removals = plan.removals.get(destination);
                removals.is_some_and(|removals| removals.due().iter().any(|removal| removal.name == name))
            };
            let is_leaving = self.plans.values().any(leaves);
            is_leaving
                || tasks.into_iter().any(|task| match task {
                    Task::Delete { copy, .. } => copy.destination == destination && copy.name == name,
                    Task::Remove { destination: at, removals, .. } => {
                        at == destination && removals.iter().any(|removal| removal.name == name)
                    }
                    _ => false,
                })
        };
        !others.any(|(destination, name, other)| {
            (destination.as_str(), name.as_str()) != (location.destination.as_str(), location.name.as_str())
                && !is_going(destination, name)
                && archive.is_some()
                && other.archive() == archive
                && !other.is_damaged()
        })
    }

    fn job_of(&self, location: &Location) -> Option<String> {
        let instance = self.copy(location).ok()?.item.instance.clone();
        let jobs = self.settings.jobs.iter().filter(|job| job.target(&location.destination).is_some());
        let of = jobs.clone().find(|job| {
            instance.is_some()
                && self.known.jobs.get(&job.name).is_some_and(|facts| facts.instance.as_deref() == instance.as_deref())
        });
        of.or_else(|| jobs.clone().next()).map(|job| job.name.clone())
    }
}
