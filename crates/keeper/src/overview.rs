//! What is known, as everybody is shown it: pure functions of facts and the clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use engine::{Phase, SharedStr, inventory::Called, retention::Origin};
use jiff::{Timestamp, ToSpan, Zoned, civil::Date};

use crate::{
    facts::{Copy, DestinationFacts, JobFacts, Known},
    job::{Job, Target},
    learn,
    settings::{RunningTask, Settings},
    status::{
        ArchiveStatus, ConfigurationStatus, CopyStatus, Day, DestinationStatus, Ending, Failure, JobStatus, Level,
        PROBLEM_KINDS, Problem, RunStatus, Running, Status,
    },
    sync::{Plan, Removals, Waits},
    task::{Asked, Task},
    words,
};

/// Days that the history shows.
const DAYS: usize = 30;

/// What is shown.
pub(crate) struct Facts<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) known: &'a Known,
    pub(crate) plans: &'a BTreeMap<String, Plan>,
    pub(crate) running: &'a BTreeMap<i64, RunningTask>,
    pub(crate) asked: &'a [Asked],
    pub(crate) next: &'a BTreeMap<String, Timestamp>,
    pub(crate) unwritten: Option<&'a str>,
    pub(crate) unreached: &'a BTreeMap<String, Failure>,
    pub(crate) broker: Option<&'a Failure>,
    /// When the program ends at the latest, once it is to.
    pub(crate) leaving: Option<Timestamp>,
    pub(crate) version: &'a str,
    pub(crate) now: &'a Zoned,
}

impl Facts<'_> {
    fn at(&self) -> Timestamp {
        self.now.timestamp()
    }

    /// A job's copies: destination, name and what is known.
    fn copies<'s>(&'s self, job: &'s Job) -> impl Iterator<Item = (&'s str, &'s str, &'s Copy)> {
        let owner = self.known.jobs.get(&job.name);
        job.destinations
            .iter()
            .filter_map(|target| self.known.destinations.get_key_value(&target.destination))
            .flat_map(move |(destination, facts)| {
                facts
                    .copies
                    .iter()
                    .filter(move |copy| !copy.item.link && owner.is_some_and(|owner| owner.owns(copy)))
                    .map(move |copy| (destination.as_str(), copy.item.name.as_str(), copy))
            })
    }

    /// Its whole copies. One that is dated ahead, as after a clock was wrong, says nothing of how old backups are.
    fn whole<'s>(&'s self, job: &'s Job) -> impl Iterator<Item = (&'s str, &'s str, &'s Copy)> {
        self.copies(job).filter(|(_, _, copy)| copy.is_whole() && !copy.is_ahead(self.at()))
    }

    /// Whether one of its destinations has held its backups.
    fn has_held(&self, job: &Job) -> bool {
        let mut places = job.destinations.iter().filter_map(|to| self.known.destinations.get(&to.destination));
        places.any(|place| place.held.contains(&job.name))
    }

    /// Whether all of its backups were made for other destinations than it has now.
    pub(crate) fn has_moved(&self, job: &Job) -> bool {
        let made = |known: &JobFacts| {
            let last = known.last.as_ref().map(|last| last.ending);
            known.moved.is_some() || known.seconds > 0.0 || matches!(last, Some(Ending::Done | Ending::Incomplete))
        };
        self.known.jobs.get(&job.name).is_some_and(made) && !self.has_held(job) && self.copies(job).next().is_none()
    }

    /// Since when it could have had a backup and has none. Nothing: its destinations are new, and when they came is not
    /// noted yet.
    fn without_backup_since(&self, job: &Job) -> Option<Timestamp> {
        let known = self.known.jobs.get(&job.name)?;
        if self.has_moved(job) { known.moved } else { known.since }
    }

    fn removals<'s>(&'s self, destination: &'s str) -> impl Iterator<Item = &'s Removals> {
        self.plans.values().filter_map(move |plan| plan.removals.get(destination))
    }

    /// Whether it is to be protected, or no longer.
    fn pinning(&self, destination: &str, name: &str) -> Option<bool> {
        self.asked.iter().rev().find_map(|asked| match &asked.task {
            Task::Pin { copy, pinned } => (copy.destination == destination && copy.name == name).then_some(*pinned),
            _ => None,
        })
    }

    fn is_leaving(&self, destination: &str, name: &str) -> bool {
        self.removals(destination).any(|removals| removals.leaving.iter().any(|removal| removal.name == name))
    }
}

/// Everything at a glance. `since` says since when each problem exists.
pub(crate) fn status(facts: &Facts<'_>, since: &BTreeMap<String, Timestamp>) -> Status {
    let problems = problems_since(facts, since);
    let jobs: Vec<JobStatus> = facts.settings.jobs.iter().map(|job| self::job(facts, job, &problems)).collect();
    let destinations =
        facts.known.destinations.iter().map(|(name, known)| destination(facts, name, known, &problems)).collect();
    let level = problems.iter().map(|problem| problem.level).chain(jobs.iter().map(|job| job.level)).max();
    let level = level.unwrap_or(Level::Unknown);
    let headline = match &jobs[..] {
        [] => "No backup is set up yet".to_owned(),
        [only] => only.headline.clone(),
        several => match several.iter().filter(|job| job.level > Level::Ok).collect::<Vec<_>>()[..] {
            [] => "All backups are safe".to_owned(),
            [one] => format!("{}: {}", one.name, one.headline),
            [first, ..] => {
                let worst = several.iter().rev().max_by_key(|job| job.level).unwrap_or(first);
                format!("Several backups need a look, first of all {}: {}", worst.name, worst.headline)
            }
        },
    };
    let configuration = facts.settings.configuration.clone();
    Status {
        now: facts.at(),
        version: facts.version.to_owned(),
        level,
        headline,
        jobs,
        destinations,
        running: running_for(facts, None),
        problems,
        configuration: configuration.unwrap_or(ConfigurationStatus { path: String::new(), problem: None }),
    }
}

fn job(facts: &Facts<'_>, job: &Job, problems: &[Problem]) -> JobStatus {
    let known = facts.known.jobs.get(&job.name).cloned().unwrap_or_default();
    let whole: Vec<_> = facts.whole(job).collect();
    let newest_whole = whole.iter().map(|(_, _, copy)| copy.item.date).max();
    let newest: Vec<_> = whole.iter().filter(|(_, _, copy)| Some(copy.item.date) == newest_whole).collect();
    let verified = newest.iter().filter(|(_, _, copy)| copy.verified.is_some()).count();
    let is_away = |name: &str| facts.known.destinations.get(name).is_some_and(|known| known.away.is_some());
    let away = newest.iter().filter(|(destination, _, _)| is_away(destination)).count();
    let running = running_for(facts, Some(&job.name));
    let next = facts.next.get(&job.name).copied().filter(|_| !job.paused);
    let worst = problems.iter().filter(|problem| problem.job.as_deref() == Some(&job.name)).max_by_key(|p| p.level);
    let when = match (job.paused, next) {
        (true, _) => "; paused".to_owned(),
        (false, Some(next)) if next > facts.at() => format!("; next {}", words::moment(next, facts.now)),
        _ => String::new(),
    };
    let copies = match (newest_whole, newest.len()) {
        (None, _) => None,
        (Some(date), count) => Some(format!(
            "{}{}, newest {}{}",
            words::count(count, "whole copy", "whole copies"),
            if away > 0 { format!(", {away} of them out of reach") } else { String::new() },
            words::ago(date, facts.at()),
            match (verified, count) {
                (0, _) => String::new(),
                (1, 1) => ", checked".to_owned(),
                (2, 2) => ", both checked".to_owned(),
                (checked, all) if checked == all => ", all checked".to_owned(),
                (checked, _) => format!(", {checked} checked"),
            }
        )),
    };
    let busy = running.iter().any(|running| running.kind == crate::status::TaskKind::Backup);
    let (level, headline) = match (worst, copies) {
        (Some(problem), Some(copies)) if problem.level >= Level::Error => {
            (problem.level, format!("{}; {copies}{when}", problem.message))
        }
        (Some(problem), None) => (problem.level, format!("{}{when}", problem.message)),
        (problem, Some(copies)) => (problem.map_or(Level::Ok, |problem| problem.level), format!("{copies}{when}")),
        (None, None) if busy => (Level::Unknown, "The first backup is being made".to_owned()),
        (None, None) => (Level::Unknown, format!("No backup yet{when}")),
    };
    JobStatus {
        name: job.name.clone(),
        source: engine::shown(job.source.as_os_str().as_encoded_bytes()),
        level,
        headline,
        advice: advice(facts, job),
        schedules: job.schedules.iter().map(|schedule| schedule.as_str().to_owned()).collect(),
        paused: job.paused,
        instance: known.instance.clone(),
        next,
        last: known.last.clone(),
        newest_whole,
        newest_size: newest.iter().map(|(_, _, copy)| copy.item.size).max(),
        copies_of_newest: newest.len(),
        verified_of_newest: verified,
        proven: known.proven.clone(),
        running,
        destinations: job.destinations.iter().map(|target| target.destination.clone()).collect(),
        days: days(facts, job),
    }
}

/// What a job lacks that is no fault.
fn advice(facts: &Facts<'_>, job: &Job) -> Option<String> {
    let is_beside = |target: &Target| {
        let beside = &facts.settings.beside_source;
        beside.iter().any(|(name, destination)| *name == job.name && *destination == target.destination)
    };
    let are_all = !job.destinations.is_empty() && job.destinations.iter().all(is_beside);
    are_all.then(|| {
        "All copies are on this machine's disk. If it dies, they are lost too. Add a location elsewhere, such as a NAS, \
         another machine or a bucket"
            .to_owned()
    })
}

/// What was made on each of the last days.
fn days(facts: &Facts<'_>, job: &Job) -> Vec<Day> {
    let zone = facts.now.time_zone();
    let today = facts.now.date();
    let mut made: BTreeMap<Date, (bool, u64)> = BTreeMap::new();
    for (_, _, copy) in facts.copies(job) {
        let day = made.entry(copy.item.date.to_zoned(zone.clone()).date()).or_default();
        *day = (day.0 || copy.is_whole(), day.1.max(copy.item.size));
    }
    let last = facts.known.jobs.get(&job.name).and_then(|known| known.last.as_ref());
    let failed = last
        .filter(|last| last.ending == Ending::Failed && !last.is_waiting())
        .map(|last| last.started.to_zoned(zone.clone()).date());
    let days = (0..DAYS).rev().filter_map(|back| today.checked_sub(i64::try_from(back).ok()?.days()).ok());
    days.map(|date| {
        let (level, size) = match made.get(&date) {
            Some((true, size)) => (Level::Ok, *size),
            Some((false, size)) => (Level::Warning, *size),
            None if failed == Some(date) => (Level::Error, 0),
            None => (Level::Unknown, 0),
        };
        Day { date, level, size }
    })
    .collect()
}

/// What runs for a job, or for none that there is.
fn running_for(facts: &Facts<'_>, job: Option<&str>) -> Vec<Running> {
    let known = |name: &&str| facts.settings.jobs.iter().any(|job| job.name == *name);
    facts
        .running
        .iter()
        .filter(|(_, running)| running.task.job().filter(known) == job)
        .map(|(id, task)| running(*id, task))
        .collect()
}

fn running(id: i64, running: &RunningTask) -> Running {
    let (task, progress) = (&running.task, &running.progress);
    let seconds = progress.running().as_secs_f64();
    let (done, total) = (progress.done(), progress.total());
    let rate = if seconds > 0.5 { (done as f64 / seconds) as u64 } else { 0 };
    let waiting = progress.waiting().map(|waiting| match waiting.what {
        store::retry::Pause::Retry(reason) => format!("{reason}; trying again"),
        store::retry::Pause::Answer => "everything is sent; waiting for the answer".to_owned(),
    });
    let again = progress.uploads().into_iter().find(|upload| upload.again_of().is_some() && !upload.has_ended());
    let step = progress.step();
    // Figures of what came before say nothing of it.
    let (done, total, rate) = match &again {
        _ if step.is_some() => (0, 0, 0),
        Some(upload) => (upload.acknowledged(), upload.again_of().unwrap_or_default(), 0),
        None => (done, total, rate),
    };
    let named = step.clone().or(waiting).or_else(|| progress.standstill());
    let doing = named.unwrap_or_else(|| match (task, progress.phase()) {
        (_, Phase::Planning) if matches!(task, Task::Backup { .. } | Task::Migrate(_)) => "scanning".to_owned(),
        (Task::Backup { .. } | Task::Migrate(_), Phase::Measuring) => "measuring".to_owned(),
        (Task::Backup { .. }, Phase::Finishing) => match &again {
            Some(upload) => format!("sending it again to {}, with its sizes", upload.label()),
            None => "finishing the copies".to_owned(),
        },
        (Task::Backup { .. }, _) => "backing up".to_owned(),
        (Task::Look { .. }, _) => "looking at what is there".to_owned(),
        (Task::Copy { .. }, _) => "sending a copy".to_owned(),
        (Task::Remove { .. } | Task::Delete { .. }, _) => "removing".to_owned(),
        (Task::Verify { .. }, _) => "checking a copy".to_owned(),
        (Task::Rehearse { .. }, _) => "restoring for a test".to_owned(),
        (Task::Restore(_) | Task::RestoreParts(_), _) => "restoring".to_owned(),
        (Task::Migrate(migrate), _) => format!("sending to {}", migrate.to),
        (Task::Pin { .. }, _) => "protecting".to_owned(),
    });
    Running {
        id,
        kind: task.kind(),
        job: task.job().map(str::to_owned),
        destination: task.destination().map(str::to_owned),
        archive: task.archive().map(str::to_owned),
        started: running.started,
        doing,
        done,
        total,
        rate,
        left: (rate > 0 && total > done).then(|| (total - done) / rate),
        limited_by: (step.is_none() && matches!(task, Task::Backup { .. } | Task::Copy { .. } | Task::Migrate(_)))
            .then(|| progress.limited_by(true).as_str().to_owned()),
    }
}

fn destination(facts: &Facts<'_>, name: &str, known: &DestinationFacts, problems: &[Problem]) -> DestinationStatus {
    let own: Vec<&Copy> = known.copies.iter().filter(|copy| copy.item.made_by != Origin::Unknown).collect();
    let whole = own.iter().filter(|copy| copy.is_whole());
    let worst = problems.iter().filter(|problem| problem.destination.as_deref() == Some(name)).max_by_key(|p| p.level);
    let headline = match (&known.away, worst, known.listed) {
        (Some((since, failure)), _, _) => {
            format!("away since {}: {}", words::ago(*since, facts.at()), failure.message)
        }
        (None, Some(problem), _) => problem.message.clone(),
        (None, None, None) => "not looked at yet".to_owned(),
        (None, None, Some(_)) => words::count(own.len(), "backup", "backups"),
    };
    let names = |waits: bool| {
        let of = facts.removals(name).filter(move |removals| removals.needs_consent() == waits);
        of.flat_map(|removals| removals.leaving.iter().map(|removal| removal.name.clone())).collect()
    };
    DestinationStatus {
        name: name.to_owned(),
        address: known.address.clone(),
        options: facts.settings.options.get(name).cloned().unwrap_or_default(),
        level: match (worst, known.listed) {
            (Some(problem), _) => problem.level,
            (None, None) => Level::Unknown,
            (None, Some(_)) => Level::Ok,
        },
        headline,
        seen: known.listed,
        away_since: known.away.as_ref().map(|(since, _)| *since),
        away: known.away.as_ref().map(|(_, failure)| failure.clone()),
        free: known.free,
        archives: own.len(),
        whole: whole.clone().count(),
        size: own.iter().map(|copy| copy.item.size).sum(),
        newest_whole: whole.map(|copy| copy.item.date).max(),
        leaving: names(false),
        waiting_for_consent: names(true),
    }
}

/// When the first job that is not overdue yet will be.
pub(crate) fn overdue_next(facts: &Facts<'_>) -> Option<Timestamp> {
    let at = facts.settings.jobs.iter().filter(|job| !job.paused).filter_map(|job| {
        let newest = facts.whole(job).map(|(_, _, copy)| copy.item.date).max();
        let since = newest.or_else(|| facts.without_backup_since(job))?;
        since.checked_add(job.overdue_after.saturating_add(Duration::from_secs(1))).ok()
    });
    at.filter(|at| *at > facts.at()).min()
}

/// What is wrong now, the worst first, and since when.
pub(crate) fn problems_since(facts: &Facts<'_>, since: &BTreeMap<String, Timestamp>) -> Vec<Problem> {
    let mut problems = problems(facts);
    for problem in &mut problems {
        problem.since = since.get(&problem.key).copied().unwrap_or(problem.since);
    }
    problems
}

/// What is wrong now, the worst first.
pub(crate) fn problems(facts: &Facts<'_>) -> Vec<Problem> {
    let mut all = Problems { facts, all: Vec::new() };
    all.configuration();
    facts.settings.jobs.iter().for_each(|job| all.job(job));
    facts.known.destinations.iter().for_each(|(name, known)| all.destination(name, known));
    let mut problems = all.all;
    problems.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| a.key.cmp(&b.key)));
    problems
}

/// Whether it is not known to be over although the problem is not there at the moment: something else is wrong now that
/// it can't be told from, or nobody has looked yet.
pub(crate) fn is_undecided(facts: &Facts<'_>, key: &str) -> bool {
    let mut parts = key.split(':');
    let (kind, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let known = || facts.known.jobs.get(name);
    let job = || facts.settings.jobs.iter().find(|job| job.name == name);
    match kind {
        "backup-failed" => known().is_some_and(|known| known.failures > 0),
        "incomplete" => {
            let last = known().and_then(|known| known.last.as_ref());
            last.is_some_and(|last| last.ending != Ending::Done)
        }
        "no-backup" => job().is_some_and(|job| facts.copies(job).next().is_none()),
        "overdue" => job().is_some_and(|job| facts.whole(job).next().is_none()),
        "restore-silent" => {
            let is_it = |task: &Task| matches!(task, Task::RestoreParts(_));
            let mut followed = facts.running.values().filter(|running| is_it(&running.task)).peekable();
            // A program that has just begun has not looked yet.
            let is_asked = followed.peek().is_none() && facts.asked.iter().any(|asked| is_it(&asked.task));
            is_asked || followed.any(|running| running.progress.step().is_none())
        }
        "trouble" => facts.known.destinations.get(name).is_some_and(|place| place.trouble.is_some()),
        _ => false,
    }
}

struct Problems<'a> {
    facts: &'a Facts<'a>,
    all: Vec<Problem>,
}

impl Problems<'_> {
    fn add(
        &mut self,
        (kind, level): (&str, Level),
        (job, destination): (Option<&str>, Option<&str>),
        what: &str,
        (message, hint): (String, Option<String>),
    ) {
        debug_assert!(PROBLEM_KINDS.contains(&kind), "{kind} is listed");
        let parts = [kind, job.unwrap_or_default(), destination.unwrap_or_default(), what];
        self.all.push(Problem {
            key: parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(":"),
            kind: kind.to_owned(),
            level,
            job: job.map(str::to_owned),
            destination: destination.map(str::to_owned),
            since: self.facts.at(),
            message,
            hint,
        });
    }

    fn configuration(&mut self) {
        if let Some(problem) = self.facts.settings.configuration.as_ref().and_then(|file| file.problem.clone()) {
            let hint = "correct the file; until then the settings that were read before stay in force".to_owned();
            self.add(("configuration", Level::Warning), (None, None), "", (problem, Some(hint)));
        }
        if let Some(reason) = self.facts.unwritten {
            let hint =
                "make room in the state directory, or make it writable; backups go on meanwhile, and what Haul learns is kept in memory"
                    .to_owned();
            let message = format!("Haul can't write down what it does: {reason}");
            self.add(("state", Level::Warning), (None, None), "", (message, Some(hint)));
        }
        if let Some(by) = self.facts.leaving {
            let message =
                "Haul was told to stop, and goes on until Supervisor has restored a backup that it reads through Haul";
            let hint = format!(
                "Haul stops by itself then, at {} at the latest; it begins no backup until it is started again",
                words::moment(by, self.facts.now)
            );
            self.add(("stopping", Level::Warning), (None, None), "", (message.to_owned(), Some(hint)));
        }
        for running in self.facts.running.values() {
            if let Some((message, hint)) = running.progress.complaint() {
                let archive = running.task.archive().unwrap_or_default();
                self.add(("restore-silent", Level::Warning), (None, None), archive, (message, Some(hint)));
            }
        }
        for (channel, failure) in self.facts.unreached {
            let message = format!("Messages to {channel:?} do not arrive: {}", failure.message);
            self.add(("notify-failed", Level::Warning), (None, None), channel, (message, failure.hint.clone()));
        }
        if let Some(failure) = self.facts.broker {
            let message = format!("Home Assistant is not told by MQTT: {}", failure.message);
            self.add(("mqtt-failed", Level::Warning), (None, None), "", (message, failure.hint.clone()));
        }
    }

    fn job(&mut self, job: &Job) {
        // Whoever paused it knows that nothing is done for it.
        if job.paused {
            return;
        }
        let facts = self.facts;
        let known = facts.known.jobs.get(&job.name).cloned().unwrap_or_default();
        let of = (Some(job.name.as_str()), None);
        let newest = facts.whole(job).map(|(_, _, copy)| copy.item.date).max();
        let is_running = facts
            .running
            .values()
            .any(|running| matches!(running.task, Task::Backup { .. }) && running.task.job() == Some(&job.name));
        // What ended with the program is begun again at once, and no reason to worry anybody.
        let goes_on = |last: &RunStatus| {
            let is_due = known.retry.as_ref().is_some_and(|(at, _)| *at <= facts.at());
            last.message == learn::was_stopped().message && (is_running || is_due)
        };
        if let Some(last) = known.last.as_ref().filter(|last| known.failures > 0 && !goes_on(last)) {
            let again = match &known.retry {
                _ if is_running => "Haul is trying again".to_owned(),
                Some((retry, _)) => format!("Haul tries again at {}", words::moment(*retry, facts.now)),
                None => "Haul does not try again before the next time it is due".to_owned(),
            };
            let hint = last.hint.as_ref().map_or(again.clone(), |hint| format!("{hint}; {again}"));
            if last.is_waiting() {
                self.add(("waiting", Level::Warning), of, "", (last.message.clone(), Some(again)));
            } else {
                let message = format!("The last backup failed: {}", last.message);
                self.add(("backup-failed", Level::Error), of, "", (message, Some(hint)));
            }
        } else if let Some(last) = known.last.as_ref().filter(|last| last.ending == Ending::Incomplete) {
            let texts = (last.message.clone(), last.hint.clone());
            self.add(("incomplete", Level::Warning), of, "", texts);
        }
        let longest = i64::try_from(job.overdue_after.as_secs()).unwrap_or(i64::MAX);
        let has_moved = facts.has_moved(job);
        if let Some(since) = newest.or_else(|| facts.without_backup_since(job))
            && facts.at().duration_since(since).as_secs() > longest
        {
            let message = match newest {
                Some(newest) => format!("The newest whole backup is from {}", words::ago(newest, facts.at())),
                None if has_moved => {
                    format!("There is no whole backup, {} after its locations were changed", words::length(longest))
                }
                None => format!("There is no whole backup, {} after it was set up", words::length(longest)),
            };
            let hint = "see why newer ones failed, or make one now".to_owned();
            self.add(("overdue", Level::Error), of, "", (message, Some(hint)));
        }
        let is_listed = |target: &Target| {
            let place = facts.known.destinations.get(&target.destination);
            // What arrived and is not listed yet may be all that there is. That it is away or looked at again says nothing
            // new.
            place.is_some_and(|place| place.listed.is_some() && place.arrivals.is_empty())
        };
        let is_empty = job.destinations.iter().all(is_listed) && facts.copies(job).next().is_none();
        if is_empty && facts.has_held(job) {
            let made = known.last.as_ref().filter(|last| matches!(last.ending, Ending::Done | Ending::Incomplete));
            let made = made.map(|last| format!("; the last one was made {}", words::ago(last.started, facts.at())));
            let message = format!("No backup is left{}", made.unwrap_or_default());
            let hint = "see what became of the places where backups were, and make one now".to_owned();
            self.add(("no-backup", Level::Error), of, "", (message, Some(hint)));
        } else if is_empty && has_moved {
            let message = "No backup at the new locations yet".to_owned();
            let hint = "make one now; earlier backups stay where they are".to_owned();
            self.add(("no-backup", Level::Warning), of, "", (message, Some(hint)));
        }
        if let Some(failure) = &known.rehearsal_failure {
            let level = if known.rehearsal_retry.is_some() { Level::Warning } else { Level::Error };
            let message = format!("The last rehearsal did not prove that the backup restores: {}", failure.message);
            self.add(("not-proven", level), of, "", (message, failure.hint.clone()));
        }
        for blocked in facts.plans.get(&job.name).iter().flat_map(|plan| &plan.blocked) {
            let place = (of.0, Some(blocked.destination.as_str()));
            let texts = (blocked.to_string(), Some(blocked.why.hint().to_owned()));
            self.add(("blocked", Level::Warning), place, &blocked.archive, texts);
        }
        for (destination, name, copy) in facts.copies(job) {
            if let Some((_, why)) = copy.unchecked.as_deref() {
                let message = format!("{name} at {destination} can't be checked: {why}");
                let hint = "it was made with another key, perhaps: `haul verify` with that key checks it";
                self.add(
                    ("unchecked", Level::Warning),
                    (of.0, Some(destination)),
                    name,
                    (message, Some(hint.to_owned())),
                );
            }
        }
        let shared = job
            .destinations
            .iter()
            .filter(|target| facts.removals(&target.destination).any(|removals| removals.waits == Some(Waits::Shared)));
        for target in shared {
            let name = target.destination.as_str();
            let message = format!(
                "Old backups stay at {name}: another backup of this Home Assistant, or another name for the same place, \
                 is there, too, so there is one copy where two are meant, and each would remove what the other keeps"
            );
            let hint = "let only one of them use this place".to_owned();
            self.add(("shared", Level::Warning), (of.0, Some(name)), "", (message, Some(hint)));
        }
        // Damage that another copy makes good is repaired, and no reason to worry.
        let sound: BTreeSet<_> = facts
            .copies(job)
            .filter(|(_, _, copy)| !copy.is_damaged())
            .filter_map(|(_, _, copy)| copy.archive())
            .collect();
        let damaged = facts.copies(job).filter(|(_, _, copy)| copy.is_damaged());
        for (destination, name, copy) in damaged {
            let elsewhere = copy.archive().is_some_and(|archive| sound.contains(&archive));
            let level = if elsewhere { Level::Warning } else { Level::Error };
            let why = copy.verdict.as_ref().map(|verdict| verdict.sentence.as_str()).or(copy.item.problem.as_deref());
            let message = format!("{name} at {destination} is damaged: {}", why.unwrap_or_default());
            let hint = if elsewhere {
                "Haul replaces it with a sound copy".to_owned()
            } else {
                "no sound copy is known; `haul repair` may save most of it".to_owned()
            };
            self.add(("copy-damaged", level), (of.0, Some(destination)), name, (message, Some(hint)));
        }
    }

    fn destination(&mut self, name: &str, known: &DestinationFacts) {
        let users = self.facts.settings.jobs.iter().filter(|job| !job.paused && job.target(name).is_some()).count();
        if users == 0 {
            return;
        }
        let of = (None, Some(name));
        if let Some((_, failure)) = &known.away {
            let texts = (format!("{name} can't be reached: {}", failure.message), failure.hint.clone());
            self.add(("destination-away", Level::Warning), of, "", texts);
        } else if let Some((_, failure)) = &known.trouble {
            self.add(("trouble", Level::Warning), of, "", (failure.message.clone(), failure.hint.clone()));
        }
        let facts = self.facts;
        let waiting = facts.removals(name).filter(|removals| removals.needs_consent());
        let waiting: usize = waiting.map(|removals| removals.leaving.len()).sum();
        if waiting > 0 {
            let message = format!(
                "{} would be removed from {name} at once, which is more than usual",
                words::count(waiting, "backup", "backups")
            );
            let hint =
                "look at them on the page, and agree there if that is right; `most_removals` in haul.toml says how \
                        many may go unasked"
                    .to_owned();
            self.add(("removals-wait", Level::Warning), of, "", (message, Some(hint)));
        }
    }
}

/// All archives and their copies, the newest first.
pub(crate) fn archives(facts: &Facts<'_>, notes: &BTreeMap<String, String>) -> Vec<ArchiveStatus> {
    let mut all: BTreeMap<String, ArchiveStatus> = BTreeMap::new();
    for (destination, known) in &facts.known.destinations {
        let shared = SharedStr::from(destination.as_str());
        for copy in &known.copies {
            let name = &copy.item.name;
            // What says nothing of itself is its own.
            let id = copy.archive().unwrap_or_else(|| format!("{destination}--{name}"));
            let archive = all.entry(id.clone()).or_insert_with(|| ArchiveStatus {
                note: notes.get(&id).cloned(),
                id,
                item: copy.item.clone(),
                job: job_of(facts, destination, copy).map(|job| job.name.clone()),
                copies: Vec::new(),
            });
            if archive.item.verdict != Called::Whole && copy.is_whole() {
                archive.item = copy.item.clone();
            }
            archive.copies.push(CopyStatus {
                destination: shared.clone(),
                name: name.clone(),
                size: copy.item.size,
                verified: copy.verified,
                verdict: copy.verdict.clone(),
                pinned: copy.item.pinned,
                pinning: facts.pinning(destination, name),
                leaving: facts.is_leaving(destination, name),
            });
        }
    }
    let mut all: Vec<ArchiveStatus> = all.into_values().collect();
    all.sort_by(|a, b| (b.item.date, &b.id).cmp(&(a.item.date, &a.id)));
    all
}

fn job_of<'s>(facts: &'s Facts<'_>, destination: &str, copy: &Copy) -> Option<&'s Job> {
    let jobs = facts.settings.jobs.iter().filter(|job| job.target(destination).is_some());
    jobs.into_iter().find(|job| facts.known.jobs.get(&job.name).is_some_and(|owner| owner.owns(copy)))
}
