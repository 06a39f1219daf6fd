//! Plans of what to keep, as tables: each file under `golden/retention` says the clock, the rules and the archives, and
//! after each `|` what the plan makes of it. `UPDATE_GOLDEN=1` rewrites the last column.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fmt::Write, fs, path::PathBuf};

use engine::retention::{Arrival, Candidate, Decision, Origin, Rules, Worth, plan, without_whole};
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

fn named(name: &str, when: Timestamp) -> Candidate {
    Candidate {
        name: name.to_owned(),
        when,
        origin: Origin::Own,
        pinned: false,
        worth: Worth::Whole,
        instance: None,
        history: true,
        link: false,
        content: None,
        arrival: None,
    }
}

fn candidate(line: &str) -> Candidate {
    let mut words = line.split_whitespace();
    let when: Timestamp = words.next().unwrap().parse().unwrap();
    let mut found = named(words.next().unwrap(), when);
    for word in words {
        match word {
            "pinned" => found.pinned = true,
            "damaged" => found.worth = Worth::Damaged,
            "incomplete" => found.worth = Worth::Incomplete,
            "other" => found.origin = Origin::Other,
            "unknown" => found.origin = Origin::Unknown,
            "unreadable" => found.origin = Origin::Unreadable,
            "no-history" => found.history = false,
            "link" => found.link = true,
            other if other.starts_with("says=") => found.content = Some(other[5..].to_owned()),
            // Who sent it, and when it arrived.
            other if other.starts_with("from=") => {
                let (sender, when) = other[5..].split_once('@').unwrap();
                found.arrival = Some(Arrival { when: when.parse().unwrap(), sender: sender.to_owned() });
            }
            other if other.starts_with("of=") => found.instance = Some(other[3..].to_owned()),
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
        archives in proptest::collection::vec((0i64..2_000_000_000, 0u8..4, any::<bool>(), 0u8..3, 0u8..3), 1..40),
        counts in proptest::array::uniform5(0u32..4),
        now in 0i64..2_000_000_000,
        foreign in any::<bool>(),
    ) {
        let candidates: Vec<Candidate> = archives.iter().enumerate().map(|(n, (second, origin, pinned, worth, instance))| Candidate {
            history: second % 3 > 0,
            origin: [Origin::Own, Origin::Other, Origin::Unknown, Origin::Unreadable][usize::from(*origin)],
            pinned: *pinned,
            worth: [Worth::Whole, Worth::Incomplete, Worth::Damaged][usize::from(*worth)],
            instance: [None, Some("home"), Some("cabin")][usize::from(*instance)].map(str::to_owned),
            ..named(&format!("{n}.tar"), Timestamp::from_second(*second).unwrap())
        }).collect();
        let [last, daily, weekly, monthly, yearly] = counts;
        let rules = Rules { last, daily, weekly, monthly, yearly, within: None, include_foreign: foreign };
        let now = Timestamp::from_second(now).unwrap().in_tz("Europe/Berlin").unwrap();
        let decisions = plan(&candidates, &rules, &now);
        prop_assert_eq!(decisions.len(), candidates.len());
        let removed = |candidate: &Candidate| decisions.iter().any(|decision| decision.name == candidate.name && decision.is_removed());
        for candidate in &candidates {
            let safe = candidate.pinned || matches!(candidate.origin, Origin::Unknown | Origin::Unreadable) || (candidate.origin == Origin::Other && !foreign);
            prop_assert!(!(safe && removed(candidate)));
        }
        // Of each instance the newest whole one stays, and where there is none, the newest that is at least incomplete.
        for instance in [None, Some("home"), Some("cabin")] {
            let own = || candidates.iter().filter(|candidate| candidate.origin == Origin::Own && candidate.instance.as_deref() == instance);
            if !foreign && own().any(|candidate| candidate.worth == Worth::Incomplete) {
                prop_assert!(own().any(|candidate| !removed(candidate)));
            }
            let whole_history = |candidate: &Candidate| candidate.worth == Worth::Whole && candidate.history;
            if own().any(whole_history) {
                prop_assert!(candidates.iter().any(|candidate| whole_history(candidate) && candidate.instance.as_deref() == instance && !removed(candidate)));
            }
            if own().any(|candidate| candidate.worth == Worth::Whole) {
                let whole = |candidate: &&Candidate| candidate.worth == Worth::Whole && candidate.instance.as_deref() == instance;
                prop_assert!(candidates.iter().filter(whole).any(|candidate| !removed(candidate)));
            }
        }
        // Whatever is incomplete, as many whole ones stay as would without it.
        let without: Vec<Candidate> = candidates.iter().filter(|candidate| candidate.worth != Worth::Incomplete).cloned().collect();
        for decision in plan(&without, &rules, &now).iter().filter(|decision| !decision.is_removed()) {
            prop_assert!(decisions.iter().any(|same| same.name == decision.name && !same.is_removed()), "{}", decision.name);
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

#[test]
fn a_name_that_is_listed_twice_is_decided_about_once_and_stays() {
    let now: Zoned = "2026-11-22T04:00:00+00:00[UTC]".parse().unwrap();
    let candidates = [
        "2026-11-21T03:00:00Z new.tar",
        "2026-11-20T03:00:00Z old.tar",
        "2026-11-21T03:00:00Z new.tar",
        "2026-11-19T03:00:00Z older.tar",
    ];
    let decisions = plan(&candidates.map(candidate), &rules("last=1"), &now);
    let outcomes: Vec<_> = decisions.iter().map(|decision| (decision.name.as_str(), outcome(decision))).collect();
    assert_eq!(
        outcomes,
        [
            ("new.tar", "listed more than once".into()),
            ("old.tar", "newest whole, last".into()),
            ("older.tar", "REMOVE".to_owned())
        ]
    );
}

#[test]
fn a_plan_that_leaves_an_instance_without_anything_whole_says_so() {
    let now: Zoned = "2026-11-22T04:00:00+00:00[UTC]".parse().unwrap();
    let touched = |lines: &[&str]| {
        let candidates: Vec<Candidate> = lines.iter().map(|line| candidate(line)).collect();
        let rules = rules("last=1");
        let decisions = plan(&candidates, &rules, &now);
        without_whole(&candidates, &decisions, &rules, &now)
            .into_iter()
            .map(|instance| instance.unwrap_or("nobody").to_owned())
            .collect::<Vec<_>>()
    };
    let (newer, older) = ("2026-11-21T03:00:00Z a incomplete of=home", "2026-11-20T03:00:00Z b incomplete of=home");
    assert_eq!(touched(&[newer]), [""; 0], "nothing goes");
    assert_eq!(touched(&[newer, older]), ["home"]);
    assert_eq!(touched(&[newer, older, "2026-11-19T03:00:00Z c of=home"]), [""; 0]);
    assert_eq!(
        touched(&[newer, older, "2026-11-19T03:00:00Z c of=cabin", "2026-11-18T03:00:00Z d of=cabin"]),
        ["home"]
    );
    // Whose the incomplete ones are nobody knows.
    let (newer, older) = ("2026-11-21T03:00:00Z a incomplete", "2026-11-20T03:00:00Z b incomplete");
    assert_eq!(touched(&[newer, older]), ["nobody"]);
    assert_eq!(touched(&[newer, older, "2026-11-19T03:00:00Z c of=home"]), [""; 0]);
    // Nothing is removed, so nothing is reported.
    assert_eq!(touched(&[newer]), [""; 0]);
}
