#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
};

use keeper::status::{ConfigurationStatus, Ending, Failure, Level, Proof, RunStatus};

use super::*;
use crate::config::Mqtt;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

fn names() -> Names {
    Names::new(&Mqtt {
        host: "broker".to_owned(),
        port: 1883,
        tls: false,
        username: Some("haul".to_owned()),
        password_file: Some("/secrets/mqtt".into()),
        ca_file: None,
        discovery_prefix: "homeassistant".to_owned(),
        topic: "haul".to_owned(),
    })
}

fn job(name: &str, destinations: &[&str]) -> JobStatus {
    JobStatus {
        name: name.to_owned(),
        source: "/config".to_owned(),
        level: Level::Unknown,
        headline: String::new(),
        schedules: Vec::new(),
        paused: false,
        instance: None,
        next: None,
        last: None,
        newest_whole: None,
        newest_size: None,
        advice: None,
        copies_of_newest: 0,
        verified_of_newest: 0,
        proven: None,
        running: Vec::new(),
        destinations: destinations.iter().map(|name| (*name).to_owned()).collect(),
        days: Vec::new(),
    }
}

fn place(name: &str) -> DestinationStatus {
    DestinationStatus {
        name: name.to_owned(),
        address: format!("/{name}"),
        options: BTreeMap::new(),
        level: Level::Ok,
        headline: String::new(),
        seen: None,
        away_since: None,
        away: None,
        free: None,
        archives: 0,
        whole: 0,
        size: 0,
        newest_whole: None,
        leaving: Vec::new(),
        waiting_for_consent: Vec::new(),
    }
}

fn problem(kind: &str, job: Option<&str>, destination: Option<&str>) -> Problem {
    Problem {
        key: kind.to_owned(),
        kind: kind.to_owned(),
        level: Level::Warning,
        job: job.map(str::to_owned),
        destination: destination.map(str::to_owned),
        since: at(7),
        message: format!("what is wrong: {kind}"),
        hint: Some("what to do".to_owned()),
    }
}

/// A house that is well except for a destination that is away, and a cabin of which nothing is known.
fn status() -> Status {
    let home = JobStatus {
        next: Some(at(3600)),
        last: Some(RunStatus {
            id: 3,
            kind: TaskKind::Backup,
            job: Some("home".to_owned()),
            destination: None,
            archive: None,
            started: at(-40),
            seconds: 12.4,
            ending: Ending::Incomplete,
            message: "backed up, but not to off site".to_owned(),
            hint: None,
            size: Some(1),
            limited_by: None,
            retry: None,
        }),
        newest_whole: Some(at(-40)),
        newest_size: Some(496_060_000),
        advice: None,
        copies_of_newest: 1,
        verified_of_newest: 1,
        proven: Some(Proof {
            at: at(-9000),
            archive: "a.tar".to_owned(),
            destination: "nas".to_owned(),
            how: "booted".to_owned(),
            home_assistant: Some("2026.11.0".to_owned()),
            sentence: "Proved".to_owned(),
        }),
        running: vec![
            running(TaskKind::Copy, 1, 0, "sending a copy"),
            running(TaskKind::Backup, 999, 1000, "backing up"),
        ],
        ..job("home", &["nas", "off site"])
    };
    let nas = DestinationStatus {
        seen: Some(at(-10)),
        free: Some(1_234_567_890_123),
        archives: 14,
        whole: 13,
        size: 6_944_000_000,
        newest_whole: Some(at(-40)),
        ..place("nas")
    };
    let away = Failure { message: "no route to host".to_owned(), hint: None, passes: true };
    let off = DestinationStatus { away_since: Some(at(-99)), away: Some(away), ..place("off site") };
    Status {
        now: at(0),
        version: "1.2.3".to_owned(),
        level: Level::Warning,
        headline: String::new(),
        jobs: vec![JobStatus { paused: true, ..job("cabin", &["cabin"]) }, home],
        destinations: vec![place("cabin"), nas, off],
        running: Vec::new(),
        problems: vec![problem("destination-away", None, Some("off site")), problem("incomplete", Some("home"), None)],
        configuration: ConfigurationStatus { path: String::new(), problem: None },
    }
}

fn running(kind: TaskKind, done: u64, total: u64, doing: &str) -> Running {
    Running {
        id: 1,
        kind,
        job: Some("home".to_owned()),
        destination: None,
        archive: None,
        started: at(0),
        doing: doing.to_owned(),
        done,
        total,
        rate: 0,
        left: None,
        limited_by: None,
    }
}

fn told(status: &Status, page: Option<&str>) -> Vec<(String, Value)> {
    let names = names();
    let messages = Teller { names: &names, page }.all(status);
    assert!(messages.iter().all(|message| message.is_retained));
    messages.into_iter().map(|message| (message.topic, serde_json::from_str(&message.payload).unwrap())).collect()
}

fn of(told: &[(String, Value)], topic: &str) -> Value {
    told.iter().find(|(known, _)| known == topic).unwrap_or_else(|| panic!("{topic}")).1.clone()
}

#[test]
fn what_home_assistant_is_told() {
    let mut text = String::new();
    for (topic, payload) in told(&status(), Some("http://10.0.0.2:8745/")) {
        writeln!(text, "{topic}\n{payload:#}\n").unwrap();
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/mqtt/entities/told.txt");
    if std::env::var_os("HAUL_GOLDEN").is_some() {
        fs::write(&file, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&file).unwrap(), "HAUL_GOLDEN=1 writes it anew");
}

#[test]
fn every_entity_has_an_id_of_its_own() {
    let mut ids = BTreeSet::new();
    let mut count = 0;
    for (topic, payload) in told(&status(), None) {
        if !topic.ends_with("/config") {
            continue;
        }
        assert!(payload["device"].get("configuration_url").is_none());
        for (_, entity) in payload["components"].as_object().unwrap() {
            if let Some(id) = entity.get("unique_id") {
                count += 1;
                assert!(ids.insert(id.as_str().unwrap().to_owned()), "{id}");
            }
        }
    }
    assert_eq!((ids.len(), count), (45, 45));
}

#[test]
fn a_destination_that_does_not_say_its_free_space_has_no_such_entity() {
    let told = told(&status(), None);
    let components = |name: &str| {
        of(&told, &format!("homeassistant/device/haul/destination_{name}/config"))["components"]["free"].clone()
    };
    assert_eq!(components("off_20site"), json!({ "platform": "sensor" }));
    assert_eq!(components("nas")["unit_of_measurement"], "GB");
}

#[test]
fn a_name_that_a_job_and_a_destination_share_is_told_apart() {
    let told = told(&status(), None);
    let name = |id: &str| of(&told, &format!("homeassistant/device/haul/{id}/config"))["device"]["name"].clone();
    assert_eq!((name("job_cabin"), name("destination_cabin")), ("Haul cabin".into(), "Haul cabin location".into()));
}

#[test]
fn progress_is_that_of_the_backup_and_unknown_where_it_is() {
    let mut status = status();
    let progress = |status: &Status| of(&told(status, None), "haul/job_home/progress");
    assert_eq!(progress(&status), json!({ "progress": 99, "activity": "backing up" }));
    status.jobs[1].running.pop();
    assert_eq!(progress(&status), json!({ "progress": null, "activity": "sending a copy" }));
    status.jobs[1].running = vec![running(TaskKind::Copy, u64::MAX, 7, &"é".repeat(300))];
    let long = progress(&status);
    assert_eq!((&long["progress"], long["activity"].as_str().unwrap().chars().count()), (&100.into(), 255));
    status.jobs[1].running.clear();
    assert_eq!(progress(&status), json!({ "progress": null, "activity": "idle" }));
    assert_eq!(of(&told(&status, None), "haul/job_cabin/progress")["activity"], "paused");
}

#[test]
fn problems_are_told_where_they_concern() {
    let mut status = status();
    let details = |status: &Status, device: &str| {
        let state = of(&told(status, None), &format!("haul/{device}/state"));
        (state["problem"].clone(), state["problems"]["kind"].clone(), state["problems"]["further"].clone())
    };
    assert_eq!(details(&status, "job_home"), ("ON".into(), "destination-away".into(), 1.into()));
    assert_eq!(details(&status, "job_cabin"), ("OFF".into(), Value::Null, Value::Null));
    assert_eq!(details(&status, "destination_off_20site").0, "ON");
    assert_eq!(details(&status, "destination_nas").0, "OFF");
    status.problems = vec![problem("configuration", None, None)];
    assert_eq!(details(&status, "job_cabin").0, "ON");
    assert_eq!(details(&status, "destination_nas").0, "OFF");
}

#[test]
fn events_reach_the_jobs_that_they_concern_and_are_not_kept() {
    let (status, names) = (status(), names());
    let event = |kind: &str, job: Option<&str>, destination: Option<&str>| {
        let event = Event {
            id: 1,
            at: at(0),
            level: Level::Ok,
            kind: kind.to_owned(),
            job: job.map(str::to_owned),
            destination: destination.map(str::to_owned),
            message: "it happened".to_owned(),
            hint: None,
            problem: None,
        };
        let messages = Teller { names: &names, page: None }.event(&event, &status);
        assert!(messages.iter().all(|message| !message.is_retained));
        let told = |message: Message| {
            let payload: Value = serde_json::from_str(&message.payload).unwrap();
            let kind = payload["event_type"].as_str().unwrap().to_owned();
            assert!(EVENTS.contains(&kind.as_str()) && payload["message"] == "it happened", "{payload}");
            (message.topic, kind)
        };
        messages.into_iter().map(told).collect::<Vec<_>>()
    };
    let home = |kind: &str| vec![("haul/job_home/event".to_owned(), kind.to_owned())];
    assert_eq!(event("backup", Some("home"), None), home("backup"));
    assert_eq!(event("delete", None, Some("nas")), home("removal"));
    assert_eq!(event("destination-away", None, Some("off site")), home("problem"));
    assert_eq!(event("destination-away-over", None, Some("off site")), home("solved"));
    assert_eq!(event("trouble", None, Some("off site")), home("problem"));
    assert_eq!(event("configuration", None, None).len(), 2);
    assert_eq!(event("restore", Some("home"), Some("nas")), home("restore"));
    assert_eq!(event("migrate", Some("home"), None), home("migration"));
    for pressed in ["pin", "sign-in", "emergency-kit"] {
        assert_eq!(event(pressed, None, None), []);
    }
    assert_eq!(event("backup", Some("gone"), None), []);
}
