//! Who is told what, and when: a channel hears of a change once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keeper::{
    notices::{Channel, Notice, Told, Wanted},
    status::{Event, Level, Problem},
};

const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    "2026-11-02T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)
}

fn channel(wanted: Wanted) -> Channel {
    Channel { name: "phone".to_owned(), wanted, jobs: Vec::new(), after: Duration::from_hours(1), takes_back: false }
}

fn problem(key: &str, level: Level, job: Option<&str>, since: i64) -> Problem {
    Problem {
        key: key.to_owned(),
        kind: key.split(':').next().unwrap().to_owned(),
        level,
        job: job.map(str::to_owned),
        destination: None,
        since: at(since),
        message: format!("{key} is wrong"),
        hint: Some("mend it".to_owned()),
    }
}

fn event(id: i64, kind: &str, job: &str, second: i64) -> Event {
    Event {
        id,
        at: at(second),
        level: Level::Ok,
        kind: kind.to_owned(),
        job: Some(job.to_owned()),
        destination: None,
        message: format!("{kind} {id}"),
        hint: None,
        problem: None,
    }
}

/// What is told, as `begun KEY`, `over KEY`, `happened ID`.
fn told(notices: &[Notice]) -> Vec<String> {
    let said = |notice: &Notice| match notice {
        Notice::Begun(problem) => format!("begun {}", problem.key),
        Notice::Over(problem) => format!("over {}", problem.key),
        Notice::Happened(event) => format!("happened {}", event.id),
        Notice::Test => "test".to_owned(),
    };
    notices.iter().map(said).collect()
}

#[test]
fn a_channel_that_is_to_hear_nothing_only_takes_back_what_it_shows() {
    let problem = problem("backup-failed:home", Level::Error, Some("home"), 0);
    let mut told = Told::default();
    told.note(&Notice::Begun(problem.clone()));
    let muted = channel(Wanted::Nothing);
    assert_eq!(muted.due(&told, std::slice::from_ref(&problem), &[], at(60)).notices, []);
    let shown = Channel { takes_back: true, ..muted };
    let taken = shown.due(&told, std::slice::from_ref(&problem), &[], at(60)).notices;
    assert_eq!(taken, [Notice::Over(problem.clone())]);
    told.note(&taken[0]);
    assert_eq!(shown.due(&told, &[problem], &[], at(60)).notices, []);
}

#[test]
fn what_is_unsafe_is_told_at_once_and_once_and_its_end_too() {
    let channel = channel(Wanted::Errors);
    let mut known = Told::default();
    let wrong = [problem("backup-failed:home", Level::Error, Some("home"), 0)];
    let due = channel.due(&known, &wrong, &[], at(0));
    assert_eq!(told(&due.notices), ["begun backup-failed:home"]);
    // Not delivered: still due.
    assert_eq!(channel.due(&known, &wrong, &[], at(60)), due);
    due.notices.iter().for_each(|notice| known.note(notice));
    let later = problem("backup-failed:home", Level::Error, Some("home"), 0);
    assert_eq!(told(&channel.due(&known, &[later], &[], at(10 * HOUR)).notices), [""; 0]);
    let over = channel.due(&known, &[], &[], at(10 * HOUR));
    assert_eq!(told(&over.notices), ["over backup-failed:home"]);
    let message = over.notices[0].message(at(10 * HOUR));
    assert_eq!(message, "Backups succeed again: home, after 10 h");
    over.notices.iter().for_each(|notice| known.note(notice));
    assert_eq!(channel.due(&known, &[], &[], at(11 * HOUR)).notices, []);
    assert_eq!(known, Told::default());
}

#[test]
fn what_may_pass_is_told_when_it_lasts() {
    let channel = channel(Wanted::Problems);
    let away = [problem("destination-away:nas", Level::Warning, None, 0)];
    let due = channel.due(&Told::default(), &away, &[], at(60));
    assert_eq!((due.notices, due.wake), (Vec::new(), Some(at(HOUR))));
    // It passed: nobody hears of it.
    assert_eq!(channel.due(&Told::default(), &[], &[], at(120)).notices, []);
    let due = channel.due(&Told::default(), &away, &[], at(HOUR));
    assert_eq!((told(&due.notices), due.wake), (vec!["begun destination-away:nas".to_owned()], None));
    // Whoever wants to hear of errors only does not.
    assert_eq!(self::channel(Wanted::Errors).due(&Told::default(), &away, &[], at(HOUR)).notices, []);
    // It becomes one.
    let worse = [problem("destination-away:nas", Level::Error, None, 0)];
    assert_eq!(self::channel(Wanted::Errors).due(&Told::default(), &worse, &[], at(60)).notices.len(), 1);
}

#[test]
fn a_channel_that_was_away_hears_how_things_are_now() {
    let channel = channel(Wanted::Problems);
    let mut known = Told::default();
    known.note(&Notice::Begun(problem("overdue:home", Level::Error, Some("home"), 0)));
    // Meanwhile that ended, another came and went, and a third is there.
    let now = [problem("not-proven:home", Level::Error, Some("home"), 50 * HOUR)];
    let due = channel.due(&known, &now, &[], at(60 * HOUR));
    assert_eq!(told(&due.notices), ["begun not-proven:home", "over overdue:home"]);
}

#[test]
fn backups_and_everything_else_are_told_to_those_who_want_it() {
    let events = [event(4, "rehearse", "home", 50), event(3, "backup", "home", 40), event(2, "backup", "home", 30)];
    let known = Told { event: 2, ..Told::default() };
    let of = |wanted| told(&channel(wanted).due(&known, &[], &events, at(60)).notices);
    assert_eq!(of(Wanted::Problems), [""; 0]);
    assert_eq!(of(Wanted::Backups), ["happened 3"]);
    assert_eq!(of(Wanted::Everything), ["happened 3", "happened 4"]);
    // What begins or ends a problem is told as that.
    let mut problem = event(5, "overdue", "home", 55);
    problem.problem = Some("overdue:home".to_owned());
    assert_eq!(channel(Wanted::Everything).due(&known, &[], &[problem], at(60)).notices, []);
    // Old news is none.
    assert_eq!(channel(Wanted::Everything).due(&known, &[], &events, at(30 * HOUR)).notices, []);
    let mut after = known.clone();
    after.note(&Notice::Happened(events[0].clone()));
    assert_eq!(channel(Wanted::Everything).due(&after, &[], &events, at(60)).notices, []);
}

#[test]
fn a_backup_that_is_incomplete_is_told_once() {
    let channel = channel(Wanted::Backups);
    let made = |id, second| Event { message: format!("made {id}"), ..event(id, "backup", "home", second) };
    let wrong =
        |id| Problem { message: format!("made {id}"), ..problem("incomplete:home", Level::Warning, Some("home"), 0) };
    let mut known = Told::default();
    let tell = |known: &mut Told, problems: &[Problem], events: &[Event], second| {
        let due = channel.due(known, problems, events, at(second)).notices;
        for notice in &due {
            known.note(notice);
        }
        told(&due)
    };
    assert_eq!(tell(&mut known, &[wrong(1)], &[made(1, 0)], 60), [""; 0]);
    assert_eq!(tell(&mut known, &[wrong(1)], &[made(1, 0)], HOUR), ["begun incomplete:home"]);
    assert_eq!(tell(&mut known, &[wrong(1)], &[made(1, 0)], 2 * HOUR), [""; 0]);
    // The next one is no new problem.
    let both = [made(2, 5 * HOUR), made(1, 0)];
    assert_eq!(tell(&mut known, &[wrong(2)], &both, 6 * HOUR), ["happened 2"]);
    assert_eq!(tell(&mut known, &[], &both, 7 * HOUR), ["over incomplete:home"]);
}

#[test]
fn a_channel_of_some_jobs_hears_of_these_and_of_what_concerns_all() {
    let channel = Channel { jobs: vec!["home".to_owned()], ..channel(Wanted::Everything) };
    let wrong = [
        problem("overdue:barn", Level::Error, Some("barn"), 0),
        problem("overdue:home", Level::Error, Some("home"), 0),
        problem("state", Level::Error, None, 0),
        problem("notify-failed:phone", Level::Error, None, 0),
    ];
    let events = [event(2, "backup", "barn", 0), event(1, "backup", "home", 0)];
    let due = channel.due(&Told::default(), &wrong, &events, at(60));
    assert_eq!(told(&due.notices), ["begun overdue:home", "begun state", "happened 1"]);
}
