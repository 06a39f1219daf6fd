//! Archives that are made anew while somebody else still writes them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod crafted;

use std::{
    collections::VecDeque,
    fs,
    io::{Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use crafted::{Bench, Inner, PASSWORD, everything};
use engine::{
    BackupError, Destination, Level, Progress, SecureTar,
    remake::{Piece, Pieces, Remade, RemakeOptions, remake},
    verdict::Verdict,
};
use habackup::{
    archive::Archive,
    manifest::Manifest,
    securetar::{Decryptor, Password},
};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;
use store::Cancellation;

const DESCRIPTION: &str = "./backup.json";

/// What comes, one after the other; it may break off.
struct Coming(VecDeque<Result<Piece, String>>);

impl Pieces for Coming {
    fn next(&mut self) -> Result<Option<Piece>, String> {
        self.0.pop_front().transpose()
    }
}

/// Members as they come: in chunks, with zeros behind them.
fn coming(members: &[(&str, &[u8])], chunk: usize) -> Coming {
    let mut pieces = VecDeque::new();
    for (name, content) in members {
        pieces.push_back(Ok(Piece::Begin((*name).to_owned())));
        let mut filled = content.to_vec();
        filled.resize(filled.len().next_multiple_of(512), 0);
        pieces.extend(filled.chunks(chunk).map(|bytes| Ok(Piece::Content(bytes.to_vec().into()))));
        pieces.push_back(Ok(Piece::End(content.len() as u64)));
    }
    Coming(pieces)
}

/// As Supervisor describes a full backup with two apps and a folder.
fn description() -> Vec<u8> {
    json!({
        "version": 2, "slug": "a1b2c3d4", "type": "full", "name": "Nightly", "date": "2026-11-28T04:45:00.123456+00:00",
        "supervisor_version": "2026.08.0", "compressed": false, "protected": false,
        "homeassistant": {"version": "2026.3.0", "exclude_database": true, "size": 1.5},
        "addons": [
            {"slug": "core_ssh", "name": "Terminal & SSH", "version": "9.1", "size": 0},
            {"slug": "core_mosquitto", "name": "Mosquitto broker", "version": "6.5", "size": 0},
        ],
        "folders": ["addons/local"], "repositories": [], "extra": {"instance_id": "a1b2"},
    })
    .to_string()
    .into_bytes()
}

fn app(name: &str) -> Vec<u8> {
    let noise: Vec<u8> = (0..300_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    Inner::default().file("./addon.json", name.as_bytes()).file("data/noise", &noise).ended()
}

struct Made {
    bench: Bench,
    result: Result<Remade, BackupError>,
}

impl Made {
    fn archive(&self) -> Vec<u8> {
        fs::read(self.bench.path("out.tar")).unwrap()
    }

    fn remade(&self) -> &Remade {
        self.result.as_ref().unwrap()
    }

    fn missing(&self) -> Vec<String> {
        self.remade().judgement.missing.clone()
    }
}

fn make(pieces: Coming, level: Option<Level>, password: Option<SecureTar>, complaints: &[&str]) -> Made {
    make_with(pieces, level, password, complaints, None)
}

fn make_with(
    mut pieces: Coming,
    level: Option<Level>,
    password: Option<SecureTar>,
    complaints: &[&str],
    folder: Option<(String, PathBuf)>,
) -> Made {
    let bench = Bench::new();
    let options = RemakeOptions {
        destinations: vec![Destination::Path(bench.path("out.tar"))],
        file_name: "out.tar".to_owned(),
        level,
        password: password.map(|_| Password::new(PASSWORD)),
        securetar: password.unwrap_or(SecureTar::Auto),
        ha_version: "2026.3.0".parse().ok(),
        folder,
        threads: None,
        config: None,
        now: Timestamp::UNIX_EPOCH,
    };
    let complaints = |_: &Manifest| complaints.iter().map(|&text| text.to_owned()).collect();
    let progress = Arc::new(Progress::default());
    let result = remake(&options, &mut pieces, &complaints, None, &progress, &Cancellation::default());
    Made { bench, result }
}

/// The members of a new archive as plain tars.
fn parts(archive: &[u8], password: bool) -> Vec<(String, Vec<u8>)> {
    let opened = Archive::open(archive).unwrap();
    let mut parts = Vec::new();
    for member in opened.members() {
        let mut body = Vec::new();
        opened.body(member).read_to_end(&mut body).unwrap();
        let compressed = member.name.strip_suffix(".tar.gz");
        let Some(base) = compressed.or_else(|| member.name.strip_suffix(".tar")) else { continue };
        if password {
            let mut plain = Vec::new();
            Decryptor::open(&body[..], &Password::new(PASSWORD)).unwrap().read_to_end(&mut plain).unwrap();
            body = plain;
        }
        if compressed.is_some() {
            body = inflated(&body);
        }
        parts.push((base.to_owned(), body));
    }
    parts
}

/// As a program of others inflates it.
fn inflated(body: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, body) = (gzip.stdin.take().unwrap(), body.to_vec());
    let sender = std::thread::spawn(move || input.write_all(&body).unwrap());
    let output = gzip.wait_with_output().unwrap();
    sender.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn all(config: &[u8], ssh: &[u8], mosquitto: &[u8], local: &[u8], chunk: usize) -> Coming {
    coming(
        &[
            ("homeassistant.tar", config),
            ("./core_ssh.tar", ssh),
            ("core_mosquitto.tar", mosquitto),
            ("addons_local.tar", local),
            (DESCRIPTION, &description()),
        ],
        chunk,
    )
}

#[test]
fn every_byte_of_every_part_is_in_the_new_archive() {
    let config = Inner::config().file("data/big", &vec![7; 3 << 20]).ended();
    let (ssh, mosquitto, local) = (app("ssh"), app("mosquitto"), app("local"));
    for (level, password) in [
        (Some(Level::Fast), None),
        (Some(Level::Balanced), Some(SecureTar::V2)),
        (Some(Level::Fast), Some(SecureTar::V3)),
        (None, Some(SecureTar::Auto)),
        (None, None),
    ] {
        let made = make(all(&config, &ssh, &mosquitto, &local, 100_000), level, password, &[]);
        let archive = made.archive();
        assert_eq!((made.remade().judgement.verdict, made.missing()), (Verdict::Whole, vec![]));
        assert_eq!(made.remade().size, archive.len() as u64);
        assert_eq!(made.remade().bytes_in, (config.len() + ssh.len() + mosquitto.len() + local.len()) as u64);
        let expected =
            [("homeassistant", &config), ("core_ssh", &ssh), ("core_mosquitto", &mosquitto), ("addons_local", &local)];
        let found = parts(&archive, password.is_some());
        assert_eq!(found.len(), expected.len());
        for ((name, bytes), (expected, content)) in found.iter().zip(expected) {
            assert!(name == expected && bytes == content, "{name}");
        }
        let opened = Archive::open(&archive[..]).unwrap();
        let manifest = opened.manifest().unwrap();
        assert_eq!((manifest.compressed(), manifest.protected()), (level.is_some(), password.is_some()));
        assert_eq!((manifest.slug(), manifest.instance()), (Some("a1b2c3d4"), Some("a1b2")));
        let verified = made.bench.verify(&archive, password.map(|_| PASSWORD)).unwrap();
        assert!(verified.is_good(), "{:?}", verified.findings);
        made.bench.restore(&archive, &everything()).unwrap();
        assert_eq!(made.bench.read("big"), vec![7; 3 << 20]);
    }
}

#[test]
fn what_is_not_there_is_missing_and_called_by_its_name() {
    let config = Inner::config().ended();
    let ssh = app("ssh");
    // An empty app, one that breaks off, a folder that was announced.
    let members: Vec<(&str, &[u8])> =
        vec![("homeassistant.tar", &config), ("core_ssh.tar", &ssh[..5000]), ("core_mosquitto.tar", b"")];
    let text = description();
    let made = make(
        coming(&[&members[..], &[(DESCRIPTION, &text[..])]].concat(), 700),
        Some(Level::Fast),
        None,
        &["the app Zigbee2MQTT: its command before the backup failed with exit code 1"],
    );
    assert_eq!(
        made.missing(),
        [
            "the app Terminal & SSH (it ends too early)",
            "the app Mosquitto broker (it is empty)",
            "the folder addons/local",
            "the app Zigbee2MQTT: its command before the backup failed with exit code 1",
        ]
    );
    assert!(made.remade().judgement.verdict == Verdict::Incomplete && !made.remade().judgement.essential);
    // Whoever reads the archive later says the same.
    let verified = made.bench.verify(&made.archive(), None).unwrap();
    for missing in made.missing() {
        assert!(verified.judgement.missing.iter().any(|known| known.contains(&missing)), "{:?}", verified.judgement);
    }
}

#[test]
fn a_folder_that_its_writer_leaves_out_is_added() {
    let local = tempfile::tempdir().unwrap();
    let at = |name: &str| local.path().join(name);
    let all = |description: &[u8], folder: &std::path::Path| {
        let config = Inner::config().ended();
        let pieces = coming(&[("homeassistant.tar", &config), (DESCRIPTION, description)], 5000);
        make_with(pieces, None, Some(SecureTar::V2), &[], Some(("addons/local".to_owned(), folder.to_owned())))
    };
    let mut text: serde_json::Value = serde_json::from_slice(&description()).unwrap();
    (text["addons"], text["folders"]) = (json!([]), json!([]));
    let text = text.to_string().into_bytes();
    // Nothing in it, or no such folder: nothing is added, and nothing is missing.
    for folder in [local.path().to_owned(), at("none")] {
        let made = all(&text, &folder);
        assert_eq!((made.missing(), parts(&made.archive(), true).len()), (vec![], 1));
    }
    fs::create_dir(at("my_app")).unwrap();
    fs::write(at("my_app/config.yaml"), "name: Mine\n").unwrap();
    fs::write(at("my_app/large"), vec![3; 2 << 20]).unwrap();
    std::os::unix::fs::symlink("large", at("my_app/link")).unwrap();
    let made = all(&text, local.path());
    assert_eq!(made.missing(), Vec::<String>::new());
    let archive = made.archive();
    let found = parts(&archive, true);
    assert_eq!(found.iter().map(|(name, _)| &name[..]).collect::<Vec<_>>(), ["homeassistant", "addons_local"]);
    let unpacked = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar").arg("-xC").arg(unpacked.path()).stdin(Stdio::piped()).spawn().unwrap();
    tar.stdin.take().unwrap().write_all(&found[1].1).unwrap();
    assert!(tar.wait().unwrap().success());
    assert_eq!(fs::read(unpacked.path().join("my_app/large")).unwrap(), vec![3; 2 << 20]);
    assert_eq!(fs::read_link(unpacked.path().join("my_app/link")).unwrap(), PathBuf::from("large"));
    assert_eq!(Archive::open(&archive[..]).unwrap().manifest().unwrap().folders(), ["addons/local"]);
    let verified = made.bench.verify(&archive, Some(PASSWORD)).unwrap();
    assert!(verified.is_good(), "{:?}", verified.findings);
    // Where its writer has it, that counts.
    let made = all(
        &{
            let mut text: serde_json::Value = serde_json::from_slice(&text).unwrap();
            text["folders"] = json!(["addons/local"]);
            text.to_string().into_bytes()
        },
        local.path(),
    );
    assert_eq!(made.missing(), ["the folder addons/local"]);
}

#[test]
fn what_stands_behind_the_first_zeros_of_a_part_is_not_there_for_whoever_unpacks_it() {
    let mut split = Inner::config().bytes;
    split.extend_from_slice(&[0; 512]);
    split.extend_from_slice(&Inner::default().file("data/more", b"x").ended());
    let text: serde_json::Value = serde_json::from_slice(&description()).unwrap();
    let text = json!({ "addons": [], "folders": [], "name": text["name"], "date": text["date"], "slug": text["slug"],
        "version": 2, "type": "full", "homeassistant": text["homeassistant"], "extra": {} });
    let text = text.to_string();
    let made = make(coming(&[("homeassistant.tar", &split), (DESCRIPTION, text.as_bytes())], 900), None, None, &[]);
    assert!(made.missing().iter().any(|what| what.contains("its content is damaged")), "{:?}", made.missing());
}

#[test]
fn an_archive_without_home_assistant_has_no_index_and_is_whole() {
    let ssh = app("ssh");
    let text = json!({
        "version": 2, "slug": "a1b2c3d4", "type": "partial", "name": "SSH", "date": "2026-11-28T04:45:00+00:00",
        "supervisor_version": "2026.08.0", "compressed": false, "protected": false, "homeassistant": null,
        "addons": [{"slug": "core_ssh", "name": "Terminal & SSH", "version": "9.1", "size": 0}],
        "folders": [], "repositories": [], "extra": {},
    })
    .to_string();
    let made =
        make(coming(&[("core_ssh.tar", &ssh), (DESCRIPTION, text.as_bytes())], 999), Some(Level::Fast), None, &[]);
    assert_eq!((made.remade().judgement.verdict, made.missing()), (Verdict::Whole, vec![]));
    assert!(Archive::open(&made.archive()[..]).unwrap().member("haul.index").is_none());
}

#[test]
fn what_can_not_become_an_archive_leaves_nothing() {
    let config = Inner::config().ended();
    let text = description();
    let piece = |name: &str| Ok(Piece::Begin(name.to_owned()));
    let gone: [(&str, Coming); 8] = [
        ("it was given up", Coming(VecDeque::from([piece("homeassistant.tar"), Err("it was given up".to_owned())]))),
        ("out of order", Coming(VecDeque::from([Ok(Piece::End(3))]))),
        ("out of order", Coming(VecDeque::from([piece("homeassistant.tar")]))),
        ("is said to have 9", Coming(VecDeque::from([piece("homeassistant.tar"), Ok(Piece::End(9))]))),
        ("no description", coming(&[("homeassistant.tar", &config)], 5000)),
        ("no plain archive", coming(&[("homeassistant.tar.gz", &config), (DESCRIPTION, &text)], 5000)),
        ("comes twice", coming(&[("homeassistant.tar", &config), ("./homeassistant.tar", &config)], 5000)),
        ("not JSON", coming(&[("homeassistant.tar", &config), (DESCRIPTION, b"x")], 5000)),
    ];
    for (why, pieces) in gone {
        let made = make(pieces, Some(Level::Fast), Some(SecureTar::V3), &[]);
        let error = made.result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert!(error.contains(why), "{error:?} does not say {why:?}");
        assert!(made.bench.names(".").is_empty(), "{why}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_chunk_size_changes_anything(chunk in 1_usize..9_000, cut in 0_usize..900) {
        let config = Inner::config().ended();
        let ssh = app("ssh");
        // Content of any length, as a later Supervisor may write it.
        let ssh = &ssh[..ssh.len() - cut];
        let made = make(all(&config, ssh, &config, &config, chunk), None, None, &[]);
        let found = parts(&made.archive(), false);
        prop_assert!(found[1].1 == ssh && found[0].1 == config);
    }
}
