//! The time zone that `haul.toml` names, unlike the system's.

use std::path::Path;

use serde_json::json;
use testkit::wait;

use crate::home::{Home, TWO};

/// The arguments that give a program this clock, in UTC; nothing: there is no faketime here.
fn at(moment: &str) -> Option<Vec<String>> {
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
    if !Path::new(&library).exists() {
        testkit::rig::tell("skipped: faketime is not installed");
        return None;
    }
    let said = ["env", "TZ=UTC", "FAKETIME_DONT_FAKE_MONOTONIC=1"].map(str::to_owned);
    Some(said.into_iter().chain([format!("LD_PRELOAD={library}"), format!("FAKETIME=@{moment}")]).collect())
}

fn haul_at(home: &Home, moment: &str, args: &[&str]) -> Option<String> {
    let through = at(moment)?;
    let through: Vec<&str> = through.iter().map(String::as_str).collect();
    let (code, said) = home.haul_in(&through, args);
    assert!(matches!(code, 0 | 3), "{said}");
    Some(said)
}

#[test]
fn in_the_nights_in_which_its_clocks_change_a_job_runs_once() {
    let home = Home::new(&format!("time_zone = \"Europe/Berlin\"\n{}", TWO.replace("04:45", "02:30")));
    for (before, in_the_night, next, after, day_after) in [
        // 02:30 is skipped: it runs as soon as the clocks have changed.
        ("2027-03-27 12:00:00", "2027-03-28 00:59:00", "2027-03-28 03:00", "2027-03-28 01:01:00", "2027-03-29 02:30"),
        // 02:30 comes twice: it runs the first time.
        ("2027-10-30 12:00:00", "2027-10-31 00:29:00", "2027-10-31 02:30", "2027-10-31 00:31:00", "2027-11-01 02:30"),
    ] {
        if haul_at(&home, before, &["run", "home", "--no-sync"]).is_none() {
            return;
        }
        let said = haul_at(&home, in_the_night, &["jobs"]).unwrap();
        assert!(said.contains(next), "{said}");
        assert!(haul_at(&home, after, &["jobs"]).unwrap().contains("  now  "));
        haul_at(&home, after, &["run", "home", "--no-sync"]).unwrap();
        let said = haul_at(&home, after, &["jobs"]).unwrap();
        assert!(said.contains(day_after), "{said}");
    }
}

#[test]
fn a_day_of_retention_is_one_of_the_time_zone() {
    let home = Home::new(TWO);
    // Half an hour before midnight in Berlin, and half an hour after it.
    for moment in ["2026-11-02 22:30:00", "2026-11-02 23:30:00"] {
        if haul_at(&home, moment, &["backup", "config", "--to", "nas"]).is_none() {
            return;
        }
    }
    let going = |zone: &str| {
        home.configure(&format!("time_zone = \"{zone}\"\n{TWO}"));
        let prune = ["prune", "nas", "--keep-daily", "7", "--dry-run"];
        let said = haul_at(&home, "2026-11-03 12:00:00", &prune).unwrap();
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let (utc, berlin) = (going("UTC"), going("Europe/Berlin"));
    assert!(utc.contains("REMOVE 2026-11-02 22:30") && utc.contains("keep 2026-11-02 23:30"), "{utc}");
    assert!(berlin.contains("keep 2026-11-02 23:30") && berlin.contains("keep 2026-11-03 00:30"), "{berlin}");
}

#[test]
fn another_time_zone_is_in_force_at_once_everywhere() {
    let home = Home::new(TWO);
    let _service = home.serve();
    home.settled(2);
    let next = || home.status()["jobs"][0]["next"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let is_at = |zone: &str| {
        let next = next().in_tz(zone).unwrap();
        (next.hour(), next.minute()) == (4, 45)
    };
    assert!(is_at("Europe/Berlin"), "the system's");
    // Three quarters of an hour beside all others.
    home.configure(&format!("time_zone = \"Asia/Kathmandu\"\n{TWO}"));
    wait::until("the schedule is meant there", || is_at("Asia/Kathmandu"));
    let said = home.haul(&["jobs"]).1;
    assert!(said.contains(" 04:45  "), "{said}");
    let says = "the time zone is Asia/Kathmandu, it was Europe/Berlin: schedules and all times are meant in it";
    wait::until("the log says so", || home.log().contains(says));
    let page = home.text("GET", "/settings").unwrap();
    assert!(page.contains("<strong>Asia/Kathmandu</strong>"), "{page}");
    assert!(home.text("GET", "/").unwrap().contains(" 04:45"), "the page tells times there");
    let now = jiff::Timestamp::now().in_tz("Asia/Kathmandu").unwrap();
    let said = home.log().lines().last().unwrap()[..16].replace(' ', "T").parse::<jiff::civil::DateTime>().unwrap();
    assert!(now.datetime().duration_since(said).abs().as_mins() < 10, "{}", home.log());

    // One that is none changes nothing, and says where it is.
    home.configure(&format!("time_zone = \"Asia/Katmandoo\"\n{TWO}"));
    wait::until("it is told", || home.status()["configuration"]["problem"].is_string());
    let problem = home.status()["configuration"]["problem"].to_string();
    assert!(problem.contains("haul.toml, line 1: there is no time zone \\\"Asia/Katmandoo\\\""), "{problem}");
    assert!(is_at("Asia/Kathmandu"));

    // The page and the API change it.
    home.configure(TWO);
    wait::until("the system's is back", || is_at("Europe/Berlin"));
    assert_eq!(home.send("PUT", "time-zone", &json!({"time_zone": "UTC"})).0, 204);
    wait::until("the schedule is meant in UTC", || is_at("UTC"));
    assert!(std::fs::read_to_string(home.path("haul.toml")).unwrap().starts_with("time_zone = \"UTC\"\n"));
    let (code, answer) = home.send("PUT", "time-zone", &json!({"time_zone": "Mars/Olympus"}));
    assert_eq!((code, &answer["field"]), (422, &json!("time_zone")), "{answer}");
    let (code, page) = home.post("/settings/time-zone", "time_zone=Europe%2FBerlim");
    assert!(code == 422 && page.contains("did you mean"), "{page}");
    assert_eq!(home.post("/settings/time-zone", "time_zone=").0, 303);
    wait::until("the system's is back", || is_at("Europe/Berlin"));
}
