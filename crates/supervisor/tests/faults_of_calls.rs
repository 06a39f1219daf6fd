//! Every call against everything that can happen to it: no answer, half an answer, a wrong one, a refusal, twice, late.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::{pin::Pin, time::Duration};

use common::{KEY, PASSWORD, SLUG, client, impatient, wanted, with_patience, world};
use supervisor::{Apps, Content, Error, Kind, NewBackup, Place, Restore, Secret, Supervisor};
use testkit::supervisor::{Fault, Supervisor as Server};

type Answer<'a> = Pin<Box<dyn Future<Output = Result<String, Error>> + 'a>>;

/// A call: how it is made, and the request that it is.
struct Call {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    make: fn(&Supervisor) -> Answer<'_>,
    /// How it ends the second time.
    twice: Option<Kind>,
    /// Whether its answer has data that is needed.
    has_data: bool,
}

macro_rules! call {
    ($name:literal, $method:literal $path:expr, $twice:expr, $has_data:literal, |$client:ident| $call:expr) => {
        Call {
            name: $name,
            method: $method,
            path: $path,
            make: |$client| Box::pin(async move { $call.map(|answer| format!("{answer:?}")) }),
            twice: $twice,
            has_data: $has_data,
        }
    };
}

fn new_backup() -> NewBackup {
    NewBackup {
        password: Some(Secret::new(KEY)),
        places: vec![Place::Mount("haul_nas".to_owned())],
        ..NewBackup::named("n")
    }
}

fn content() -> Content {
    Content { homeassistant: true, apps: Apps::These(vec!["core_ssh".to_owned()]), folders: vec!["ssl".to_owned()] }
}

fn restore() -> Restore {
    Restore { password: Some(Secret::new(KEY)), place: Some(Place::Local) }
}

fn calls() -> Vec<Call> {
    vec![
        call!("info", "GET" "/info", None, true, |client| client.info().await),
        call!("own_app", "GET" "/addons/self/info", None, true, |client| client.own_app().await),
        call!("apps", "GET" "/addons", None, true, |client| client.apps().await),
        call!("backups", "GET" "/backups", None, true, |client| client.backups().await),
        call!("backup", "GET" "/backups/f00df00d/info", None, true, |client| client.backup(SLUG).await),
        call!("new_full", "POST" "/backups/new/full", Some(Kind::Busy), true, |client| client.new_full(&new_backup()).await),
        call!("new_partial", "POST" "/backups/new/partial", Some(Kind::Busy), true, |client| {
            client.new_partial(&new_backup(), &content()).await
        }),
        call!("restore_full", "POST" "/backups/f00df00d/restore/full", Some(Kind::Busy), true, |client| {
            client.restore_full(SLUG, &restore()).await
        }),
        call!("restore_partial", "POST" "/backups/f00df00d/restore/partial", Some(Kind::Busy), true, |client| {
            client.restore_partial(SLUG, &restore(), &content()).await
        }),
        call!("delete_backup", "DELETE" "/backups/f00df00d", Some(Kind::NotFound), false, |client| {
            client.delete_backup(SLUG, &[Place::Local, Place::Mount("haul_nas".to_owned())]).await
        }),
        call!("reload_backups", "POST" "/backups/reload", None, false, |client| client.reload_backups().await),
        call!("jobs", "GET" "/jobs/info", None, true, |client| client.jobs().await),
        call!("mqtt", "GET" "/services/mqtt", None, true, |client| client.mqtt().await),
        call!("mounts", "GET" "/mounts", None, true, |client| client.mounts().await),
        call!("create_mount", "POST" "/mounts", Some(Kind::Exists), false, |client| {
            client.create_mount(&wanted("haul_new")).await
        }),
        call!("update_mount", "PUT" "/mounts/haul_nas", None, false, |client| client.update_mount(&wanted("haul_nas")).await),
        call!("delete_mount", "DELETE" "/mounts/haul_nas", Some(Kind::NotFound), false, |client| {
            client.delete_mount("haul_nas").await
        }),
        call!("reload_mount", "POST" "/mounts/haul_nas/reload", None, false, |client| client.reload_mount("haul_nas").await),
        call!("set_default", "POST" "/mounts/options", None, false, |client| {
            client.set_default_backup_mount(Some("haul_nas")).await
        }),
        call!("users", "WS" "config/auth/list", None, true, |client| client.core().users().await),
        call!("backup_config", "WS" "backup/config/info", None, true, |client| client.core().backup_config().await),
    ]
}

/// One that holds every backup and restore where it begins.
fn start() -> Server {
    let server = Server::start(world());
    server.change(|world| {
        world.hold_at = Some("home_assistant");
        world.mqtt = Some(serde_json::json!({
            "addon": "core_mosquitto", "host": "core-mosquitto", "port": 1883, "ssl": false, "username": "addons",
            "password": KEY, "protocol": "3.1.1",
        }));
    });
    server
}

/// An error says what and what next, and holds nothing confidential.
fn check(call: &str, error: &Error, kinds: &[Kind]) {
    let shown = format!("{error} {error:?}");
    assert!(kinds.contains(&error.kind), "{call}: {shown}");
    assert!(error.to_string().starts_with("could not ") && error.advice.len() > 10, "{call}: {shown}");
    assert!(!shown.contains('\n') && shown.len() < 3_000, "{call}: {shown}");
    for secret in [KEY, PASSWORD, testkit::supervisor::TOKEN] {
        assert!(!shown.contains(secret), "{call}: {shown}");
    }
}

async fn after(call: &Call, fault: Fault, kinds: &[Kind]) -> Error {
    let server = start();
    server.fault(call.method, call.path, fault);
    let error = (call.make)(&client(&server)).await.expect_err(call.name);
    check(call.name, &error, kinds);
    error
}

#[tokio::test]
async fn in_good_weather_every_call_succeeds_and_shows_no_secret() {
    for call in calls() {
        let server = start();
        let answer = (call.make)(&client(&server)).await.expect(call.name);
        assert!(!answer.contains(KEY) && !answer.contains("AAAA-BBBB"), "{}: {answer}", call.name);
    }
}

#[tokio::test]
async fn a_supervisor_that_is_away_is_unreachable_and_after_its_restart_all_is_well() {
    for call in calls() {
        let server = start();
        let client = client(&server);
        server.unplug();
        let error = (call.make)(&client).await.expect_err(call.name);
        check(call.name, &error, &[Kind::Unreachable]);
        assert!(error.is_transient() && !error.may_have_happened(), "{error:?}");
        server.plug();
        (call.make)(&client).await.expect(call.name);
    }
}

#[tokio::test]
async fn silence_ends() {
    for call in calls() {
        let server = start();
        server.fault(call.method, call.path, Fault::Silent);
        let error = (call.make)(&impatient(&server)).await.expect_err(call.name);
        check(call.name, &error, &[Kind::Broken]);
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_or_cut_off_may_mean_that_it_happened() {
    for call in calls() {
        for fault in [Fault::Unanswered, Fault::Short] {
            let server = start();
            server.fault(call.method, call.path, fault);
            let error = (call.make)(&client(&server)).await.expect_err(call.name);
            check(call.name, &error, &[Kind::Broken, Kind::NotReady]);
            // The proxy's WebSocket carries no change.
            assert!(call.method == "WS" || error.may_have_happened(), "{}: {error:?}", call.name);
            // Asked once more, it shows whether it did.
            let again = (call.make)(&client(&server)).await;
            assert_eq!(again.err().map(|error| error.kind), call.twice, "{}", call.name);
        }
    }
}

#[tokio::test]
async fn a_late_answer_is_an_answer() {
    for call in calls() {
        let server = start();
        server.fault(call.method, call.path, Fault::Late(Duration::from_millis(50)));
        (call.make)(&client(&server)).await.expect(call.name);
    }
}

#[tokio::test]
async fn twice_is_said_or_does_no_harm() {
    for call in calls() {
        let server = start();
        let client = client(&server);
        (call.make)(&client).await.expect(call.name);
        let again = (call.make)(&client).await;
        if let Err(error) = &again {
            check(call.name, error, &[Kind::Busy, Kind::Exists, Kind::NotFound]);
        }
        assert_eq!(again.err().map(|error| error.kind), call.twice, "{}", call.name);
    }
}

#[tokio::test]
async fn what_is_not_supervisors_is_no_answer() {
    for call in calls().iter().filter(|call| call.method != "WS") {
        for body in ["", "{", "<html>busy</html>", "{}", "[]", "null", "\"ok\"", r#"{"result":"fine","data":{}}"#] {
            after(call, Fault::Says(200, body.to_owned()), &[Kind::Protocol]).await;
        }
        // A list where an object has to be, and a value of another kind.
        if call.has_data {
            for data in ["7", "\"text\"", "null"] {
                let body = format!(r#"{{"result":"ok","data":{data}}}"#);
                after(call, Fault::Says(200, body), &[Kind::Protocol]).await;
            }
        }
        after(call, Fault::Endless, &[Kind::Protocol]).await;
        after(call, Fault::Says(301, String::new()), &[Kind::Protocol]).await;
    }
}

#[tokio::test]
async fn what_is_not_cores_is_no_answer() {
    for call in calls().iter().filter(|call| call.method == "WS") {
        for text in ["", "{", "[]", "{}", r#"{"id":1,"type":"result","success":true,"result":7}"#] {
            after(call, Fault::Says(0, text.to_owned()), &[Kind::Protocol]).await;
        }
        after(call, Fault::Endless, &[Kind::NotReady]).await;
        let refusal = |code: &str| {
            let error = format!(r#"{{"code":"{code}","message":"No, \u001b[31mnever.\n"}}"#);
            Fault::Says(0, format!(r#"{{"id":1,"type":"result","success":false,"error":{error}}}"#))
        };
        let error = after(call, refusal("home_assistant_error"), &[Kind::Refused]).await;
        assert!(error.reason.ends_with("Home Assistant says: No, [31mnever"), "{error}");
        after(call, refusal("unauthorized"), &[Kind::Forbidden]).await;
        after(call, refusal("unknown_command"), &[Kind::Unsupported]).await;
        // Other messages in between are not meant.
        let server = start();
        let event = r#"{"id":9,"type":"event","event":{}}"#.to_owned();
        server.fault("WS", call.path, Fault::Says(0, event));
        let error = (call.make)(&impatient(&server)).await.expect_err(call.name);
        check(call.name, &error, &[Kind::Broken]);
    }
}

#[tokio::test]
async fn a_status_says_what_it_means() {
    let plain = |status: u16, text: &str| Fault::Says(status, text.to_owned());
    for mut call in calls() {
        if call.method == "WS" {
            (call.method, call.path) = ("GET", "/core/websocket");
        }
        after(&call, plain(401, "401: Unauthorized"), &[Kind::Token]).await;
        after(&call, plain(403, "403: Forbidden"), &[Kind::Forbidden]).await;
        after(&call, plain(404, "404: Not Found"), &[Kind::Unsupported]).await;
        let error =
            after(&call, plain(500, "500 Internal Server Error\n\nServer got itself in trouble"), &[Kind::Failing]);
        assert!(error.await.is_transient());
        for status in [502, 503, 504] {
            assert!(after(&call, plain(status, "Bad Gateway"), &[Kind::NotReady]).await.is_transient());
        }
    }
}

#[tokio::test]
async fn supervisors_own_words_are_passed_on_sanitized_and_bounded() {
    for call in calls().iter().filter(|call| call.method != "WS") {
        for status in [200, 400] {
            let words = format!("It is \\u001b[31m{}\\nbad.{}", KEY, " and so on".repeat(1_000));
            let words =
                if matches!(call.path, "/mounts" | "/mounts/haul_nas") { words.replace(KEY, PASSWORD) } else { words };
            let carries_none = !matches!(
                call.name,
                "new_full" | "new_partial" | "restore_full" | "restore_partial" | "create_mount" | "update_mount"
            );
            let words = if carries_none { words.replace(KEY, "x").replace(PASSWORD, "x") } else { words };
            let body = format!(r#"{{"result":"error","message":"{words}","job_id":"1234","error_key":null}}"#);
            let error = after(call, Fault::Says(status, body), &[Kind::Refused]).await;
            let hidden = if carries_none { "x" } else { "(secret)" };
            assert!(error.reason.starts_with(&format!("Supervisor says: It is [31m{hidden} bad. and")), "{error}");
            assert_eq!((error.job.as_deref(), error.said.unwrap().chars().count()), (Some("1234"), 500));
        }
        let body = r#"{"result":"error","message":null}"#.to_owned();
        after(call, Fault::Says(400, body), &[Kind::Refused]).await;
    }
}

#[tokio::test]
async fn a_supervisor_that_is_starting_is_not_ready() {
    for call in calls().iter().filter(|call| call.method != "WS") {
        let server = start();
        server.change(|world| world.state = "setup");
        let error = (call.make)(&client(&server)).await.expect_err(call.name);
        check(call.name, &error, &[Kind::NotReady]);
        assert_eq!(error.said.as_deref(), Some("System is not ready with state: setup"));
    }
    for call in calls().iter().filter(|call| call.method == "WS") {
        let server = start();
        server.change(|world| world.core_answers = false);
        check(call.name, &(call.make)(&client(&server)).await.expect_err(call.name), &[Kind::NotReady]);
    }
}

#[tokio::test]
async fn a_name_that_would_lead_to_another_request_is_never_sent() {
    let server = start();
    let client = client(&server);
    for name in ["", ".", "..", "../mounts", "a/b", "a?b", "a#b", "%2e%2e", "a b", "ä"] {
        let wrong = [
            client.backup(name).await.err(),
            client.job(name).await.err(),
            client.delete_mount(name).await.err(),
            client.reload_mount(name).await.err(),
            client.delete_backup(name, &[Place::Local]).await.err(),
            client.restore_full(name, &restore()).await.err(),
        ];
        for error in wrong {
            check("name", &error.expect(name), &[Kind::Invalid]);
        }
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn an_address_or_token_that_cannot_be_used_is_said() {
    let _ = with_patience("http://127.0.0.1:1", Duration::from_secs(1));
    let at = |address: &str, token: &str| {
        Supervisor::at(address, Secret::new(token), supervisor::Timeouts::default()).err().map(|error| error.kind)
    };
    assert_eq!(at("supervisor", "token"), Some(Kind::Invalid));
    assert_eq!(at("file:///etc/passwd", "token"), Some(Kind::Invalid));
    assert_eq!(at("http://supervisor", "to\nken"), Some(Kind::Token));
    let environment = |set: &'static [(&str, &str)]| {
        let variable = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Supervisor::from_environment(variable).map(|made| made.is_ok())
    };
    assert_eq!(environment(&[]), None);
    assert_eq!(environment(&[("SUPERVISOR_TOKEN", ""), ("HASSIO_TOKEN", "")]), None);
    assert_eq!(environment(&[("SUPERVISOR_TOKEN", "new")]), Some(true));
    assert_eq!(environment(&[("HASSIO_TOKEN", "old")]), Some(true));
}
