//! `[jobs.NAME]` of `haul.toml`: what is to happen by itself.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use engine::{Level, retention::Rules};
use keeper::{
    job::{Hooks, Job, Making, Target},
    schedule::{Hours, Schedule},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{File, Named};
use crate::{
    failure::Failure,
    units::{duration, rate, span},
};

/// Keys of a job, and of what differs at one destination.
const KEYS: &[&str] = &[
    "source",
    "schedule",
    "destinations",
    "password_file",
    "earlier_password_files",
    "name",
    "exclude",
    "exclude_database",
    "everything",
    "level",
    "uncompressed",
    "gentle",
    "keep",
    "verify_every",
    "verify_by",
    "rehearse",
    "boot",
    "before",
    "after",
    "hook_timeout",
    "jitter",
    "limit",
    "hours",
    "overdue_after",
    "most_removals",
    "paused",
    "at",
];
const KEYS_AT: &[&str] = &["schedule", "keep", "verify_every", "verify_by", "limit", "hours"];
const KEYS_OF_KEEP: &[&str] = &["last", "daily", "weekly", "monthly", "yearly", "within"];

const VERIFY_EVERY: Duration = Duration::from_hours(30 * 24);
const HOOK_TIMEOUT: Duration = Duration::from_mins(10);
/// More removals at once than this are unusual.
const MOST_REMOVALS: usize = 5;
/// Without a whole backup for so long, in intervals of the schedule, there is a problem.
const OVERDUE_INTERVALS: i64 = 2;
/// An interval may be as short as it likes: nobody is told within this time.
const OVERDUE_LEAST: Duration = Duration::from_hours(26);

/// What may be said for all destinations of a job, and for one of them.
#[derive(Clone, Default)]
struct Policy {
    keep: Option<Rules>,
    // `Duration::MAX`: never.
    verify_every: Option<Duration>,
    by_samples: Option<bool>,
    limit: Option<u64>,
    hours: Option<Hours>,
}

type Value<'i> = Spanned<DeValue<'i>>;

impl File<'_> {
    pub(super) fn job(
        &self,
        name: &str,
        value: &Value<'_>,
        destinations: &BTreeMap<String, Named>,
    ) -> Result<Job, Failure> {
        let table = self.table(&format!("jobs.{name}"), value)?;
        let missing = |key: &str, example: &str| {
            Err(self
                .missing(table, key, value.span().start, &format!("[jobs.{name}]"))
                .hint(format!("for example: {example}")))
        };
        let Some(source) = table.get("source") else { return missing("source", "source = \"/config\"") };
        let Some(named) = table.get("destinations") else {
            return missing("destinations", "destinations = [\"nas\"]");
        };
        let named_at = named.span().start;
        let named = self.destinations_of(name, named, destinations)?;
        let mut policy = Policy::default();
        let mut job = Job {
            name: name.to_owned(),
            source: PathBuf::from(self.resolved(&self.scalar("source", source)?)),
            schedules: Vec::new(),
            jitter: Duration::ZERO,
            paused: false,
            destinations: Vec::new(),
            making: Making::default(),
            hooks: Hooks { time_limit: HOOK_TIMEOUT, ..Hooks::default() },
            rehearse: None,
            boot: None,
            overdue_after: Duration::ZERO,
            most_removals: MOST_REMOVALS,
        };
        let mut overdue_after = None;
        let mut at: BTreeMap<String, (Policy, Option<Vec<Schedule>>)> = BTreeMap::new();
        for (key, value) in table {
            let key_name = key.get_ref().as_ref();
            let wrong = |reason: String| self.wrong(value.span().start, format!("{key_name}: {reason}"));
            let text = || self.scalar(key_name, value);
            let flag = || value.get_ref().as_bool().ok_or_else(|| wrong("it must be true or false".to_owned()));
            match key_name {
                "source" | "destinations" => {}
                "schedule" => job.schedules = self.schedules(value)?,
                "password_file" => job.making.password_file = Some(PathBuf::from(self.resolved(&text()?))),
                "earlier_password_files" => {
                    let files = self.several(key_name, value)?.into_iter();
                    job.making.earlier_password_files =
                        files.map(|(text, _)| PathBuf::from(self.resolved(&text))).collect();
                }
                "name" => job.making.title = Some(text()?),
                "exclude" => {
                    job.making.exclude = self.several(key_name, value)?.into_iter().map(|(text, _)| text).collect();
                }
                "exclude_database" => job.making.exclude_database = flag()?,
                "everything" => job.making.everything = flag()?,
                "gentle" => job.making.gentle = flag()?,
                "uncompressed" => job.making.uncompressed = flag()?,
                "level" => {
                    job.making.level = match text()?.as_str() {
                        "fast" => Level::Fast,
                        "balanced" => Level::Balanced,
                        "small" => Level::Small,
                        other => return Err(wrong(format!("{other:?} is not one of fast, balanced, small"))),
                    }
                }
                "rehearse" => {
                    let [schedule] = <[Schedule; 1]>::try_from(self.schedules(value)?)
                        .map_err(|_| wrong("write one schedule, for example \"weekly\"".to_owned()))?;
                    job.rehearse = Some(schedule);
                }
                "boot" => job.boot = Some(text()?),
                "before" => job.hooks.before = Some(text()?),
                "after" => job.hooks.after = Some(text()?),
                "hook_timeout" => job.hooks.time_limit = duration(&text()?).map_err(wrong)?,
                "jitter" => job.jitter = duration(&text()?).map_err(wrong)?,
                "overdue_after" => overdue_after = Some(duration(&text()?).map_err(wrong)?),
                "most_removals" => {
                    job.most_removals = text()?.parse().map_err(|_| wrong("write a whole number".to_owned()))?;
                }
                "paused" => job.paused = flag()?,
                "at" => {
                    for (place, value) in self.table(&format!("jobs.{name}.at"), value)? {
                        let place_name = place.get_ref().as_ref();
                        if !named.iter().any(|named| named == place_name) {
                            let message = format!("{place_name:?} is not among the destinations of [jobs.{name}]");
                            return Err(self.wrong(place.span().start, message));
                        }
                        at.insert(place_name.to_owned(), self.at(&format!("jobs.{name}.at.{place_name}"), value)?);
                    }
                }
                _ if !self.policy(&mut policy, key_name, value)? => {
                    return Err(self.unknown(key.span().start, "key", key_name, KEYS.iter().copied()));
                }
                _ => {}
            }
        }
        job.destinations = named
            .into_iter()
            .map(|destination| {
                let (own, schedules) = at.remove(&destination).unwrap_or_default();
                Target {
                    keep: own.keep.or(policy.keep),
                    schedules,
                    verify_every: Some(own.verify_every.or(policy.verify_every).unwrap_or(VERIFY_EVERY))
                        .filter(|every| *every != Duration::MAX),
                    by_samples: own.by_samples.or(policy.by_samples).unwrap_or(false),
                    limit: own.limit.or(policy.limit),
                    hours: own.hours.or(policy.hours),
                    destination,
                }
            })
            .collect();
        job.overdue_after = overdue_after.unwrap_or_else(|| usually(&job));
        if let Some((_, exclude)) = table.iter().find(|(key, _)| job.making.everything && key.get_ref() == "exclude") {
            let message = "exclude: Supervisor writes a backup of everything, and leaves out nothing but the database";
            return Err(self
                .wrong(exclude.span().start, message)
                .hint("use `exclude_database = true`, or a job of its own for the configuration alone"));
        }
        let grows =
            |target: &Target| Some((target.destination.clone(), destinations[&target.destination].in_every_backup()?));
        if let Some((place, folder)) = job.destinations.iter().find_map(grows).filter(|_| job.making.everything) {
            let message = format!(
                "{place:?} is in {folder}, which each backup of everything contains, so each would contain all earlier \
                 ones"
            );
            return Err(self.wrong(named_at, message).hint(format!(
                "use a destination elsewhere; if {place:?} is a folder of a network storage, say `must_be_mounted = true` \
                 in [destinations.{place}]"
            )));
        }
        Ok(job)
    }

    fn destinations_of(
        &self,
        job: &str,
        value: &Value<'_>,
        known: &BTreeMap<String, Named>,
    ) -> Result<Vec<String>, Failure> {
        let mut named: Vec<String> = Vec::new();
        for (name, at) in self.several("destinations", value)? {
            if !known.contains_key(&name) {
                return Err(self
                    .unknown(at, "destination", &name, known.keys().map(String::as_str))
                    .hint(format!("define it as [destinations.{name}] with a url")));
            }
            if named.contains(&name) {
                return Err(self.wrong(at, format!("[jobs.{job}] names the destination {name:?} twice")));
            }
            let is_there = |other: &&String| known[*other].is_plainly(&known[&name]);
            if let Some(other) = named.iter().find(is_there) {
                let message = format!(
                    "[jobs.{job}]: {other:?} and {name:?} are the same place, so there would be one copy, not two"
                );
                return Err(self.wrong(at, message).hint("name one of them, or give the other one another url"));
            }
            named.push(name);
        }
        if named.is_empty() {
            return Err(self.wrong(value.span().start, format!("[jobs.{job}] has no destination")));
        }
        Ok(named)
    }

    /// What differs at one destination.
    fn at(&self, name: &str, value: &Value<'_>) -> Result<(Policy, Option<Vec<Schedule>>), Failure> {
        let (mut policy, mut schedules) = (Policy::default(), None);
        for (key, value) in self.table(name, value)? {
            let key_name = key.get_ref().as_ref();
            if key_name == "schedule" {
                schedules = Some(self.schedules(value)?);
            } else if !self.policy(&mut policy, key_name, value)? {
                return Err(self.unknown(key.span().start, "key", key_name, KEYS_AT.iter().copied()));
            }
        }
        Ok((policy, schedules))
    }

    /// Reads a key of a policy; false if it is none.
    fn policy(&self, policy: &mut Policy, key: &str, value: &Value<'_>) -> Result<bool, Failure> {
        let wrong = |reason: String| self.wrong(value.span().start, format!("{key}: {reason}"));
        match key {
            "keep" => policy.keep = Some(self.rules(value)?),
            "verify_every" => {
                let text = self.scalar(key, value)?;
                policy.verify_every =
                    Some(if text == "never" { Duration::MAX } else { duration(&text).map_err(wrong)? });
            }
            "verify_by" => {
                policy.by_samples = Some(match self.scalar(key, value)?.as_str() {
                    "samples" => true,
                    "whole" => false,
                    other => return Err(wrong(format!("{other:?} is neither \"whole\" nor \"samples\""))),
                });
            }
            "limit" => policy.limit = Some(rate(&self.scalar(key, value)?).map_err(wrong)?),
            "hours" => policy.hours = Some(Hours::parse(&self.scalar(key, value)?).map_err(wrong)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn rules(&self, value: &Value<'_>) -> Result<Rules, Failure> {
        let mut rules = Rules::default();
        for (key, value) in self.table("keep", value)? {
            let key_name = key.get_ref().as_ref();
            let wrong = |reason: String| self.wrong(value.span().start, format!("{key_name}: {reason}"));
            let text = self.scalar(key_name, value)?;
            let count = || text.parse::<u32>().map_err(|_| wrong("write a whole number".to_owned()));
            match key_name {
                "last" => rules.last = count()?,
                "daily" => rules.daily = count()?,
                "weekly" => rules.weekly = count()?,
                "monthly" => rules.monthly = count()?,
                "yearly" => rules.yearly = count()?,
                "within" => rules.within = Some(span(&text).map_err(wrong)?),
                _ => return Err(self.unknown(key.span().start, "rule", key_name, KEYS_OF_KEEP.iter().copied())),
            }
        }
        if rules.keep_nothing() {
            return Err(self
                .wrong(value.span().start, "keep: the rules keep nothing")
                .hint("for example: keep = { last = 3, daily = 7, weekly = 4 }; without keep, everything stays"));
        }
        Ok(rules)
    }

    fn schedules(&self, value: &Value<'_>) -> Result<Vec<Schedule>, Failure> {
        let texts = self.several("schedule", value)?;
        texts.into_iter().map(|(text, at)| Schedule::parse(&text).map_err(|reason| self.wrong(at, reason))).collect()
    }

    /// One text or several, and where each is.
    pub(super) fn several(&self, key: &str, value: &Value<'_>) -> Result<Vec<(String, usize)>, Failure> {
        match value.get_ref() {
            DeValue::Array(items) => {
                items.iter().map(|item| Ok((self.scalar(key, item)?, item.span().start))).collect()
            }
            _ => Ok(vec![(self.scalar(key, value)?, value.span().start)]),
        }
    }

    /// All jobs, once the destinations are known.
    pub(super) fn jobs(
        &self,
        table: &DeTable<'_>,
        destinations: &BTreeMap<String, Named>,
    ) -> Result<Vec<Job>, Failure> {
        let mut jobs = Vec::new();
        for (name, value) in table {
            let text = name.get_ref().as_ref();
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if text.is_empty() || !text.chars().all(is_plain) {
                let message = format!("{text:?} can't be a job's name; use letters, digits, - and _");
                return Err(self.wrong(name.span().start, message));
            }
            jobs.push(self.job(text, value, destinations)?);
        }
        jobs.sort_by(|a, b| a.name.cmp(&b.name));
        for (at, job) in jobs.iter().enumerate() {
            for other in jobs[..at].iter().filter(|other| other.source == job.source) {
                let at = |target: &Target| &destinations[&target.destination];
                let is_used = |target: &&Target| other.destinations.iter().any(|used| at(used).is_plainly(at(target)));
                if let Some(both) = job.destinations.iter().find(is_used) {
                    let (place, value) = (&both.destination, table.get(job.name.as_str()));
                    let message = format!(
                        "[jobs.{}] and [jobs.{}] have the same source and both have their backups at {place:?}, so \
                         each would remove what the other keeps",
                        other.name, job.name
                    );
                    return Err(self.wrong(value.map_or(0, |value| value.span().start), message).hint(format!(
                        "use one job; [jobs.{}.at.{place}] can have a schedule and rules of its own",
                        other.name
                    )));
                }
            }
        }
        Ok(jobs)
    }
}

/// Twice the longest time between two backups that the schedules plan. A night on which clocks change makes it no longer.
fn usually(job: &Job) -> Duration {
    let zone = jiff::tz::TimeZone::UTC;
    let mut at = jiff::Timestamp::now();
    let mut longest = 0;
    let schedules =
        job.schedules.iter().chain(job.destinations.iter().filter_map(|target| target.schedules.as_ref()).flatten());
    for _ in 0..16 {
        let Some(next) = schedules.clone().filter_map(|schedule| schedule.after(at, &zone)).min() else {
            return Duration::MAX;
        };
        longest = longest.max(next.as_second() - at.as_second());
        at = next;
    }
    Duration::from_secs(u64::try_from(longest * OVERDUE_INTERVALS).unwrap_or(0)).max(OVERDUE_LEAST)
}

#[cfg(test)]
mod tests;
