//! Forms: what they do, what they keep, and what they say when something is wrong.

use http::{StatusCode, header};
use keeper::status::{CopyVerdict, Failure};
use web::{
    Trust,
    backend::{Change, Encryption, JobSettings, Keep, Order, Policy, What},
};

use crate::{FORM, PASSWORD, Site, fake::state::State, request};

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
async fn a_restore_says_first_what_it_does_and_keeps_what_was_typed() {
    let site = Site::new(State::good());
    let page = site.get("/backups/a2/restore?destination=nas").await.text;
    for says in [
        "only then puts the files in place",
        "is kept beside the restored one",
        "In place of",
        "Empty: the encryption key of",
    ] {
        assert!(page.contains(says), "{says}");
    }
    let got = site.post("/backups/a2/restore", "where=new&into=%2Ffull&only=a.yaml").await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(got.text.contains("/full is not empty") && got.text.contains("aria-describedby=\"into-wrong\""));
    assert!(got.text.contains("value=\"/full\"") && got.text.contains(">a.yaml</textarea>"));
    let got = site.post("/backups/a2/restore", "where=new&into=%2Flook&key=wrong").await;
    assert!(got.text.contains("id=\"key-wrong\"") && !got.text.contains("value=\"wrong\""), "a key is not shown again");
    let got = site.post("/backups/a2/restore", "where=replace&into=%2Ffull").await;
    assert!(got.text.contains("Tick the box if you mean that"), "only who says so");
    let got = site.post("/backups/a2/restore", "where=replace&into=%2Ffull&sure=yes").await;
    assert_eq!(got.header(header::LOCATION), "/events?done=restore");
    let got = site.post("/backups/none/restore", "where=new").await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
    let got = site.api("POST", "/api/v1/archives/a2/restore", r#"{"into":"/full"}"#).await;
    assert_eq!(
        (got.status, got.json()["error"].as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("`into`: /full is not empty"))
    );
}

#[tokio::test]
async fn a_move_is_checked_first_and_what_was_checked_is_moved_once() {
    let site = Site::new(State::good());
    let page = site.get("/jobs/home/migrate").await.text;
    for says in
        ["leave its welcome page as it is", "Replace everything there", "With the encryption key of home", "/srv/home"]
    {
        assert!(page.contains(says), "{says}");
    }
    let proposed = "name=\"encryption\" value=\"job\" checked";
    assert!(page.contains(proposed), "a job with a key is not moved in the open unasked: {page}");
    assert_eq!(site.get("/jobs/none/migrate").await.status, StatusCode::NOT_FOUND);
    *site.service.unreadable.lock().unwrap() = true;
    let got = site.get("/jobs/home/migrate").await;
    assert!(got.status == StatusCode::CONFLICT && got.text.contains("haul.toml, line 3: it is wrong"), "{}", got.text);
    *site.service.unreadable.lock().unwrap() = false;
    for (form, field) in [
        ("to=http%3A%2F%2Faway%3A8123", "to"),
        ("to=http%3A%2F%2Fused%3A8123", "token"),
        ("to=http%3A%2F%2Fused%3A8123&token=wrong", "token"),
        ("to=http%3A%2F%2Fused%3A8123&token=sesame", "replace"),
        ("to=http%3A%2F%2Fnew%3A8123&encryption=key", "key"),
    ] {
        let got = site.post("/jobs/home/migrate", form).await;
        assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY, "{form}");
        assert!(got.text.contains(&format!("aria-describedby=\"{field}-wrong\"")), "{form}: {}", got.text);
        assert!(got.text.contains(":8123\"") && !got.text.contains("sesame"), "what is secret is not shown again");
    }
    let typed = "to=http%3A%2F%2Fused%3A8123&token=sesame&replace=yes&encryption=job&exclude_database=yes";
    let got = site.post("/jobs/home/migrate", typed).await;
    assert_eq!(got.status, StatusCode::OK);
    for says in [
        "Home Assistant 2026.11.0, user ada",
        "Home Assistant 2026.11.0, set up already",
        "Everything in http://used:8123 is replaced: users, devices, history.",
        "Add-ons and their data do not move",
        ", without the history, and sends it to http://used:8123, encrypted.",
    ] {
        assert!(got.text.contains(says), "{says}: {}", got.text);
    }
    assert!(!got.text.contains("sesame") && site.service.moved.lock().unwrap().is_empty());
    let press = format!("checked={}", got.hidden("checked"));
    let other = site.post("/jobs/other/migrate", &press).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    let got = site.post("/jobs/home/migrate", typed).await;
    let press = format!("checked={}", got.hidden("checked"));
    assert_eq!(site.post("/jobs/home/migrate", &press).await.header(header::LOCATION), "/events?done=migrate");
    let again = site.post("/jobs/home/migrate", &press).await;
    assert!(again.status == StatusCode::UNPROCESSABLE_ENTITY && again.text.contains("no longer known"));
    let moved = site.service.moved.lock().unwrap().clone();
    assert_eq!(moved, [("http://used:8123".to_owned(), Some("sesame".to_owned().into()))]);
    // One that is refused at last keeps what was ticked, and none of the secrets.
    let got = site.post("/jobs/home/migrate", &typed.replace("encryption=job", "encryption=key&key=k3y")).await;
    *site.service.refuses_moves.lock().unwrap() = true;
    let got = site.post("/jobs/home/migrate", &format!("checked={}", got.hidden("checked"))).await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    for kept in [
        "value=\"http://used:8123\"",
        "name=\"replace\" value=\"yes\" checked",
        "name=\"exclude_database\" value=\"yes\" checked",
        "name=\"encryption\" value=\"key\" checked",
    ] {
        assert!(got.text.contains(kept), "{kept}: {}", got.text);
    }
    assert!(!got.text.contains("sesame") && !got.text.contains("k3y"));
    *site.service.refuses_moves.lock().unwrap() = false;
    let got = site.api("POST", "/api/v1/jobs/home/migrate", r#"{"to":"http://new:8123","check_only":true}"#).await;
    assert_eq!((got.status, &got.json()["to"]["fresh"]), (StatusCode::OK, &true.into()));
    let got = site.api("POST", "/api/v1/jobs/home/migrate", r#"{"to":"http://used:8123"}"#).await;
    assert_eq!((got.status, &got.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &"token".into()));
    let got = site.api("POST", "/api/v1/jobs/none/migrate", r#"{"to":"http://new:8123"}"#).await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_only_copy_is_deleted_only_by_somebody_who_means_it() {
    let mut state = State::good();
    state.archives[2].copies.truncate(1);
    let site = Site::new(state);
    let copy = |id: usize, at: &str| {
        let name = crate::fake::state::archive(id, &[at]).copies[0].name.clone();
        format!("copy={at}%2F{}", percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC))
    };
    let page = site.get(&format!("/backups/a2/delete?{}", copy(2, "nas"))).await.text;
    assert!(page.contains("This is the only copy."));
    let got = site.post("/backups/a2/delete", &copy(2, "nas")).await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(got.text.contains("No other copy of this backup would be left.") && got.text.contains("Tick the box"));
    assert!(site.service.ordered().is_empty());
    let got = site.post("/backups/a2/delete", &format!("{}&even_the_only_copy=yes", copy(2, "nas"))).await;
    assert_eq!(got.header(header::LOCATION), "/backups?done=delete");

    // A copy that is known to be damaged is no other copy: a7 is damaged at offsite.
    assert!(site.get(&format!("/backups/a7/delete?{}", copy(7, "nas"))).await.text.contains("This is the only copy."));
    assert!(
        !site.get(&format!("/backups/a7/delete?{}", copy(7, "offsite"))).await.text.contains("This is the only copy.")
    );
    let got = site.post("/backups/a7/delete", &copy(7, "offsite")).await;
    assert_eq!(got.header(header::LOCATION), "/backups/a7?done=delete");
    let got = site.post("/backups/a3/delete", "").await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY, "everywhere leaves none");
    // A damaged copy and the one that took its place are at one location.
    let mut state = State::good();
    let mut bad = state.archives[4].copies[0].clone();
    bad.name = "bad.tar".into();
    bad.verdict = bad.verdict.map(|verdict| CopyVerdict { whole: false, damaged: true, ..verdict });
    let place = bad.destination.clone();
    state.archives[4].copies.push(bad);
    let site = Site::new(state);
    let page = site.get(&format!("/backups/a4/delete?copy={place}%2Fbad.tar")).await.text;
    assert!(page.contains(&format!("value=\"{place}/bad.tar\" checked")) && page.contains("bad.tar</span>"));
    let before = site.archive(4).copies.len();
    let got = site.post("/backups/a4/delete", &format!("copy={place}%2Fbad.tar")).await;
    assert_eq!(got.header(header::LOCATION), "/backups/a4?done=delete");
    let left = site.archive(4).copies;
    assert!(left.len() + 1 == before && left.iter().all(|copy| copy.name != "bad.tar"));
    let got = site.api("POST", "/api/v1/archives/a4/delete", r#"{"destination":"nas","name":"none.tar"}"#).await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
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
        (typed.replace("encryption=new", "encryption=key"), "Enter your encryption key."),
        (typed.replace("kind=sftp", ""), "Choose where backups go."),
    ] {
        let got = site.post("/setup", &form).await;
        assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY, "{words}");
        assert!(got.text.contains(words), "{words}");
    }
    // What the form knows and what the service knows is said at once.
    let all = typed.replace("keep=12", "keep=0").replace("encryption=new", "encryption=key");
    let got = site.post("/setup", &all).await.text;
    for words in
        ["/nowhere does not exist.", "`daily 25:00` is no time", "Write a whole number", "Enter your encryption key."]
    {
        assert!(got.contains(words), "{words}");
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
    assert_eq!(got.header(header::LOCATION), "/?done=key");
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

const JOB: &str = "version=v1&source=%2Fsrv%2Fhomeassistant&destinations=nas&destinations=drive&limit=2MB%2Fs&hours=\
                   &schedule=daily+04%3A45%0D%0A%0D%0Aevery+6h&rehearse=weekly&verify_every=&last=3&daily=&weekly=\
                   &monthly=&yearly=&within=7d&encryption=keep&password_file=secrets%2Fkey";

#[tokio::test]
async fn a_job_is_changed_by_its_form_and_what_was_typed_stays() {
    let site = Site::new(State::good());
    let page = site.get("/settings/jobs/home").await.text;
    for shown in
        ["value=\"/srv/homeassistant\"", "daily 04:45\nevery 6h</textarea>", "With the encryption key in secrets/key."]
    {
        assert!(page.contains(shown), "{shown}");
    }
    let got = site.post("/settings/jobs/home", JOB).await;
    assert_eq!(got.header(header::LOCATION), "/settings?done=saved", "{}", got.text);
    let settings = JobSettings {
        source: "/srv/homeassistant".to_owned(),
        destinations: vec!["nas".to_owned(), "drive".to_owned()],
        policy: Policy {
            schedule: vec!["daily 04:45".to_owned(), "every 6h".to_owned()],
            keep: Keep { last: Some(3), within: Some("7d".to_owned()), ..Keep::default() },
            limit: Some("2MB/s".to_owned()),
            ..Policy::default()
        },
        password_file: Some("secrets/key".to_owned()),
        rehearse: Some("weekly".to_owned()),
        ..JobSettings::default()
    };
    let what = What::Job { name: "home".to_owned(), is_new: false, settings: Box::new(settings), encryption: None };
    let made = std::mem::take(&mut *site.service.made.lock().unwrap());
    assert!(made == [Change { version: Some("v1".to_owned()), what }]);

    for (form, words) in [
        (JOB.replace("daily+04", "daily+25").replace("25%3A45", "25%3A00"), "`daily 25:00` is no time of day."),
        (JOB.replace("last=3", "last=many"), "Write a whole number, or nothing."),
        (JOB.replace("%2Fsrv%2Fhomeassistant", ""), "Say which directory is to be backed up."),
        (JOB.replace("encryption=keep", "encryption=key"), "Enter your encryption key."),
        // Somebody edited the file: what was typed stays, and the next attempt knows what it says now.
        (JOB.replace("version=v1", "version=v0"), "The configuration file was changed meanwhile."),
    ] {
        let got = site.post("/settings/jobs/home", &form).await;
        assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY, "{words}");
        for shown in [words, "value=\"2MB/s\"", "name=\"version\" value=\"v1\""] {
            assert!(got.text.contains(shown), "{words}: {shown}");
        }
    }
    let all = JOB.replace("%2Fsrv%2Fhomeassistant", "").replace("last=3", "last=many").replace("04%3A45", "25%3A00");
    let got = site.post("/settings/jobs/home", &format!("{all}&at.nas.weekly=x")).await.text;
    for field in ["source", "last", "schedule", "at.nas.weekly"] {
        assert!(got.contains(&format!("id=\"{field}-wrong\"")), "{field}: {got}");
    }
    let new = JOB.replace("encryption=keep", "encryption=new&name=flat");
    let got = site.post("/settings/job", &new).await;
    assert_eq!(got.header(header::LOCATION), "/setup/key", "a new key is shown once");
    assert!(site.get("/setup/key").await.text.contains("9K4T-7QXM-2PRW"));
    let made = std::mem::take(&mut *site.service.made.lock().unwrap());
    assert!(
        matches!(&made[..], [Change { what: What::Job { name, is_new: true, encryption: Some(Encryption::NewKey), .. }, .. }]
        if name == "flat")
    );
    site.post("/setup/key", "").await;

    assert!(site.get("/settings/jobs/home/remove").await.text.contains("at nas and offsite stay where they are"));
    let got = site.post("/settings/jobs/home/remove", "version=v1").await;
    assert_eq!(got.header(header::LOCATION), "/settings?done=removed");
    assert_eq!(site.get("/settings/jobs/none").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_location_is_changed_by_the_form_of_its_kind() {
    let site = Site::new(State::good());
    let page = site.get("/settings/locations/offsite").await.text;
    assert!(page.contains("value=\"box.example.org\"") && page.contains("placeholder=\"as before\""));
    assert!(!page.contains("local.path"), "it stays of its kind");
    assert!(site.get("/settings/locations/drive").await.text.contains("can only be changed in the configuration file"));
    let form = "version=v1&kind=sftp&sftp.host=away&sftp.user=ada&sftp.password=s3cret&sftp.path=ha";
    for (order, words) in [("try", "Nobody answers at away:22."), ("save", "Nobody answers at away:22.")] {
        let got = site.post("/settings/locations/offsite", &format!("{form}&do={order}")).await;
        assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(got.text.contains(words) && got.text.contains("value=\"away\"") && !got.text.contains("s3cret"));
    }
    let good = form.replace("away", "box");
    let got = site.post("/settings/locations/offsite", &format!("{good}&do=try")).await;
    assert!(got.text.contains("This location works."));
    assert!(site.service.made.lock().unwrap().is_empty(), "a test saves nothing");
    let got = site.post("/settings/locations/offsite", &format!("{good}&do=save")).await;
    assert_eq!(got.header(header::LOCATION), "/settings?done=saved");
    let made = std::mem::take(&mut *site.service.made.lock().unwrap());
    let [Change { what: What::Location { location, is_new: false, .. }, .. }] = &made[..] else { panic!("one change") };
    assert_eq!(location.keeps.as_deref(), Some("offsite"));

    let page = site.get("/settings/locations/nas/remove").await.text;
    assert!(page.contains("It is used by home") && page.contains("no longer shows, checks or removes them"), "{page}");
    let got = site.post("/settings/locations/nas/remove", "version=v1").await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(got.text.contains("The job `home` has no other location."));
    let got = site.post("/settings/locations/offsite/remove", "version=v1").await;
    assert_eq!(got.header(header::LOCATION), "/settings?done=removed");
}

#[tokio::test]
async fn what_differs_at_a_location_and_commands_are_in_the_form() {
    let site = Site::new(State::good());
    let page = site.get("/settings/jobs/home").await.text;
    assert!(page.contains("name=\"at.nas.limit\"") && page.contains("name=\"before\""), "{page}");
    let more = "&at.drive.limit=1MB%2Fs&at.drive.daily=14&at.offsite.limit=9MB%2Fs&before=a%0D%0Ab&boot=hass";
    let got = site.post("/settings/jobs/home", &format!("{JOB}{more}")).await;
    assert_eq!(got.header(header::LOCATION), "/settings?done=saved", "{}", got.text);
    let made = std::mem::take(&mut *site.service.made.lock().unwrap());
    let [Change { what: What::Job { settings, .. }, .. }] = &made[..] else { panic!("one change") };
    let differs = Policy {
        limit: Some("1MB/s".to_owned()),
        keep: Keep { daily: Some(14), ..Keep::default() },
        ..Policy::default()
    };
    assert_eq!(settings.at.iter().collect::<Vec<_>>(), [(&"drive".to_owned(), &differs)], "of those that are chosen");
    assert_eq!(settings.commands(), [&Some("a\nb".to_owned()), &None, &Some("hass".to_owned())]);
    let got = site.post("/settings/jobs/home", &format!("{JOB}&at.nas.daily=often")).await;
    assert!(got.text.contains("id=\"at.nas.daily-wrong\"") && got.text.contains("value=\"often\""), "{}", got.text);
}

#[tokio::test]
async fn apps_and_folders_are_offered_in_home_assistant_alone() {
    let site = Site::new(State::good());
    let everything = |site: &Site| match site.service.made.lock().unwrap().last() {
        Some(Change { what: What::Job { settings, .. }, .. }) => settings.everything,
        other => panic!("{:?}", other.is_some()),
    };
    assert!(!site.get("/settings/jobs/home").await.text.contains("name=\"everything\""));
    site.post("/settings/jobs/home", &format!("{JOB}&everything=yes")).await;
    assert!(!everything(&site), "it stays as it was");
    let page = site.send(request("GET", "/settings/jobs/home", &[], ""), Trust::Ingress).await;
    assert!(
        page.text.contains("name=\"everything\"") && !page.text.contains("name=\"everything\" value=\"yes\" checked")
    );
    for (ticked, is) in [("&everything=yes", true), ("&everything=no", false), ("", false)] {
        let form = format!("{JOB}{ticked}&csrf={}", page.hidden("csrf"));
        site.send(request("POST", "/settings/jobs/home", &[("content-type", FORM)], &form), Trust::Ingress).await;
        assert_eq!(everything(&site), is);
    }
    let page = site.send(request("GET", "/setup", &[], ""), Trust::Ingress).await;
    assert!(page.text.contains("name=\"everything\" value=\"yes\" checked"), "{}", page.text);
    assert!(page.text.contains("name=\"quick\" value=\"yes\">"), "it is offered, and off: {}", page.text);
    assert!(!site.get("/setup").await.text.contains("name=\"quick\""), "elsewhere it is one more backup of the same");
    // Home Assistant runs there, and nothing is replaced below it.
    let path = format!("/backups/{}/restore", site.archive(0).id);
    let page = site.send(request("GET", &path, &[], ""), Trust::Ingress).await;
    assert!(page.text.contains("/share/restored") && !page.text.contains("value=\"replace\""), "{}", page.text);
    assert!(site.get(&path).await.text.contains("value=\"replace\""));
}

#[tokio::test]
async fn supervisor_restores_what_is_ticked_and_only_with_consent() {
    let site = Site::new(State::good());
    let id = site.archive(0).id;
    let page = format!("/backups/{id}");
    let got = site.send(request("GET", &page, &[], ""), Trust::Ingress).await.text;
    assert!(got.contains("/restore-parts") && !got.contains("--replace"), "{got}");
    let got = site.get(&page).await.text;
    assert!(!got.contains("/restore-parts") && got.contains("--replace"), "elsewhere it is the command: {got}");

    let path = format!("{page}/restore-parts");
    let got = site.get(&path).await.text;
    for shown in ["this page is gone for some minutes", "with the history", "<strong>Haul</strong> is in this backup"] {
        assert!(got.contains(shown), "{shown}: {got}");
    }
    assert!(got.contains("Supervisor empties it first") && !got.contains("value=\"share\""), "{got}");
    assert!(got.contains("restore-parts?destination=offsite"), "it can be read from elsewhere: {got}");
    assert!(got.contains("in place of what has the same name now"), "network storage is replaced: {got}");
    assert!(!got.contains(" checked") && !got.contains("name=\"key\""), "{got}");
    assert!(!got.contains("left out on purpose") && !got.contains("name=\"unencrypted\""), "{got}");
    let got = site.get(&format!("{path}?destination=offsite")).await.text;
    for shown in [
        "the one that is there is removed",
        "left out on purpose",
        "www; &lt;b&gt;*.log&lt;/b&gt;",
        "name=\"unencrypted\"",
    ] {
        assert!(got.contains(shown) && !got.contains("with the history"), "{shown}: {got}");
    }

    let ticked = "home_assistant=yes&app=core_ssh&folder=ssl";
    let got = site.post(&path, ticked).await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(got.text.contains("id=\"sure-wrong\"") && got.text.contains("value=\"core_ssh\" checked"), "{}", got.text);
    let got = site.post(&path, &format!("{ticked}&sure=yes&key=wrong")).await;
    assert!(got.text.contains("id=\"key-wrong\"") && !got.text.contains("value=\"wrong\""), "{}", got.text);
    let got = site.post(&path, &format!("{ticked}&sure=yes&key=")).await;
    assert!(
        got.status == StatusCode::UNPROCESSABLE_ENTITY && got.text.contains("Enter the encryption key."),
        "{}",
        got.text
    );
    *site.service.failure.lock().unwrap() =
        Some(Failure { message: "Supervisor is busy".to_owned(), hint: Some("try again".to_owned()), passes: true });
    let got = site.post(&path, &format!("{ticked}&sure=yes")).await;
    assert!(got.status == StatusCode::UNPROCESSABLE_ENTITY && got.text.contains("Supervisor is busy"), "{}", got.text);
    let got = site.post(&path, &format!("{ticked}&sure=yes&unencrypted=yes&destination=drive")).await;
    assert_eq!(got.header(header::LOCATION), "/events?done=restore-parts");
    let wanted = site.service.restored.lock().unwrap().remove(0);
    assert_eq!((wanted.home_assistant, wanted.destination.as_deref()), (true, Some("drive")));
    assert!(wanted.unencrypted);
    assert_eq!((wanted.apps, wanted.folders), (vec!["core_ssh".to_owned()], vec!["ssl".to_owned()]));
    // Only what Supervisor reaches can be chosen.
    let many = Site::new(State::many());
    let got = many.get(&format!("/backups/{}/restore-parts", many.archive(0).id)).await.text;
    assert!(got.contains("<option value=\"nas\"") && got.contains("<option value=\"usb-disk\""), "{got}");
    assert!(!got.contains("<option value=\"gdrive\"") && !got.contains("<option value=\"parents\""), "{got}");
    // What can't be restored says why, and nothing can be ticked.
    let got = site.get(&format!("{path}?destination=drive")).await;
    assert!(got.text.contains("does not reach drive") && !got.text.contains("type=\"checkbox\""), "{}", got.text);
    assert_eq!(site.get("/backups/none/restore-parts").await.status, StatusCode::NOT_FOUND);

    let got = site.api("GET", &format!("/api/v1/archives/{id}/parts"), "").await.json();
    assert_eq!((&got["apps"][0]["slug"], &got["holds_haul"]), (&"core_ssh".into(), &true.into()), "{got}");
    let got = site.api("POST", &format!("/api/v1/archives/{id}/restore-parts"), "{}").await;
    assert_eq!((got.status, &got.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &"parts".into()), "{}", got.text);
    let body = r#"{"apps":["core_ssh"],"destination":"nas"}"#;
    let got = site.api("POST", &format!("/api/v1/archives/{id}/restore-parts"), body).await;
    assert_eq!(got.status, StatusCode::ACCEPTED, "{}", got.text);
}

#[tokio::test]
async fn only_who_has_shown_the_password_sets_commands() {
    let site = Site::new(State::good());
    let through = |method: &'static str, path: &'static str, headers: Vec<(&'static str, String)>, body: String| {
        let site = &site;
        async move {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            site.send(request(method, path, &headers, &body), Trust::Ingress).await
        }
    };
    let page = through("GET", "/settings/jobs/home", vec![], String::new()).await;
    assert!(!page.text.contains("name=\"before\"") && !page.text.contains("own password"), "{}", page.text);
    let csrf = page.hidden("csrf");
    let form = format!("{JOB}&before=reboot&boot=sh&csrf={csrf}");
    let got = through("POST", "/settings/jobs/home", vec![("content-type", FORM.to_owned())], form).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
    let made = std::mem::take(&mut *site.service.made.lock().unwrap());
    let [Change { what: What::Job { settings, .. }, .. }] = &made[..] else { panic!("one change") };
    assert_eq!(settings.commands(), [&None, &None, &None]);
    for (command, status) in [("before", StatusCode::FORBIDDEN), ("rehearse", StatusCode::NO_CONTENT)] {
        let body = format!(r#"{{"settings":{{"source":"/x","destinations":["nas"],"{command}":"weekly"}}}}"#);
        let got = through("PUT", "/api/v1/jobs/home", vec![("x-haul-csrf", csrf.clone())], body).await;
        assert_eq!(got.status, status, "{command}: {}", got.text);
    }
}

#[tokio::test]
async fn the_emergency_kit_comes_again_for_the_password_alone() {
    let site = Site::new(State::good());
    let cookie = site.log_in().await;
    let page = site.send(request("GET", "/settings", &[("cookie", &cookie)], ""), Trust::LogIn).await;
    let inside = [("cookie", cookie.as_str()), ("content-type", FORM)];
    let ask = |password: &str| {
        let form = format!("csrf={}&owner={password}", page.hidden("csrf")).replace(' ', "+");
        site.send(request("POST", "/settings/kit", &inside, &form), Trust::LogIn)
    };
    for password in ["", "wrong"] {
        let got = ask(password).await;
        assert!(got.status.is_client_error() && got.text.contains("id=\"owner-wrong\""), "{}", got.text);
        assert!(!got.text.contains("9K4T"));
    }
    assert!(site.service.told.lock().unwrap().is_empty());
    let got = ask(PASSWORD).await;
    assert_eq!((got.status, got.header(header::CACHE_CONTROL)), (StatusCode::OK, "no-store"), "{}", got.text);
    assert!(got.header(header::CONTENT_DISPOSITION).contains("haul-emergency-kit.txt"));
    for key in ["9K4T-7QXM-2PRW-HD6V-N3JC-8YFB-5ZGL", "AAAA-BBBB-CCCC-DDDD", "nas: sftp://"] {
        assert!(got.text.contains(key), "{key}\n{}", got.text);
    }
    assert_eq!(*site.service.told.lock().unwrap(), ["by 192.0.2.7"]);
}

#[tokio::test]
async fn administrators_of_home_assistant_have_no_other_password() {
    let site = Site::new(State::good());
    let page = site.send(request("GET", "/settings", &[], ""), Trust::Ingress).await;
    for gone in ["name=\"owner\"", "name=\"old\"", "Access for programs"] {
        assert!(!page.text.contains(gone), "{gone}");
    }
    let form = format!("csrf={}", page.hidden("csrf"));
    let got = site.send(request("POST", "/settings/kit", &[("content-type", FORM)], &form), Trust::Ingress).await;
    assert!(got.status == StatusCode::OK && got.text.contains("9K4T-7QXM-2PRW"), "{}", got.text);
    // Which one did it is told, as Home Assistant says it.
    for (header, name) in [("x-remote-user-name", "ada"), ("x-remote-user-display-name", "Ada Lovelace")] {
        let headers = [("content-type", FORM), ("x-remote-user-name", "ada"), (header, name)];
        site.send(request("POST", "/settings/kit", &headers, &form), Trust::Ingress).await;
    }
    let told = ["through Home Assistant", "by ada through Home Assistant", "by Ada Lovelace through Home Assistant"];
    assert_eq!(*site.service.told.lock().unwrap(), told);
}

#[tokio::test]
async fn the_emergency_kit_says_what_to_write_into_a_new_configuration() {
    let mut state = State::good();
    state.status.destinations[1].options = [("endpoint".to_owned(), "https://s3.example.net".to_owned())].into();
    let site = Site::new(state);
    let cookie = site.log_in().await;
    let got = downloaded_kit(&site, &cookie).await;
    let place = site.service.state.lock().unwrap().status.destinations[1].clone();
    let lines = format!(
        "\n        [destinations.{}]\n        url = \"{}\"\n        endpoint = \"https://s3.example.net\"\n\n 3. ",
        place.name, place.address
    );
    assert!(got.contains(&lines) && !got.contains("[destinations.nas]"), "{got}");
    assert!(got.contains("haul --config haul.toml restore LOCATION/BACKUP.tar"), "{got}");
    assert!(!got.contains("haul auth gdrive") && !got.contains("haul receive"), "{got}");

    // A new machine is unknown there.
    {
        let destinations = &mut site.service.state.lock().unwrap().status.destinations;
        destinations[0].address = "haul://attic".to_owned();
        destinations[1].address = "gdrive://HomeAssistant".to_owned();
    }
    let got = downloaded_kit(&site, &cookie).await;
    assert!(got.contains("haul auth gdrive") && got.contains("run \"haul receive\" there"), "{got}");
}

async fn downloaded_kit(site: &Site, cookie: &str) -> String {
    let page = site.send(request("GET", "/settings", &[("cookie", cookie)], ""), Trust::LogIn).await;
    let inside = [("cookie", cookie), ("content-type", FORM)];
    let form = format!("csrf={}&owner={PASSWORD}", page.hidden("csrf")).replace(' ', "+");
    site.send(request("POST", "/settings/kit", &inside, &form), Trust::LogIn).await.text
}

#[tokio::test]
async fn a_sign_in_is_on_every_form_until_it_is_cancelled() {
    let site = Site::new(State::good());
    assert!(!site.get("/setup").await.text.contains("ABCD-EFGH"));
    let got = site.post("/settings/location", "name=cloud&kind=sftp&do=sign-in").await;
    assert!(got.text.contains("ABCD-EFGH") && got.text.contains("value=\"cloud\""), "{}", got.text);
    for page in ["/setup", "/settings/location"] {
        let text = site.get(page).await.text;
        assert!(text.contains("ABCD-EFGH") && text.contains("href=\"https://www.google.com/device\""), "{text}");
    }
    let got = site.post("/settings/location", "name=cloud&kind=sftp&do=end-sign-in").await;
    assert!(!got.text.contains("ABCD-EFGH") && got.text.contains("value=\"cloud\""), "{}", got.text);
}

#[tokio::test]
async fn the_app_names_nothing_that_is_not_possible_there() {
    let site = Site::new(State::good());
    for (path, elsewhere, inside) in [
        ("/recovery", "--replace", "install Haul there"),
        ("/settings", "Edit the file", "Secrets are not shown"),
        ("/log", "docker logs", "since it was started"),
        ("/jobs/home/migrate", "Move to another machine", "not apps and folders"),
        ("/settings/locations/nas/remove", "no longer shows", "automatic backups go there"),
    ] {
        let there = site.send(request("GET", path, &[], ""), Trust::Ingress).await.text;
        assert!(there.contains(inside), "{path}: {there}");
        let here = site.get(path).await.text;
        assert!(here.contains(elsewhere), "{path}: {here}");
        let is_common = path.starts_with("/jobs") || path.starts_with("/settings/locations");
        assert!(is_common || !there.contains(elsewhere), "{path}: {there}");
    }
    let page = site.send(request("GET", "/settings", &[], ""), Trust::Ingress).await;
    let form = format!("csrf={}", page.hidden("csrf"));
    let kit = site.send(request("POST", "/settings/kit", &[("content-type", FORM)], &form), Trust::Ingress).await.text;
    assert!(kit.contains("Or restore single apps and folders") && !kit.contains("haul restore"), "{kit}");
}
