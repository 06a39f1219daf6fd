//! Obstacles: proxies that limit, drop slow requests or redirect, connections that break, servers that are something
//! else.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{file, look};
use homeassistant::{Arrival, Begun, Error, Expected, Instance, Kind, RestoreRequest, Vendor};
use serde_json::json;
use testkit::home_assistant::{Fake, Mind};
use testkit::nobody::Nobody;
use testkit::proxy::{Answer, Death, Proxy, Rule};

const NGINX_413: &str = "<html>\r\n<head><title>413 Request Entity Too \
    Large</title></head>\r\n<body>\r\n<center><h1>413 Request Entity Too \
    Large</h1></center>\r\n<hr><center>nginx/1.26.3</center>\r\n</body>\r\n</html>\r\n";

/// An instance behind a line that does as the test says.
async fn behind() -> (Fake, Proxy, Instance) {
    let fake = Fake::start(Mind::default());
    let line = Proxy::http(fake.address).unwrap();
    let instance = look(&line.url()).await.unwrap();
    (fake, line, instance)
}

async fn uploading_against(answer: Answer) -> Error {
    let (fake, line, instance) = behind().await;
    line.rule(Rule::when(|head| head.method == "POST").always().answer(answer));
    let error = instance.upload("hassio.local", file(&vec![7; 8 << 20], true)).await.unwrap_err();
    assert!(fake.mind().uploads.is_empty());
    error
}

#[tokio::test]
async fn a_limit_of_nginx_is_explained_whether_it_reads_the_body_or_not() {
    let page = || Answer::new(413).header("server", "nginx/1.26.3").header("content-type", "text/html").body(NGINX_413);
    for answer in [page(), page().hasty()] {
        let error = uploading_against(answer).await;
        assert_eq!(error.kind, Kind::Proxy(Vendor::Nginx), "{error}");
        assert!(
            error.advice.as_ref().unwrap().starts_with("set client_max_body_size 0; for it in nginx, or give"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_proxy_that_loses_patience_is_explained() {
    let error = uploading_against(Answer::new(504).header("content-type", "text/plain").body("Gateway Timeout")).await;
    assert_eq!(error.kind, Kind::Proxy(Vendor::Traefik));
    assert!(error.advice.as_ref().unwrap().contains("respondingTimeouts.readTimeout"));
    let error = uploading_against(Answer::new(524).header("server", "cloudflare").header("cf-ray", "1-FRA")).await;
    assert_eq!(error.kind, Kind::Proxy(Vendor::Cloudflare));
}

#[tokio::test]
async fn an_upload_is_never_sent_on_to_where_a_redirect_leads() {
    for status in [301, 302, 307, 308] {
        let error = uploading_against(
            Answer::new(status).header("server", "Caddy").header("location", "https://elsewhere.example/api"),
        )
        .await;
        assert_eq!(error.kind, Kind::Elsewhere);
        assert!(error.reason.ends_with("a redirect to https://elsewhere.example"), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_to_the_same_host_is_followed_when_looking_and_one_to_another_is_reported() {
    let fake = Fake::start(Mind::default());
    let line = Proxy::http(fake.address).unwrap();
    let to = |place: &str| Answer::new(301).header("location", &format!("{place}/api/onboarding"));
    line.rule(Rule::when(|_| true).answer(to(&fake.url())));
    let instance = look(&line.url()).await.unwrap();
    assert_eq!((&instance.seen().address, instance.seen().redirected_from.as_ref()), (&fake.url(), Some(&line.url())));
    line.rule(Rule::when(|_| true).answer(to("https://other.example")));
    let error = look(&line.url()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Elsewhere);
    assert!(
        error
            .to_string()
            .ends_with("a server in between answered 301 (Moved Permanently), a redirect to https://other.example"),
        "{error}"
    );
    line.rule(Rule::when(|_| true).always().answer(to(&line.url())));
    assert_eq!(look(&line.url()).await.unwrap_err().kind, Kind::Elsewhere);
}

#[tokio::test]
async fn another_server_is_not_taken_for_home_assistant() {
    let fake = Fake::start(Mind::default());
    let line = Proxy::http(fake.address).unwrap();
    let says = |answer: Answer| line.rule(Rule::when(|_| true).always().answer(answer));
    let html = |status, text: &str| Answer::new(status).header("content-type", "text/html").body(text);
    says(html(200, "<html><head><title>FRITZ!Box</title></head></html>"));
    let error = look(&line.url()).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotHomeAssistant);
    assert!(
        error.to_string().ends_with("what answers is not Home Assistant: it calls itself “FRITZ!Box” (200)"),
        "{error}"
    );
    line.calm();
    says(html(404, "<title>Synology</title>"));
    assert_eq!(look(&line.url()).await.unwrap_err().kind, Kind::NotHomeAssistant);
    line.calm();
    says(Answer::new(200).header("content-type", "application/json").body("{}"));
    assert_eq!(look(&line.url()).await.unwrap_err().kind, Kind::NotHomeAssistant);
    line.calm();
    says(Answer::new(401).header("www-authenticate", "Basic realm=\"home\""));
    let error = look(&line.url()).await.unwrap_err();
    assert!(error.to_string().ends_with("answered 401 (Unauthorized): it asks for a password of its own"), "{error}");
}

#[tokio::test]
async fn nothing_there_and_https_against_http_are_distinguished() {
    let fake = Fake::start(Mind::default());
    let url = fake.url();
    let error = look(&url.replace("http://", "https://")).await.unwrap_err();
    assert_eq!((error.kind, error.reason.as_str()), (Kind::Unreachable, "it does not speak https"));
    assert_eq!(error.advice.unwrap(), format!("write http:// in front, as in {url}"));
    let nobody = Nobody::new().unwrap();
    let error = look(&nobody.url().unwrap()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unreachable);
    assert!(error.to_string().to_lowercase().ends_with("no connection: connection refused"), "{error}");
}

#[tokio::test]
async fn a_line_that_breaks_says_how_far_it_got_and_whether_it_arrived_can_be_asked() {
    let (fake, line, instance) = behind().await;
    for death in [Death::Reset, Death::Close] {
        line.cut_at([line.uploaded() + (3 << 20)], death);
        let error = instance.upload("hassio.local", file(&vec![7; 8 << 20], true)).await.unwrap_err();
        assert_eq!(error.kind, Kind::Broken, "{error}");
        assert!(error.reason.contains("(after "), "{error}");
    }
    let expected =
        Expected { agent: "hassio.local".into(), slug: "1a2b3c4d".into(), size: Some(9), ..Expected::default() };
    assert_eq!(instance.did_it_arrive(&expected).await.unwrap(), Arrival::No);
    let backup = json!({ "backup_id": "1a2b3c4d", "name": "home", "date": "2026-01-01", "agents": { "hassio.local": { "protected": false, "size": 9 } } });
    fake.think(|mind| mind.info = json!({ "backups": [backup], "state": "idle", "last_action_event": null }));
    assert_eq!(instance.did_it_arrive(&expected).await.unwrap(), Arrival::Yes { backup_id: "1a2b3c4d".into() });
}

#[tokio::test]
async fn a_line_that_falls_silent_is_noticed() {
    let (_fake, line, instance) = behind().await;
    line.hush_at(line.uploaded() + (1 << 20));
    let error = instance.upload("hassio.local", file(&vec![7; 32 << 20], true)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Broken);
    assert!(error.reason.starts_with("it accepted no more data for 2 s"), "{error}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for_for_ever() {
    let (fake, line, instance) = behind().await;
    line.rule(Rule::when(|head| head.method == "POST").hold_answer());
    let error = instance.upload("hassio.local", file(b"tar", true)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Broken);
    assert!(error.reason.starts_with("it accepted the whole backup, then gave no answer for 3 s"), "{error}");
    assert_eq!(fake.mind().uploads.len(), 1);
}

#[tokio::test]
async fn a_restore_whose_answer_is_lost_may_have_begun() {
    let (_fake, line, instance) = behind().await;
    let request = RestoreRequest::new("1a2b3c4d", "hassio.local");
    line.rule(Rule::when(|head| head.method == "POST").lose_answer(Death::Reset));
    assert!(matches!(instance.restore(&request).await.unwrap(), Begun::Unheard(error) if error.kind == Kind::Broken));
    line.rule(Rule::when(|head| head.method == "POST").answer(Answer::new(502).header("server", "nginx")));
    assert!(
        matches!(instance.restore(&request).await.unwrap(), Begun::Unheard(error) if error.kind == Kind::Proxy(Vendor::Nginx))
    );
    line.down();
    assert_eq!(instance.restore(&request).await.unwrap_err().kind, Kind::Unreachable);
}

#[tokio::test]
async fn a_proxy_home_assistant_does_not_trust_is_named_as_the_reason() {
    let fake = Fake::start(Mind::default());
    let line = Proxy::http(fake.address).unwrap();
    let refusal = Answer::new(400)
        .header("content-type", "text/plain")
        .header("referrer-policy", "no-referrer")
        .header("x-content-type-options", "nosniff");
    line.rule(Rule::when(|_| true).always().answer(refusal.body("400: Bad Request")));
    let error = look(&line.url()).await.unwrap_err();
    assert!(error.reason.contains("does not trust the proxy"), "{error}");
    assert!(error.advice.unwrap().contains("trusted_proxies"));
}
