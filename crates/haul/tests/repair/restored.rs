//! Every repaired archive in a real Home Assistant: the user is there, and so is the history, and nothing is missing
//! except what is listed below.

use std::fs;

use serde_json::{Value, json};
use testkit::{
    fixtures::{self, Fixtures},
    rig::{self, Version},
};

use super::Bench;

const HISTORY: [&str; 2] = ["home-assistant_v2.db", "home-assistant_v2.db-wal"];
const AFTER_THE_CUT: [&str; 4] = ["home-assistant_v2.db", "home-assistant_v2.db-wal", "secrets.yaml", "www/"];

/// What can't come back as it was: paths that are gone, and paths with other content. For each of them the archive does
/// not contain more than that.
const NAMED: [(&str, &[&str], &[&str]); 15] = [
    ("damaged-compression", &[], &["home-assistant_v2.db"]),
    ("damaged-file", &[], &["www/picture.jpg"]),
    ("database-copied-without-its-wal", &[], &["home-assistant_v2.db"]),
    ("database-missing-though-declared", &HISTORY, &[]),
    ("database-truncated", &HISTORY, &[]),
    ("inner-truncated-at-a-tar-header", &AFTER_THE_CUT, &[]),
    ("inner-truncated-at-a-tar-header-encrypted", &AFTER_THE_CUT, &[]),
    ("inner-truncated-in-a-file", &["www/picture.jpg"], &[]),
    ("inner-truncated-in-a-file-encrypted", &["www/picture.jpg"], &[]),
    // Two files of one name; the last one counts, as it always did.
    ("member-twice", &[], &["secrets.yaml"]),
    ("securetar-v2-damaged", &["secrets.yaml", "www/"], &["home-assistant_v2.db"]),
    ("sizes-inner-member-too-large", &["www/picture.jpg"], &[]),
    ("truncated-in-inner", &AFTER_THE_CUT, &[]),
    ("truncated-in-inner-encrypted", &AFTER_THE_CUT, &[]),
    ("wal-without-database", &HISTORY, &[]),
];

/// Too little is left of them for Home Assistant to be the old one.
const RUINS: [&str; 3] = ["config-empty", "sizes-over-8-gib-without-pax", "sizes-over-8-gib-wrapped"];

/// What a restore brings that was something else before.
const NEW: [(&str, &str); 3] = [
    ("hard-link", "zz_secrets.yaml"),
    ("hard-link-encrypted", "zz_secrets.yaml"),
    ("escaping-member-through-symlink", "zz/escaped"),
];

#[test]
fn every_repaired_archive_restores_in_home_assistant_with_its_user_and_its_history() {
    if !rig::is_ready().unwrap() {
        return;
    }
    let Some(made) = Fixtures::make(&[]).unwrap() else { return };
    let bench = Bench { made, out: tempfile::tempdir().unwrap() };
    let mut list = Vec::new();
    for name in bench.made.names() {
        let file = format!("{name}.tar");
        let code = bench.command(&name, &bench.to(&file)).arg("--json").output().unwrap().status.code();
        if name == "good-core-plain" {
            fs::copy(bench.made.path(&name), bench.to(&file)).unwrap();
        }
        if bench.to(&file).exists() {
            list.push(json!({ "fixture": name, "file": file, "password": bench.made.password(&name) }));
            // Home Assistant's own losses are reported in advance.
            let is_less = NAMED.iter().any(|(known, lost, changed)| {
                *known == name && name != "member-twice" && !(lost.is_empty() && changed.is_empty())
            });
            assert!(!is_less || matches!(code, Some(3 | 4)), "{name} ended with {code:?}");
        }
    }
    assert!(list.len() > 130, "{} were repaired", list.len());
    fs::copy(bench.made.path("another"), bench.to("another.tar")).unwrap();
    fs::write(bench.to("fixtures.json"), Value::from(list.clone()).to_string()).unwrap();
    for version in Version::ALL {
        let asked = fixtures::ask(version, bench.out.path()).unwrap();
        let answers: Vec<Value> = asked.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), list.len());
        let wrong: Vec<String> = answers
            .iter()
            .filter_map(|answer| differs(answer).map(|how| format!("{}: {how}\n{answer}", answer["fixture"])))
            .collect();
        let whole = answers.iter().filter(|answer| NAMED.iter().all(|(name, ..)| answer["fixture"] != *name)).count()
            - RUINS.len();
        let restored = answers.len();
        rig::tell(&format!(
            "{restored} repaired archives restored in Home Assistant {}, {whole} of them as if nothing had been wrong",
            version.as_str()
        ));
        assert!(wrong.is_empty(), "{}: {}", version.as_str(), wrong.join("\n"));
    }
}

/// How an answer is not what it should be.
fn differs(answer: &Value) -> Option<String> {
    let name = answer["fixture"].as_str().unwrap();
    let paths = |key: &str| answer[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
    if answer["upload"]["status"] != 201 || answer["listed"].is_null() || answer["restore"]["success"] != true {
        return Some("not restored".to_owned());
    }
    if RUINS.contains(&name) {
        return None;
    }
    let (lost, changed) = NAMED
        .iter()
        .find(|(known, ..)| *known == name)
        .map_or((&[][..], &[][..]), |(_, lost, changed)| (*lost, *changed));
    let history = [lost, changed].concat().contains(&"home-assistant_v2.db");
    let added: Vec<&str> = NEW.iter().filter(|(known, _)| *known == name).map(|(_, path)| *path).collect();
    let checks = [
        (answer["user"] == true, "the user is gone"),
        (history || (answer["database"] == "ok" && answer["states"] == 120), "the history is not whole"),
        (history || answer["database_alone"]["success"] == true, "the history alone is not restored"),
        (paths("lost") == lost, "other paths are lost"),
        (paths("changed") == changed, "other paths are changed"),
        (paths("added") == added, "other paths are added"),
        (paths("escaped").is_empty(), "something escaped"),
        (answer["next_start"].is_null(), "it begins again"),
        (answer["started"].is_null() || answer["started"]["login"] == true, "nobody can log in"),
    ];
    checks.iter().find(|(holds, _)| !holds).map(|(_, how)| (*how).to_owned())
}
