//! A part of the day.

use std::fmt;

use jiff::{Timestamp, civil::Time, tz::TimeZone};

use super::{
    calendar::{clock, moments},
    words,
};

/// No stretch without it is longer: one night's beginning may not exist.
const DAYS: usize = 4;

/// A part of the day; it may go over midnight. It goes by what the clock on the wall shows, also while an hour comes
/// twice; one whose beginning does not exist begins when the clocks are put forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// The first moment.
    pub from: Time,
    /// The first moment that is not in it.
    pub until: Time,
}

impl Hours {
    /// Reads `22:00-06:00`; the error says what is wrong and how it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("the hours {text:?} can't be read: {why}");
        let tidy = text.split_whitespace().collect::<String>().replace('–', "-");
        let Some((from, until)) = tidy.split_once('-') else {
            return Err(wrong("write the beginning and the end, as in \"22:00-06:00\"".to_owned()));
        };
        let until = if until == "24:00" { "00:00" } else { until };
        let (from, until) = (words::time(from).map_err(wrong)?, words::time(until).map_err(wrong)?);
        if from == until {
            return Err(wrong("they end when they begin; leave them out for the whole day".to_owned()));
        }
        Ok(Self { from, until })
    }

    /// Whether `now` is in it.
    pub fn contains(&self, now: Timestamp, zone: &TimeZone) -> bool {
        let time = zone.to_datetime(now).time();
        let (begun, not_over) = (self.from <= time, time < self.until);
        if self.from < self.until { begun && not_over } else { begun || not_over }
    }

    /// `now` if that is in it, else the first moment after it that is.
    pub fn opens_after(&self, now: Timestamp, zone: &TimeZone) -> Timestamp {
        if self.contains(now, zone) {
            return now;
        }
        let today = zone.to_datetime(now).date();
        let days = std::iter::successors(today.yesterday().ok(), |date| date.tomorrow().ok()).take(DAYS);
        let begins = days.flat_map(|date| {
            let moments = moments(date.to_datetime(self.from), zone);
            [moments.first, moments.second, moments.after_gap].into_iter().flatten()
        });
        // The clocks may also be put back into it.
        let changes = zone.following(now).take(1).map(|change| change.timestamp());
        begins.chain(changes).filter(|at| *at > now && self.contains(*at, zone)).min().unwrap_or(now)
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", clock(self.from), clock(self.until))
    }
}
