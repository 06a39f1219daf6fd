//! Forms for who is told, and for the MQTT broker.

use http::{StatusCode, header};
use web::{
    Trust,
    backend::{Change, What},
};

use crate::{FORM, Site, fake::state::State, request};

#[tokio::test]
async fn a_channel_is_added_changed_tried_and_removed() {
    let site = Site::new(State::good());
    let settings = site.get("/settings").await.text;
    for shown in ["/settings/channels/phone", "ntfy · also about every backup", "broker at", "mqtt://broker"] {
        assert!(settings.contains(shown), "{shown}");
    }
    let page = site.get("/settings/channels/phone").await.text;
    for shown in ["value=\"https://ntfy.example.org/secret-topic\"", "<option value=\"backups\" selected>", "as before"]
    {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(!page.contains("command.command"), "it stays of its kind");

    // Everything that is wrong is said at once, and what was typed stays, but for what is secret.
    let form = "version=v1&name=tablet&kind=ntfy&ntfy.ntfy=&ntfy.token=s3cret&on=errors&after=soon";
    let got = site.post("/settings/channel", &format!("{form}&do=save")).await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    for shown in ["id=\"ntfy.ntfy-wrong\"", "id=\"after-wrong\"", "value=\"tablet\"", "value=\"soon\""] {
        assert!(got.text.contains(shown), "{shown}: {}", got.text);
    }
    assert!(!got.text.contains("s3cret"));
    let good = form.replace("ntfy.ntfy=", "ntfy.ntfy=https%3A%2F%2Fn.example%2Ft").replace("after=soon", "after=");
    let got = site.post("/settings/channel", &format!("{good}&do=try")).await;
    assert!(got.text.contains("A test message was sent.") && got.text.contains("value=\"tablet\""), "{}", got.text);
    assert!(site.service.made.lock().unwrap().is_empty(), "a test saves nothing");
    let got = site.post("/settings/channel", &format!("{good}&jobs=home&do=save")).await;
    assert_eq!(got.header(header::LOCATION), "/settings?done=saved");
    let got = site.post("/settings/channels/phone", &good.replace("on=errors", "on=problems")).await;
    assert_eq!(got.header(header::LOCATION), "/settings?done=saved");
    let made = std::mem::take(&mut *site.service.made.lock().unwrap());
    let [
        Change { what: What::Channel { name, is_new: true, settings: new }, .. },
        Change { what: What::Channel { is_new: false, settings: old, .. }, .. },
    ] = &made[..]
    else {
        panic!("two changes")
    };
    assert_eq!((name.as_str(), new.on.as_deref(), &new.jobs[..]), ("tablet", Some("errors"), &["home".to_owned()][..]));
    assert_eq!((old.on.as_deref(), old.way.keeps.as_deref()), (None, Some("phone")), "what is usual is not written");

    assert!(site.get("/settings/channels/phone/remove").await.text.contains("It sends nothing any more."));
    let got = site.post("/settings/channels/phone/remove", "version=v1").await;
    assert_eq!(got.header(header::LOCATION), "/settings?done=removed");
    assert_eq!(site.get("/settings/channels/none").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_command_is_for_who_has_shown_the_password() {
    let site = Site::new(State::good());
    let form = "version=v1&name=x&kind=command&command.command=true&do=";
    let through = |trust, path: &'static str, form: String| {
        let site = &site;
        async move {
            let page = site.send(request("GET", "/settings/channel", &[], ""), trust).await;
            let csrf = if trust == Trust::Local { String::new() } else { format!("&csrf={}", page.hidden("csrf")) };
            let ask = request("POST", path, &[("content-type", FORM)], &format!("{form}{csrf}"));
            (page.text, site.send(ask, trust).await)
        }
    };
    for order in ["save", "try"] {
        let (page, got) = through(Trust::Ingress, "/settings/channel", format!("{form}{order}")).await;
        assert!(!page.contains("command.command"), "it is not offered");
        assert_eq!(got.status, StatusCode::FORBIDDEN, "{}", got.text);
    }
    let (_, got) = through(Trust::Ingress, "/settings/channels/script", format!("{form}save")).await;
    assert_eq!(got.status, StatusCode::FORBIDDEN);
    let other = "version=v1&kind=ntfy&ntfy.ntfy=https%3A%2F%2Fn.example%2Ft&do=save".to_owned();
    for (path, form) in
        [("/settings/channels/script", other), ("/settings/channels/script/remove", "version=v1".into())]
    {
        let (_, got) = through(Trust::Ingress, path, form).await;
        assert_eq!(got.status, StatusCode::FORBIDDEN, "a command stays as it is: {path}");
    }
    let page = site.send(request("GET", "/settings/channels/script", &[], ""), Trust::Ingress).await.text;
    assert!(page.contains("can only be changed in the configuration file") && !page.contains("wall"), "{page}");
    let (page, got) = through(Trust::Local, "/settings/channel", format!("{form}save")).await;
    assert!(page.contains("command.command") && got.status == StatusCode::SEE_OTHER, "{}", got.text);
}

#[tokio::test]
async fn the_broker_is_set_tried_and_removed() {
    let site = Site::new(State::good());
    let page = site.get("/settings/mqtt").await.text;
    assert!(page.contains("value=\"mqtt://broker\"") && page.contains("as before"), "{page}");
    let form = "version=v1&kind=mqtt&mqtt.url=mqtt%3A%2F%2Faway&mqtt.password=s3cret";
    let got = site.post("/settings/mqtt", &format!("{form}&do=try")).await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(got.text.contains("id=\"mqtt.url-wrong\"") && !got.text.contains("s3cret"), "{}", got.text);
    let got = site.post("/settings/mqtt", &format!("{}&do=try", form.replace("away", "here"))).await;
    assert!(got.text.contains("It works.") && got.text.contains("The broker lets haul in."), "{}", got.text);
    let got = site.post("/settings/mqtt", &format!("{form}&do=save")).await;
    assert_eq!(got.header(header::LOCATION), "/settings?done=saved", "one that is away may be back tomorrow");
    let got = site.post("/settings/mqtt", "version=v1&kind=mqtt&mqtt.url=&do=save").await;
    assert!(got.text.contains("Address is missing."), "{}", got.text);
    assert!(site.get("/settings/mqtt/remove").await.text.contains("takes its devices and entities back"));
    let got = site.post("/settings/mqtt/remove", "version=v1").await;
    assert_eq!(got.header(header::LOCATION), "/settings?done=removed");
    let kinds = site.get("/api/v1/kinds?of=mqtt").await.json();
    assert_eq!(kinds[0]["fields"][0]["id"], "url");
    let got = site.api("POST", "/api/v1/mqtt/try", r#"{"fields":{"url":"mqtt://away"}}"#).await;
    assert_eq!((got.status, &got.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &"url".into()));
    let wrong = r#"{"kind":"ntfy","fields":{},"after":"soon"}"#;
    let got = site.api("PUT", "/api/v1/channels/new", wrong).await.json();
    assert_eq!((&got["field"], &got["others"][0]["field"]), (&"ntfy".into(), &"after".into()), "{got}");
}

#[tokio::test]
async fn what_is_in_trouble_is_said_where_it_is_set() {
    let mut state = State::good();
    let problem = |key: &str, kind: &str, message: &str| keeper::status::Problem {
        key: key.to_owned(),
        kind: kind.to_owned(),
        level: keeper::status::Level::Warning,
        job: None,
        destination: None,
        since: jiff::Timestamp::UNIX_EPOCH,
        message: message.to_owned(),
        hint: None,
    };
    state.status.problems = vec![
        problem("notify-failed:phone", "notify-failed", "Messages to \"phone\" do not arrive: 403"),
        problem("mqtt-failed", "mqtt-failed", "Home Assistant is not told by MQTT: the broker refuses the login"),
    ];
    let site = Site::new(state);
    let phone = "Messages to &quot;phone&quot; do not arrive: 403.";
    let broker = "Home Assistant is not told by MQTT: the broker refuses the login.";
    for (path, said) in [
        ("/", phone),
        ("/", broker),
        ("/settings", phone),
        ("/settings", broker),
        ("/settings/channels/phone", phone),
        ("/settings/mqtt", broker),
    ] {
        let page = site.get(path).await.text;
        assert!(page.contains(said), "{path}: {said}: {page}");
    }
    assert!(!site.get("/settings/channels/script").await.text.contains("do not arrive"));
    assert!(site.get("/").await.text.contains("href=\"/settings/mqtt\""));
}
