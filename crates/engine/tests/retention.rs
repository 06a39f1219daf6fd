//! Plans of what to keep, as tables: each file under `golden/retention` says the clock, the rules and the archives, and behind each `|` what the plan makes of it.
//! `UPDATE_GOLDEN=1` writes the last column anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fmt::Write, fs, path::PathBuf};

use engine::retention::{Candidate, Decision, Origin, Rules, plan};
use jiff::{Timestamp, Zoned};
use proptest::prelude::*;

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/retention")
}

fn rules(text: &str) -> Rules {
    let mut rules = Rules::default();
    for word in text.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "last" => rules.last = value.parse().unwrap(),
            "daily" => rules.daily = value.parse().unwrap(),
            "weekly" => rules.weekly = value.parse().unwrap(),
            "monthly" => rules.monthly = value.parse().unwrap(),
            "yearly" => rules.yearly = value.parse().unwrap(),
            "within" => rules.within = Some(value.parse().unwrap()),
            "include-foreign" => rules.include_foreign = true,
            other => panic!("{other} is no rule"),
        }
    }
    rules
}

fn candidate(line: &str) -> Candidate {
    let mut words = line.split_whitespace();
    let when: Timestamp = words.next().unwrap().parse().unwrap();
    let mut found = Candidate { name: words.next().unwrap().to_owned(), when, origin: Origin::Own, pinned: false, whole: true };
    for word in words {
        match word {
            "pinned" => found.pinned = true,
            "damaged" => found.whole = false,
            "other" => found.origin = Origin::Other,
            "unknown" => found.origin = Origin::Unknown,
            other => panic!("{other} is no property"),
        }
    }
    found
}

fn outcome(decision: &Decision) -> String {
    if decision.is_removed() {
        return "REMOVE".to_owned();
    }
    decision.keep.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn replanned(text: &str) -> String {
    let (mut now, mut wanted, mut candidates) = (None::<Zoned>, Rules::default(), Vec::new());
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("now: ") {
            now = Some(value.parse().unwrap());
        } else if let Some(value) = line.strip_prefix("rules: ") {
            wanted = rules(value);
        } else if !line.is_empty() && !line.starts_with('#') {
            candidates.push(candidate(line.split('|').next().unwrap()));
        }
    }
    let decisions = plan(&candidates, &wanted, &now.expect("the table says what time it is"));
    let mut out = String::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') || line.starts_with("now: ") || line.starts_with("rules: ") {
            writeln!(out, "{line}").unwrap();
            continue;
        }
        let left = line.split('|').next().unwrap().trim_end();
        let name = candidate(left).name;
        let decision = decisions.iter().find(|decision| decision.name == name).unwrap();
        writeln!(out, "{left:<58} | {}", outcome(decision)).unwrap();
    }
    out
}

#[test]
fn the_plans_are_as_the_tables_say() {
    let mut seen = 0;
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let now = replanned(&text);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &now).unwrap();
        } else {
            assert_eq!(now, text, "{}", path.display());
        }
        seen += 1;
    }
    assert!(seen >= 10, "{seen} tables");
}

proptest! {
    #[test]
    fn something_whole_is_always_left_and_nothing_of_others_goes(
        archives in proptest::collection::vec((0i64..2_000_000_000, 0u8..3, any::<bool>(), any::<bool>()), 1..40),
        counts in proptest::array::uniform5(0u32..4),
        now in 0i64..2_000_000_000,
        foreign in any::<bool>(),
    ) {
        let candidates: Vec<Candidate> = archives.iter().enumerate().map(|(n, (second, origin, pinned, whole))| Candidate {
            name: format!("{n}.tar"),
            when: Timestamp::from_second(*second).unwrap(),
            origin: [Origin::Own, Origin::Other, Origin::Unknown][usize::from(*origin)],
            pinned: *pinned,
            whole: *whole,
        }).collect();
        let [last, daily, weekly, monthly, yearly] = counts;
        let rules = Rules { last, daily, weekly, monthly, yearly, within: None, include_foreign: foreign };
        let now = Timestamp::from_second(now).unwrap().in_tz("Europe/Berlin").unwrap();
        let decisions = plan(&candidates, &rules, &now);
        prop_assert_eq!(decisions.len(), candidates.len());
        let removed = |candidate: &Candidate| decisions.iter().any(|decision| decision.name == candidate.name && decision.is_removed());
        for candidate in &candidates {
            let safe = candidate.pinned || candidate.origin == Origin::Unknown || (candidate.origin == Origin::Other && !foreign);
            prop_assert!(!(safe && removed(candidate)));
        }
        let whole_own = |candidate: &&Candidate| candidate.whole && candidate.origin == Origin::Own;
        if candidates.iter().any(|candidate| whole_own(&candidate)) {
            let left = candidates.iter().filter(|candidate| candidate.whole && candidate.origin != Origin::Unknown).any(|candidate| !removed(candidate));
            prop_assert!(left);
        }
        let mut turned = candidates.clone();
        turned.reverse();
        let again = plan(&turned, &rules, &now);
        let names = |plan: &[Decision]| plan.iter().map(|decision| (decision.name.clone(), decision.is_removed())).collect::<Vec<_>>();
        prop_assert_eq!(names(&decisions), names(&again));
    }
}

#[test]
fn a_stretch_beyond_the_calendars_beginning_keeps_everything() {
    let now: Zoned = "2026-11-22T04:00:00+01:00[Europe/Berlin]".parse().unwrap();
    let candidates = ["2026-11-21T03:00:00Z one", "2020-01-01T03:00:00Z two"].map(candidate);
    assert!(plan(&candidates, &rules("within=15000y"), &now).iter().all(|decision| !decision.is_removed()));
}
