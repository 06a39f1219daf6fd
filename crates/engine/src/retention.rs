//! Which archives to keep: a decision without any doing, from what is there, the user's rules, and a clock that is handed in.
//!
//! A rule like `daily: 7` keeps the newest archive of each of the seven latest days that have one, by the local calendar. Whatever one rule keeps is kept.
//! Nothing is lost by mistake: damaged archives and such with a date that lies ahead never stand for a day, pinned ones and those of others stay, and so does the
//! newest whole archive of each instance whatever the rules say. Each instance of Home Assistant has the rules for itself. An incomplete archive never takes a
//! whole one's place: it stands only for days that have no whole one, and is counted apart. Finding out what an archive is, and removing it, is the caller's.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    fmt,
};

use jiff::{Span, Timestamp, Zoned, civil::Date, tz::TimeZone};
use serde::Serialize;

/// A clock that differs by less is no reason for caution.
const SLACK_SECONDS: i64 = 3600;

/// Who made something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Haul.
    Own,
    /// Home Assistant, or another program that makes its backups.
    Other,
    /// It can't be read as a backup.
    Unknown,
    /// Its bytes can't be had at all.
    Unreadable,
}

/// What an archive is worth, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Worth {
    /// Nothing is missing, as far as anybody can tell.
    Whole,
    /// It restores, and something is missing.
    Incomplete,
    /// Its outer structure is damaged.
    Damaged,
}

/// Something in the place that could be removed.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name there.
    pub name: String,
    /// When it was made.
    pub when: Timestamp,
    /// Who made it.
    pub origin: Origin,
    /// The user said never to remove it.
    pub pinned: bool,
    /// What it is worth.
    pub worth: Worth,
    /// Of which instance of Home Assistant it is; those that do not say it are one of their own.
    pub instance: Option<String>,
}

/// What to keep. Zero and `None` keep nothing by that rule.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// The newest so many.
    pub last: u32,
    /// The newest of each of so many days.
    pub daily: u32,
    /// The newest of each of so many ISO weeks.
    pub weekly: u32,
    /// The newest of each of so many months.
    pub monthly: u32,
    /// The newest of each of so many years.
    pub yearly: u32,
    /// All that are at most so much older than the newest.
    pub within: Option<Span>,
    /// Treat others' backups as our own.
    pub include_foreign: bool,
}

impl Rules {
    /// True when no rule keeps anything, which can't be meant.
    pub fn keep_nothing(&self) -> bool {
        self.last == 0 && self.daily == 0 && self.weekly == 0 && self.monthly == 0 && self.yearly == 0 && self.within.is_none()
    }
}

/// Why something is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The user pinned it.
    Pinned,
    /// Somebody else made it.
    Foreign,
    /// It can't be read as a backup, so it is none of our business.
    NotABackup,
    /// Nobody could look at it.
    Unreadable,
    /// Its date lies ahead of the clock, so one of the two is wrong.
    Ahead,
    /// It is damaged, but nothing newer is whole.
    BetterThanNothing,
    /// It is incomplete, but nothing else of this instance is whole.
    NothingWhole,
    /// The newest whole archive.
    Newest,
    /// One of the newest.
    Last,
    /// At most so much older than the newest.
    Within,
    /// The newest of its day.
    Day(Date),
    /// The newest of its ISO week.
    Week {
        /// The year the week belongs to.
        year: i16,
        /// 1 to 53.
        week: i8,
    },
    /// The newest of its month.
    Month {
        /// The year.
        year: i16,
        /// 1 to 12.
        month: i8,
    },
    /// The newest of its year.
    Year(i16),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned => f.write_str("pinned"),
            Self::Foreign => f.write_str("not Haul's"),
            Self::NotABackup => f.write_str("not a backup"),
            Self::Unreadable => f.write_str("unreadable"),
            Self::Ahead => f.write_str("dated ahead of the clock"),
            Self::BetterThanNothing => f.write_str("damaged, but nothing newer is whole"),
            Self::NothingWhole => f.write_str("newest incomplete, and nothing is whole"),
            Self::Newest => f.write_str("newest whole"),
            Self::Last => f.write_str("last"),
            Self::Within => f.write_str("within"),
            Self::Day(date) => write!(f, "day {date}"),
            Self::Week { year, week } => write!(f, "week {year}-W{week:02}"),
            Self::Month { year, month } => write!(f, "month {year}-{month:02}"),
            Self::Year(year) => write!(f, "year {year}"),
        }
    }
}

fn as_text<S: serde::Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        as_text(self, serializer)
    }
}

/// What becomes of one candidate.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    /// Its name.
    pub name: String,
    /// When it was made.
    #[serde(serialize_with = "as_text")]
    pub when: Timestamp,
    /// Every reason to keep it; none: it goes.
    pub keep: Vec<Reason>,
}

impl Decision {
    /// Whether it goes.
    pub fn is_removed(&self) -> bool {
        self.keep.is_empty()
    }
}

/// Decides what to keep; the newest comes first. `now` brings the time zone of the calendar. Names tell archives of the same moment apart, so that the plan does
/// not depend on the order in which they are listed.
pub fn plan(candidates: &[Candidate], rules: &Rules, now: &Zoned) -> Vec<Decision> {
    let mut groups: BTreeMap<Option<&str>, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        groups.entry(candidate.instance.as_deref()).or_default().push(candidate);
    }
    let mut decisions: Vec<Decision> = groups.into_values().flat_map(|group| Group::new(group, rules, now).plan()).collect();
    decisions.sort_by(|a, b| (b.when, &b.name).cmp(&(a.when, &a.name)));
    decisions
}

/// The instances from which the plan removes archives although none of theirs is whole. An archive that does not say whose it is may be anybody's: for such any
/// whole one counts.
pub fn without_whole<'c>(candidates: &'c [Candidate], decisions: &[Decision], rules: &Rules, now: &Zoned) -> Vec<Option<&'c str>> {
    let removed = |candidate: &Candidate| decisions.iter().any(|decision| decision.is_removed() && decision.name == candidate.name);
    let is_whole = |candidate: &&Candidate| rules.count(candidate, now) && candidate.worth == Worth::Whole;
    let touched: BTreeSet<Option<&str>> = candidates.iter().filter(|candidate| removed(candidate)).map(|candidate| candidate.instance.as_deref()).collect();
    let has_whole = |instance: Option<&str>| candidates.iter().filter(is_whole).any(|whole| instance.is_none() || whole.instance.as_deref() == instance);
    touched.into_iter().filter(|instance| !has_whole(*instance)).collect()
}

impl Rules {
    /// Whether an archive is one that the rules are about, and its date can be believed.
    fn count(&self, candidate: &Candidate, now: &Zoned) -> bool {
        self.own(candidate) && !is_ahead(candidate, now)
    }

    fn own(&self, candidate: &Candidate) -> bool {
        match candidate.origin {
            Origin::Own => true,
            Origin::Other => self.include_foreign,
            Origin::Unknown | Origin::Unreadable => false,
        }
    }
}

fn is_ahead(candidate: &Candidate, now: &Zoned) -> bool {
    candidate.when.as_second() > now.timestamp().as_second() + SLACK_SECONDS
}

/// The archives of one instance, the newest first.
struct Group<'a> {
    sorted: Vec<&'a Candidate>,
    rules: &'a Rules,
    now: &'a Zoned,
}

impl<'a> Group<'a> {
    fn new(mut sorted: Vec<&'a Candidate>, rules: &'a Rules, now: &'a Zoned) -> Self {
        sorted.sort_by(|a, b| (b.when, &b.name).cmp(&(a.when, &a.name)));
        Self { sorted, rules, now }
    }

    fn counts(&self, candidate: &Candidate, worth: Worth) -> bool {
        self.rules.count(candidate, self.now) && candidate.worth == worth
    }

    fn newest(&self, worth: Worth) -> Option<&'a Candidate> {
        self.sorted.iter().find(|candidate| self.counts(candidate, worth)).copied()
    }

    fn plan(&self) -> Vec<Decision> {
        let zone = self.now.time_zone();
        let whole = self.newest(Worth::Whole);
        let newest = whole.or_else(|| self.newest(Worth::Incomplete)).map(|candidate| candidate.when);
        // A stretch beyond the calendar's beginning takes in everything.
        let since = newest
            .zip(self.rules.within)
            .map(|(newest, span)| newest.to_zoned(zone.clone()).checked_sub(span).map_or(Timestamp::MIN, |since| since.timestamp()));
        let wholes: Vec<Timestamp> = self.sorted.iter().filter(|candidate| self.counts(candidate, Worth::Whole)).map(|candidate| candidate.when).collect();
        let mut slots = Slots::new(self.rules, zone);
        let mut taken: VecDeque<Vec<Reason>> = wholes.iter().map(|when| slots.take(*when)).collect();
        // Incomplete ones are counted apart, so that none of them pushes out a whole one, and go when whole ones of their age go.
        let mut spare = Slots::new(self.rules, zone);
        spare.taken = wholes.iter().flat_map(|when| periods(*when, zone)).collect();
        let oldest = wholes.iter().zip(&taken).filter(|(_, reasons)| !reasons.is_empty()).map(|(when, _)| *when).min();
        let mut whole_before = false;
        let mut incomplete_before = false;
        let mut decisions = Vec::new();
        for candidate in &self.sorted {
            let mut keep = self.reasons(candidate, whole_before);
            if self.rules.count(candidate, self.now) && since.is_some_and(|since| candidate.when >= since) {
                keep.push(Reason::Within);
            }
            if self.counts(candidate, Worth::Whole) {
                if !whole_before {
                    keep.push(Reason::Newest);
                }
                whole_before = true;
                spare.last = 0;
                keep.extend(taken.pop_front().unwrap_or_default());
            } else if self.counts(candidate, Worth::Incomplete) {
                if whole.is_none() && !incomplete_before {
                    keep.push(Reason::NothingWhole);
                }
                incomplete_before = true;
                if oldest.is_none_or(|oldest| candidate.when > oldest) {
                    keep.extend(spare.take(candidate.when));
                }
            }
            decisions.push(Decision { name: candidate.name.clone(), when: candidate.when, keep });
        }
        decisions
    }

    /// Why it stays whatever the rules say.
    fn reasons(&self, candidate: &Candidate, whole_before: bool) -> Vec<Reason> {
        let mut keep = Vec::new();
        if candidate.pinned {
            keep.push(Reason::Pinned);
        }
        match candidate.origin {
            Origin::Unknown => keep.push(Reason::NotABackup),
            Origin::Unreadable => keep.push(Reason::Unreadable),
            Origin::Other if !self.rules.include_foreign => keep.push(Reason::Foreign),
            _ if is_ahead(candidate, self.now) => keep.push(Reason::Ahead),
            _ if candidate.worth == Worth::Damaged && !whole_before => keep.push(Reason::BetterThanNothing),
            _ => {}
        }
        keep
    }
}

/// How much of each rule is left, going from the newest to the oldest.
struct Slots<'z> {
    zone: &'z TimeZone,
    last: u32,
    // How many more may be kept, and the latest that was.
    periods: [(u32, Option<Reason>); 4],
    // Periods that somebody else stands for.
    taken: HashSet<Reason>,
}

impl<'z> Slots<'z> {
    fn new(rules: &Rules, zone: &'z TimeZone) -> Self {
        let periods = [rules.daily, rules.weekly, rules.monthly, rules.yearly].map(|count| (count, None));
        Self { zone, last: rules.last, periods, taken: HashSet::new() }
    }

    fn take(&mut self, when: Timestamp) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.last > 0 {
            self.last -= 1;
            reasons.push(Reason::Last);
        }
        for ((left, latest), period) in self.periods.iter_mut().zip(periods(when, self.zone)) {
            if *left > 0 && latest.as_ref() != Some(&period) && !self.taken.contains(&period) {
                *left -= 1;
                *latest = Some(period.clone());
                reasons.push(period);
            }
        }
        reasons
    }
}

/// The day, week, month and year that a moment lies in.
fn periods(when: Timestamp, zone: &TimeZone) -> [Reason; 4] {
    let date = when.to_zoned(zone.clone()).date();
    let week = date.iso_week_date();
    [
        Reason::Day(date),
        Reason::Week { year: week.year(), week: week.week() },
        Reason::Month { year: date.year(), month: date.month() },
        Reason::Year(date.year()),
    ]
}
