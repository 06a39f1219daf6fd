//! What is to be told to people, and to whom: each channel hears of a change once, not every time.
//!
//! A problem is told when it begins and when it is over. What a channel was told is kept, so a channel that could not
//! be reached for a week hears how things are then, not everything that happened meanwhile.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    over,
    status::{Event, Level, Problem},
    words,
};

/// Older news is not told any more: a channel that was away for long does not get all of it at once.
const OLD: Duration = Duration::from_hours(24);

/// What a channel that somebody tries is told.
const TEST: &str = "This is a test: messages of this channel arrive";

/// How much a channel wants to hear; each includes what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Nothing, for now.
    Nothing,
    /// Problems that make backups unsafe, and their end.
    Errors,
    /// Also what somebody should look at.
    Problems,
    /// Also every backup that was made.
    Backups,
    /// Also copies, removals, rehearsals and everything else.
    Everything,
}

/// What one channel wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// How much it hears.
    pub wanted: Wanted,
    /// About these jobs only; empty: about all.
    pub jobs: Vec<String>,
    /// What needs a look is told when it has lasted for so long; what is unsafe is told at once.
    pub after: Duration,
    /// What it was told disappears when that is over, without another message.
    pub takes_back: bool,
}

/// What a channel knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The problems that it was told of and that were not over then, by key.
    pub problems: BTreeMap<String, Problem>,
    /// The last event that it was told, or does not want.
    pub event: i64,
}

/// Something to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A problem has begun.
    Begun(Problem),
    /// It is over.
    Over(Problem),
    /// Something happened that is no problem.
    Happened(Event),
    /// Somebody tries the channel.
    Test,
}

/// What a channel is to be told now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Due {
    /// In this order.
    pub notices: Vec<Notice>,
    /// When there may be more, without anything happening.
    pub wake: Option<Timestamp>,
}

impl Channel {
    fn hears_of(&self, job: Option<&str>) -> bool {
        self.jobs.is_empty() || job.is_none_or(|job| self.jobs.iter().any(|wanted| wanted == job))
    }

    /// What it is to be told, given what is wrong now and the newest events, the newest first.
    pub fn due(&self, told: &Told, problems: &[Problem], events: &[Event], now: Timestamp) -> Due {
        let mut due = Due::default();
        if self.wanted == Wanted::Nothing {
            // Nobody is to look for the end of what stays there for ever.
            let shown = told.problems.values().filter(|_| self.takes_back);
            due.notices = shown.cloned().map(Notice::Over).collect();
            return due;
        }
        let least = if self.wanted == Wanted::Errors { Level::Error } else { Level::Warning };
        // That its own messages do not arrive is for others.
        let own = format!("notify-failed:{}", self.name);
        let wanted = problems
            .iter()
            .filter(|problem| problem.level >= least && self.hears_of(problem.job.as_deref()) && problem.key != own);
        // One that became graver is told again.
        let is_told =
            |problem: &Problem| told.problems.get(&problem.key).is_some_and(|told| told.level >= problem.level);
        for problem in wanted.filter(|problem| !is_told(problem)) {
            // It may pass by itself, as a machine that is asleep.
            let patience = if problem.has_lasted() { Duration::ZERO } else { self.after };
            match problem.since.checked_add(patience) {
                Ok(from) if from <= now => due.notices.push(Notice::Begun(problem.clone())),
                Ok(from) => due.wake = due.wake.into_iter().chain([from]).min(),
                Err(_) => {}
            }
        }
        let over = told.problems.values().filter(|told| problems.iter().all(|problem| problem.key != told.key));
        due.notices.extend(over.cloned().map(Notice::Over));
        // A backup's end says what the problem says that begins with it.
        let is_said = |event: &Event| {
            let says = |problem: &Problem| problem.job == event.job && problem.message == event.message;
            told.problems.values().any(says) || problems.iter().any(|problem| !is_told(problem) && says(problem))
        };
        let news =
            events.iter().rev().filter(|event| event.id > told.event && self.wants(event, now) && !is_said(event));
        due.notices.extend(news.cloned().map(Notice::Happened));
        due
    }

    fn wants(&self, event: &Event, now: Timestamp) -> bool {
        let is_wanted = event.problem.is_none()
            && match self.wanted {
                Wanted::Nothing | Wanted::Errors | Wanted::Problems => false,
                Wanted::Backups => event.kind == "backup",
                Wanted::Everything => true,
            };
        is_wanted
            && self.hears_of(event.job.as_deref())
            && now.as_second() - event.at.as_second() < OLD.as_secs() as i64
    }
}

impl Told {
    /// Notes that the channel was told.
    pub fn note(&mut self, notice: &Notice) {
        match notice {
            Notice::Begun(problem) => {
                self.problems.insert(problem.key.clone(), problem.clone());
            }
            Notice::Over(problem) => {
                self.problems.remove(&problem.key);
            }
            Notice::Happened(event) => self.event = self.event.max(event.id),
            Notice::Test => {}
        }
    }
}

impl Notice {
    /// How bad it is.
    pub fn level(&self) -> Level {
        match self {
            Self::Begun(problem) => problem.level,
            Self::Happened(event) => event.level,
            Self::Over(_) | Self::Test => Level::Ok,
        }
    }

    /// One word for programs: `problem`, `over`, `backup` and other kinds of events, `test`.
    pub fn kind(&self) -> &str {
        match self {
            Self::Begun(_) => "problem",
            Self::Over(_) => "over",
            Self::Happened(event) => &event.kind,
            Self::Test => "test",
        }
    }

    /// The problem that begins or ends.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Begun(problem) | Self::Over(problem) => Some(problem),
            Self::Happened(_) | Self::Test => None,
        }
    }

    /// The job that it is about.
    pub fn job(&self) -> Option<&str> {
        match self {
            Self::Begun(problem) | Self::Over(problem) => problem.job.as_deref(),
            Self::Happened(event) => event.job.as_deref(),
            Self::Test => None,
        }
    }

    /// The destination that it is about.
    pub fn destination(&self) -> Option<&str> {
        match self {
            Self::Begun(problem) | Self::Over(problem) => problem.destination.as_deref(),
            Self::Happened(event) => event.destination.as_deref(),
            Self::Test => None,
        }
    }

    /// A few words, as the subject of a message.
    pub fn title(&self) -> String {
        self.subject(&self.job().or(self.destination()).map_or_else(String::new, |of| format!(": {of}")))
    }

    /// Title and message for a place that more people see than those who may know what jobs, hosts and files are called:
    /// the bare fact, in nobody else's words.
    pub fn public(&self) -> (String, String) {
        const MORE: &str = "Open Haul to see more.";
        let message = match self {
            Self::Begun(problem) => format!("{}. {MORE}", problem.title()),
            Self::Over(_) | Self::Happened(_) => MORE.to_owned(),
            Self::Test => TEST.to_owned(),
        };
        (self.subject(""), message)
    }

    fn subject(&self, of: &str) -> String {
        match self {
            Self::Begun(problem) if problem.level >= Level::Error => format!("Haul: backups are not safe{of}"),
            Self::Begun(_) => format!("Haul: something needs a look{of}"),
            Self::Over(_) => format!("Haul: a problem is over{of}"),
            Self::Happened(event) if event.level > Level::Ok => format!("Haul: {}, not all well{of}", event.kind),
            Self::Happened(event) => format!("Haul: {}{of}", event.kind),
            Self::Test => "Haul: a test".to_owned(),
        }
    }

    /// What happened, in one sentence.
    pub fn message(&self, now: Timestamp) -> String {
        match self {
            Self::Begun(problem) => problem.message.clone(),
            Self::Over(problem) => {
                let lasted = words::length(now.as_second() - problem.since.as_second());
                format!("{}, after {lasted}", over::event(&problem.key, now).message)
            }
            Self::Happened(event) => event.message.clone(),
            Self::Test => TEST.to_owned(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Begun(problem) => problem.hint.as_deref(),
            Self::Happened(event) => event.hint.as_deref(),
            Self::Over(_) | Self::Test => None,
        }
    }
}
