//! What inspecting says against what the real Home Assistant 2025.6.3 did with the same archives: `tests/fixtures` makes one archive for every defect and keeps the
//! answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::{path::Path, sync::atomic::AtomicBool};

use engine::inspect::{InspectOptions, Inspection, inspect};
use habackup::{
    readers::{Effect, Reader, Stage},
    securetar::Password,
};
use serde_json::Value;
use testkit::fixtures::{self, Fixtures};

/// Where nothing in the archive tells, with the reason.
const UNTELLABLE: [(&str, &str); 1] = [("securetar-v2-not-compressed-damaged", "SecureTar 2 has no checksum, and without compression nothing else has one")];

fn look(archive: &Path, password: Option<&str>) -> Inspection {
    let options = InspectOptions { password: password.map(Password::new), target: Some("2025.6.3".parse().unwrap()), ..InspectOptions::default() };
    inspect(archive, &options, &|_, _| {}, &AtomicBool::new(false)).unwrap()
}

/// What was really done, in the classes of a verdict, and the words that came with it.
fn really(row: &Value) -> (&'static str, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let restore = &row["restore"];
    if row["listed"].is_null() {
        let class = if row["others_listed"] == true { "not listed" } else { "lists nothing" };
        return (class, text(&row["not_listed_because"]));
    }
    match restore["stopped_at"].as_str() {
        Some("password") => return ("no password", String::new()),
        Some("restoring") => {
            let class = if restore["wiped"] == true { "fails after the wipe" } else { "does not unpack" };
            return (class, text(&restore["error"]));
        }
        _ => {}
    }
    if row["upload"]["status"] != 201 {
        return ("no upload", text(&row["upload"]["log"]));
    }
    (if loses(row) { "loses" } else { "restores" }, String::new())
}

/// Whether something is gone or other than it was, beyond what the archive never had.
fn loses(row: &Value) -> bool {
    let list = |key: &str| row[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
    let history = row["database"] == "ok" && row["states"] == 120;
    let excluded = row["listed"]["database"] == false;
    let started = row["started"].as_object();
    let login = started.map_or(row["user"] == true, |started| started["login"] == true);
    let welcomes = started.is_some_and(|started| started["onboarding"] == true);
    let database = |path: &&str| path.starts_with("home-assistant_v2.db");
    let gone = list("lost").iter().any(|path| !(database(path) && (history || excluded)) && *path != ".HA_VERSION");
    let changed = list("changed").iter().any(|path| !(database(path) && history));
    gone || changed || !(history || excluded) || !login || welcomes || !list("escaped").is_empty() || !row["next_start"].is_null()
}

fn class(effect: &Effect) -> &'static str {
    match effect {
        Effect::Restores | Effect::Changes(_) => "restores",
        Effect::Unnoticed(_) => "may lose",
        Effect::Loses(_) => "loses",
        Effect::RefusesUpload => "no upload",
        Effect::Refuses(Stage::List) => "not listed",
        Effect::Refuses(Stage::ListOfAll) => "lists nothing",
        Effect::Refuses(Stage::Password) => "no password",
        Effect::Refuses(Stage::Unpack) => "does not unpack",
        Effect::FailsAfterWipe => "fails after the wipe",
    }
}

fn agree(row: &Value, inspection: &Inspection) -> Result<(), String> {
    let verdict = inspection.verdicts.iter().find(|verdict| verdict.reader == Reader::CoreBefore20263).unwrap();
    let (did, said) = really(row);
    let ours = class(&verdict.effect);
    let same = did == ours || (ours == "may lose" && matches!(did, "loses" | "restores"));
    let says = verdict.says.clone().unwrap_or_default();
    // The place of the file is another, and the quotation stops before it.
    let plain = |text: &str| text.replace("/config/backups/", "").replace(&format!("{}.tar", row["fixture"].as_str().unwrap_or_default()), "…");
    let words = said.is_empty() || plain(&says).contains(&plain(&said)) || (!says.is_empty() && plain(&said).contains(&plain(&says)));
    if same && words {
        return Ok(());
    }
    let found: Vec<_> = inspection.findings.iter().map(|finding| finding.defect.id()).collect();
    Err(format!("Home Assistant: {did} [{said}]; inspect: {ours} [{says}] {:?} {found:?}", verdict.losses))
}

#[test]
fn the_verdict_is_what_home_assistant_did() {
    let Some(made) = Fixtures::make(&[]).unwrap() else { return };
    let mut differ = Vec::new();
    let (mut rows, mut agreed) = (0, 0);
    for line in fixtures::answers().unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let name = row["fixture"].as_str().unwrap();
        rows += 1;
        let inspection = look(&made.path(name), made.password(name));
        let untellable = UNTELLABLE.iter().find(|(known, _)| *known == name);
        match (agree(&row, &inspection), untellable) {
            (Ok(()), None) => agreed += 1,
            (Err(how), None) => differ.push(format!("{name}: {how}")),
            (Err(_), Some((_, why))) => println!("{name} can't be told: {why}"),
            (Ok(()), Some(_)) => differ.push(format!("{name} can be told after all")),
        }
    }
    println!("{agreed} of {rows} rows agree");
    assert!(differ.is_empty(), "{} of {rows} differ:\n{}", differ.len(), differ.join("\n"));
}
