//! The whole process with a simulated instance, fresh and set up: look, upload, restore, follow the restart. The tests
//! of `haul` use the real one.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{file, look};
use futures_util::stream;
use homeassistant::{Begun, Kind, Phase, Progress, RestoreRequest, Secret, Stage, Upload, Vendor, Way, local_agent};
use serde_json::json;
use testkit::home_assistant::{Fake, Mind, TOKEN};

#[tokio::test]
async fn a_fresh_instance_tells_its_version_its_kind_and_who_keeps_backups() {
    let fake = Fake::start(Mind::default());
    let instance = look(&format!("{}/onboarding.html", fake.url())).await.unwrap();
    let seen = instance.seen();
    assert_eq!(
        (seen.address.as_str(), seen.version.as_deref(), &seen.redirected_from),
        (fake.url().as_str(), Some("2026.11.0"), &None)
    );
    let Phase::Fresh { agent, installation, .. } = &seen.phase else { panic!("{seen:?}") };
    assert_eq!((*agent, installation.as_deref()), ("hassio.local", Some("Home Assistant OS")));
}

#[tokio::test]
async fn how_far_an_instance_is_set_up_is_reported() {
    let fake = Fake::start(Mind { user_made: Some(true), ..Mind::default() });
    assert_eq!(look(&fake.url()).await.unwrap().seen().phase, Phase::Begun);
    fake.think(|mind| mind.user_made = None);
    assert_eq!(look(&fake.url()).await.unwrap().seen().phase, Phase::SetUp);
}

#[tokio::test]
async fn one_too_old_to_take_backups_is_reported() {
    let fake = Fake::start(Mind { version: "2024.12.5", info: serde_json::Value::Null, ..Mind::default() });
    let error = look(&fake.url()).await.unwrap_err();
    assert_eq!(error.kind, Kind::TooOld);
    assert_eq!(
        error.to_string(),
        format!(
            "could not find Home Assistant at {}: Home Assistant 2024.12.5 does not accept a backup on its welcome \
             page",
            fake.url()
        )
    );
}

#[tokio::test]
async fn a_proxy_that_forgets_websockets_does_not_hinder_a_fresh_instance() {
    let fake = Fake::start(Mind { has_socket: false, ..Mind::default() });
    let instance = look(&fake.url()).await.unwrap();
    assert_eq!(instance.seen().version, None);
    let error = instance.seen().no_socket.as_ref().unwrap();
    assert_eq!(error.kind, Kind::Proxy(Vendor::Unknown));
    assert!(error.to_string().ends_with("the WebSocket connection fails (400)"), "{error}");
}

#[tokio::test]
async fn an_upload_arrives_whole_with_and_without_its_length() {
    let fake = Fake::start(Mind::default());
    let instance = look(&fake.url()).await.unwrap();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    for with_length in [true, false] {
        assert_eq!(instance.upload("hassio.local", file(&bytes, with_length)).await.unwrap(), "1a2b3c4d");
        let (headers, body) = fake.mind().uploads.pop().unwrap();
        assert_eq!(headers.contains_key("content-length"), with_length);
        let begin = body.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8(body[..begin].to_vec()).unwrap();
        assert!(head.contains("Content-Disposition: form-data; name=\"file\"; filename=\"home.tar\"\r\n"), "{head}");
        assert!(body[begin..].starts_with(&bytes));
    }
}

#[tokio::test]
async fn a_source_that_breaks_is_not_blamed_on_the_other_side() {
    let fake = Fake::start(Mind::default());
    let instance = look(&fake.url()).await.unwrap();
    let pieces = stream::iter([Ok(vec![0; 1000].into()), Err("the disk is broken")]);
    let broken = Upload { file_name: "a.tar".into(), length: None, stream: pieces, progress: Progress::default() };
    let error = instance.upload("hassio.local", broken).await.unwrap_err();
    assert_eq!((error.kind, error.reason.as_str()), (Kind::Source, "the disk is broken"));
    assert!(fake.mind().uploads.is_empty());
}

#[tokio::test]
async fn a_slow_source_is_no_silent_server() {
    let fake = Fake::start(Mind::default());
    let instance = look(&fake.url()).await.unwrap();
    let pieces = stream::unfold(0, |n| async move {
        // Longer than the line may be silent.
        tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
        (n < 1).then_some((Ok::<_, String>(bytes::Bytes::from_static(b"slow")), n + 1))
    });
    let slow = Upload { file_name: "a.tar".into(), length: None, stream: pieces, progress: Progress::default() };
    assert_eq!(instance.upload("hassio.local", slow).await.unwrap(), "1a2b3c4d");
}

#[tokio::test]
async fn a_refused_restore_is_reported_with_home_assistants_text() {
    let fake = Fake::start(Mind::default());
    let instance = look(&fake.url()).await.unwrap();
    let request =
        RestoreRequest { password: Some(Secret::new("sesame")), ..RestoreRequest::new("1a2b3c4d", "hassio.local") };
    let refused = async |body| {
        fake.think(|mind| mind.restore = (400, body));
        instance.restore(&request).await.unwrap_err()
    };
    assert_eq!(refused(json!({ "code": "incorrect_password" })).await.kind, Kind::WrongPassword);
    let failed =
        refused(json!({ "code": "restore_failed", "message": "Backup 1a2b3c4d not found in agent hassio.local" }))
            .await;
    assert_eq!(
        (failed.kind, failed.quoted.as_deref()),
        (Kind::NotFound, Some("Backup 1a2b3c4d not found in agent hassio.local"))
    );
    let other = refused(json!({ "code": "restore_failed", "message": "the version is newer" })).await;
    assert_eq!(
        other.to_string(),
        format!("could not restore the backup on {}: Home Assistant says: the version is newer", fake.url())
    );
    let asked = fake.mind().restores.pop().unwrap();
    assert_eq!(
        asked,
        json!({ "backup_id": "1a2b3c4d", "agent_id": "hassio.local", "restore_database": true, "password": "sesame" })
    );
}

#[tokio::test]
async fn a_restore_is_followed_until_the_first_page_is_over() {
    let fake = Fake::start(Mind::default());
    let line = testkit::proxy::Proxy::http(fake.address).unwrap();
    let instance = look(&line.url()).await.unwrap();
    assert!(matches!(instance.restore(&RestoreRequest::new("1a2b3c4d", "hassio.local")).await.unwrap(), Begun::Said));
    let restoring =
        json!({ "manager_state": "restore_backup", "stage": "home_assistant", "state": "in_progress", "reason": null });
    fake.think(|mind| mind.info = json!({ "backups": [], "state": "restore_backup", "last_action_event": restoring }));
    let (mut stages, mut waited) = (Vec::new(), Vec::new());
    let restored = instance.follow_restart(&Way::FirstPage, &[], |stage, so_far| {
        waited.push(so_far);
        match stage {
            Stage::Working(_) => line.down(),
            // It is reported again when it lasts.
            Stage::Down if !stages.contains(&Stage::Down) => {}
            Stage::Down => {
                fake.think(|mind| mind.user_made = None);
                line.up();
            }
            Stage::Starting => {}
        }
        stages.push(stage.clone());
    });
    let restored = restored.await.unwrap();
    assert_eq!((restored.address, restored.version.as_deref()), (line.url(), Some("2026.11.0")));
    assert_eq!(stages, [Stage::Working(Some("home_assistant".into())), Stage::Down, Stage::Down, Stage::Starting]);
    assert!(waited.is_sorted());
}

/// What answers where, once it went down, and where it is then found: at its old address, where a proxy may lead to it,
/// before its new one.
#[tokio::test]
async fn a_restored_instance_is_found_at_its_old_port_or_at_that_of_its_configuration() {
    let up = || Mind { user_made: None, ..Mind::default() };
    for (name, comes_back, comes_up_elsewhere) in
        [("old", true, None), ("new", false, Some(up())), ("both", true, Some(up()))]
    {
        let fake = Fake::start(Mind::default());
        let line = testkit::proxy::Proxy::http(fake.address).unwrap();
        let instance = look(&line.url()).await.unwrap();
        let elsewhere = [instance.at_port(free_port(), false).unwrap()];
        assert!(elsewhere[0].is_free().await);
        let port = elsewhere[0].address().rsplit_once(':').unwrap().1.parse().unwrap();
        line.down();
        fake.think(|mind| mind.user_made = None);
        let mut there = None;
        let restored = instance.follow_restart(&Way::FirstPage, &elsewhere, |stage, _| {
            if *stage == Stage::Down {
                there = comes_up_elsewhere.clone().map(|mind| Fake::start_at(port, mind));
                if comes_back {
                    line.up();
                }
            }
        });
        let address = restored.await.unwrap().address;
        assert_eq!(address, if comes_back { line.url() } else { elsewhere[0].address().to_owned() }, "{name}");
        assert_eq!(elsewhere[0].is_free().await, there.is_none(), "{name}");
    }
}

#[tokio::test]
async fn what_comes_up_at_another_port_is_judged_like_anything_else() {
    let first_page = Mind::default();
    let in_recovery = Mind { user_made: None, in_recovery: true, ..Mind::default() };
    for (way, mind, kind) in [
        (Way::FirstPage, Some(first_page), Kind::RestoreLost),
        (Way::FirstPage, Some(in_recovery.clone()), Kind::OnlyCore),
        (Way::Token(Secret::new(TOKEN)), Some(in_recovery), Kind::OnlyCore),
        (Way::FirstPage, None, Kind::TimedOut),
    ] {
        let fake = Fake::start(Mind::default());
        let instance = look(&fake.url()).await.unwrap();
        let port = free_port();
        let elsewhere = [instance.at_port(port, false).unwrap()];
        drop(fake);
        let _there = mind.map(|mind| Fake::start_at(port, mind));
        let error = instance.follow_restart(&way, &elsewhere, |_, _| {}).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
    }
}

#[tokio::test]
async fn an_instance_in_recovery_mode_is_not_called_restored() {
    let fake = Fake::start(Mind::default());
    let instance = look(&fake.url()).await.unwrap();
    fake.think(|mind| (mind.down, mind.user_made, mind.in_recovery) = (3, None, true));
    let error = instance.follow_restart(&Way::FirstPage, &[], |_, _| {}).await.unwrap_err();
    assert_eq!(error.kind, Kind::OnlyCore, "{error}");
    // One that only takes its time.
    fake.think(|mind| mind.down = 3);
    let restored = instance.follow_restart(&Way::FirstPage, &[], |stage, _| {
        if *stage == Stage::Starting {
            fake.think(|mind| mind.in_recovery = false);
        }
    });
    assert_eq!(restored.await.unwrap().address, fake.url());
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_restart_that_does_not_end_ends_patience() {
    let fake = Fake::start(Mind::default());
    let instance = look(&fake.url()).await.unwrap();
    drop(fake);
    let error = instance.follow_restart(&Way::FirstPage, &[], |_, _| {}).await.unwrap_err();
    assert_eq!((error.kind, error.reason.as_str()), (Kind::TimedOut, "it went down and has not come up again in 2 s"));
}

#[tokio::test]
async fn a_restore_that_fails_in_the_restart_is_reported_with_its_reason() {
    let fake = Fake::start(Mind::default());
    let instance = look(&fake.url()).await.unwrap();
    let failed =
        json!({ "manager_state": "restore_backup", "stage": null, "state": "failed", "reason": "Invalid password" });
    fake.think(|mind| mind.info = json!({ "backups": [], "state": "idle", "last_action_event": failed }));
    let error = instance.follow_restart(&Way::FirstPage, &[], |_, _| {}).await.unwrap_err();
    assert_eq!((error.kind, error.quoted.as_deref()), (Kind::RestoreFailed, Some("Invalid password")));
}

#[tokio::test]
async fn an_administrators_token_opens_an_instance_that_is_set_up_and_shows_nowhere() {
    let fake = Fake::start(Mind { user_made: None, ..Mind::default() });
    let instance = look(&fake.url()).await.unwrap();
    let (admin, agents) = instance.admin(Secret::new(TOKEN)).await.unwrap();
    assert_eq!(local_agent(&agents), Some("hassio.local"));
    assert_eq!(admin.upload("hassio.local", file(b"tar", true)).await.unwrap(), "1a2b3c4d");
    assert!(admin.info().await.unwrap().is_idle());
    let mut events = admin.events().await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().manager_state, "idle");
    assert!(matches!(
        admin.restore(&RestoreRequest::new("1a2b3c4d", "hassio.local")).await.unwrap(),
        Begun::Unheard(_)
    ));
    fake.think(|mind| mind.restore = (400, json!({ "code": "password_incorrect", "message": "Incorrect password" })));
    assert_eq!(
        admin.restore(&RestoreRequest::new("1a2b3c4d", "hassio.local")).await.unwrap_err().kind,
        Kind::WrongPassword
    );
}

#[tokio::test]
async fn a_wrong_token_is_refused_before_a_byte_is_sent_and_not_repeated() {
    let fake = Fake::start(Mind { user_made: None, ..Mind::default() });
    let instance = look(&fake.url()).await.unwrap();
    for token in ["wrong-sesame", "sesame\u{7f}\n"] {
        let error = instance.admin(Secret::new(token)).await.err().unwrap();
        assert_eq!(error.kind, Kind::Credentials);
        assert!(!format!("{error} {error:?}").contains("sesame"), "{error:?}");
    }
}

#[tokio::test]
async fn free_space_is_known_if_a_supervisor_reports_it() {
    let fake = Fake::start(Mind { user_made: None, disk_free: Some(1.5), ..Mind::default() });
    let instance = look(&fake.url()).await.unwrap();
    let (admin, _) = instance.admin(Secret::new(TOKEN)).await.unwrap();
    assert_eq!(admin.free_space().await.unwrap(), Some(3 << 29));
    fake.think(|mind| mind.disk_free = None);
    assert_eq!(admin.free_space().await.unwrap(), None);
}
