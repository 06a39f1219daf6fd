//! What inspecting says against what real Home Assistants did with the same archives: `tests/fixtures` makes one
//! archive for every defect, the program itself some more. Where the rig is, Home Assistant is asked afresh, and the
//! answers that are kept are compared with that; where it is not, they are believed. `HAUL_VERDICTS` names a folder for
//! the tables (`make verdicts`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use engine::{
    Destination, Level, Progress, SecureTar,
    inspect::{InspectOptions, Inspection, inspect},
    remake::{Piece, Pieces, RemakeOptions, remake},
};
use habackup::{
    readers::{Asked, Effect, Reader, Stage},
    securetar::Password,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use store::Cancellation;
use testkit::{
    fixtures::{self, Fixtures},
    rig::{self, Version},
    s3::{self, S3Server},
};

const PASSWORD: &str = "correct horse battery staple";

/// How this program makes an archive of its own: what it is called, its password, and the arguments beside it.
struct Own {
    name: &'static str,
    password: Option<&'static str>,
    arguments: &'static [&'static str],
    way: Way,
}

enum Way {
    /// Straight into a file, where what is known late is put in afterwards.
    File,
    /// Through a pipe: all sizes are known before.
    InOrder,
    /// Into a bucket, in more than one part: what is known late is put into parts that wait for it.
    Parts,
    /// Rewritten by `haul repair`.
    Repaired,
    /// Made anew of what Supervisor writes, with an app and a folder.
    Remade,
}

impl Own {
    const fn new(
        name: &'static str,
        password: Option<&'static str>,
        arguments: &'static [&'static str],
        way: Way,
    ) -> Self {
        Self { name, password, arguments, way }
    }

    /// Whether a Home Assistant of this version reads it.
    fn is_for(&self, version: Version) -> bool {
        version == Version::TODAY || !self.arguments.contains(&"v3")
    }
}

const V2: &[&str] = &["--securetar", "v2"];
const V3: &[&str] = &["--securetar", "v3"];
const OF_ITS_OWN: [Own; 15] = [
    Own::new("good-haul", None, &[], Way::File),
    Own::new("good-haul-v2", Some(PASSWORD), V2, Way::File),
    Own::new("good-haul-v3", Some(PASSWORD), V3, Way::File),
    Own::new("good-haul-in-order", None, &[], Way::InOrder),
    Own::new("good-haul-in-order-v2", Some(PASSWORD), V2, Way::InOrder),
    Own::new("good-haul-in-order-v3", Some(PASSWORD), V3, Way::InOrder),
    Own::new("good-haul-parts", None, &[], Way::Parts),
    Own::new("good-haul-parts-v2", Some(PASSWORD), V2, Way::Parts),
    Own::new("good-haul-parts-v3", Some(PASSWORD), V3, Way::Parts),
    Own::new("good-haul-repaired", None, &[], Way::Repaired),
    Own::new("good-haul-repaired-v2", Some(PASSWORD), V2, Way::Repaired),
    Own::new("good-haul-repaired-v3", Some(PASSWORD), V3, Way::Repaired),
    Own::new("good-haul-remade", None, &[], Way::Remade),
    Own::new("good-haul-remade-v2", Some(PASSWORD), V2, Way::Remade),
    Own::new("good-haul-remade-v3", Some(PASSWORD), V3, Way::Remade),
];

/// If nothing in the archive shows it, with the reason.
const UNTELLABLE: [(&str, &str); 1] = [(
    "securetar-v2-not-compressed-damaged",
    "SecureTar 2 has no checksum, and without compression nothing else has one",
)];

fn look(version: Version, archive: &Path, password: Option<&str>) -> Inspection {
    let options = InspectOptions {
        password: password.map(Password::new),
        asked: Asked::Target(version.as_str().parse().unwrap()),
        ..InspectOptions::default()
    };
    inspect(archive, &options, &|_, _| {}, &Cancellation::default()).unwrap()
}

/// Archives as this program makes them, of the configuration that all fixtures are made of.
fn make_our_own(made: &mut Fixtures, version: Version) {
    let config = tempfile::tempdir().unwrap();
    let unpacked =
        haul(None).arg("restore").arg(made.path("good-core-plain")).arg("--into").arg(config.path()).output().unwrap();
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    let bucket = S3Server::start(&["bucket"]).unwrap();
    for own in OF_ITS_OWN.iter().filter(|own| own.is_for(version)) {
        let path = made.add(own.name, own.password).unwrap();
        let mut backup = haul(own.password);
        backup.arg("backup").arg(config.path()).args(own.arguments).args(["--name", own.name, "--to"]);
        match own.way {
            Way::File => done(backup.arg(&path)),
            Way::InOrder => done(backup.arg("-").stdout(fs::File::create(&path).unwrap())),
            Way::Parts => {
                let (noise, there) = (config.path().join("noise.bin"), format!("s3://bucket/{}.tar", own.name));
                fs::write(&noise, testkit::noise::noise(20 << 20)).unwrap();
                done(reaching(&bucket, backup.arg(&there)));
                done(reaching(&bucket, haul(None).args(["get", &there, "--to"]).arg(&path)));
                fs::remove_file(noise).unwrap();
            }
            Way::Repaired => {
                let first = config.path().with_extension("tar");
                done(backup.arg(&first));
                // Compressed another way, so that it is rewritten.
                let mut repair = haul(own.password);
                repair.arg("repair").arg(&first).args(own.arguments).args([
                    "--target",
                    version.as_str(),
                    "--recompress",
                    "small",
                ]);
                done(repair.args(["--rename", own.name, "--to"]).arg(&path));
                fs::remove_file(first).unwrap();
            }
            Way::Remade => make_anew(own, version, config.path(), path),
        }
    }
}

/// What comes, one after the other.
struct Coming(VecDeque<Piece>);

impl Pieces for Coming {
    fn next(&mut self) -> Result<Option<Piece>, String> {
        Ok(self.0.pop_front())
    }
}

/// Makes a full backup anew, as the app does while Supervisor writes it: parts as plain tars, the description last.
fn make_anew(own: &Own, version: Version, config: &Path, path: PathBuf) {
    let tar = |of: &Path, to: &str| {
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(of).args(["--format=pax", &format!("--transform=s,^[.],{to},"), "-cf", "-", "."]);
        let output = tar.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let app = tempfile::tempdir().unwrap();
    fs::write(app.path().join("addon.json"), "{}").unwrap();
    let description = json!({
        "version": 2, "slug": "a1b2c3d4", "type": "full", "name": own.name, "date": "2026-11-28T04:45:00.123456+00:00",
        "supervisor_version": "2026.08.0", "compressed": false, "protected": false, "repositories": [], "extra": {},
        "homeassistant": {"version": version.as_str(), "exclude_database": false, "size": 1.5}, "folders": ["share"],
        "addons": [{"slug": "core_ssh", "name": "Terminal & SSH", "version": "9.1", "size": 0}],
    });
    let members = [
        ("homeassistant.tar", tar(config, "data")),
        ("core_ssh.tar", tar(app.path(), ".")),
        ("share.tar", tar(app.path(), ".")),
        ("./backup.json", description.to_string().into_bytes()),
    ];
    let pieces = members.into_iter().flat_map(|(name, content)| {
        let size = content.len() as u64;
        [Piece::Begin(name.to_owned()), Piece::Content(content.into()), Piece::End(size)]
    });
    let securetar = match own.arguments {
        V2 => SecureTar::V2,
        V3 => SecureTar::V3,
        _ => SecureTar::Auto,
    };
    let options = RemakeOptions {
        file_name: format!("{}.tar", own.name),
        destinations: vec![Destination::Path(path)],
        level: Some(Level::Balanced),
        password: own.password.map(Password::new),
        securetar,
        ha_version: version.as_str().parse().ok(),
        folder: None,
        threads: None,
        config: Some(config.to_owned()),
        now: Timestamp::UNIX_EPOCH,
    };
    let progress = Arc::new(Progress::default());
    remake(&options, &mut Coming(pieces.collect()), &|_| Vec::new(), None, &progress, &Cancellation::default())
        .unwrap();
}

/// With the bucket's address and keys.
fn reaching<'a>(bucket: &S3Server, command: &'a mut Command) -> &'a mut Command {
    command.env("AWS_ENDPOINT_URL", bucket.url()).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", s3::ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", s3::SECRET_KEY)
}

/// Bytes that do not shrink.
fn done(command: &mut Command) {
    let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn haul(password: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    if let Some(password) = password {
        command.env("HAUL_PASSWORD", password);
    }
    command
}

/// What really happened, in the classes of a verdict, and the text that came with it.
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
    gone || changed
        || !(history || excluded)
        || !login
        || welcomes
        || !list("escaped").is_empty()
        || !row["next_start"].is_null()
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

/// What it did, what the verdict says, and whether that is the same.
fn compare(version: Version, row: &Value, inspection: &Inspection) -> (String, String, bool) {
    let reader = if version == Version::OLD { Reader::CoreBefore20263 } else { Reader::CoreSince20263 };
    let verdict = inspection.verdicts.iter().find(|verdict| verdict.reader == reader).unwrap();
    let (did, said) = really(row);
    let ours = class(&verdict.effect);
    let same = did == ours || (ours == "may lose" && matches!(did, "loses" | "restores"));
    let says = verdict.says.clone().unwrap_or_default();
    // The file is elsewhere, and the quotation stops before its path.
    let plain = |text: &str| {
        text.replace("/config/backups/", "")
            .replace(&format!("{}.tar", row["fixture"].as_str().unwrap_or_default()), "…")
    };
    let words = said.is_empty()
        || plain(&says).contains(&plain(&said))
        || (!says.is_empty() && plain(&said).contains(&plain(&says)));
    let with =
        |class: &str, words: &str| if words.is_empty() { class.to_owned() } else { format!("{class} ({words})") };
    let because = verdict.because.map_or(String::new(), |defect| format!(" [{}]", defect.id()));
    (with(did, &said), with(ours, &says) + &because, same && words)
}

/// Rows of answers by their fixture.
fn rows(text: &str) -> BTreeMap<String, Value> {
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| (row["fixture"].as_str().unwrap().to_owned(), row)).collect()
}

/// The answers to go by, and how those that are kept differ from them.
fn answers(version: Version, made: &mut Fixtures) -> (BTreeMap<String, Value>, Vec<String>) {
    let kept = rows(&fixtures::answers(version).unwrap());
    if !rig::is_ready().unwrap() {
        println!("the answers of {} fixtures are those that are kept", kept.len());
        return (kept, Vec::new());
    }
    make_our_own(made, version);
    let asked = rows(&made.ask(version).unwrap());
    println!("Home Assistant {} was asked about {} archives", version.as_str(), asked.len());
    let ours = |name: &String| OF_ITS_OWN.iter().any(|own| own.name == name);
    let names = kept.keys().chain(asked.keys().filter(|name| !kept.contains_key(*name) && !ours(name)));
    let differ = names
        .filter(|name| kept.get(*name) != asked.get(*name))
        .map(|name| format!("{name}: the kept answer is not what Home Assistant does"))
        .collect();
    (asked, differ)
}

/// What is lost when Home Assistant takes the encryption off an archive of ours, or puts one on and takes it off again.
fn lost_by_recoding(rows: &BTreeMap<String, Value>) -> impl Iterator<Item = String> + '_ {
    OF_ITS_OWN.iter().filter_map(|own| {
        let row = rows.get(own.name)?;
        let recoded = if own.password.is_some() {
            vec![&row["download"], &row["upload"]["fetched"]]
        } else {
            vec![&row["encrypted"]]
        };
        let wrong = recoded.into_iter().find(|answer| answer["members"].as_u64().is_none_or(|members| members < 30))?;
        Some(format!("{}: Home Assistant destroys it: {wrong}", own.name))
    })
}

#[test]
fn the_verdict_is_what_home_assistant_2025_6_3_did() {
    agree(Version::OLD);
}

#[test]
fn the_verdict_is_what_home_assistant_2026_11_0_did() {
    agree(Version::TODAY);
}

fn agree(version: Version) {
    let Some(mut made) = Fixtures::make(&[]).unwrap() else { return };
    let (rows, mut differ) = answers(version, &mut made);
    differ.extend(lost_by_recoding(&rows));
    let mut table =
        format!("fixture | Home Assistant {} | haul inspect | same\n--- | --- | --- | ---\n", version.as_str());
    let mut agreed = 0;
    for (name, row) in &rows {
        let (did, ours, same) = compare(version, row, &look(version, &made.path(name), made.password(name)));
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
        fs::write(Path::new(&path).join(format!("verdicts-{}.txt", version.as_str())), &table).unwrap();
    }
    println!("{agreed} of {} agree", rows.len());
    assert!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), rows.len(), differ.join("\n"));
}
