//! Decides which archives to keep, from plain facts: the existing archives, the user's rules, and a given clock. It
//! removes nothing itself.
//!
//! A rule like `daily: 7` keeps the newest archive of each of the seven latest days that have one, by the local
//! calendar. An archive that one rule keeps is kept. Nothing is lost by mistake: damaged archives and those with a date
//! in the future never represent a day; pinned ones and those of others stay; and so do the newest whole archive of
//! each instance and the newest with the history, whatever the rules say. The rules apply to each instance of Home
//! Assistant separately. An incomplete archive never replaces a whole one: it represents only days that have no whole
//! one, and counts separately; one without the history represents a day only if no other whole one of that day has it.
//! The caller finds out what an archive is, and removes it.
//!
//! One archive may have several names: copies, hard links, symbolic links, spellings that the destination does not
//! distinguish. It counts once, and while one of its names stays, all of them do. An archive from a paired machine
//! counts on the day it arrived, among the archives of that machine, and only a week after it arrived.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
};

use jiff::{Span, Timestamp, Zoned, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// A clock that differs by less is no reason for caution.
const SLACK_SECONDS: i64 = 3600;
const DAY_SECONDS: i64 = 86_400;
/// An archive from a paired machine replaces no other before so much time has passed.
const WAITING_SECONDS: i64 = 7 * DAY_SECONDS;
/// An archive may take so long from its beginning to its arrival, with a line that is down on the way.
const ON_THE_WAY_SECONDS: i64 = 7 * DAY_SECONDS;

/// The program that made something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Haul.
    Own,
    /// Home Assistant, or another program that makes its backups.
    Other,
    /// It can't be read as a backup.
    Unknown,
    /// Its bytes can't be read at all.
    Unreadable,
}

/// What an archive is worth, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Worth {
    /// Nothing is missing, as far as anybody knows.
    Whole,
    /// It restores, and something is missing.
    Incomplete,
    /// Its outer structure is damaged.
    Damaged,
}

/// Something at the destination that could be removed.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name there.
    pub name: String,
    /// When it was made.
    pub when: Timestamp,
    /// The program that made it.
    pub origin: Origin,
    /// The user said never to remove it.
    pub pinned: bool,
    /// What it is worth.
    pub worth: Worth,
    /// Of which instance of Home Assistant it is; those that do not say it are one of their own.
    pub instance: Option<String>,
    /// The history is in it, as far as anybody knows.
    pub history: bool,
    /// It is a symbolic link.
    pub link: bool,
    /// What the archive says of itself: two names with the same are names of one archive.
    pub content: Option<String>,
    /// How it came here, when a paired machine sent it.
    pub arrival: Option<Arrival>,
}

/// When a paired machine's archive came, as the receiver noted it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The receiver's clock.
    pub when: Timestamp,
    /// The machine.
    pub sender: String,
}

impl Candidate {
    /// The moment that the calendar goes by. What somebody else's machine wrote into an archive decides about no other
    /// archive.
    fn moment(&self) -> Timestamp {
        self.arrival.as_ref().map_or(self.when, |arrival| arrival.when)
    }
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
        self.last == 0
            && self.daily == 0
            && self.weekly == 0
            && self.monthly == 0
            && self.yearly == 0
            && self.within.is_none()
    }
}

/// Why something is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The user pinned it.
    Pinned,
    /// Somebody else made it.
    Foreign,
    /// It can't be read as a backup, so it does not concern us.
    NotABackup,
    /// It could not be examined.
    Unreadable,
    /// It is a symbolic link, so it is not an archive of its own.
    Link,
    /// A symbolic link of this name leads to it.
    LinkedBy(String),
    /// This other name of the same archive stays.
    SameAs(String),
    /// The destination lists its name more than once, so nobody knows what would be removed.
    ListedTwice,
    /// Its date is after the clock, so one of the two is wrong.
    Ahead,
    /// Its date is later than its arrival, or long before it.
    OddDate,
    /// A paired machine sent it less than a week ago.
    JustArrived,
    /// It is damaged, but nothing newer is whole.
    BetterThanNothing,
    /// It is incomplete, but nothing else of this instance is whole.
    NothingWhole,
    /// The newest whole archive.
    Newest,
    /// The newest whole archive that has the history.
    NewestHistory,
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
            Self::Link => f.write_str("a link"),
            Self::LinkedBy(name) => write!(f, "the link {name} leads to it"),
            Self::SameAs(name) => write!(f, "the same archive as {name}"),
            Self::ListedTwice => f.write_str("listed more than once"),
            Self::Ahead => f.write_str("dated ahead of the clock"),
            Self::OddDate => f.write_str("its date does not fit its arrival"),
            Self::JustArrived => f.write_str("arrived less than a week ago"),
            Self::BetterThanNothing => f.write_str("damaged, but nothing newer is whole"),
            Self::NothingWhole => f.write_str("newest incomplete, and nothing is whole"),
            Self::Newest => f.write_str("newest whole"),
            Self::NewestHistory => f.write_str("newest with history"),
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

/// Decides what to keep; the newest comes first. `now` brings the time zone of the calendar. Names order archives of
/// the same moment, so that the plan does not depend on the order in which they are listed. Each name is decided about
/// once.
pub fn plan(candidates: &[Candidate], rules: &Rules, now: &Zoned) -> Vec<Decision> {
    let mut names: BTreeMap<&str, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        names.entry(&candidate.name).or_default().push(candidate);
    }
    let mut decisions = Vec::new();
    let mut groups: BTreeMap<(Option<&str>, Option<&str>), Vec<&Candidate>> = BTreeMap::new();
    for listed in names.values() {
        match listed[..] {
            [candidate] => {
                let sender = candidate.arrival.as_ref().map(|arrival| arrival.sender.as_str());
                groups.entry((candidate.instance.as_deref(), sender)).or_default().push(candidate);
            }
            [candidate, ..] => decisions.push(Decision {
                name: candidate.name.clone(),
                when: candidate.moment(),
                keep: vec![Reason::ListedTwice],
            }),
            [] => {}
        }
    }
    decisions.extend(groups.into_values().flat_map(|group| Group::new(group, rules, now).plan()));
    decisions.sort_by(|a, b| (b.when, &b.name).cmp(&(a.when, &a.name)));
    keep_other_names(&mut decisions, &names);
    decisions
}

/// As long as an archive stays under one name it stays under all: one that seems to be a copy may be the same file.
fn keep_other_names(decisions: &mut [Decision], names: &BTreeMap<&str, Vec<&Candidate>>) {
    let contents =
        |name: &str| names.get(name).into_iter().flatten().filter_map(|candidate| candidate.content.as_deref());
    let mut staying: BTreeMap<&str, Reason> = BTreeMap::new();
    for decision in decisions.iter().filter(|decision| !decision.is_removed()) {
        let name = decision.name.clone();
        let because = if decision.keep.contains(&Reason::Link) { Reason::LinkedBy(name) } else { Reason::SameAs(name) };
        for content in contents(&decision.name) {
            staying.entry(content).or_insert_with(|| because.clone());
        }
    }
    for decision in decisions.iter_mut().filter(|decision| decision.is_removed()) {
        decision.keep.extend(contents(&decision.name).find_map(|content| staying.get(content)).cloned());
    }
}

/// The instances from which the plan removes archives although none of theirs is whole. An archive that does not say
/// whose it is may be anybody's: for such any whole one counts.
pub fn without_whole<'c>(
    candidates: &'c [Candidate],
    decisions: &[Decision],
    rules: &Rules,
    now: &Zoned,
) -> Vec<Option<&'c str>> {
    let removed = |candidate: &Candidate| {
        decisions.iter().any(|decision| decision.is_removed() && decision.name == candidate.name)
    };
    let is_whole = |candidate: &&Candidate| rules.count(candidate, now) && candidate.worth == Worth::Whole;
    let touched: BTreeSet<Option<&str>> = candidates
        .iter()
        .filter(|candidate| removed(candidate))
        .map(|candidate| candidate.instance.as_deref())
        .collect();
    let has_whole = |instance: Option<&str>| {
        candidates.iter().filter(is_whole).any(|whole| instance.is_none() || whole.instance.as_deref() == instance)
    };
    touched.into_iter().filter(|instance| !has_whole(*instance)).collect()
}

impl Rules {
    /// Whether an archive is one that the rules are about, and its date can be believed.
    fn count(&self, candidate: &Candidate, now: &Zoned) -> bool {
        self.own(candidate) && !candidate.link && doubt(candidate, now).is_none()
    }

    fn own(&self, candidate: &Candidate) -> bool {
        match candidate.origin {
            Origin::Own => true,
            Origin::Other => self.include_foreign,
            Origin::Unknown | Origin::Unreadable => false,
        }
    }
}

/// Why the moment of an archive is not believed, or not yet.
fn doubt(candidate: &Candidate, now: &Zoned) -> Option<Reason> {
    let (moment, now) = (candidate.moment().as_second(), now.timestamp().as_second());
    if let Some(arrival) = &candidate.arrival {
        let on_the_way = arrival.when.as_second() - candidate.when.as_second();
        if !(-SLACK_SECONDS..=ON_THE_WAY_SECONDS).contains(&on_the_way) {
            return Some(Reason::OddDate);
        }
    }
    if moment > now + SLACK_SECONDS {
        return Some(Reason::Ahead);
    }
    (candidate.arrival.is_some() && now - moment < WAITING_SECONDS).then_some(Reason::JustArrived)
}

/// The archives of one instance that came the same way, the newest first. Each is a list of its names; what is true of
/// the first is true of all.
struct Group<'a> {
    sorted: Vec<Vec<&'a Candidate>>,
    rules: &'a Rules,
    now: &'a Zoned,
}

impl<'a> Group<'a> {
    fn new(mut all: Vec<&'a Candidate>, rules: &'a Rules, now: &'a Zoned) -> Self {
        all.sort_by(|a, b| (b.moment(), &b.name).cmp(&(a.moment(), &a.name)));
        let mut sorted: Vec<Vec<&Candidate>> = Vec::new();
        for candidate in all {
            let same = |names: &&mut Vec<&'a Candidate>| names.first().is_some_and(|first| is_same(first, candidate));
            match sorted
                .iter_mut()
                .rev()
                .take_while(|names| names.first().is_some_and(|first| first.moment() == candidate.moment()))
                .find(same)
            {
                Some(names) => names.push(candidate),
                None => sorted.push(vec![candidate]),
            }
        }
        Self { sorted, rules, now }
    }

    /// Those of this worth that the rules count, and their positions.
    fn counted(&self, worth: Worth) -> Vec<(usize, &'a Candidate)> {
        let first = self.sorted.iter().enumerate().filter_map(|(at, names)| Some((at, *names.first()?)));
        first.filter(|(_, candidate)| candidate.worth == worth && self.rules.count(candidate, self.now)).collect()
    }

    fn plan(&self) -> Vec<Decision> {
        let zone = self.now.time_zone();
        let (whole, mut incomplete) = (self.counted(Worth::Whole), self.counted(Worth::Incomplete));
        let newest = whole.first().copied();
        let mut keep: Vec<Vec<Reason>> = vec![Vec::new(); self.sorted.len()];
        if let Some(((_, newest), span)) = newest.or_else(|| incomplete.first().copied()).zip(self.rules.within) {
            // A stretch beyond the calendar's beginning takes in everything.
            let since = newest
                .moment()
                .to_zoned(zone.clone())
                .checked_sub(span)
                .map_or(Timestamp::MIN, |since| since.timestamp());
            for (reasons, names) in keep.iter_mut().zip(&self.sorted) {
                if names.first().is_some_and(|first| self.rules.count(first, self.now) && first.moment() >= since) {
                    reasons.push(Reason::Within);
                }
            }
        }
        match newest {
            Some((at, _)) => keep[at].push(Reason::Newest),
            None => incomplete.iter().take(1).for_each(|(at, _)| keep[*at].push(Reason::NothingWhole)),
        }
        if let Some((at, _)) = whole
            .iter()
            .find(|(_, candidate)| candidate.history)
            .filter(|(at, _)| Some(*at) != newest.map(|(at, _)| at))
        {
            keep[*at].push(Reason::NewestHistory);
        }
        let by_rules = by_rules(&whole, self.rules, zone, &HashSet::new());
        let oldest = whole
            .iter()
            .zip(&by_rules)
            .filter(|(_, reasons)| !reasons.is_empty())
            .map(|((_, candidate), _)| candidate.moment())
            .min();
        whole.iter().zip(by_rules).for_each(|((at, _), reasons)| keep[*at].extend(reasons));
        // Incomplete ones are counted apart, so that none of them pushes out a whole one, and go when whole ones of
        // their age go.
        let taken = whole.iter().flat_map(|(_, candidate)| periods(candidate.moment(), zone)).collect();
        incomplete.retain(|(_, candidate)| oldest.is_none_or(|oldest| candidate.moment() > oldest));
        let newer = incomplete.iter().filter(|(at, _)| newest.is_none_or(|(newest, _)| *at < newest)).count();
        let rules = Rules { last: self.rules.last.min(u32::try_from(newer).unwrap_or(u32::MAX)), ..*self.rules };
        let by_rules = self::by_rules(&incomplete, &rules, zone, &taken);
        incomplete.iter().zip(by_rules).for_each(|((at, _), reasons)| keep[*at].extend(reasons));
        let decided = self.sorted.iter().zip(keep).enumerate().flat_map(|(at, (names, keep))| {
            let whole_before = newest.is_some_and(|(newest, _)| newest < at);
            let decision = move |candidate: &&Candidate| {
                let keep = [self.reasons(candidate, whole_before), keep.clone()].concat();
                Decision { name: candidate.name.clone(), when: candidate.moment(), keep }
            };
            names.iter().map(decision)
        });
        decided.collect()
    }

    /// Why it stays whatever the rules say.
    fn reasons(&self, candidate: &Candidate, whole_before: bool) -> Vec<Reason> {
        let mut keep = Vec::new();
        if candidate.pinned {
            keep.push(Reason::Pinned);
        }
        match candidate.origin {
            _ if candidate.link => keep.push(Reason::Link),
            Origin::Unknown => keep.push(Reason::NotABackup),
            Origin::Unreadable => keep.push(Reason::Unreadable),
            Origin::Other if !self.rules.include_foreign => keep.push(Reason::Foreign),
            _ => match doubt(candidate, self.now) {
                Some(doubt) => keep.push(doubt),
                None if candidate.worth == Worth::Damaged && !whole_before => keep.push(Reason::BetterThanNothing),
                None => {}
            },
        }
        keep
    }
}

/// Whether two names belong to one archive that nothing else distinguishes.
fn is_same(one: &Candidate, other: &Candidate) -> bool {
    one.content.is_some()
        && one.content == other.content
        && (one.origin, one.worth, one.link) == (other.origin, other.worth, other.link)
}

/// What each rule keeps of these, the newest first. Of a day, a week, a month and a year it is the newest, or the
/// newest with the history if any has it.
fn by_rules(
    counted: &[(usize, &Candidate)],
    rules: &Rules,
    zone: &TimeZone,
    taken: &HashSet<Reason>,
) -> Vec<Vec<Reason>> {
    let mut keep: Vec<Vec<Reason>> = vec![Vec::new(); counted.len()];
    keep.iter_mut().take(rules.last as usize).for_each(|reasons| reasons.push(Reason::Last));
    let periods: Vec<[Reason; 4]> = counted.iter().map(|(_, candidate)| periods(candidate.moment(), zone)).collect();
    for (rule, count) in [rules.daily, rules.weekly, rules.monthly, rules.yearly].into_iter().enumerate() {
        // The period, and the archive that represents it.
        let mut standing: Vec<(&Reason, usize)> = Vec::new();
        for (at, (_, candidate)) in counted.iter().enumerate() {
            let period = &periods[at][rule];
            if let Some((_, best)) = standing.last_mut().filter(|(latest, _)| *latest == period) {
                if candidate.history && !counted[*best].1.history {
                    *best = at;
                }
            } else if standing.len() < count as usize && !taken.contains(period) {
                standing.push((period, at));
            }
        }
        for (period, at) in standing {
            keep[at].push(period.clone());
        }
    }
    keep
}

/// The day, week, month and year of a moment.
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
