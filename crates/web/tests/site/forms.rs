//! Forms: what they do, what they keep, and what they say when something is wrong.

use http::{StatusCode, header};
use keeper::status::Failure;
use web::backend::Order;

use crate::{Site, fake::state::State};

#[tokio::test]
async fn each_button_orders_what_it_says_and_shows_the_page_again() {
    let site = Site::new(State::busy());
    let job = || "home".to_owned();
    let archive = || "a2".to_owned();
    for (path, form, order, leads) in [
        ("/jobs/home/run", "", Order::BackUp { job: job() }, "/?done=run"),
        ("/jobs/home/pause", "", Order::Pause { job: job() }, "/?done=pause"),
        ("/jobs/home/resume", "", Order::Resume { job: job() }, "/?done=resume"),
        ("/jobs/home/rehearse", "", Order::RehearseNewest { job: job() }, "/?done=rehearse"),
        ("/sync", "", Order::Sync, "/?done=sync"),
        ("/backups/a2/pin", "", Order::Pin { archive: archive() }, "/backups/a2?done=pin"),
        ("/backups/a2/unpin", "", Order::Unpin { archive: archive() }, "/backups/a2?done=unpin"),
        ("/backups/a2/rehearse", "", Order::Rehearse { archive: archive() }, "/backups/a2?done=rehearse"),
        (
            "/backups/a2/verify",
            "destination=nas",
            Order::Verify { archive: archive(), destination: Some("nas".to_owned()) },
            "/backups/a2?done=verify",
        ),
        (
            "/backups/a2/note",
            "text=+Before+2027+",
            Order::Note { archive: archive(), text: "Before 2027".to_owned() },
            "/backups/a2?done=note",
        ),
    ] {
        let got = site.post(path, form).await;
        assert_eq!((got.status, got.header(header::LOCATION)), (StatusCode::SEE_OTHER, leads), "{path}: {}", got.text);
        assert_eq!(site.service.ordered(), [order]);
        assert!(site.get(leads).await.text.contains("class=\"said\""), "{leads} says that it is done");
    }
    assert!(!site.get("/?done=%3Cb%3E").await.text.contains("class=\"said\""), "only our own words are said");
    let got = site.post("/runs/7/cancel", "").await;
    assert_eq!(got.header(header::LOCATION), "/?done=cancel");
    assert_eq!(site.service.ordered(), [Order::Cancel { run: 7 }]);
    assert_eq!(site.post("/runs/7/cancel", "").await.status, StatusCode::NOT_FOUND, "it is over");
}

#[tokio::test]
async fn an_order_that_fails_says_why_and_what_to_do() {
    let site = Site::new(State::good());
    let failure = |passes| Failure {
        message: "The destination is read-only.".to_owned(),
        hint: Some("Mount it so that it can be written.".to_owned()),
        passes,
    };
    *site.service.failure.lock().unwrap() = Some(failure(false));
    let got = site.post("/jobs/home/run", "").await;
    assert_eq!(got.status, StatusCode::CONFLICT);
    assert!(got.text.contains("The destination is read-only.") && got.text.contains("Mount it so that"));
    *site.service.failure.lock().unwrap() = Some(failure(true));
    let got = site.api("POST", "/api/v1/jobs/home/run", "").await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(got.json()["hint"], "Mount it so that it can be written.");
}

#[tokio::test]
async fn the_only_copy_is_deleted_only_by_somebody_who_means_it() {
    let mut state = State::good();
    state.archives[2].copies.truncate(1);
    let site = Site::new(state);
    let page = site.get("/backups/a2/delete?destination=nas").await.text;
    assert!(page.contains("This is the only copy."));
    let got = site.post("/backups/a2/delete", "destination=nas").await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(got.text.contains("No other copy of this backup would be left.") && got.text.contains("Tick the box"));
    assert!(site.service.ordered().is_empty());
    let got = site.post("/backups/a2/delete", "destination=nas&even_the_only_copy=yes").await;
    assert_eq!(got.header(header::LOCATION), "/backups?done=delete");

    // A copy that is known to be damaged is no other copy: a7 is damaged at offsite.
    assert!(site.get("/backups/a7/delete?destination=nas").await.text.contains("This is the only copy."));
    assert!(!site.get("/backups/a7/delete?destination=offsite").await.text.contains("This is the only copy."));
    let got = site.post("/backups/a7/delete", "destination=offsite").await;
    assert_eq!(got.header(header::LOCATION), "/backups/a7?done=delete");
    let got = site.post("/backups/a3/delete", "").await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY, "everywhere leaves none");
    let got = site.get("/backups/none").await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn set_up_keeps_what_was_typed_and_says_what_is_wrong_beside_it() {
    let site = Site::new(State::fresh());
    let page = site.get("/setup").await.text;
    for words in ["/srv/homeassistant", "in the container homeassistant", "SSH (SFTP)", "Every night at 04:45"] {
        assert!(page.contains(words), "{words}");
    }
    let typed = "source=other&other_source=%2Fnowhere&kind=sftp&sftp.host=away&sftp.user=ada&sftp.password=s3cret\
                 &sftp.path=ha&schedule=other&other_schedule=daily+25%3A00&keep=12&encryption=new";
    let got = site.post("/setup", &format!("{typed}&do=try")).await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(got.text.contains("Nobody answers at away:22.") && got.text.contains("id=\"sftp.host-wrong\""));
    for kept in ["value=\"/nowhere\"", "value=\"away\"", "value=\"ada\"", "value=\"daily 25:00\"", "value=\"12\""] {
        assert!(got.text.contains(kept), "{kept}");
    }
    assert!(!got.text.contains("s3cret"), "a secret is not sent back");

    for (form, words) in [
        (typed.to_owned(), "/nowhere does not exist."),
        (typed.replace("%2Fnowhere", ""), "Say which directory is to be backed up."),
        (typed.replace("%2Fnowhere", "%2Fconfig"), "`daily 25:00` is no time of day."),
        (typed.replace("daily+25%3A00", ""), "Say when backups are made"),
        (typed.replace("keep=12", "keep=0"), "Write a whole number from 1 on"),
        (typed.replace("encryption=new", "encryption=key"), "Enter your key."),
        (typed.replace("kind=sftp", ""), "Choose where backups go."),
    ] {
        let got = site.post("/setup", &form).await;
        assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY, "{words}");
        assert!(got.text.contains(words), "{words}");
    }
    let got = site.post("/setup", "kind=local&local.path=%2Fmnt&do=try").await;
    assert!(got.text.contains("This location works.") && got.text.contains("412 GB are free."));
}

#[tokio::test]
async fn after_set_up_the_key_is_shown_until_it_is_put_away() {
    let site = Site::new(State::fresh());
    let form =
        "source=%2Fsrv%2Fhomeassistant&kind=local&local.path=%2Fmnt&schedule=daily+04%3A45&keep=7&encryption=new";
    let got = site.post("/setup", form).await;
    assert_eq!(got.header(header::LOCATION), "/setup/key", "{}", got.text);
    let got = site.get("/").await;
    assert_eq!(got.header(header::LOCATION), "/setup/key", "nobody misses it");
    assert!(site.get("/setup/key").await.text.contains("9K4T-7QXM-2PRW"));
    let kit = site.get("/setup/kit").await;
    assert!(kit.text.contains("9K4T-7QXM-2PRW") && kit.text.contains("nas: sftp://backup@nas.local/backups/ha"));
    assert!(kit.header(header::CONTENT_DISPOSITION).contains("haul-emergency-kit.txt"));
    let got = site.post("/setup/key", "").await;
    assert_eq!(got.header(header::LOCATION), "/?done=setup");
    assert_eq!(site.get("/setup/kit").await.status, StatusCode::NOT_FOUND);
    assert_eq!(site.get("/setup/key").await.status, StatusCode::SEE_OTHER);
    assert!(site.get("/").await.text.contains("The first backup is being made."));
}

#[tokio::test]
async fn a_token_is_shown_once_and_can_be_revoked() {
    let site = Site::new(State::good());
    let got = site.post("/settings/tokens", "name=Grafana&scope=read").await;
    let token = got.text.split("haul_").nth(1).unwrap().split('<').next().unwrap();
    assert!(got.text.contains("it is not shown again") && token.len() == 43);
    let settings = site.get("/settings").await.text;
    assert!(settings.contains("Grafana") && !settings.contains(token));
    let got = site.post("/settings/tokens", "name=Grafana&scope=act").await;
    assert!(got.text.contains("There is a token of this name already.") && got.text.contains("value=\"Grafana\""));
    let got = site.post("/settings/tokens/revoke", "name=Grafana").await;
    assert_eq!(got.header(header::LOCATION), "/settings?done=revoke");
    assert_eq!(site.post("/settings/tokens/revoke", "name=Grafana").await.status, StatusCode::NOT_FOUND);
}
