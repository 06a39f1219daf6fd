//! What users write, as cron or as an interval.

use jiff::{SignedDuration, Span, SpanRelativeTo, civil::Time};

/// Nothing comes more often.
pub(super) const SHORTEST: SignedDuration = SignedDuration::from_mins(5);
const LONGEST: SignedDuration = SignedDuration::from_hours(366 * 24);
const EXAMPLES: &str = "write it as \"daily 04:45\", \"every 6h\", \"hourly\", \"mon,thu 03:00\", \"weekdays 03:00\", \
                        \"monthly last 03:00\", or as cron's five fields: \"0 4 * * *\"";
/// When nothing else is said: Home Assistant's own backups begin then.
const USUAL: Time = Time::constant(4, 45, 0, 0);
const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const KNOWN: [&str; 6] = ["daily", "hourly", "weekly", "monthly", "weekdays", "weekends"];

/// A schedule once read.
pub(super) enum Words {
    /// So long after the last run.
    Every(SignedDuration),
    /// Cron's five fields.
    Cron(String),
}

pub(super) fn parse(text: &str) -> Result<Words, String> {
    let tidy = tidy(text);
    let mut tokens: Vec<&str> = tidy.split(' ').filter(|token| !matches!(*token, "" | "at" | "on")).collect();
    if tokens.first().is_some_and(|first| is_time(first)) {
        tokens.rotate_left(1);
    }
    let sentence = Sentence(text);
    let Some((&first, rest)) = tokens.split_first() else {
        return Err(format!("a schedule is empty; {EXAMPLES}"));
    };
    if first.starts_with('@') || first.contains('*') || first.chars().all(|c| c.is_ascii_digit() || "/,-?".contains(c))
    {
        return Ok(Words::Cron(tokens.join(" ")));
    }
    match (first, rest) {
        ("every", ["hour", rest @ ..]) | ("hourly", rest) => sentence.hourly(rest),
        ("every", ["day", rest @ ..]) | ("daily", rest) => sentence.at(rest, "* * *"),
        ("every", ["week", rest @ ..]) | ("weekly", rest) => match rest {
            [days, rest @ ..] if !is_time(days) => sentence.at(rest, &format!("* * {}", sentence.days(days)?)),
            _ => sentence.at(rest, "* * 0"),
        },
        ("every", ["month", rest @ ..]) | ("monthly", rest) => match rest {
            [day, rest @ ..] if !is_time(day) => sentence.at(rest, &format!("{} * *", sentence.day_of_month(day)?)),
            _ => sentence.at(rest, "1 * *"),
        },
        ("every", [day, rest @ ..]) if weekday(day).is_some() => {
            sentence.at(rest, &format!("* * {}", sentence.days(day)?))
        }
        ("every", rest) => sentence.every(&rest.concat()).map(Words::Every),
        (time, _) if is_time(time) => sentence.at(&tokens, "* * *"),
        (days, rest) => sentence.at(rest, &format!("* * {}", sentence.days(days)?)),
    }
}

/// Small letters, single spaces, none around commas and dashes.
fn tidy(text: &str) -> String {
    let mut tidy = text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    for (from, to) in [(" and ", ","), (" ,", ","), (", ", ","), (" -", "-"), ("- ", "-"), ("–", "-")] {
        tidy = tidy.replace(from, to);
    }
    tidy
}

fn is_time(token: &str) -> bool {
    token.contains(':')
}

/// The number of a weekday, Sunday's is 0: its name, or at least three letters of it, also in the plural.
fn weekday(name: &str) -> Option<usize> {
    let singular = name.strip_suffix('s').filter(|name| name.len() > 4).unwrap_or(name).trim_end_matches('.');
    DAYS.iter().position(|day| singular.len() >= 3 && day.starts_with(singular))
}

/// Reads a time of day.
pub(super) fn time(text: &str) -> Result<Time, String> {
    let parsed = text.split_once(':').and_then(|(hour, minute)| {
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let written = hour.len() <= 2 && minute.len() == 2 && is_number(hour) && is_number(minute);
        written.then(|| Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()).flatten()
    });
    parsed.ok_or_else(|| match text {
        "24:00" => "there is no time 24:00; midnight is 00:00".to_owned(),
        _ if text.ends_with("am") || text.ends_with("pm") => {
            format!("{text:?} is not on the 24-hour clock; write times as 04:45 or 16:45")
        }
        _ => format!("there is no time {text:?}; write hours (0 to 23) and minutes (00 to 59), as 04:45 or 16:45"),
    })
}

/// What is read, for messages.
struct Sentence<'t>(&'t str);

impl Sentence<'_> {
    fn wrong(&self, why: impl std::fmt::Display) -> String {
        format!("the schedule {:?} can't be read: {why}", self.0)
    }

    /// A time of day on these days (the last three fields of cron).
    fn at(&self, tokens: &[&str], days: &str) -> Result<Words, String> {
        let time = match tokens {
            [] => USUAL,
            [.., "am" | "pm"] => return Err(self.wrong("times are on the 24-hour clock; write 04:45 or 16:45")),
            [one] if !one.contains(',') => time(one).map_err(|why| self.wrong(why))?,
            [one, ..] if is_time(one) => {
                return Err(self.wrong("it has more than one time; write a schedule for each"));
            }
            [one, ..] => {
                return Err(self.wrong(format_args!("a time is expected instead of {one:?}, as 04:45 or 16:45")));
            }
        };
        Ok(Words::Cron(format!("{} {} {days}", time.minute(), time.hour())))
    }

    fn hourly(&self, tokens: &[&str]) -> Result<Words, String> {
        let minute = match tokens {
            [] => Some(0),
            [one] => one.trim_start_matches(':').parse::<u8>().ok().filter(|minute| *minute < 60),
            _ => None,
        };
        match minute {
            Some(minute) => Ok(Words::Cron(format!("{minute} * * * *"))),
            None => Err(self.wrong("after \"hourly\" there can be a minute from :00 to :59, as in \"hourly :15\"")),
        }
    }

    fn every(&self, text: &str) -> Result<SignedDuration, String> {
        let interval = text
            .parse::<Span>()
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
            .map_err(|_| self.wrong("after \"every\" there must be an interval, as in \"every 6h\" or \"every 2d\""))?;
        if interval < SHORTEST {
            return Err(self.wrong("the shortest interval is 5 minutes: \"every 5m\""));
        }
        if interval > LONGEST {
            return Err(self.wrong("the longest interval is a year: \"every 366d\""));
        }
        if interval.as_secs() % 60 != 0 {
            return Err(self.wrong("an interval is in whole minutes, as in \"every 90m\""));
        }
        Ok(interval)
    }

    /// Days of the month as cron has them.
    fn day_of_month(&self, day: &str) -> Result<String, String> {
        if day == "last" {
            return Ok("L".to_owned());
        }
        let digits = ["st", "nd", "rd", "th", "."].iter().find_map(|end| day.strip_suffix(end)).unwrap_or(day);
        match digits.parse::<u8>() {
            Ok(number @ 1..=31) => Ok(number.to_string()),
            _ => Err(self.wrong(format_args!(
                "no month has a day {day:?}; after \"monthly\" there can be a day from 1 to 31 or \"last\", and a time, \
                 as in \"monthly 15 03:00\""
            ))),
        }
    }

    /// Days of the week as cron has them.
    fn days(&self, list: &str) -> Result<String, String> {
        let mut found = [false; 7];
        for part in list.split(',') {
            let (from, to) = match part {
                "weekdays" | "weekday" | "workdays" => (1, 5),
                "weekends" | "weekend" => (6, 0),
                _ => {
                    let (from, to) = part.split_once('-').unwrap_or((part, part));
                    (self.day(from)?, self.day(to)?)
                }
            };
            let length = (to + 7 - from) % 7;
            (0..=length).for_each(|offset| found[(from + offset) % 7] = true);
        }
        let numbers: Vec<String> = (0..7).filter(|day| found[*day]).map(|day| day.to_string()).collect();
        Ok(numbers.join(","))
    }

    fn day(&self, name: &str) -> Result<usize, String> {
        weekday(name).ok_or_else(|| {
            if name.parse::<Span>().is_ok() {
                return self.wrong(format_args!("an interval is written \"every {name}\""));
            }
            match nearest(name) {
                Some(near) => self.wrong(format_args!("there is no day {name:?}; did you mean {near:?}?")),
                None => self.wrong(EXAMPLES),
            }
        })
    }
}

/// The known word that begins as this one does, if it may be meant.
fn nearest(name: &str) -> Option<&'static str> {
    let shared = |known: &str| known.chars().zip(name.chars()).take_while(|(one, other)| one == other).count();
    let known = KNOWN.into_iter().chain(DAYS).filter(|known| shared(known) >= 2);
    known.max_by_key(|known| (shared(known), std::cmp::Reverse(known.len().abs_diff(name.len()))))
}
