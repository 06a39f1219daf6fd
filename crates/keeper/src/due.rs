//! When a job's next run begins, from its schedules and its last run.
//!
//! * A job that never ran is due at once.
//! * Moments that passed while the machine was off or asleep are made up by one run, however many there were; also after
//!   the clock jumped forward.
//! * A last run that lies more than a minute ahead means that the clock was put back. Everything is counted from now on
//!   then, and the caller writes that down ([`Due::counted_from`]): an interval would begin anew each time it is asked.
//! * Moments that pass while a run is not over are made up by one run after it, as above.
//! * A run begins at the earliest a tenth of what the last one took after that one's end, at most an hour: a job that
//!   outlasts its interval leaves the machine some rest.
//! * Jitter is at most half of the time to the next moment, so that no moment overtakes the one before it.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

use crate::schedule::{Schedule, jitter};

/// A last run so far ahead is no matter of clocks that differ a little.
const SLACK: Duration = Duration::from_mins(1);
/// The pause after a run is this part of how long it took.
const PAUSE_PART: u32 = 10;
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// More are not counted.
const MOST_MISSED: usize = 1000;

/// The last run that a schedule began, or that counts as such.
#[derive(Clone, Copy, Debug)]
pub struct LastRun {
    /// When it began.
    pub started: Timestamp,
    /// How long it took.
    pub took: Duration,
}

/// When something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When it is, or was.
    pub at: Timestamp,
    /// How many more moments have passed since then, which this one run makes up.
    pub missed: u32,
    /// The clock was put back: this has to take the place of when the last run began.
    pub counted_from: Option<Timestamp>,
}

/// When the next run begins. `who` tells machines and jobs apart for [`jitter`], which is at most `most`. `None`: never
/// by itself.
pub fn next_due(
    schedules: &[Schedule],
    zone: &TimeZone,
    (who, most): (&str, Duration),
    last: Option<LastRun>,
    now: Timestamp,
) -> Option<Due> {
    let after = |last| schedules.iter().filter_map(|schedule| schedule.after(last, zone)).min();
    let Some(last) = last else {
        return (!schedules.is_empty()).then_some(Due { at: now, missed: 0, counted_from: None });
    };
    let ahead = |at: Timestamp| now.checked_add(SLACK).is_ok_and(|limit| at > limit);
    let counted_from = ahead(last.started).then_some(now);
    let started = counted_from.unwrap_or(last.started);
    let first = after(started)?;
    let most = after(first).map_or(most, |second| most.min(first.duration_until(second).unsigned_abs() / 2));
    let due = first.checked_add(jitter(who, first, most)).ok()?;
    let ended = started.checked_add(last.took).ok()?;
    // An end that is still to come was measured on another clock.
    let pause = if ahead(ended) { Duration::ZERO } else { last.took / PAUSE_PART };
    let rested = ended.checked_add(pause.min(LONGEST_PAUSE)).ok()?;
    let at = if ahead(ended) { due } else { due.max(rested) };
    let further = std::iter::successors(after(first), |moment| after(*moment));
    let missed = if at > now { 0 } else { further.take_while(|moment| *moment <= now).take(MOST_MISSED).count() };
    Some(Due { at, missed: u32::try_from(missed).unwrap_or(u32::MAX), counted_from })
}
