//! States of a service that are worth looking at.

use std::collections::BTreeMap;

use engine::inventory::{Called, Item};
use jiff::{SignedDuration, Timestamp, ToSpan};
use keeper::status::{
    ArchiveStatus, ConfigurationStatus, CopyStatus, CopyVerdict, Day, DestinationStatus, Ending, Event, Failure,
    JobStatus, Level, Problem, Proof, RunStatus, Running, Status, TaskKind,
};

#[derive(Clone)]
pub struct State {
    pub status: Status,
    pub archives: Vec<ArchiveStatus>,
    pub events: Vec<Event>,
    pub configuration: String,
}

/// So many hours before now, at a full minute.
pub fn hours_ago(hours: i64) -> Timestamp {
    let now = Timestamp::now().as_second();
    Timestamp::from_second(now - now % 60 - hours * 3600).unwrap()
}

pub fn running(id: i64, kind: TaskKind, job: &str, done: u64, total: u64) -> Running {
    Running {
        id,
        kind,
        job: Some(job.to_owned()),
        destination: None,
        archive: None,
        started: Timestamp::now() - SignedDuration::from_secs(9),
        doing: "home-assistant_v2.db".to_owned(),
        done,
        total,
        rate: 85_000_000,
        left: Some((total - done) / 85_000_000),
        limited_by: Some("the upload to offsite".to_owned()),
    }
}

fn days() -> Vec<Day> {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    (0..30_i64)
        .map(|number| {
            let level = match number {
                0..=3 => Level::Unknown,
                12 => Level::Error,
                13 => Level::Warning,
                _ => Level::Ok,
            };
            let size = if level == Level::Unknown || level == Level::Error {
                0
            } else {
                380_000_000 + 4_000_000 * number as u64
            };
            Day { date: today - (29 - number).days(), level, size }
        })
        .collect()
}

fn job(name: &str, source: &str) -> JobStatus {
    JobStatus {
        name: name.to_owned(),
        source: source.to_owned(),
        level: Level::Ok,
        headline: HEADLINE.to_owned(),
        schedules: vec!["daily 04:45".to_owned()],
        paused: false,
        instance: Some("4b1c8d0f3a5e4d6c9f7a2b3c4d5e6f70".to_owned()),
        next: Some(hours_ago(-21)),
        last: Some(RunStatus {
            id: 6,
            kind: TaskKind::Backup,
            job: Some(name.to_owned()),
            destination: None,
            archive: Some("a0".to_owned()),
            started: hours_ago(3),
            seconds: 12.4,
            ending: Ending::Done,
            message: "Backed up 367 entries.".to_owned(),
            hint: None,
            size: Some(496_000_000),
            limited_by: Some("compressing".to_owned()),
            retry: None,
        }),
        newest_whole: Some(hours_ago(3)),
        newest_size: Some(496_000_000),
        advice: None,
        copies_of_newest: 2,
        verified_of_newest: 2,
        proven: Some(Proof {
            at: hours_ago(100),
            archive: "a4".to_owned(),
            destination: "nas".to_owned(),
            how: "booted".to_owned(),
            home_assistant: Some("2026.11.0".to_owned()),
            sentence: "by Home Assistant 2026.11.0 itself".to_owned(),
        }),
        running: Vec::new(),
        destinations: vec!["nas".to_owned(), "offsite".to_owned()],
        days: days(),
    }
}

fn destination(name: &str, address: &str, free: Option<u64>) -> DestinationStatus {
    DestinationStatus {
        name: name.to_owned(),
        address: address.to_owned(),
        options: BTreeMap::new(),
        level: Level::Ok,
        headline: "14 backups".to_owned(),
        seen: Some(hours_ago(1)),
        away_since: None,
        away: None,
        free,
        archives: 14,
        whole: 14,
        size: 6_700_000_000,
        newest_whole: Some(hours_ago(3)),
        leaving: vec!["Haul_backup_2026.11.0_2026-11-14_04.45_41201133.tar".to_owned()],
        waiting_for_consent: Vec::new(),
    }
}

pub fn item(number: usize) -> Item {
    let date = hours_ago(3 + 24 * number as i64);
    let name = format!("Haul_backup_2026.11.0_{}_04.45_{:08}.tar", date.strftime("%Y-%m-%d"), 41_201_133 + number);
    Item {
        name: name.into(),
        size: 496_000_000 - 3_000_000 * (number as u64 % 100),
        date,
        title: Some(format!("Automatic backup 2026.{}.{}", 11 - number / 200 % 11, number % 3).into()),
        home_assistant: Some("2026.11.0".into()),
        made_by: engine::retention::Origin::Own,
        protected: true,
        pinned: number == 5,
        instance: Some("4b1c8d0f3a5e4d6c9f7a2b3c4d5e6f70".into()),
        verdict: if number == 9 { Called::Incomplete } else { Called::Whole },
        missing: (number == 9).then(|| "www/camera.mp4 could not be read: permission denied".into()),
        essential: false,
        history: true,
        link: false,
        arrival: None,
        problem: None,
        slug: None,
    }
}

pub fn archive(number: usize, destinations: &[&str]) -> ArchiveStatus {
    let item = item(number);
    let copy = |(place, destination): (usize, &&str)| {
        let damaged = number == 7 && place == 1;
        let verdict = CopyVerdict {
            whole: !damaged,
            sentence: if damaged {
                "The archive breaks off after 212 MB of 475 MB.".into()
            } else {
                "Everything is as it was written.".into()
            },
            damaged,
            samples: place == 1,
        };
        let verified = number < 3 || !(number + place).is_multiple_of(5);
        CopyStatus {
            destination: (*destination).into(),
            name: item.name.clone(),
            size: item.size,
            verified: verified.then(|| hours_ago(2 + 24 * number as i64)),
            verdict: verified.then_some(verdict),
            pinned: item.pinned,
            pinning: None,
            leaving: number == 13 && place == 0,
        }
    };
    let copies = destinations.iter().enumerate().map(copy).collect();
    let note = (number == 5).then(|| "Before the move to Zigbee2MQTT".to_owned());
    ArchiveStatus { id: format!("a{number}"), item, job: Some("home".to_owned()), copies, note }
}

fn events() -> Vec<Event> {
    let event = |id: i64, level, message: &str, hint: Option<&str>, destination: Option<&str>| Event {
        id,
        at: hours_ago(3 + (200 - id) / 3),
        level,
        kind: "backup".to_owned(),
        job: Some("home".to_owned()),
        destination: destination.map(str::to_owned),
        message: message.to_owned(),
        hint: hint.map(str::to_owned),
        problem: None,
    };
    let mut events = Vec::new();
    for id in (1..=200).rev() {
        events.push(match id % 7 {
            0 => event(
                id,
                Level::Error,
                "nas can't be reached: connection refused at 192.168.1.20:22.",
                Some("Check that the machine is on. Haul tries again by itself."),
                Some("nas"),
            ),
            3 => event(
                id,
                Level::Warning,
                "the backup lacks www/camera.mp4: permission denied.",
                Some("Run Haul as root or as the user that runs Home Assistant."),
                None,
            ),
            5 => event(
                id,
                Level::Ok,
                "removed Haul_backup_2026.11.0_2026-11-13_04.45_41201132.tar.",
                None,
                Some("offsite"),
            ),
            _ => event(id, Level::Ok, "backed up 367 entries (1.08 GB) as 496 MB in 12.4 s.", None, None),
        });
    }
    events
}

const HEADLINE: &str = "2 whole copies, newest 3 hours ago, both checked; next tomorrow at 04:45";

const CONFIGURATION: &str = r#"# Backups of Home Assistant
[destinations.nas]
url = "sftp://backup@nas.local/backups/ha"
password_file = "nas.password"

[destinations.offsite]
url = "s3://my-backups/ha"
secret_key = "(not shown)"

[jobs.home]
source = "/srv/homeassistant"
schedule = ["daily 04:45"]
destinations = ["nas", "offsite"]
password_file = "key"
keep = { last = 3, daily = 7, weekly = 4 }
rehearse = "weekly"
"#;

impl State {
    /// Nothing to worry about.
    pub fn good() -> Self {
        let status = Status {
            now: Timestamp::now(),
            version: "0.1.0".to_owned(),
            level: Level::Ok,
            headline: HEADLINE.to_owned(),
            jobs: vec![job("home", "/srv/homeassistant")],
            destinations: vec![
                destination("nas", "sftp://backup@nas.local/backups/ha", Some(1_240_000_000_000)),
                destination("offsite", "s3://my-backups/ha", None),
            ],
            running: Vec::new(),
            problems: Vec::new(),
            configuration: ConfigurationStatus { path: "/etc/haul/haul.toml".to_owned(), problem: None },
        };
        let archives = (0..14).map(|number| archive(number, &["nas", "offsite"])).collect();
        Self { status, archives, events: events(), configuration: CONFIGURATION.to_owned() }
    }

    /// The same while a backup is made.
    pub fn busy() -> Self {
        let mut state = Self::good();
        state.status.jobs[0].running = vec![
            running(7, TaskKind::Backup, "home", 620_000_000, 1_080_000_000),
            Running {
                destination: Some("offsite".to_owned()),
                limited_by: Some("the limit of 2 MB/s".to_owned()),
                rate: 2_000_000,
                ..running(8, TaskKind::Verify, "home", 90_000_000, 496_000_000)
            },
        ];
        state
    }

    /// Much is wrong at once.
    pub fn trouble() -> Self {
        let mut state = Self::good();
        let problem = |kind: &str, level, message: &str, hint: &str| Problem {
            key: kind.to_owned(),
            kind: kind.to_owned(),
            level,
            job: Some("home".to_owned()),
            destination: kind.contains("destination").then(|| "nas".to_owned()),
            since: hours_ago(50),
            message: message.to_owned(),
            hint: Some(hint.to_owned()),
        };
        let status = &mut state.status;
        status.level = Level::Error;
        status.headline = "No whole backup for 51 hours: the last two attempts failed.".to_owned();
        status.problems = vec![
            problem(
                "backup-failed",
                Level::Error,
                "/srv/homeassistant can't be read: permission denied.",
                "Run Haul as root or as the user that runs Home Assistant.",
            ),
            problem(
                "destination-away",
                Level::Warning,
                "nas can't be reached: connection refused at 192.168.1.20:22.",
                "Check that the machine is on, and that its SSH server runs. Haul tries again by itself in 12 minutes.",
            ),
            problem(
                "configuration",
                Level::Warning,
                "haul.toml, line 14: `daily 25:00` is no time of day.",
                "Write it like `daily 04:45`. Until then, the configuration before it stays in force.",
            ),
            problem(
                "not-proven",
                Level::Warning,
                "No backup has been proven to restore for 40 days.",
                "Test a restore, or set `rehearse` in haul.toml.",
            ),
        ];
        status.configuration.problem = Some("haul.toml, line 14: `daily 25:00` is no time of day.".to_owned());
        let job = &mut status.jobs[0];
        job.level = Level::Error;
        job.headline = "The last two attempts failed.".to_owned();
        let nas = &mut status.destinations[0];
        nas.level = Level::Warning;
        nas.headline = "It can't be reached.".to_owned();
        nas.away_since = Some(hours_ago(50));
        nas.away = Some(Failure {
            message: "Connection refused at 192.168.1.20:22.".to_owned(),
            hint: Some("Check that the machine is on, and that its SSH server runs.".to_owned()),
            passes: true,
        });
        let offsite = &mut status.destinations[1];
        offsite.level = Level::Warning;
        offsite.headline = "Removing old backups waits for your consent.".to_owned();
        offsite.waiting_for_consent = (20..32).map(|number| item(number).name.to_string()).collect();
        state
    }

    /// Nothing is configured.
    pub fn fresh() -> Self {
        let mut state = Self::good();
        state.status.jobs.clear();
        state.status.destinations.clear();
        state.status.level = Level::Unknown;
        state.status.headline = "No backup is set up yet.".to_owned();
        state.archives.clear();
        state.events.clear();
        state.configuration.clear();
        state
    }

    /// Years of backups at many locations.
    pub fn many() -> Self {
        let names = ["nas", "offsite", "usb-disk", "gdrive", "parents"];
        let mut state = Self::good();
        state.archives = (0..2000).map(|number| archive(number, &names)).collect();
        state.status.destinations =
            names.iter().map(|name| destination(name, &format!("sftp://{name}/ha"), None)).collect();
        for destination in &mut state.status.destinations {
            destination.leaving = (1500..2000).map(|number| item(number).name.to_string()).collect();
            destination.waiting_for_consent = (1000..1500).map(|number| item(number).name.to_string()).collect();
        }
        state
    }

    /// What somebody who wants to do harm would call things.
    pub fn hostile() -> Self {
        const EVIL: &str = "<script>alert(1)</script>\"'&\u{202e}\u{7}";
        let mut state = Self::trouble();
        let status = &mut state.status;
        status.headline = EVIL.to_owned();
        status.jobs[0].headline = EVIL.to_owned();
        status.jobs[0].name = EVIL.to_owned();
        status.jobs[0].schedules = vec![EVIL.to_owned()];
        status.jobs[0].running =
            vec![Running { doing: EVIL.to_owned(), ..running(7, TaskKind::Backup, EVIL, 1, 2_000_000_000) }];
        for problem in &mut status.problems {
            (problem.message, problem.hint, problem.job) =
                (EVIL.to_owned(), Some(EVIL.to_owned()), Some(EVIL.to_owned()));
        }
        for place in &mut status.destinations {
            (place.name, place.address, place.headline) = (EVIL.to_owned(), EVIL.to_owned(), EVIL.to_owned());
            place.leaving = vec![EVIL.to_owned()];
            place.waiting_for_consent = vec![EVIL.to_owned()];
        }
        for archive in &mut state.archives {
            archive.id = format!("{}/{EVIL}", archive.id);
            archive.item.title = Some(EVIL.into());
            archive.item.name = EVIL.into();
            archive.item.home_assistant = Some(EVIL.into());
            archive.item.instance = Some(EVIL.into());
            archive.item.missing = Some(EVIL.into());
            archive.item.problem = Some(EVIL.into());
            archive.note = Some(EVIL.to_owned());
            archive.job = Some(EVIL.to_owned());
            for copy in &mut archive.copies {
                (copy.destination, copy.name) = (EVIL.into(), EVIL.into());
                copy.verdict = Some(CopyVerdict { whole: false, sentence: EVIL.into(), damaged: true, samples: false });
            }
        }
        for event in &mut state.events {
            (event.message, event.hint, event.job) = (EVIL.to_owned(), Some(EVIL.to_owned()), Some(EVIL.to_owned()));
        }
        state.configuration = EVIL.to_owned();
        state
    }
}
