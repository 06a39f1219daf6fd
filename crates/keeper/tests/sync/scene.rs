//! Jobs, destinations and copies in a few words.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use engine::{
    inventory::{Called, Item},
    retention::{Origin, Rules},
};
use jiff::{Timestamp, ToSpan, Zoned, tz::TimeZone};
use keeper::{
    facts::{Copy, DestinationFacts, JobFacts, Known},
    job::{Hooks, Job, Making, Target},
    schedule::Schedule,
    status::{CopyVerdict, Ending, Failure, RunStatus, TaskKind},
};

pub(crate) const SIZE: u64 = 1_000_000;

/// Midnight of a day, counted from 1 January 2026.
pub(crate) fn day(number: i64) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + (number * 24).hours()
}

pub(crate) fn at(moment: Timestamp) -> Zoned {
    moment.to_zoned(TimeZone::UTC)
}

/// An archive as the copy of a destination, sound and read.
pub(crate) fn copy(archive: &str, made: Timestamp) -> Copy {
    let item = Item {
        name: format!("{archive}.tar").into(),
        size: SIZE,
        date: made,
        slug: Some(archive.into()),
        title: None,
        home_assistant: None,
        made_by: Origin::Own,
        protected: false,
        pinned: false,
        instance: Some("home".into()),
        verdict: Called::Whole,
        missing: None,
        essential: false,
        history: true,
        link: false,
        arrival: None,
        problem: None,
    };
    let verified = Some(item.date);
    Copy { item, modified: None, arrived: None, verified, verdict: None, unchecked: None }
}

pub(crate) fn verdict(is_whole: bool) -> CopyVerdict {
    CopyVerdict { whole: is_whole, damaged: !is_whole, sentence: "".into(), samples: false }
}

pub(crate) fn keep_last(last: u32) -> Rules {
    Rules { last, ..Rules::default() }
}

/// A job and what is known of its destinations.
pub(crate) struct Scene {
    pub(crate) job: Job,
    pub(crate) known: Known,
    pub(crate) now: Timestamp,
}

impl Scene {
    /// A job that ran well on day 100.
    pub(crate) fn new() -> Self {
        let job = Job {
            name: "home".to_owned(),
            source: PathBuf::from("/config"),
            schedules: Vec::new(),
            jitter: Duration::ZERO,
            paused: false,
            destinations: Vec::new(),
            making: Making::default(),
            hooks: Hooks::default(),
            rehearse: None,
            boot: None,
            overdue_after: Duration::from_hours(48),
            most_removals: 5,
        };
        let facts = JobFacts { instance: Some("home".into()), last: Some(run(Ending::Done)), ..JobFacts::default() };
        let known = Known { jobs: BTreeMap::from([("home".to_owned(), facts)]), destinations: BTreeMap::new() };
        Self { job, known, now: day(101) }
    }

    /// With a destination: `s3://` before its name makes it a remote one.
    pub(crate) fn place(
        mut self,
        address: &str,
        keep: impl Into<Option<Rules>>,
        copies: impl IntoIterator<Item = Copy>,
    ) -> Self {
        let name = address.trim_start_matches("s3://").to_owned();
        self.job.destinations.push(Target {
            destination: name.clone(),
            keep: keep.into(),
            schedules: None,
            verify_every: None,
            by_samples: false,
            limit: None,
            hours: None,
        });
        let copies = copies.into_iter().collect();
        let facts = DestinationFacts {
            address: address.to_owned(),
            listed: Some(day(101)),
            copies,
            ..DestinationFacts::default()
        };
        self.known.destinations.insert(name, facts);
        self
    }

    pub(crate) fn scheduled(mut self, place: &str, schedule: &str) -> Self {
        let target = self.job.destinations.iter_mut().find(|target| target.destination == place).unwrap();
        target.schedules = Some(vec![Schedule::parse(schedule).unwrap()]);
        self
    }

    pub(crate) fn facts(&mut self, place: &str) -> &mut DestinationFacts {
        self.known.destinations.get_mut(place).unwrap()
    }

    pub(crate) fn job_facts(&mut self) -> &mut JobFacts {
        self.known.jobs.get_mut("home").unwrap()
    }

    pub(crate) fn away(&mut self, place: &str) {
        let failure = Failure { message: "away".to_owned(), hint: None, passes: true };
        self.facts(place).away = Some((day(100), failure));
    }

    pub(crate) fn plan(&self) -> keeper::sync::Plan {
        keeper::sync::plan(&self.job, &self.known, &at(self.now))
    }

    /// What is to be done: `x > nas as x.tar from usb`, `nas - x.tar`, `nas ! x.tar: why`.
    pub(crate) fn told(&self) -> Vec<String> {
        let plan = self.plan();
        let copies = plan.copies.iter().map(|task| {
            let from: Vec<&str> = task.from.iter().map(|source| source.destination.as_str()).collect();
            let name = &task.name;
            let replaces = task.replaces.as_ref().map_or_else(String::new, |name| format!(" for {name}"));
            format!("{name} > {} from {}{replaces}", task.to, from.join(","))
        });
        let removals = plan.removals.iter().flat_map(|(place, removals)| {
            removals.leaving.iter().map(move |removal| {
                let waits = removals.waits.map_or_else(String::new, |waits| format!(", but {waits}"));
                format!("{place} - {}{waits}", removal.name)
            })
        });
        let blocked = plan.blocked.iter().map(|blocked| format!("{} ! {blocked}", blocked.destination));
        copies.chain(removals).chain(blocked).collect()
    }
}

/// A backup on day 100.
pub(crate) fn run(ending: Ending) -> RunStatus {
    RunStatus {
        id: 1,
        kind: TaskKind::Backup,
        job: Some("home".to_owned()),
        destination: None,
        archive: None,
        started: day(100),
        seconds: 60.0,
        ending,
        message: String::new(),
        hint: None,
        size: None,
        limited_by: None,
        retry: None,
    }
}
