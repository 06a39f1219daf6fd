//! Times, as people say them.

use jiff::{Timestamp, Zoned};

/// `just now`, `12 min ago`, `3 h ago`, `2 days ago`.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    match now.as_second() - then.as_second() {
        ..60 => "just now".to_owned(),
        seconds => format!("{} ago", length(seconds)),
    }
}

/// `12 min`, `3 h`, `2 days`.
pub fn length(seconds: i64) -> String {
    match seconds {
        ..3600 => format!("{} min", (seconds / 60).max(1)),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `04:45`, `tomorrow 04:45`, `Sun 04:45`, `24 Dec 04:45`: a moment to come, by the local clock.
pub fn moment(then: Timestamp, now: &Zoned) -> String {
    let then = then.to_zoned(now.time_zone().clone());
    let days = now.date().until(then.date()).map_or(0, |span| span.get_days());
    let form = match days {
        0 => "%H:%M",
        1 => "tomorrow %H:%M",
        2..7 => "%a %H:%M",
        _ => "%-d %b %H:%M",
    };
    then.strftime(form).to_string()
}

/// `1 copy`, `2 copies`.
pub fn count(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}
