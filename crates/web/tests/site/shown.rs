//! What pages show, and what they never do.

use http::{StatusCode, header};

use crate::{Site, fake::state::State};

const PAGES: &[&str] = &[
    "/",
    "/backups",
    "/backups/{id}",
    "/backups/{id}/contents",
    "/backups/{id}/compare?with={other}",
    "/backups/{id}/delete",
    "/backups/{id}/restore",
    "/backups/{id}/restore-parts",
    "/jobs/{job}/migrate",
    "/events",
    "/log",
    "/settings",
    "/settings/channel",
    "/settings/mqtt",
    "/recovery",
    "/setup",
    "/nothing",
    "/login",
];

async fn pages(site: &Site) -> Vec<(String, crate::Got)> {
    let archives = site.get("/api/v1/archives?limit=20").await.json();
    let id = |number: usize| {
        let id = archives["archives"][number]["id"].as_str().unwrap().to_owned();
        percent_encoding::utf8_percent_encode(&id, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let status = site.get("/api/v1/status").await.json();
    let job = status["jobs"][0]["name"].as_str().unwrap_or("home").to_owned();
    let mut got = Vec::new();
    for page in PAGES {
        let job = percent_encoding::utf8_percent_encode(&job, percent_encoding::NON_ALPHANUMERIC).to_string();
        let path = page.replace("{id}", &id(7)).replace("{other}", &id(9)).replace("{job}", &job);
        got.push((path.clone(), site.get(&path).await));
    }
    got
}

#[tokio::test]
async fn no_name_or_note_becomes_markup_or_reorders_text() {
    let site = Site::new(State::hostile());
    site.service.log_line("nas: <script>alert(1)</script> \u{202e}gpj.\u{7}");
    for (path, got) in pages(&site).await {
        assert!(!got.text.contains("<script>"), "{path}");
        assert!(!got.text.contains(['\u{202e}', '\u{7}']), "{path}");
        if !["/login", "/nothing", "/setup", "/settings/channel", "/settings/mqtt"].contains(&path.as_str()) {
            assert!(got.text.contains("&lt;script&gt;"), "{path} shows the name as text");
        }
        let tags = got.text.split('<').skip(1).filter_map(|tag| tag.split('>').next());
        for tag in tags {
            assert!(!tag.contains(" style=") && !tag.contains(" onclick") && !tag.contains(" onload"), "{path}: {tag}");
        }
    }
}

#[tokio::test]
async fn every_answer_tells_the_browser_what_it_may_do() {
    let site = Site::new(State::good());
    let mut got = pages(&site).await;
    got.push(("asset".to_owned(), site.get("/assets/haul.js").await));
    got.push(("file".to_owned(), site.get("/backups/a1/file?path=x").await));
    for (path, got) in got {
        let policy = got.header(header::CONTENT_SECURITY_POLICY);
        assert!(policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && policy.contains("base-uri 'none'"), "{path}: {policy}");
        assert_eq!(got.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
        assert_eq!(got.header(header::REFERRER_POLICY), "same-origin", "{path}");
        assert!(!got.header(header::CACHE_CONTROL).is_empty(), "{path}");
        for elsewhere in ["src=\"http", "href=\"http", "//cdn", "@import"] {
            assert!(!got.text.contains(elsewhere), "{path} loads from elsewhere: {elsewhere}");
        }
    }
}

#[tokio::test]
async fn pages_stay_small_with_years_of_backups_at_many_locations() {
    let site = Site::new(State::many());
    for path in ["/", "/backups", "/backups?page=40", "/backups/a0", "/recovery", "/events"] {
        let got = site.get(path).await;
        assert_eq!(got.status, StatusCode::OK);
        assert!(got.text.len() < 150_000, "{path} has {} bytes", got.text.len());
    }
    let got = site.get("/backups?page=1000000").await;
    assert!(got.text.contains("40 of 40"));
    let all = site.get("/api/v1/archives?limit=1000000").await.json();
    assert_eq!((all["total"].as_u64(), all["archives"].as_array().unwrap().len()), (Some(2000), 1000));
}

#[tokio::test]
async fn what_is_printed_says_whole_dates_and_addresses() {
    let site = Site::new(State::good());
    let got = site.get("/recovery").await.text;
    for no in ["today at", "yesterday at", "password-file", ">haul restore nas/"] {
        assert!(!got.contains(no), "{no}");
    }
    let command = "haul restore sftp://backup@nas.local/backups/ha/";
    assert!(got.contains(command) && got.contains("it asks for the encryption key"), "{got}");
    let year = jiff::Timestamp::now().strftime("%Y at ").to_string();
    assert!(got.matches(&year).count() >= 3 && got.contains("(UTC"), "{got}");
}

#[tokio::test]
async fn what_a_location_needs_beside_its_address_is_printed_too() {
    let mut state = State::good();
    for place in &mut state.status.destinations {
        let said = [("endpoint", "https://s3.example.net"), ("secret_access_key_file", "/etc/haul/a \"b\"")];
        place.options = said.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    }
    let site = Site::new(state);
    let got = site.get("/recovery").await.text;
    let lines = "[destinations.nas]\nurl = &quot;sftp://backup@nas.local/backups/ha&quot;\n\
                 endpoint = &quot;https://s3.example.net&quot;\n\
                 secret_access_key_file = &quot;/etc/haul/a \\&quot;b\\&quot;&quot;<";
    assert!(got.contains(lines) && got.contains("haul --config haul.toml restore nas/"), "{got}");
}

#[tokio::test]
async fn one_advice_stands_there_once() {
    let mut state = State::good();
    let mut other = state.status.jobs[0].clone();
    other.name = "cabin".to_owned();
    state.status.jobs.push(other);
    for job in &mut state.status.jobs {
        job.advice = Some("Every copy is on one disk".to_owned());
    }
    let mut some = state.clone();
    let got = Site::new(state).get("/").await.text;
    assert_eq!(got.matches("Every copy is on one disk").count(), 1, "{got}");
    some.status.jobs[0].advice = None;
    assert!(Site::new(some).get("/").await.text.contains("cabin: Every copy is on one disk."));
}

#[tokio::test]
async fn time_zones_can_be_chosen_from_a_small_list() {
    let site = Site::new(State::good());
    let got = site.get("/settings").await.text;
    let list = got.split_once("<datalist").and_then(|(_, rest)| rest.split_once("</datalist>")).unwrap().0;
    for zone in ["Europe/Berlin", "America/Argentina/Buenos_Aires", "UTC"] {
        assert!(list.contains(&format!("<option>{zone}<")) || list.ends_with(zone), "{zone}");
    }
    assert!(list.len() < 15_000 && !list.contains("US/Eastern"), "{}", list.len());
}

#[tokio::test]
async fn home_says_what_is_wrong_and_what_to_press() {
    let site = Site::new(State::trouble());
    let got = site.get("/").await.text;
    for words in [
        "No whole backup for 51 hours",
        "The last backup failed: home",
        "Run Haul as root or as the user that runs Home Assistant.",
        "action=\"/jobs/home/run\"",
        "A location can&#39;t be reached: nas",
        "action=\"/sync\"",
        "12 backups would be removed here.",
        "action=\"/destinations/offsite/agree\"",
        "action=\"/jobs/home/rehearse\"",
        "The last 30 days: backed up on 25, failed on 1.",
    ] {
        assert!(got.contains(words), "{words}");
    }
    let busy = Site::new(State::busy()).get("/").await.text;
    assert!(busy.contains("action=\"/runs/7/cancel\"") && busy.contains("limited by the upload to offsite"));
    assert!(busy.contains("620 MB of 1.08 GB · 85 MB/s · 5 s left"));
}

#[tokio::test]
async fn nothing_configured_leads_to_set_up() {
    let got = Site::new(State::fresh()).get("/").await;
    assert_eq!((got.status, got.header(header::LOCATION)), (StatusCode::SEE_OTHER, "/setup"));
}

#[tokio::test]
async fn the_list_of_backups_can_be_narrowed() {
    let site = Site::new(State::good());
    let got = site.get("/backups?only=pinned").await.text;
    assert!(got.contains("1 backup, ") && got.contains("Before the move to Zigbee2MQTT"));
    assert!(site.get("/backups?only=leaving").await.text.contains("1 backup, "));
    assert!(site.get("/backups?only=damaged").await.text.contains("incomplete"));
    assert!(site.get("/backups?location=offsite&job=home").await.text.contains("14 backups, "));
    assert!(site.get("/backups?job=none").await.text.contains("No backup is like that."));
}

#[tokio::test]
async fn a_file_arrives_whole_or_as_broken_off() {
    let site = Site::new(State::good());
    let got = site.get("/backups/a1/file?path=packages/x.yaml").await;
    assert_eq!((got.text.as_str(), got.header(header::CONTENT_LENGTH)), ("homeassistant:", "14"));
    assert!(got.header(header::CONTENT_DISPOSITION).starts_with("attachment; filename=\"x.yaml\""));
    let got = site.get("/backups/a1/download").await;
    assert_eq!(got.text.len(), 1_000_000);
    let named = got.header(header::CONTENT_DISPOSITION);
    assert!(named.contains("filename=\"Haul_backup____.tar\"") && named.contains("%C3%BC"), "{named}");
    let got = site.get("/backups/a1/file?path=missing").await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
    assert!(got.text.contains("There is no file `missing` in this backup."));

    let broken = crate::request("GET", "/backups/a1/file?path=broken", &[], "");
    let broken = site.answer(broken, web::Trust::Local).await;
    assert_eq!(broken.status(), StatusCode::OK);
    assert!(axum::body::to_bytes(broken.into_body(), 1 << 30).await.is_err(), "it does not look whole");
}

#[tokio::test]
async fn the_log_is_shown_followed_and_taken_along() {
    use futures_util::StreamExt;
    let site = Site::new(State::good());
    assert!(site.get("/log").await.text.contains("Nothing is logged yet."));
    assert!(site.get("/events").await.text.contains("href=\"/log\""));
    let answer = site.answer(crate::request("GET", "/api/v1/stream", &[], ""), web::Trust::Local).await;
    let mut stream = answer.into_body().into_data_stream();
    assert!(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap().contains("event: change"));
    site.service.log_line("home: a backup to nas begins");
    let told = stream.next().await.unwrap().unwrap();
    assert_eq!(std::str::from_utf8(&told).unwrap(), "event: log\ndata: {\"last\":1}\n\n");
    site.service.log_line("warning: home: x.yaml: it changed\n2026-11-28 04:45:13 error: another");

    let page = site.get("/log").await.text;
    let (new, old) = (page.find("class=\"warning\"").unwrap(), page.find("a backup to nas begins").unwrap());
    assert!(new < old && page.contains("2026-11-28 04:45:12") && page.contains("data-live"), "the newest first");
    let text = site.get("/log.txt").await;
    assert!(text.header(header::CONTENT_DISPOSITION).contains("haul-log.txt"));
    let lines: Vec<&str> = text.text.lines().collect();
    assert_eq!(lines.len(), 3, "one line each: {lines:?}");
    assert!(lines[0].starts_with("Haul ") && lines[1] == "2026-11-28 04:45:12 home: a backup to nas begins");
    let log = site.get("/api/v1/log?after=1").await.json();
    assert_eq!((log.as_array().unwrap().len(), &log[0]["number"]), (1, &2.into()));
    assert_eq!(site.get("/api/v1/log?after=x").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_stream_says_at_once_how_things_are_and_again_when_they_change() {
    use futures_util::StreamExt;
    let site = Site::new(State::busy());
    let answer = site.answer(crate::request("GET", "/api/v1/stream", &[], ""), web::Trust::Local).await;
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut stream = answer.into_body().into_data_stream();
    let first = stream.next().await.unwrap().unwrap();
    let first = std::str::from_utf8(&first).unwrap();
    assert!(first.contains("event: change") && first.contains("\"version\":1") && first.contains("\"done\":620000000"));
    site.service.change(|state| state.status.headline = "Now all is well.".to_owned());
    let second = stream.next().await.unwrap().unwrap();
    assert!(std::str::from_utf8(&second).unwrap().contains("Now all is well."));
    // What runs gets on without a change.
    let third = stream.next().await.unwrap().unwrap();
    assert!(std::str::from_utf8(&third).unwrap().starts_with("event: change"), "{third:?}");
    // Nor do lines of the log that come all the time keep that back.
    let mut kinds = Vec::new();
    for _ in 0..6 {
        site.service.log_line("home: x.yaml changed while it was read");
        let told = stream.next().await.unwrap().unwrap();
        kinds.push(std::str::from_utf8(&told).unwrap().lines().next().unwrap().to_owned());
    }
    assert!(["event: change", "event: log"].iter().all(|kind| kinds.iter().any(|told| told == kind)), "{kinds:?}");
}
