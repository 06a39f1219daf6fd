//! When something is due, in words or in cron's form, in a time zone.
//!
//! A schedule is either an interval (`every 6h`) or local times on days of the calendar (everything else). An interval
//! is counted in real time from the last run, so that no change of the clocks plays a role. For local times:
//!
//! * A time that does not exist, because the clocks were put forward, comes at the moment they were: the first valid
//!   one after the gap. In Berlin, `daily 02:30` comes at 03:00 on the last Sunday of March. Several such times are one
//!   moment.
//! * A time that happens twice, because the clocks were put back, comes the first time.
//! * A schedule that names every hour (`hourly`, `*/15 * * * *`) goes on in real time instead: it comes in both passes
//!   of a doubled hour, and nothing stands in for times that do not exist.
//! * A whole day that does not exist (in Samoa, 30 December 2011) comes at the beginning of the next, unless the
//!   schedule names that one as well.
//! * A month without the day (`monthly 31`) is skipped; `monthly last` is in each month.

mod calendar;
mod hours;
mod words;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use calendar::Calendar;
pub use hours::Hours;
use words::Words;

/// When something is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// So long after the last run.
    Every(SignedDuration),
    /// At local times.
    Calendar(Box<Calendar>),
}

impl Schedule {
    /// Reads `daily 04:45`, `every 6h`, `mon,thu 03:00`, `0 4 * * *` and the like; the error says what is wrong and how
    /// it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let kind = match words::parse(text)? {
            Words::Every(interval) => Kind::Every(interval),
            Words::Cron(cron) => Kind::Calendar(Box::new(Calendar::parse(text, &cron)?)),
        };
        Ok(Self { text: text.to_owned(), kind })
    }

    /// As the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first moment after `last` at which it is due. `None`: never again.
    pub fn after(&self, last: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match &self.kind {
            Kind::Every(interval) => last.checked_add(*interval).ok(),
            Kind::Calendar(calendar) => calendar.after(last, zone),
        }
    }

    /// In plain words: `every day at 04:45`, `every 6 hours`, `Mondays and Thursdays at 03:00`.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Every(interval) => format!("every {}", stretch(*interval)),
            Kind::Calendar(calendar) => calendar.describe(),
        }
    }
}

/// `6 hours`, or `hour` for one.
fn stretch(interval: SignedDuration) -> String {
    let minutes = interval.as_mins();
    let (count, unit) = match minutes {
        _ if minutes % (24 * 60) == 0 => (minutes / (24 * 60), "day"),
        _ if minutes % 60 == 0 => (minutes / 60, "hour"),
        _ => (minutes, "minute"),
    };
    if count == 1 { unit.to_owned() } else { format!("{count} {unit}s") }
}

/// How much later than `due` a run begins, from nothing to less than `most`: always the same for the same `who` and
/// moment, and spread evenly. `who` has to tell machines apart, or they all begin at once.
///
/// It is 64-bit FNV-1a over `who` and then the seconds of `due` (eight bytes, the lowest first), mixed by the last
/// steps of `SplitMix64`, as a fraction of 2⁶⁴. It must not change: a run would come twice or not at all.
pub fn jitter(who: &str, due: Timestamp, most: Duration) -> Duration {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in who.bytes().chain(due.as_second().to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    let part = (u128::from(hash) * u128::from(most)) >> 64;
    Duration::from_millis(u64::try_from(part).unwrap_or(most))
}
