//! When something is due: what users write, both nights on which clocks change, and every schedule against one that
//! looks at a clock minute by minute.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeSet, time::Duration};

use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{Date, DateTime, Weekday},
    tz::TimeZone,
};
use keeper::{
    due::{Due, LastRun, next_due},
    schedule::{Hours, Schedule, jitter},
};
use proptest::prelude::*;

const ZONES: [&str; 10] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Casablanca",
    "America/Havana",
    "America/St_Johns",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
];

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn schedule(text: &str) -> Schedule {
    Schedule::parse(text).unwrap_or_else(|why| panic!("{why}"))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn local(text: &str, zone: &TimeZone) -> Timestamp {
    zone.to_timestamp(text.parse::<DateTime>().unwrap()).unwrap()
}

/// The next moments as a clock with its offset shows them, without the date's year and seconds.
fn shown(text: &str, zone_name: &str, from: &str, count: usize) -> Vec<String> {
    let (schedule, zone) = (schedule(text), zone(zone_name));
    let mut last = local(from, &zone);
    (0..count)
        .map(|_| {
            last = schedule.after(last, &zone).unwrap();
            last.to_zoned(zone.clone()).strftime("%m-%d %H:%M %:z").to_string()
        })
        .collect()
}

#[test]
fn schedules_are_read_and_told_in_plain_words() {
    for (text, told) in [
        ("daily 04:45", "every day at 04:45"),
        ("daily", "every day at 04:45"),
        ("  DAILY   4:45 ", "every day at 04:45"),
        ("every day at 04:45", "every day at 04:45"),
        ("04:45", "every day at 04:45"),
        ("hourly", "every hour"),
        ("every hour", "every hour"),
        ("hourly :15", "every hour, 15 minutes past"),
        ("every 6h", "every 6 hours"),
        ("Every 6 Hours", "every 6 hours"),
        ("every 1h30m", "every 90 minutes"),
        ("every 5m", "every 5 minutes"),
        ("every 1d", "every day"),
        ("every 2 weeks", "every 14 days"),
        ("weekly", "Sundays at 04:45"),
        ("weekly sun 04:45", "Sundays at 04:45"),
        ("weekly Monday", "Mondays at 04:45"),
        ("weekly 03:00", "Sundays at 03:00"),
        ("mon,thu 03:00", "Mondays and Thursdays at 03:00"),
        ("Mon , Thu 3:00", "Mondays and Thursdays at 03:00"),
        ("Mondays and Thursdays at 03:00", "Mondays and Thursdays at 03:00"),
        ("03:00 thurs", "Thursdays at 03:00"),
        ("weekdays 03:00", "Mondays to Fridays at 03:00"),
        ("mon-fri 03:00", "Mondays to Fridays at 03:00"),
        ("weekends 10:30", "Saturdays and Sundays at 10:30"),
        ("fri - mon 03:00", "Mondays, Fridays, Saturdays and Sundays at 03:00"),
        ("monthly", "the 1st of each month at 04:45"),
        ("monthly 15 03:00", "the 15th of each month at 03:00"),
        ("monthly 2nd", "the 2nd of each month at 04:45"),
        ("monthly 31", "the 31st of each month that has one at 04:45"),
        ("monthly last 03:00", "the last day of each month at 03:00"),
        ("0 4 * * *", "every day at 04:00"),
        ("0 4,16 * * *", "every day at 04:00 and 16:00"),
        ("*/15 * * * *", "every 15 minutes"),
        ("*/15 * * * sat", "Saturdays, every 15 minutes"),
        ("0 3 * * MON", "Mondays at 03:00"),
        ("@daily", "every day at 00:00"),
        ("30 2 29 2 *", "at 02:30, on day 29, in February"),
    ] {
        let schedule = schedule(text);
        assert_eq!(schedule.describe(), told, "{text}");
        assert_eq!(schedule.as_str(), text.trim());
    }
}

#[test]
fn impossible_schedules_are_refused_in_a_sentence() {
    for (text, why) in [
        ("", "a schedule is empty; write it as \"daily 04:45\""),
        ("  ", "a schedule is empty"),
        ("daily 25:00", "there is no time \"25:00\"; write hours (0 to 23) and minutes (00 to 59)"),
        ("daily 24:00", "midnight is 00:00"),
        ("daily 4:45pm", "24-hour clock"),
        ("daily 4:45 pm", "24-hour clock"),
        ("daily 4", "there is no time \"4\""),
        ("daily 04:45:30", "there is no time"),
        ("daily 04:45 16:45", "more than one time; write a schedule for each"),
        ("daily 04:45, 16:45", "more than one time"),
        ("daily soon please", "a time is expected instead of \"soon\""),
        ("every 1m", "the shortest interval is 5 minutes"),
        ("every -6h", "can't be read"),
        ("every 400d", "the longest interval is a year"),
        ("every 301s", "whole minutes"),
        ("every", "after \"every\" there must be an interval"),
        ("every 6", "after \"every\" there must be an interval"),
        ("every month of sundays", "no month has a day \"of\""),
        ("6h", "an interval is written \"every 6h\""),
        ("dayly 04:45", "did you mean \"daily\"?"),
        ("thrusday", "did you mean \"thursday\"?"),
        ("wekly", "did you mean \"weekly\"?"),
        ("houry", "did you mean \"hourly\"?"),
        ("xyz", "write it as \"daily 04:45\""),
        ("hourly :75", "a minute from :00 to :59"),
        ("monthly 32", "no month has a day \"32\""),
        ("monthly 0", "no month has a day \"0\""),
        ("mon,zzz 03:00", "write it as"),
        ("0 0 30 2 *", "it is never due"),
        ("0 4 * *", "has five fields, and this has 4"),
        ("0 0 4 * * *", "without seconds and years"),
        ("0 25 * * *", "\"25\" is no hour"),
        ("61 4 * * *", "\"61\" is no minute"),
        ("0 4 * 13 *", "\"13\" is no month"),
        ("* * * * *", "more often than every 5 minutes"),
        ("59,0 * * * *", "more often than every 5 minutes"),
        ("@never", "cron's five fields are"),
    ] {
        let found = Schedule::parse(text).expect_err(text);
        assert!(found.contains(why), "{text}: {found}");
    }
}

#[test]
fn a_time_that_does_not_exist_comes_when_the_clocks_were_put_forward() {
    for (zone, from, expected) in [
        ("Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00 +02:00", "03-30 02:30 +02:00"]),
        ("America/New_York", "2026-03-07T12:00", ["03-08 03:00 -04:00", "03-09 02:30 -04:00"]),
        ("Africa/Casablanca", "2026-03-21T12:00", ["03-22 03:00 +01:00", "03-23 02:30 +01:00"]),
    ] {
        assert_eq!(shown("daily 02:30", zone, from, 2), expected);
    }
    let lord_howe = shown("daily 02:15", "Australia/Lord_Howe", "2026-10-03T12:00", 2);
    assert_eq!(lord_howe, ["10-04 02:30 +11:00", "10-05 02:15 +11:00"]);
    // Several that do not exist are one moment, and so is one that lies at the end of the gap.
    let found = shown("0,15,30,45 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00", 4);
    assert_eq!(found, ["03-29 03:00 +02:00", "03-29 03:15 +02:00", "03-29 03:30 +02:00", "03-29 03:45 +02:00"]);
    // Over midnight.
    let havana = shown("daily 00:30", "America/Havana", "2026-03-07T12:00", 2);
    assert_eq!(havana, ["03-08 01:00 -04:00", "03-09 00:30 -04:00"]);
}

#[test]
fn a_time_that_happens_twice_comes_the_first_time() {
    for (zone, from, expected) in [
        ("Europe/Berlin", "2026-10-24T12:00", ["10-25 02:30 +02:00", "10-26 02:30 +01:00"]),
        ("America/New_York", "2026-10-31T12:00", ["11-01 02:30 -05:00", "11-02 02:30 -05:00"]),
        ("Africa/Casablanca", "2026-02-14T12:00", ["02-15 02:30 +01:00", "02-16 02:30 +00:00"]),
    ] {
        assert_eq!(shown("daily 02:30", zone, from, 2), expected, "{zone}");
    }
    let new_york = shown("daily 01:30", "America/New_York", "2026-10-31T12:00", 2);
    assert_eq!(new_york, ["11-01 01:30 -04:00", "11-02 01:30 -05:00"]);
    let lord_howe = shown("daily 01:45", "Australia/Lord_Howe", "2026-04-04T12:00", 2);
    assert_eq!(lord_howe, ["04-05 01:45 +11:00", "04-06 01:45 +10:30"]);
}

#[test]
fn what_names_every_hour_goes_on_in_real_time() {
    let spring = shown("hourly", "Europe/Berlin", "2026-03-29T00:30", 3);
    assert_eq!(spring, ["03-29 01:00 +01:00", "03-29 03:00 +02:00", "03-29 04:00 +02:00"]);
    let autumn = shown("hourly", "Europe/Berlin", "2026-10-25T01:30", 3);
    assert_eq!(autumn, ["10-25 02:00 +02:00", "10-25 02:00 +01:00", "10-25 03:00 +01:00"]);
    for (zone, from) in [("Europe/Berlin", "2026-10-24T12:00"), ("Europe/Berlin", "2026-03-28T12:00")] {
        let (schedule, zone) = (schedule("*/15 * * * *"), self::zone(zone));
        let mut last = schedule.after(local(from, &zone), &zone).unwrap();
        for _ in 0..200 {
            let next = schedule.after(last, &zone).unwrap();
            assert_eq!(last.duration_until(next), SignedDuration::from_mins(15));
            last = next;
        }
    }
    let lord_howe = shown("hourly :45", "Australia/Lord_Howe", "2026-04-05T01:30", 3);
    assert_eq!(lord_howe, ["04-05 01:45 +11:00", "04-05 01:45 +10:30", "04-05 02:45 +10:30"]);
}

#[test]
fn a_day_that_does_not_exist_is_made_up_unless_the_next_is_due_itself() {
    let apia = |text| shown(text, "Pacific/Apia", "2011-12-29T12:00", 2);
    assert_eq!(apia("daily 04:45"), ["12-31 04:45 +14:00", "01-01 04:45 +14:00"]);
    assert_eq!(apia("weekly fri 04:45"), ["12-31 00:00 +14:00", "01-06 04:45 +14:00"]);
    assert_eq!(apia("monthly 30 04:45"), ["12-31 00:00 +14:00", "01-30 04:45 +14:00"]);
    assert_eq!(apia("hourly"), ["12-29 13:00 -10:00", "12-29 14:00 -10:00"]);
}

#[test]
fn an_interval_is_real_time_since_the_last_run() {
    let berlin = zone("Europe/Berlin");
    let last = local("2026-03-28T22:10", &berlin);
    assert_eq!(schedule("every 6h").after(last, &berlin), Some(last + 6.hours()));
    assert_eq!(schedule("every 1d").after(last, &berlin), Some(last + 24.hours()));
    assert_eq!(schedule("every 6h").after(Timestamp::MAX, &berlin), None);
}

#[test]
fn months_without_the_day_are_skipped_and_the_last_day_is_in_each() {
    let days = |text, count| {
        let found = shown(text, "UTC", "2027-12-31T12:00", count);
        found.iter().map(|shown| shown[..5].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(days("monthly 31 03:00", 4), ["01-31", "03-31", "05-31", "07-31"]);
    assert_eq!(days("monthly last 03:00", 4), ["01-31", "02-29", "03-31", "04-30"]);
    assert_eq!(days("0 3 29 2 *", 2), ["02-29", "02-29"]);
}

/// What a schedule names, told apart from how it is written.
#[derive(Clone, Debug)]
struct Named {
    text: String,
    minutes: BTreeSet<i8>,
    hours: BTreeSet<i8>,
    weekdays: BTreeSet<i8>,
    day: Option<i8>,
}

impl Named {
    fn has(&self, local: DateTime) -> bool {
        self.has_day(local.date()) && self.minutes.contains(&local.minute()) && self.hours.contains(&local.hour())
    }

    fn has_day(&self, date: Date) -> bool {
        self.day.is_none_or(|day| day == date.day()) && self.weekdays.contains(&date.weekday().to_sunday_zero_offset())
    }

    /// All moments in (`from`, `until`], seen on a clock that is looked at each minute.
    fn moments(&self, from: Timestamp, until: Timestamp, zone: &TimeZone) -> Vec<Timestamp> {
        let minute = 1.minutes();
        let mut found = Vec::new();
        let mut highest = zone.to_datetime(from);
        let mut now = from + minute;
        while now <= until {
            let shown = zone.to_datetime(now);
            let is_due = if self.hours.len() == 24 {
                self.has(shown)
            } else {
                let mut passed = highest.checked_add(minute).unwrap();
                let mut is_due = false;
                while passed <= shown {
                    // A day that never began or ended on this clock.
                    let is_missing = highest.date() < passed.date() && passed.date() < shown.date();
                    is_due |= self.has(passed) && !(is_missing && self.has_day(passed.date().tomorrow().unwrap()));
                    passed = passed.checked_add(minute).unwrap();
                }
                is_due
            };
            highest = highest.max(shown);
            found.extend(is_due.then_some(now));
            now += minute;
        }
        found
    }
}

fn numbers(set: &BTreeSet<i8>) -> String {
    set.iter().map(i8::to_string).collect::<Vec<_>>().join(",")
}

fn all(range: std::ops::Range<i8>) -> BTreeSet<i8> {
    range.collect()
}

fn a_schedule() -> impl Strategy<Value = Named> {
    let time = (0_i8..24, 0_i8..60);
    let one = |value: i8| BTreeSet::from([value]);
    let daily = time.clone().prop_map(move |(hour, minute)| Named {
        text: format!("daily {hour}:{minute:02}"),
        minutes: one(minute),
        hours: one(hour),
        weekdays: all(0..7),
        day: None,
    });
    let weekdays = proptest::collection::btree_set(0_i8..7, 1..5);
    let weekly = (time.clone(), weekdays.clone()).prop_map(move |((hour, minute), weekdays)| {
        let name = |day: &i8| format!("{:?}", Weekday::from_sunday_zero_offset(*day).unwrap());
        let names: Vec<String> = weekdays.iter().map(name).collect();
        let text = format!("{} {hour}:{minute:02}", names.join(","));
        Named { text, minutes: one(minute), hours: one(hour), weekdays, day: None }
    });
    let monthly = (time, 1_i8..32).prop_map(move |((hour, minute), day)| Named {
        text: format!("monthly {day} {hour}:{minute:02}"),
        minutes: one(minute),
        hours: one(hour),
        weekdays: all(0..7),
        day: Some(day),
    });
    let minutes = proptest::collection::btree_set((0_i8..12).prop_map(|part| part * 5), 1..5);
    let hours = prop_oneof![proptest::collection::btree_set(0_i8..24, 1..8), Just(all(0..24))];
    let cron = (minutes, hours, prop_oneof![weekdays, Just(all(0..7))]).prop_map(|(minutes, hours, weekdays)| Named {
        text: format!("{} {} * * {}", numbers(&minutes), numbers(&hours), numbers(&weekdays)),
        minutes,
        hours,
        weekdays,
        day: None,
    });
    prop_oneof![daily, weekly, monthly, cron]
}

/// A moment, half of them near a change of the clocks.
fn a_moment(zone: &TimeZone, second: i64, near: bool, before: i64) -> Timestamp {
    let moment = Timestamp::from_second(second).unwrap();
    let change = zone.following(moment).next().map(|change| change.timestamp() - before.minutes());
    let second = change.filter(|_| near).unwrap_or(moment).as_second();
    Timestamp::from_second(second - second.rem_euclid(60)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_schedule_agrees_with_a_look_at_the_clock_each_minute(
        named in a_schedule(),
        zone_name in proptest::sample::select(&ZONES[..]),
        second in 946_684_800_i64..2_100_000_000,
        near in any::<bool>(),
        before in 0_i64..3000,
    ) {
        let (zone, schedule) = (zone(zone_name), schedule(&named.text));
        let from = a_moment(&zone, second, near, before);
        let until = from + 100.hours();
        let expected = named.moments(from, until, &zone);
        let found: Vec<Timestamp> = std::iter::successors(schedule.after(from, &zone), |last| schedule.after(*last, &zone))
            .take_while(|at| *at <= until)
            .collect();
        prop_assert_eq!(&found, &expected, "{} in {} from {}", named.text, zone_name, from);
        // Wherever it is asked from, the answer is the first one after it.
        for (at, next) in found.iter().zip(found.iter().skip(1)) {
            prop_assert!(at < next);
            let between = *at + SignedDuration::from_secs(at.duration_until(*next).as_secs() / 2);
            prop_assert_eq!(schedule.after(between, &zone), Some(*next));
        }
    }

    #[test]
    fn ten_years_of_days_have_one_run_each(
        zone_name in proptest::sample::select(&ZONES[..]),
        hour in 0_i8..24,
        minute in 0_i8..60,
        year in 2000_i16..2028,
    ) {
        let (zone, schedule) = (zone(zone_name), schedule(&format!("daily {hour}:{minute:02}")));
        let mut last = local(&format!("{year}-01-01T00:00"), &zone) - 1.seconds();
        let end = local(&format!("{}-01-01T00:00", year + 10), &zone);
        let mut days = BTreeSet::new();
        let mut count = 0;
        while let Some(next) = schedule.after(last, &zone).filter(|next| *next < end) {
            prop_assert!(next > last);
            days.insert(zone.to_datetime(next).date());
            count += 1;
            last = next;
        }
        let exist = jiff::civil::date(year, 1, 1).series(1.day()).take_while(|date| date.year() < year + 10);
        let exist = exist.filter(|date| zone_name != "Pacific/Apia" || *date != jiff::civil::date(2011, 12, 30)).count();
        prop_assert_eq!((count, days.len()), (exist, exist));
    }

    #[test]
    fn hours_open_at_the_first_moment_that_is_in_them(
        zone_name in proptest::sample::select(&ZONES[..]),
        from in (0_i8..24, 0_i8..60),
        length in 1_i16..1440,
        second in 946_684_800_i64..2_100_000_000,
        near in any::<bool>(),
        before in 0_i64..1500,
    ) {
        let zone = zone(zone_name);
        let until = (i16::from(from.0) * 60 + i16::from(from.1) + length) % 1440;
        let hours = Hours::parse(&format!("{}:{:02}-{}:{:02}", from.0, from.1, until / 60, until % 60)).unwrap();
        let now = a_moment(&zone, second, near, before);
        let mut expected = now;
        while !hours.contains(expected, &zone) {
            expected += 1.minutes();
        }
        prop_assert_eq!(hours.opens_after(now, &zone), expected, "{} in {} at {}", hours, zone_name, now);
    }
}

#[test]
fn hours_go_over_midnight_and_refuse_what_is_none() {
    let berlin = zone("Europe/Berlin");
    let hours = Hours::parse(" 22:00 - 6:00 ").unwrap();
    assert_eq!(hours.to_string(), "22:00-06:00");
    for (time, inside) in [("21:59", false), ("22:00", true), ("00:00", true), ("05:59", true), ("06:00", false)] {
        assert_eq!(hours.contains(local(&format!("2026-06-01T{time}"), &berlin), &berlin), inside, "{time}");
    }
    let noon = local("2026-06-01T12:00", &berlin);
    assert_eq!(hours.opens_after(noon, &berlin), local("2026-06-01T22:00", &berlin));
    assert!(Hours::parse("18:00-24:00").unwrap().contains(local("2026-06-01T23:59", &berlin), &berlin));
    for (text, why) in [
        ("", "write the beginning and the end"),
        ("22:00", "write the beginning and the end"),
        ("22:00-25:00", "there is no time \"25:00\""),
        ("22:00-22:00", "leave them out for the whole day"),
    ] {
        let found = Hours::parse(text).unwrap_err();
        assert!(found.contains(why), "{text}: {found}");
    }
}

#[test]
fn hours_on_both_nights_on_which_clocks_change() {
    let berlin = zone("Europe/Berlin");
    let hours = Hours::parse("02:30-04:00").unwrap();
    let spring = local("2026-03-29T01:00", &berlin);
    assert_eq!(hours.opens_after(spring, &berlin), at("2026-03-29T01:00:00Z"), "when the clocks are put forward");
    assert_eq!(hours.opens_after(at("2026-10-24T23:00:00Z"), &berlin), at("2026-10-25T00:30:00Z"), "the first time");
    assert!(!hours.contains(at("2026-10-25T01:00:00Z"), &berlin), "the clock shows 02:00 again");
    assert_eq!(hours.opens_after(at("2026-10-25T01:00:00Z"), &berlin), at("2026-10-25T01:30:00Z"), "the second time");
    let inside_the_gap = Hours::parse("02:10-02:50").unwrap();
    assert_eq!(inside_the_gap.opens_after(spring, &berlin), local("2026-03-30T02:10", &berlin), "not that night");
    // The clocks are put back into it.
    let until_half_past = Hours::parse("01:00-02:30").unwrap();
    assert_eq!(until_half_past.opens_after(at("2026-10-25T00:40:00Z"), &berlin), at("2026-10-25T01:00:00Z"));
}

#[test]
fn jitter_is_the_same_for_ever_and_spread_evenly() {
    let due = at("2026-11-28T04:45:00Z");
    let hour = Duration::from_hours(1);
    assert_eq!(jitter("home", due, hour), Duration::from_millis(3_141_094));
    assert_eq!(jitter("home", due, Duration::ZERO), Duration::ZERO);
    assert!(jitter("home", due, Duration::MAX) < Duration::MAX);
    let mut tenths = [0; 10];
    for machine in 0..200 {
        for day in 0..50 {
            let found = jitter(&format!("home{machine}"), due + (24 * day).hours(), hour);
            tenths[usize::try_from(found.as_secs() / 360).unwrap()] += 1;
        }
    }
    assert!(tenths.iter().all(|count| (900..1100).contains(count)), "{tenths:?}");
}

/// What is due with `daily 04:45` in UTC, without jitter.
fn daily(last: Option<(&str, u64)>, now: &str) -> Due {
    due("daily 04:45", last, now).unwrap()
}

fn due(text: &str, last: Option<(&str, u64)>, now: &str) -> Option<Due> {
    let last = last.map(|(started, minutes)| LastRun { started: at(started), took: Duration::from_mins(minutes) });
    next_due(&[schedule(text)], &TimeZone::UTC, ("home", Duration::ZERO), last, at(now))
}

fn on(moment: &str, missed: u32) -> Due {
    Due { at: at(moment), missed, counted_from: None }
}

#[test]
fn a_job_that_never_ran_is_due_at_once_and_one_without_schedules_never() {
    assert_eq!(daily(None, "2026-06-01T12:00:00Z"), on("2026-06-01T12:00:00Z", 0));
    let last = LastRun { started: at("2026-06-01T12:00:00Z"), took: Duration::ZERO };
    for last in [None, Some(last)] {
        assert_eq!(next_due(&[], &TimeZone::UTC, ("", Duration::ZERO), last, at("2026-06-01T12:00:00Z")), None);
    }
}

#[test]
fn missed_moments_are_made_up_once() {
    let last = Some(("2026-06-01T04:45:00Z", 5));
    assert_eq!(daily(last, "2026-06-01T12:00:00Z"), on("2026-06-02T04:45:00Z", 0), "nothing was missed");
    assert_eq!(daily(last, "2026-06-02T04:45:00Z"), on("2026-06-02T04:45:00Z", 0), "it is due now");
    assert_eq!(daily(last, "2026-06-05T12:00:00Z"), on("2026-06-02T04:45:00Z", 3), "asleep, or the clock jumped");
    let made_up = Some(("2026-06-05T12:00:00Z", 5));
    assert_eq!(daily(made_up, "2026-06-05T12:06:00Z"), on("2026-06-06T04:45:00Z", 0), "and goes on from there");
    let far = due("every 5m", last, "2036-06-01T00:00:00Z").unwrap();
    assert_eq!((far.at, far.missed), (at("2026-06-01T04:50:30Z"), 1000), "and is not counted for ever");
}

#[test]
fn a_clock_that_was_put_back_counts_from_now() {
    let last = Some(("2026-06-10T04:45:00Z", 5));
    let found = daily(last, "2026-06-01T12:00:00Z");
    let now = at("2026-06-01T12:00:00Z");
    assert_eq!(found, Due { at: at("2026-06-02T04:45:00Z"), missed: 0, counted_from: Some(now) });
    let interval = due("every 6h", last, "2026-06-01T12:00:00Z").unwrap();
    assert_eq!((interval.at, interval.counted_from), (at("2026-06-01T18:00:00Z"), Some(now)));
    // Once that is written down, the interval ends.
    let later = due("every 6h", Some(("2026-06-01T12:00:00Z", 5)), "2026-06-01T17:00:00Z").unwrap();
    assert_eq!(later, on("2026-06-01T18:00:00Z", 0));
    // A clock that differs a little does not make a run twice.
    assert_eq!(daily(last, "2026-06-10T04:44:30Z"), on("2026-06-11T04:45:00Z", 0));
}

#[test]
fn a_run_that_outlasts_its_interval_is_followed_by_one_after_a_pause() {
    // Seven hours, hourly: six moments passed, one run makes them up, 42 minutes after the end.
    let last = Some(("2026-06-01T00:00:00Z", 7 * 60));
    assert_eq!(due("hourly", last, "2026-06-01T07:00:00Z"), Some(on("2026-06-01T07:42:00Z", 0)));
    assert_eq!(due("hourly", last, "2026-06-01T07:42:00Z"), Some(on("2026-06-01T07:42:00Z", 6)));
    // At most an hour.
    let long = Some(("2026-06-01T00:00:00Z", 48 * 60));
    assert_eq!(due("hourly", long, "2026-06-03T00:00:00Z").unwrap().at, at("2026-06-03T01:00:00Z"));
    // One that ends in time changes nothing.
    let short = Some(("2026-06-01T00:00:00Z", 50));
    assert_eq!(due("hourly", short, "2026-06-01T00:50:00Z"), Some(on("2026-06-01T01:00:00Z", 0)));
    // The clock was put back by less than it took: that end is not waited for.
    let moved = Some(("2026-06-01T00:00:00Z", 7 * 60));
    assert_eq!(due("hourly", moved, "2026-06-01T01:30:00Z").unwrap().at, at("2026-06-01T01:00:00Z"));
}

#[test]
fn jitter_delays_a_moment_and_never_reaches_the_next() {
    let schedules = [schedule("hourly"), schedule("daily 04:45")];
    let mut last = LastRun { started: at("2026-06-01T00:00:00Z"), took: Duration::ZERO };
    for _ in 0..100 {
        let who = ("machine/home", Duration::from_hours(5));
        let Some(found) = next_due(&schedules, &TimeZone::UTC, who, Some(last), last.started) else { unreachable!() };
        let moment = schedules.iter().filter_map(|one| one.after(last.started, &TimeZone::UTC)).min().unwrap();
        let next = schedules.iter().filter_map(|one| one.after(moment, &TimeZone::UTC)).min().unwrap();
        assert!(moment <= found.at && found.at < next, "{moment} {} {next}", found.at);
        assert_eq!(found.missed, 0);
        last.started = found.at;
    }
    assert!(last.started > at("2026-06-04T00:00:00Z"));
}
