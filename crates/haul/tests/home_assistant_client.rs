//! The crate `homeassistant` against real ones, which `tests/rig` runs: fresh and set up, through restores and
//! restarts, with archives that Haul made while the other instance was running. Says so and does nothing where the rig
//! is missing, except in CI.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use homeassistant::{
    Arrival, Begun, Expected, Instance, Kind, Phase, Progress, RestoreRequest, Secret, Stage, Timeouts, Tls, Upload,
    Way, local_agent,
};
use testkit::{
    proxy::{Death, Proxy},
    rig::{self, Running, Version, tell},
};

const HAUL: &str = env!("CARGO_BIN_EXE_haul");
const PASSWORD: &str = "sesam öffne dich";

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_2025_6_3_goes_into_a_fresh_one_and_back_into_itself() {
    into_a_fresh_one_and_back(Version::OLD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_2026_11_0_goes_into_a_fresh_one_and_back_into_itself() {
    into_a_fresh_one_and_back(Version::TODAY).await;
}

async fn into_a_fresh_one_and_back(version: Version) {
    if !rig::is_ready().unwrap() {
        return;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let old = Running::start(version, &directory.path().join("old"), Some("ada")).unwrap();
    let token = Secret::new(std::fs::read_to_string(directory.path().join("old.token")).unwrap().trim());
    let archive = back_up(&old.config, &directory.path().join("old.tar"));

    let new = Running::start(version, &directory.path().join("new"), None).unwrap();
    let moved = into_a_fresh_one(version, &new, &archive).await;
    // The users are the old ones, and so is the token.
    moved.admin(token.clone()).await.unwrap();

    again_into_itself(&old, &token, &archive).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_users_is_reported_as_a_lost_restore() {
    if !rig::is_ready().unwrap() {
        return;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let new = Running::start(Version::OLD, &directory.path().join("new"), None).unwrap();
    let bare = directory.path().join("bare");
    fs::create_dir(&bare).unwrap();
    for name in ["configuration.yaml", ".HA_VERSION"] {
        fs::copy(new.config.join(name), bare.join(name)).unwrap();
    }
    let archive = back_up(&bare, &directory.path().join("bare.tar"));
    let instance = look(&new.url).await.unwrap();
    let backup_id = instance.upload("backup.local", upload(&archive.path, true)).await.unwrap();
    let wish =
        RestoreRequest { password: Some(Secret::new(PASSWORD)), ..RestoreRequest::new(backup_id, "backup.local") };
    instance.restore(&wish).await.unwrap();
    let error = instance.follow_restart(&Way::FirstPage, &[], |_, _| {}).await.unwrap_err();
    assert_eq!(error.kind, Kind::RestoreLost, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_one_in_recovery_mode_is_not_called_restored() {
    if !rig::is_ready().unwrap() {
        return;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let old = Running::start(Version::TODAY, &directory.path().join("old"), Some("ada")).unwrap();
    let config = old.config.clone();
    drop(old);
    fs::write(config.join("configuration.yaml"), "automation: !include not-there.yaml\n").unwrap();
    let archive = back_up(&config, &directory.path().join("old.tar"));
    let new = Running::start(Version::TODAY, &directory.path().join("new"), None).unwrap();
    let timeouts = Timeouts { loaded: Duration::from_secs(15), ..Timeouts::default() };
    let instance = Instance::look(&new.url, Tls::default(), timeouts).await.unwrap();
    let backup_id = instance.upload("backup.local", upload(&archive.path, true)).await.unwrap();
    let wish =
        RestoreRequest { password: Some(Secret::new(PASSWORD)), ..RestoreRequest::new(backup_id, "backup.local") };
    instance.restore(&wish).await.unwrap();
    let error = instance.follow_restart(&Way::FirstPage, &[], |_, _| {}).await.unwrap_err();
    assert_eq!(error.kind, Kind::OnlyCore, "{error}");
}

/// Upload, broken and whole, wrong and right password, and the restart.
async fn into_a_fresh_one(version: Version, new: &Running, archive: &Archive) -> Instance {
    let line = Proxy::http(new.address().unwrap()).unwrap();
    let instance = look(&line.url()).await.unwrap();
    let seen = instance.seen();
    assert_eq!((seen.version.as_deref(), seen.proxy, seen.no_socket.is_none()), (Some(version.as_str()), None, true));
    let Phase::Fresh { agent, manager, installation } = &seen.phase else { panic!("{seen:?}") };
    assert_eq!(
        (*agent, installation.as_deref(), manager.is_idle()),
        ("backup.local", Some("Home Assistant Core"), true)
    );

    assert_eq!(instance.did_it_arrive(&archive.expected).await.unwrap(), Arrival::No);
    line.cut_at([line.uploaded() + archive.expected.size.unwrap() / 2], Death::Reset);
    let broken = instance.upload(agent, upload(&archive.path, true)).await.unwrap_err();
    assert_eq!((broken.kind, broken.is_transient()), (Kind::Broken, true), "{broken}");
    assert_eq!(instance.did_it_arrive(&archive.expected).await.unwrap(), Arrival::No);

    let garbage = Upload {
        file_name: "x.tar".into(),
        length: None,
        stream: stream::iter([Ok::<_, String>(Bytes::from_static(b"no tar"))]),
        progress: Progress::default(),
    };
    let refused = instance.upload(agent, garbage).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Refused, "{refused}");

    let whole = upload(&archive.path, false);
    let progress = whole.progress.clone();
    let backup_id = instance.upload(agent, whole).await.unwrap();
    assert_eq!(Some(progress.bytes()), archive.expected.size);
    assert_eq!(backup_id, archive.expected.slug);
    assert_eq!(instance.did_it_arrive(&archive.expected).await.unwrap(), Arrival::Yes { backup_id: backup_id.clone() });

    let wish = |password: &str| RestoreRequest {
        password: Some(Secret::new(password)),
        ..RestoreRequest::new(&backup_id, *agent)
    };
    let wrong = instance.restore(&wish("not it")).await.unwrap_err();
    assert_eq!(wrong.kind, Kind::WrongPassword, "{wrong}");
    let unknown = instance.restore(&RestoreRequest::new("00000000", *agent)).await.unwrap_err();
    assert_eq!(unknown.kind, Kind::NotFound, "{unknown}");

    let begun = instance.restore(&wish(PASSWORD)).await.unwrap();
    tell(&format!("restore of the fresh one: {begun:?}"));
    let mut stages = Vec::new();
    let restored = instance.follow_restart(&Way::FirstPage, &[], |stage, _| stages.push(stage.clone())).await.unwrap();
    tell(&format!("{stages:?} {restored:?}"));
    assert!(stages.contains(&Stage::Down), "{stages:?}");
    assert_eq!(restored.version.as_deref(), Some(version.as_str()));

    let instance = look(&new.url).await.unwrap();
    assert!(matches!(instance.seen().phase, Phase::SetUp | Phase::Begun), "{:?}", instance.seen());
    let late = instance.upload("backup.local", upload(&archive.path, true)).await.unwrap_err();
    assert_eq!(late.kind, Kind::AlreadySetUp, "{late}");
    instance
}

/// The same with a token, on the instance that the backup is of.
async fn again_into_itself(old: &Running, token: &Secret, archive: &Archive) {
    let instance = look(&old.url).await.unwrap();
    assert_eq!(instance.seen().phase, Phase::SetUp);
    let wrong = instance.admin(Secret::new("wrong")).await.err().unwrap();
    assert_eq!(wrong.kind, Kind::Credentials, "{wrong}");
    let (admin, agents) = instance.admin(token.clone()).await.unwrap();
    let agent = local_agent(&agents).unwrap();
    assert_eq!(agent, "backup.local");

    let mut events = admin.events().await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().manager_state, "idle");
    assert_eq!(admin.did_it_arrive(&archive.expected).await.unwrap(), Arrival::No);
    let backup_id = admin.upload(agent, upload(&archive.path, true)).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().manager_state, "receive_backup");
    assert_eq!(admin.did_it_arrive(&archive.expected).await.unwrap(), Arrival::Yes { backup_id: backup_id.clone() });

    let mut wish = RestoreRequest::new(backup_id, agent);
    wish.password = Some(Secret::new("not it"));
    let refused = admin.restore(&wish).await.unwrap_err();
    assert_eq!(refused.kind, Kind::WrongPassword, "{refused}");
    wish.password = Some(Secret::new(PASSWORD));
    let begun = admin.restore(&wish).await.unwrap();
    assert!(matches!(&begun, Begun::Said | Begun::Unheard(_)));
    tell(&format!("restore with a token: {begun:?}"));
    let restored = instance.follow_restart(&Way::Token(token.clone()), &[], |_, _| {}).await.unwrap();
    tell(&format!("{restored:?}"));
}

async fn look(url: &str) -> Result<Instance, homeassistant::Error> {
    let timeouts = Timeouts { restart: Duration::from_mins(5), ..Timeouts::default() };
    Instance::look(url, Tls::default(), timeouts).await
}

struct Archive {
    path: PathBuf,
    expected: Expected,
}

/// Made by Haul, protected, of a directory that may be in use.
fn back_up(config: &Path, archive: &Path) -> Archive {
    let done = Command::new(HAUL)
        .args([
            "backup".as_ref(),
            config.as_os_str(),
            "--to".as_ref(),
            archive.as_os_str(),
            "--progress".as_ref(),
            "none".as_ref(),
        ])
        .env("HAUL_PASSWORD", PASSWORD)
        .output()
        .unwrap();
    assert!(matches!(done.status.code(), Some(0 | 3)) && archive.exists(), "{}", String::from_utf8_lossy(&done.stderr));
    let listed =
        Command::new("tar").args(["-xOf".as_ref(), archive.as_os_str(), "./backup.json".as_ref()]).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let text = |key: &str| json[key].as_str().unwrap().to_owned();
    let size = Some(archive.metadata().unwrap().len());
    let expected =
        Expected { agent: "backup.local".into(), slug: text("slug"), name: text("name"), date: text("date"), size };
    Archive { path: archive.to_owned(), expected }
}

fn upload(
    archive: &Path,
    with_length: bool,
) -> Upload<impl futures_util::Stream<Item = Result<Bytes, String>> + Send + 'static> {
    let bytes = Bytes::from(fs::read(archive).unwrap());
    let length = with_length.then_some(bytes.len() as u64);
    let pieces: Vec<_> = bytes.chunks(1 << 20).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    Upload {
        file_name: archive.file_name().unwrap().to_string_lossy().into_owned(),
        length,
        stream: stream::iter(pieces),
        progress: Progress::default(),
    }
}
