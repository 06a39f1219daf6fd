//! What the clock says, in the time zone that all days and times of the user are meant in: that of `haul.toml`, else the
//! system's. Schedules, hours, the days of retention, and everything that a person reads go by it.

use std::sync::{PoisonError, RwLock};

use jiff::{Timestamp, Zoned, tz::TimeZone};

/// The zone that the configuration in force names.
static NAMED: RwLock<Option<TimeZone>> = RwLock::new(None);

/// The time zone.
pub(crate) fn zone() -> TimeZone {
    let named = NAMED.read().unwrap_or_else(PoisonError::into_inner).clone();
    #[expect(clippy::disallowed_methods, reason = "everybody else asks here")]
    named.unwrap_or_else(TimeZone::system)
}

/// The time there.
pub(crate) fn now() -> Zoned {
    Timestamp::now().to_zoned(zone())
}

/// Its name; if it has none, its distance from UTC.
pub(crate) fn name() -> String {
    let zone = zone();
    match zone.iana_name() {
        // A system that has no time zone is in this one.
        Some(_) if zone.is_unknown() => "UTC".to_owned(),
        Some(name) => name.to_owned(),
        None => Timestamp::now().to_zoned(zone).strftime("UTC%:z").to_string(),
    }
}

/// Puts the zone of a configuration into force; nothing: the system's.
pub(crate) fn set(zone: Option<TimeZone>) {
    *NAMED.write().unwrap_or_else(PoisonError::into_inner) = zone;
}
