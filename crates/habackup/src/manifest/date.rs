//! Dates in `backup.json`: local time and its offset from UTC. Home Assistant names files by the local time as written,
//! in whatever zone that was.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;
use jiff::{Span, Timestamp, Zoned};
use thiserror::Error;

/// A moment as a clock on the wall showed it. Displayed like Python's `datetime.isoformat()`:
/// `2026-11-22T00:41:00.123456+00:00`, without the fraction when it is zero. Microseconds; anything finer is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallTime {
    clock: DateTime,
    offset: Option<Offset>,
}

/// A text that is no ISO 8601 date with a time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' is not a date and time such as 2026-11-22T00:41:00+00:00")]
pub struct DateError(String);

impl WallTime {
    fn new(clock: DateTime, offset: Option<Offset>) -> Self {
        let finer = clock.subsec_nanosecond() % 1_000;
        let clock = clock.saturating_sub(Span::new().nanoseconds(finer));
        Self { clock, offset }
    }

    /// The distance from UTC was written down. Without it Supervisor cannot sort the backup among others.
    pub fn has_zone(&self) -> bool {
        self.offset.is_some()
    }

    /// The moment itself; a date without a zone is taken for UTC.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.offset.unwrap_or(Offset::UTC).to_timestamp(self.clock).ok()
    }

    /// `2026-11-22 00.41 00123456`
    pub(super) fn file_name_part(self) -> String {
        let Self { clock, .. } = self;
        format!(
            "{}-{:02}-{:02} {:02}.{:02} {:02}{:06}",
            clock.year(),
            clock.month(),
            clock.day(),
            clock.hour(),
            clock.minute(),
            clock.second(),
            self.microseconds()
        )
    }

    fn microseconds(self) -> i32 {
        self.clock.subsec_nanosecond() / 1_000
    }
}

impl From<&Zoned> for WallTime {
    fn from(moment: &Zoned) -> Self {
        Self::new(moment.datetime(), Some(moment.offset()))
    }
}

impl From<Timestamp> for WallTime {
    fn from(moment: Timestamp) -> Self {
        Self::new(Offset::UTC.to_datetime(moment), Some(Offset::UTC))
    }
}

impl FromStr for WallTime {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        let error = || DateError(text.chars().take(40).collect());
        let pieces = Pieces::parse(text).map_err(|_| error())?;
        let time = pieces.time().ok_or_else(error)?;
        Ok(Self::new(pieces.date().to_datetime(time), pieces.to_numeric_offset()))
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.clock.strftime("%Y-%m-%dT%H:%M:%S"))?;
        if self.microseconds() != 0 {
            write!(f, ".{:06}", self.microseconds())?;
        }
        let Some(offset) = self.offset else {
            return Ok(());
        };
        let seconds = offset.seconds();
        let (hours, minutes, rest) = (seconds.abs() / 3600, seconds.abs() / 60 % 60, seconds.abs() % 60);
        write!(f, "{}{hours:02}:{minutes:02}", if seconds < 0 { '-' } else { '+' })?;
        if rest != 0 {
            write!(f, ":{rest:02}")?;
        }
        Ok(())
    }
}
