//! Local times on days of the calendar, in cron's terms.

use croner::{
    Weekday,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time, date},
    tz::{AmbiguousOffset, TimeZone},
};

use super::words::SHORTEST;

/// The longest a date can be away: 29 February on a given weekday, over a year like 2100.
const HORIZON_DAYS: usize = 41 * 366;
const FIELDS: &str = "minute (0-59), hour (0-23), day of the month (1-31), month (1-12) and day of the week (0-7 or \
                      sun-sat), as in \"0 4 * * *\"";
const NAMES: [&str; 5] = ["minute", "hour", "day of the month", "month", "day of the week"];
/// Days of the week in the order in which they are told.
const DAYS: [&str; 7] = ["Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays"];
/// More times of one day are told as cron's pattern is.
const MOST_TIMES: usize = 4;

/// Times of day on certain days.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Calendar {
    pattern: croner::CronPattern,
    /// In order.
    times: Vec<Time>,
    /// It names every hour, so it follows real time.
    every_hour: bool,
}

impl Calendar {
    /// Reads cron's five fields; `text` is what the user wrote.
    pub(super) fn parse(text: &str, cron: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("the schedule {text:?} can't be read: {why}");
        let fields: Vec<&str> = cron.split(' ').collect();
        match fields.len() {
            6.. => {
                let why = "cron's form has five fields here, without seconds and years";
                return Err(wrong(format!("{why}: {FIELDS}")));
            }
            5 => {}
            1 if cron.starts_with('@') => {}
            count => return Err(wrong(format!("cron's form has five fields, and this has {count}: {FIELDS}"))),
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let pattern = parser.parse(cron).map_err(|_| wrong(culprit(parser, &fields)))?.pattern;
        let (hours, minutes) = (pattern.hours.values(), pattern.minutes.values());
        let pairs = hours.iter().flat_map(|hour| minutes.iter().map(move |minute| (*hour, *minute)));
        let times: Vec<Time> = pairs
            .filter_map(|(hour, minute)| Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok())
            .collect();
        let calendar = Self { every_hour: hours.len() == 24, pattern, times };
        if calendar.times.windows(2).any(|pair| pair[0].duration_until(pair[1]) < SHORTEST) {
            return Err(wrong("it comes more often than every 5 minutes".to_owned()));
        }
        let is_due = calendar.days_from(date(2000, 1, 1)).next().is_some() && !calendar.times.is_empty();
        if is_due { Ok(calendar) } else { Err(wrong("it is never due, for there is no such day".to_owned())) }
    }

    fn has(&self, date: Date) -> bool {
        let weekday = match date.weekday() {
            jiff::civil::Weekday::Sunday => Weekday::Sunday,
            jiff::civil::Weekday::Monday => Weekday::Monday,
            jiff::civil::Weekday::Tuesday => Weekday::Tuesday,
            jiff::civil::Weekday::Wednesday => Weekday::Wednesday,
            jiff::civil::Weekday::Thursday => Weekday::Thursday,
            jiff::civil::Weekday::Friday => Weekday::Friday,
            jiff::civil::Weekday::Saturday => Weekday::Saturday,
        };
        let (month, day) = (u32::from(date.month().unsigned_abs()), u32::from(date.day().unsigned_abs()));
        self.pattern.month_match(month).unwrap_or(false)
            && self.pattern.day_match(i32::from(date.year()), month, day, weekday).unwrap_or(false)
    }

    /// The days that it names, from this one on.
    fn days_from(&self, date: Date) -> impl Iterator<Item = Date> {
        std::iter::successors(Some(date), |date| date.tomorrow().ok()).take(HORIZON_DAYS).filter(|date| self.has(*date))
    }

    /// The first moment after `last`.
    pub(super) fn after(&self, last: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // What yesterday's gap moved may be today, and in a doubled hour around midnight yesterday comes back.
        let today = zone.to_datetime(last).date();
        let mut days = self.days_from(today.yesterday().unwrap_or(today));
        let first = |date: Date| self.moments(date, zone).filter(|moment| *moment > last).min();
        let (date, found) = days.find_map(|date| Some((date, first(date)?)))?;
        // In a doubled hour around midnight, the next day begins before this one has ended.
        let next = days.next().filter(|next| date.tomorrow().is_ok_and(|tomorrow| tomorrow == *next)).and_then(first);
        Some(next.map_or(found, |next| found.min(next)))
    }

    fn moments<'a>(&'a self, date: Date, zone: &'a TimeZone) -> impl Iterator<Item = Timestamp> + 'a {
        let is_missing = !self.every_hour && is_missing(date, zone);
        let times = if is_missing && date.tomorrow().is_ok_and(|next| self.has(next)) { &[] } else { &*self.times };
        times.iter().flat_map(move |time| {
            let moments = moments(date.to_datetime(*time), zone);
            let [first, second] = if self.every_hour {
                [moments.first, moments.second]
            } else {
                [moments.first.or(moments.after_gap), None]
            };
            first.into_iter().chain(second)
        })
    }

    /// In plain words.
    pub(super) fn describe(&self) -> String {
        match self.days().zip(self.hours()) {
            Some((days, hours)) if self.every_hour && days == "every day" => hours,
            Some((days, hours)) if self.every_hour => format!("{days}, {hours}"),
            Some((days, hours)) => format!("{days} {hours}"),
            None => {
                let text = self.pattern.describe();
                let text = text.trim_end_matches('.');
                let mut letters = text.chars();
                letters.next().map_or_else(String::new, |first| format!("{}{}", first.to_lowercase(), letters.as_str()))
            }
        }
    }

    fn hours(&self) -> Option<String> {
        let minutes = self.pattern.minutes.values();
        let step = minutes.get(1).filter(|_| minutes.len() > 1 && minutes[0] == 0).copied();
        match (&minutes[..], step) {
            ([0], _) if self.every_hour => Some("every hour".to_owned()),
            ([1], _) if self.every_hour => Some("every hour, a minute past".to_owned()),
            ([minute], _) if self.every_hour => Some(format!("every hour, {minute} minutes past")),
            (_, Some(step)) if self.every_hour && (0..60).step_by(usize::from(step)).eq(minutes.iter().copied()) => {
                (60 % step == 0).then(|| format!("every {step} minutes"))
            }
            _ if self.every_hour || self.times.len() > MOST_TIMES => None,
            _ => Some(format!("at {}", listed(&self.times.iter().copied().map(clock).collect::<Vec<_>>()))),
        }
    }

    fn days(&self) -> Option<String> {
        let pattern = &self.pattern;
        if pattern.months.values().len() != 12 || pattern.days_of_week.has_modifiers() {
            return None;
        }
        let week: Vec<usize> = pattern.days_of_week.values().into_iter().map(usize::from).collect();
        match (pattern.is_dom_wildcard(), pattern.is_dow_wildcard()) {
            (true, true) => Some("every day".to_owned()),
            (true, false) => Some(match &week[..] {
                [0, 1, 2, 3, 4, 5, 6] => "every day".to_owned(),
                [1, 2, 3, 4, 5] => "Mondays to Fridays".to_owned(),
                [0, 6] => "Saturdays and Sundays".to_owned(),
                week => {
                    let from_monday = week.iter().filter(|day| **day > 0).chain(week.iter().filter(|day| **day == 0));
                    listed(&from_monday.filter_map(|day| DAYS.get(*day).copied()).collect::<Vec<_>>())
                }
            }),
            (false, true) => match (&pattern.days.values()[..], pattern.days.has_modifiers()) {
                ([], true) if *pattern.as_str().split(' ').collect::<Vec<_>>().get(2)? == "L" => {
                    Some("the last day of each month".to_owned())
                }
                ([day], false) if *day > 28 => Some(format!("the {} of each month that has one", ordinal(*day))),
                ([day], false) => Some(format!("the {} of each month", ordinal(*day))),
                _ => None,
            },
            (false, false) => None,
        }
    }
}

/// Which field is wrong.
fn culprit(parser: CronParser, fields: &[&str]) -> String {
    let is_wrong = |(at, field): &(usize, &&str)| {
        let mut others = ["*"; 5];
        others[*at] = field;
        parser.parse(&others.join(" ")).is_err()
    };
    match fields.iter().enumerate().take(NAMES.len()).find(is_wrong) {
        Some((at, field)) if fields.len() == NAMES.len() => {
            format!("{field:?} is no {}; cron's five fields are {FIELDS}", NAMES[at])
        }
        _ => format!("cron's five fields are {FIELDS}"),
    }
}

/// `15th`.
fn ordinal(number: u16) -> String {
    let end = match number {
        1 | 21 | 31 => "st",
        2 | 22 => "nd",
        3 | 23 => "rd",
        _ => "th",
    };
    format!("{number}{end}")
}

/// `a, b and c`.
fn listed<T: AsRef<str>>(parts: &[T]) -> String {
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    match &parts[..] {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => parts.concat(),
    }
}

/// `04:45`.
pub(super) fn clock(time: Time) -> String {
    time.strftime("%H:%M").to_string()
}

/// When a local time is.
pub(super) struct Moments {
    /// The first time.
    pub(super) first: Option<Timestamp>,
    /// The second time, when the clocks were put back.
    pub(super) second: Option<Timestamp>,
    /// It does not exist: the moment at which the clocks were put forward over it.
    pub(super) after_gap: Option<Timestamp>,
}

pub(super) fn moments(local: DateTime, zone: &TimeZone) -> Moments {
    let mut moments = Moments { first: None, second: None, after_gap: None };
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => moments.first = offset.to_timestamp(local).ok(),
        AmbiguousOffset::Fold { before, after } => {
            moments.first = before.to_timestamp(local).ok();
            moments.second = after.to_timestamp(local).ok();
        }
        AmbiguousOffset::Gap { before, after } => {
            let earlier = after.to_timestamp(local).ok();
            let changed = |at: &Timestamp| zone.to_offset(*at) != before;
            moments.after_gap =
                earlier.and_then(|earlier| zone.following(earlier).map(|next| next.timestamp()).take(4).find(changed));
        }
    }
    moments
}

/// The clocks were put forward over the whole day.
fn is_missing(date: Date, zone: &TimeZone) -> bool {
    let gap = |time: Time| moments(date.to_datetime(time), zone).after_gap;
    gap(Time::midnight()).is_some_and(|begin| gap(Time::MAX) == Some(begin))
}
