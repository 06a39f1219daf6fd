//! What inspecting says against what the real Home Assistant 2025.6.3 did with the same archives: `tests/fixtures` makes one archive for every defect, the program
//! itself two more. Where the rig is, Home Assistant is asked afresh, and the answers that are kept are compared with that; where it is not, they are believed.
//! `HAUL_VERDICTS` names a file for the whole table (`make verdicts`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command, sync::atomic::AtomicBool};

use engine::inspect::{InspectOptions, Inspection, inspect};
use habackup::{
    readers::{Asked, Effect, Reader, Stage},
    securetar::Password,
};
use serde_json::Value;
use testkit::{
    fixtures::{self, Fixtures},
    rig,
};

const OF_ITS_OWN: [(&str, Option<&str>); 2] = [("good-haul", None), ("good-haul-encrypted", Some("correct horse battery staple"))];

/// Where nothing in the archive tells, with the reason.
const UNTELLABLE: [(&str, &str); 1] = [("securetar-v2-not-compressed-damaged", "SecureTar 2 has no checksum, and without compression nothing else has one")];

fn look(archive: &Path, password: Option<&str>) -> Inspection {
    let options = InspectOptions { password: password.map(Password::new), asked: Asked::Target("2025.6.3".parse().unwrap()), ..InspectOptions::default() };
    inspect(archive, &options, &|_, _| {}, &AtomicBool::new(false)).unwrap()
}

/// Archives as this program makes them, of the configuration that all fixtures are made of.
fn make_our_own(made: &mut Fixtures) {
    let config = tempfile::tempdir().unwrap();
    let unpacked = haul(None).arg("restore").arg(made.path("good-core-plain")).arg("--into").arg(config.path()).output().unwrap();
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    for (name, password) in OF_ITS_OWN {
        let path = made.add(name, password).unwrap();
        let backed_up = haul(password).arg("backup").arg(config.path()).arg("--to").arg(&path).args(["--name", name]).output().unwrap();
        assert!(backed_up.status.success(), "{}", String::from_utf8_lossy(&backed_up.stderr));
    }
}

fn haul(password: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    if let Some(password) = password {
        command.env("HAUL_PASSWORD", password);
    }
    command
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

/// What it did, what is said of it, and whether that is the same.
fn compare(row: &Value, inspection: &Inspection) -> (String, String, bool) {
    let verdict = inspection.verdicts.iter().find(|verdict| verdict.reader == Reader::CoreBefore20263).unwrap();
    let (did, said) = really(row);
    let ours = class(&verdict.effect);
    let same = did == ours || (ours == "may lose" && matches!(did, "loses" | "restores"));
    let says = verdict.says.clone().unwrap_or_default();
    // The place of the file is another, and the quotation stops before it.
    let plain = |text: &str| text.replace("/config/backups/", "").replace(&format!("{}.tar", row["fixture"].as_str().unwrap_or_default()), "…");
    let words = said.is_empty() || plain(&says).contains(&plain(&said)) || (!says.is_empty() && plain(&said).contains(&plain(&says)));
    let with = |class: &str, words: &str| if words.is_empty() { class.to_owned() } else { format!("{class} ({words})") };
    let because = verdict.because.map_or(String::new(), |defect| format!(" [{}]", defect.id()));
    (with(did, &said), with(ours, &says) + &because, same && words)
}

/// Rows of answers by their fixture.
fn rows(text: &str) -> BTreeMap<String, Value> {
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| (row["fixture"].as_str().unwrap().to_owned(), row)).collect()
}

/// The answers to go by, and how those that are kept differ from them.
fn answers(made: &mut Fixtures) -> (BTreeMap<String, Value>, Vec<String>) {
    let kept = rows(&fixtures::answers().unwrap());
    if !rig::is_ready().unwrap() {
        println!("the answers of {} fixtures are those that are kept", kept.len());
        return (kept, Vec::new());
    }
    make_our_own(made);
    let asked = rows(&made.ask().unwrap());
    println!("Home Assistant was asked about {} archives", asked.len());
    let ours = |name: &String| OF_ITS_OWN.iter().any(|(own, _)| own == name);
    let names = kept.keys().chain(asked.keys().filter(|name| !kept.contains_key(*name) && !ours(name)));
    let differ =
        names.filter(|name| kept.get(*name) != asked.get(*name)).map(|name| format!("{name}: the kept answer is not what Home Assistant does")).collect();
    (asked, differ)
}

#[test]
fn the_verdict_is_what_home_assistant_did() {
    let Some(mut made) = Fixtures::make(&[]).unwrap() else { return };
    let (rows, mut differ) = answers(&mut made);
    let mut table = String::from("fixture | Home Assistant 2025.6.3 | haul inspect | same\n--- | --- | --- | ---\n");
    let mut agreed = 0;
    for (name, row) in &rows {
        let (did, ours, same) = compare(row, &look(&made.path(name), made.password(name)));
        let untellable = UNTELLABLE.iter().find(|(known, _)| known == name);
        let verdict = match (same, untellable) {
            (true, _) => "yes".to_owned(),
            (false, None) => "NO".to_owned(),
            (false, Some((_, why))) => format!("can't be told: {why}"),
        };
        writeln!(table, "{name} | {did} | {ours} | {verdict}").unwrap();
        match (same, untellable) {
            (true, None) => agreed += 1,
            (false, None) => differ.push(format!("{name}: Home Assistant: {did}; inspect: {ours}")),
            (true, Some(_)) => differ.push(format!("{name} can be told after all")),
            (false, Some(_)) => {}
        }
    }
    writeln!(table, "\n{agreed} of {} agree", rows.len()).unwrap();
    if let Some(path) = std::env::var_os("HAUL_VERDICTS") {
        fs::write(path, &table).unwrap();
    }
    println!("{agreed} of {} agree", rows.len());
    assert!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), rows.len(), differ.join("\n"));
}
