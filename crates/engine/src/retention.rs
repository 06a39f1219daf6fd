//! Which archives to keep: a decision without any doing, from what is there, the user's rules, and a clock that is handed in.
//!
//! A rule like `daily: 7` keeps the newest archive of each of the seven latest days that have one, by the local calendar. Whatever one rule keeps is kept.
//! Nothing is lost by mistake: damaged archives and such with a date that lies ahead never stand for a day, pinned ones and those of others stay, and so does the
//! newest whole archive whatever the rules say. Finding out what an archive is, and removing it, is the caller's.

use std::fmt;

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
    /// As far as its outer structure tells, nothing is missing.
    pub whole: bool,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The user pinned it.
    Pinned,
    /// Somebody else made it.
    Foreign,
    /// It can't be read as a backup, so it is none of our business.
    NotABackup,
    /// Its date lies ahead of the clock, so one of the two is wrong.
    Ahead,
    /// It is damaged, but nothing newer is whole.
    BetterThanNothing,
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
            Self::Ahead => f.write_str("dated ahead of the clock"),
            Self::BetterThanNothing => f.write_str("damaged, but nothing newer is whole"),
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
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_by(|a, b| (b.when, &b.name).cmp(&(a.when, &a.name)));
    let ours = |candidate: &Candidate| match candidate.origin {
        Origin::Own => true,
        Origin::Other => rules.include_foreign,
        Origin::Unknown => false,
    };
    let ahead = |candidate: &Candidate| candidate.when.as_second() > now.timestamp().as_second() + SLACK_SECONDS;
    let counts = |candidate: &Candidate| ours(candidate) && candidate.whole && !ahead(candidate);
    let newest = sorted.iter().find(|candidate| counts(candidate)).map(|candidate| candidate.when);
    // A stretch beyond the calendar's beginning takes in everything.
    let since = newest
        .zip(rules.within)
        .map(|(newest, span)| newest.to_zoned(now.time_zone().clone()).checked_sub(span).map_or(Timestamp::MIN, |since| since.timestamp()));

    let mut slots = Slots::new(rules, now.time_zone());
    let mut whole_before = false;
    let mut decisions = Vec::new();
    for candidate in sorted {
        let mut keep = Vec::new();
        if candidate.pinned {
            keep.push(Reason::Pinned);
        }
        match candidate.origin {
            Origin::Unknown => keep.push(Reason::NotABackup),
            Origin::Other if !rules.include_foreign => keep.push(Reason::Foreign),
            _ if ahead(candidate) => keep.push(Reason::Ahead),
            _ if !candidate.whole && !whole_before => keep.push(Reason::BetterThanNothing),
            _ => {}
        }
        if ours(candidate) && !ahead(candidate) && since.is_some_and(|since| candidate.when >= since) {
            keep.push(Reason::Within);
        }
        if counts(candidate) {
            if !whole_before {
                keep.push(Reason::Newest);
            }
            whole_before = true;
            keep.extend(slots.take(candidate.when));
        }
        decisions.push(Decision { name: candidate.name.clone(), when: candidate.when, keep });
    }
    decisions
}

/// How much of each rule is left, going from the newest to the oldest.
struct Slots<'z> {
    zone: &'z TimeZone,
    last: u32,
    // How many more may be kept, and the latest that was.
    periods: [(u32, Option<Reason>); 4],
}

impl<'z> Slots<'z> {
    fn new(rules: &Rules, zone: &'z TimeZone) -> Self {
        Self { zone, last: rules.last, periods: [rules.daily, rules.weekly, rules.monthly, rules.yearly].map(|count| (count, None)) }
    }

    fn take(&mut self, when: Timestamp) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.last > 0 {
            self.last -= 1;
            reasons.push(Reason::Last);
        }
        let date = when.to_zoned(self.zone.clone()).date();
        let week = date.iso_week_date();
        let own = [
            Reason::Day(date),
            Reason::Week { year: week.year(), week: week.week() },
            Reason::Month { year: date.year(), month: date.month() },
            Reason::Year(date.year()),
        ];
        for ((left, latest), period) in self.periods.iter_mut().zip(own) {
            if *left > 0 && latest.as_ref() != Some(&period) {
                *left -= 1;
                *latest = Some(period.clone());
                reasons.push(period);
            }
        }
        reasons
    }
}
