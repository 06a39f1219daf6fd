//! Text for people: escaped, and times and sizes as they are said.

use std::fmt::{self, Write};

use askama::filters::Escaper;
use jiff::{Timestamp, Zoned, tz::TimeZone};

/// Writes text into a page: no character of it is markup, none reorders what stands beside it, none is invisible
/// control.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Safe;

impl Escaper for Safe {
    fn write_escaped_str<W: Write>(&self, mut dest: W, string: &str) -> fmt::Result {
        string.chars().try_for_each(|character| self.write_escaped_char(&mut dest, character))
    }

    fn write_escaped_char<W: Write>(&self, mut dest: W, character: char) -> fmt::Result {
        match character {
            '<' => dest.write_str("&lt;"),
            '>' => dest.write_str("&gt;"),
            '&' => dest.write_str("&amp;"),
            '"' => dest.write_str("&quot;"),
            '\'' => dest.write_str("&#39;"),
            '\n' | '\t' => dest.write_char(character),
            _ if character.is_control() || engine::reorders(character) => dest.write_char('\u{fffd}'),
            _ => dest.write_char(character),
        }
    }
}

/// A moment and the clock and calendar that it is told by.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    pub(crate) now: Timestamp,
    pub(crate) zone: TimeZone,
}

impl Clock {
    /// `3 hours ago`, `in 12 minutes`.
    pub(crate) fn ago(&self, moment: &Timestamp) -> String {
        let seconds = self.now.as_second() - moment.as_second();
        match seconds {
            -59..60 => "just now".to_owned(),
            60.. => format!("{} ago", span(seconds)),
            _ => format!("in {}", span(-seconds)),
        }
    }

    /// `today at 04:45`, `Tuesday at 04:45`, `12 March at 04:45`.
    pub(crate) fn day(&self, moment: &Timestamp) -> String {
        let (now, then) = (self.local(&self.now), self.local(moment));
        let days = (then.date() - now.date()).get_days();
        let date = match days {
            0 => "today".to_owned(),
            1 => "tomorrow".to_owned(),
            -1 => "yesterday".to_owned(),
            2..7 | -6..-1 => then.strftime("%A").to_string(),
            _ if then.year() == now.year() => then.strftime("%-d %B").to_string(),
            _ => then.strftime("%-d %B %Y").to_string(),
        };
        format!("{date} at {}", then.strftime("%H:%M"))
    }

    /// `2026-11-28 04:45`.
    pub(crate) fn exact(&self, moment: &Timestamp) -> String {
        self.local(moment).strftime("%Y-%m-%d %H:%M").to_string()
    }

    /// `28 November 2026 at 04:45 (Europe/Berlin)`: for paper, which nobody knows the day of.
    pub(crate) fn full(&self, moment: &Timestamp) -> String {
        let then = self.local(moment);
        let zone = self.zone.iana_name().filter(|_| !self.zone.is_unknown());
        let zone = zone.map_or_else(|| then.strftime("UTC%:z").to_string(), str::to_owned);
        then.strftime("%-d %B %Y at %H:%M").to_string() + " (" + &zone + ")"
    }

    /// `2026-11-28 04:45:12`.
    pub(crate) fn second(&self, moment: &Timestamp) -> String {
        self.local(moment).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    fn local(&self, moment: &Timestamp) -> Zoned {
        moment.to_zoned(self.zone.clone())
    }
}

/// A stretch of time in its largest unit.
fn span(seconds: i64) -> String {
    let (number, unit) = match seconds {
        ..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// How long something took or will take: `4.2 s`, `12 s`, `3 min 10 s`, `1 h 45 min`.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `1 copy`, `12 copies`.
pub(crate) fn count(number: usize, singular: &str) -> String {
    let plural = singular.strip_suffix('y').map_or_else(|| format!("{singular}s"), |stem| format!("{stem}ies"));
    format!("{number} {}", if number == 1 { singular } else { &plural })
}

/// A message as a sentence: with a capital, unless it begins with a file's name or one of these, and with a full stop.
pub(crate) fn sentence(message: &str, names: &[&str]) -> String {
    let begins = |name: &&str| message.strip_prefix(*name).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
    let first_word = message.split(' ').next().unwrap_or_default();
    let is_word = first_word.chars().all(|c| c.is_alphabetic() || "'’-,".contains(c));
    let mut characters = message.chars();
    let mut text: String = match characters.next() {
        Some(first) if is_word && !names.iter().any(begins) => first.to_uppercase().chain(characters).collect(),
        _ => message.to_owned(),
    };
    if !text.is_empty() && !text.ends_with(['.', '!', '?', ':', '…']) {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn clock() -> Clock {
        Clock { now: "2026-11-28T12:00:00Z".parse().unwrap(), zone: TimeZone::fixed(jiff::tz::offset(1)) }
    }

    #[test]
    fn moments_are_told_as_people_tell_them() {
        for (moment, day, ago) in [
            ("2026-11-28T11:59:30Z", "today at 12:59", "just now"),
            ("2026-11-28T03:45:00Z", "today at 04:45", "8 hours ago"),
            ("2026-11-29T03:45:00Z", "tomorrow at 04:45", "in 15 hours"),
            ("2026-11-27T22:45:00Z", "yesterday at 23:45", "13 hours ago"),
            ("2026-11-24T03:45:00Z", "Tuesday at 04:45", "4 days ago"),
            ("2026-10-03T03:45:00Z", "3 October at 04:45", "56 days ago"),
            ("2025-10-03T03:45:00Z", "3 October 2025 at 04:45", "421 days ago"),
            ("2026-11-28T12:01:00Z", "today at 13:01", "in 1 minute"),
        ] {
            let moment = moment.parse().unwrap();
            assert_eq!((clock().day(&moment).as_str(), clock().ago(&moment).as_str()), (day, ago));
        }
    }

    #[test]
    fn paper_says_the_whole_date_and_the_time_zone() {
        let moment = "2026-11-28T03:45:00Z".parse().unwrap();
        assert_eq!(clock().full(&moment), "28 November 2026 at 04:45 (UTC+01:00)");
        let berlin = Clock { zone: TimeZone::get("Europe/Berlin").unwrap(), ..clock() };
        assert_eq!(berlin.full(&moment), "28 November 2026 at 04:45 (Europe/Berlin)");
    }

    #[test]
    fn messages_become_sentences_and_names_stay_names() {
        for (message, told) in [
            ("use `haul rehearse` for it", "Use `haul rehearse` for it."),
            ("nas can't be reached", "nas can't be reached."),
            ("nasty things happened.", "Nasty things happened."),
            ("/config is read-only", "/config is read-only."),
            ("haul.toml, line 3: `x` is no key", "haul.toml, line 3: `x` is no key."),
            ("", ""),
        ] {
            assert_eq!(sentence(message, &["nas"]), told);
        }
    }

    #[test]
    fn no_text_is_markup_or_steers_the_line() {
        let mut page = String::new();
        Safe.write_escaped_str(&mut page, "<script>\"a\"&'b'\u{202e}gpj.\u{7}ü\n").unwrap();
        assert_eq!(page, "&lt;script&gt;&quot;a&quot;&amp;&#39;b&#39;\u{fffd}gpj.\u{fffd}ü\n");
    }
}
