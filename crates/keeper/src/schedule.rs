//! When something is due, in words or in cron's form, in a time zone.

use jiff::{Timestamp, civil::Time, tz::TimeZone};

/// When something is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    text: String,
}

/// A part of the day; it may go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// The first moment.
    pub from: Time,
    /// The first moment that is not in it.
    pub until: Time,
}

impl Schedule {
    /// Reads `daily 04:45`, `mon,thu 03:00`, `every 6h`, `0 4 * * *` and the like; the error says what is wrong and how
    /// it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { text: text.to_owned() })
    }

    /// As the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first moment after `last` at which it is due. `None`: never again.
    pub fn after(&self, _last: Timestamp, _zone: &TimeZone) -> Option<Timestamp> {
        None
    }
}
