//! What a new user sees of Home Assistant's own backups, and takes over.

use http::StatusCode;
use jiff::Timestamp;
use web::{
    Trust,
    backend::{OwnBackups, OwnPlace},
};

use crate::{FORM, Site, fake::state::State, request};

fn own() -> OwnBackups {
    OwnBackups {
        when: Some("Monday, Thursday at 03:00".to_owned()),
        places: vec![OwnPlace { name: "this machine".to_owned(), is_here: true, is_encrypted: false }],
        keeps: Some("the newest 5".to_owned()),
        attempted: Some(Timestamp::now()),
        completed: None,
        has_key: true,
        schedule: Some("mon,thu 01:00".to_owned()),
        keep: Some(5),
        ..OwnBackups::default()
    }
}

async fn seen(site: &Site, own: Option<OwnBackups>, trust: Trust) -> String {
    *site.service.own.lock().unwrap() = own.map(Ok);
    site.send(request("GET", "/setup", &[], ""), trust).await.text
}

#[tokio::test]
async fn what_home_assistant_does_is_said_and_proposed() {
    let site = Site::new(State::fresh());
    let page = seen(&site, Some(own()), Trust::Ingress).await;
    for said in [
        "Monday, Thursday at 03:00",
        "the newest 5",
        "They are only on this machine’s disk",
        "They are not encrypted",
        "has not reached all of its locations",
        "href=\"/config/backup\" target=\"_top\"",
        "value=\"mon,thu 01:00\"",
        "value=\"other\" checked",
        "value=\"home-assistant\" checked",
        "id=\"keep\" name=\"keep\" inputmode=\"numeric\" class=\"short\" value=\"5\"",
    ] {
        assert!(page.contains(said), "{said}\n{page}");
    }
    // Elsewhere, nothing of it, whoever answers.
    let page = seen(&site, Some(own()), Trust::Local).await;
    assert!(!page.contains("Home Assistant’s own backups") && !page.contains("home-assistant"), "{page}");
    let page = seen(&site, None, Trust::Ingress).await;
    assert!(page.contains("value=\"daily 04:45\" checked") && page.contains("value=\"7\""), "{page}");
    assert!(page.contains("value=\"new\" checked") && !page.contains("value=\"home-assistant\""), "{page}");
}

#[tokio::test]
async fn each_shortcoming_is_said_once_and_none_where_there_is_none() {
    let site = Site::new(State::fresh());
    let far = |name: &str, is_encrypted| OwnPlace { name: name.to_owned(), is_here: false, is_encrypted };
    let own = own();
    let fine = OwnBackups { places: vec![far("nas", true)], completed: own.attempted, ..own };
    let page = seen(&site, Some(fine.clone()), Trust::Ingress).await;
    assert!(page.contains("<dd>yes</dd>") && !page.contains("inset warning"), "{page}");
    let part = OwnBackups { places: vec![far("nas", true), far("Google Drive", false)], ..fine.clone() };
    let page = seen(&site, Some(part), Trust::Ingress).await;
    assert!(page.contains("Those on Google Drive are not encrypted") && page.contains("in part"), "{page}");
    let none = OwnBackups { when: None, schedule: None, attempted: None, completed: None, ..fine.clone() };
    let page = seen(&site, Some(none), Trust::Ingress).await;
    assert!(page.contains("makes no backups by itself") && !page.contains("two hours earlier"), "{page}");
    let nowhere = OwnBackups { places: Vec::new(), ..fine };
    let page = seen(&site, Some(nowhere), Trust::Ingress).await;
    assert!(page.contains("They have no location"), "{page}");
    *site.service.own.lock().unwrap() = Some(Err(keeper::status::Failure {
        message: "Home Assistant is starting".to_owned(),
        hint: Some("try again".to_owned()),
        passes: true,
    }));
    let page = site.send(request("GET", "/setup", &[], ""), Trust::Ingress).await;
    assert!(page.status == StatusCode::OK && page.text.contains("Home Assistant is starting."), "{}", page.text);
}

#[tokio::test]
async fn in_the_app_nobody_types_the_only_directory() {
    let site = Site::new(State::good());
    let seen = async |path: &str, trust| site.send(request("GET", path, &[], ""), trust).await.text;
    let hidden = "<input type=\"hidden\" name=\"source\" value=\"/srv/homeassistant\">";
    for path in ["/setup", "/settings/job", "/settings/jobs/home"] {
        assert!(!seen(path, Trust::Ingress).await.contains(hidden), "{path}: there are two");
        *site.service.one_directory.lock().unwrap() = true;
        let page = seen(path, Trust::Ingress).await;
        assert!(page.contains(hidden) && !page.contains("name=\"other_source\""), "{path}: {page}");
        assert!(page.contains("Home Assistant with every app and folder"), "{path}: {page}");
        let page = seen(path, Trust::Local).await;
        assert!(!page.contains(hidden) && !page.contains("name=\"everything\""), "{path}: {page}");
        *site.service.one_directory.lock().unwrap() = false;
    }
}

#[tokio::test]
async fn home_assistants_key_is_in_the_kit_alone() {
    let site = Site::new(State::fresh());
    *site.service.own.lock().unwrap() = Some(Ok(own()));
    let page = site.send(request("GET", "/setup", &[], ""), Trust::Ingress).await;
    let form = format!(
        "csrf={}&source=/srv/homeassistant&kind=local&local.path=/mnt&schedule=never&keep=5&encryption=home-assistant\
         &do=save",
        page.hidden("csrf")
    );
    let got = site.send(request("POST", "/setup", &[("content-type", FORM)], &form), Trust::Ingress).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
    let page = site.send(request("GET", "/setup/key", &[], ""), Trust::Ingress).await;
    assert!(page.text.contains("the encryption key of Home Assistant’s own backups"), "{}", page.text);
    assert!(!page.text.contains("ABCD-EFGH"), "{}", page.text);
    let kit = site.send(request("GET", "/setup/kit", &[], ""), Trust::Ingress).await;
    assert_eq!(kit.status, StatusCode::OK, "{}", kit.text);
}
