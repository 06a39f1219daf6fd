//! Every route, and who may use it.

use std::collections::BTreeSet;

use http::{StatusCode, header};
use web::Trust;

use crate::{FORM, Site, fake::state::State, request};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    Nothing,
    Read,
    Act,
    Admin,
}
use Needs::{Act, Admin, Nothing, Read};

/// What a program may ask.
const API: &[(&str, &str, Needs, &str)] = &[
    ("GET", "/healthz", Nothing, ""),
    ("GET", "/metrics", Read, ""),
    ("GET", "/api/v1/openapi.json", Read, ""),
    ("GET", "/api/v1/status", Read, ""),
    ("GET", "/api/v1/archives", Read, ""),
    ("GET", "/api/v1/archives/{id}", Read, ""),
    ("GET", "/api/v1/events", Read, ""),
    ("GET", "/api/v1/runs", Read, ""),
    ("GET", "/api/v1/log", Read, ""),
    ("GET", "/api/v1/stream", Read, ""),
    ("POST", "/api/v1/sync", Act, ""),
    ("POST", "/api/v1/jobs/{name}/run", Act, ""),
    ("POST", "/api/v1/jobs/{name}/pause", Act, ""),
    ("POST", "/api/v1/jobs/{name}/resume", Act, ""),
    ("POST", "/api/v1/jobs/{name}/rehearse", Act, ""),
    ("POST", "/api/v1/runs/{id}/cancel", Act, ""),
    ("POST", "/api/v1/archives/{id}/verify", Act, ""),
    ("POST", "/api/v1/archives/{id}/rehearse", Act, ""),
    ("POST", "/api/v1/archives/{id}/pin", Act, ""),
    ("PUT", "/api/v1/archives/{id}/note", Act, r#"{"text":"x"}"#),
    ("POST", "/api/v1/archives/{id}/unpin", Admin, ""),
    ("POST", "/api/v1/archives/{id}/restore", Admin, r#"{"into":"/look"}"#),
    ("GET", "/api/v1/archives/{id}/parts", Admin, ""),
    ("POST", "/api/v1/archives/{id}/restore-parts", Admin, r#"{"home_assistant":true}"#),
    ("POST", "/api/v1/jobs/{name}/migrate", Admin, r#"{"to":"http://new:8123"}"#),
    ("POST", "/api/v1/archives/{id}/delete", Admin, r#"{"destination":"nas"}"#),
    ("GET", "/api/v1/archives/{id}/contents", Admin, ""),
    ("GET", "/api/v1/archives/{id}/compare?with=a3", Admin, ""),
    ("GET", "/api/v1/archives/{id}/download", Admin, ""),
    ("GET", "/api/v1/archives/{id}/file?path=x", Admin, ""),
    ("POST", "/api/v1/destinations/{name}/agree", Admin, ""),
    ("GET", "/api/v1/configuration", Admin, ""),
    ("GET", "/api/v1/settings", Admin, ""),
    ("PUT", "/api/v1/time-zone", Admin, r#"{"time_zone":null}"#),
    ("GET", "/api/v1/kinds", Admin, ""),
    ("PUT", "/api/v1/jobs/{name}", Admin, r#"{"settings":{"source":"/x","destinations":["nas"]}}"#),
    ("DELETE", "/api/v1/jobs/{name}", Admin, ""),
    ("POST", "/api/v1/jobs/{name}/key", Admin, ""),
    ("POST", "/api/v1/emergency-kit", Admin, r#"{"password":"correct horse"}"#),
    ("PUT", "/api/v1/destinations/{name}", Admin, r#"{"kind":"local","fields":{"path":"/x"}}"#),
    ("DELETE", "/api/v1/destinations/{name}", Admin, ""),
    ("PUT", "/api/v1/channels/{name}", Admin, r#"{"kind":"ntfy","fields":{"ntfy":"https://n.example/t"}}"#),
    ("DELETE", "/api/v1/channels/{name}", Admin, ""),
    ("POST", "/api/v1/channels/{name}/try", Admin, r#"{"kind":"ntfy","fields":{"ntfy":"https://n.example/t"}}"#),
    ("PUT", "/api/v1/mqtt", Admin, r#"{"fields":{"url":"mqtt://b"}}"#),
    ("DELETE", "/api/v1/mqtt", Admin, ""),
    ("POST", "/api/v1/mqtt/try", Admin, r#"{"fields":{"url":"mqtt://b"}}"#),
    ("POST", "/api/v1/destinations/{name}/sign-in", Admin, r#"{"kind":"drive","fields":{}}"#),
    ("GET", "/api/v1/sign-in", Admin, ""),
    ("DELETE", "/api/v1/sign-in", Admin, ""),
    ("POST", "/api/v1/destinations/{name}/try", Admin, r#"{"kind":"local","fields":{"path":"/x"}}"#),
    ("GET", "/api/v1/tokens", Admin, ""),
    ("POST", "/api/v1/tokens", Admin, r#"{"name":"x","scope":"read"}"#),
    ("DELETE", "/api/v1/tokens/{name}", Admin, ""),
    ("PUT", "/api/v1/password", Admin, r#"{"password":"short"}"#),
];

/// What a browser shows; all of it needs a session.
const PAGES: &[(&str, &str)] = &[
    ("GET", "/"),
    ("GET", "/backups"),
    ("GET", "/backups/a1"),
    ("GET", "/backups/a1/contents"),
    ("GET", "/backups/a1/compare?with=a3"),
    ("GET", "/backups/a1/download"),
    ("GET", "/backups/a1/file?path=x"),
    ("GET", "/backups/a1/restore"),
    ("POST", "/backups/a1/restore"),
    ("GET", "/backups/a1/restore-parts"),
    ("POST", "/backups/a1/restore-parts"),
    ("GET", "/backups/a1/delete"),
    ("POST", "/backups/a1/delete"),
    ("POST", "/backups/a1/verify"),
    ("POST", "/backups/a1/rehearse"),
    ("POST", "/backups/a1/pin"),
    ("POST", "/backups/a1/unpin"),
    ("POST", "/backups/a1/note"),
    ("POST", "/jobs/home/run"),
    ("POST", "/jobs/home/pause"),
    ("POST", "/jobs/home/resume"),
    ("POST", "/jobs/home/rehearse"),
    ("GET", "/jobs/home/migrate"),
    ("POST", "/jobs/home/migrate"),
    ("POST", "/runs/8/cancel"),
    ("POST", "/destinations/offsite/agree"),
    ("POST", "/sync"),
    ("GET", "/events"),
    ("GET", "/log"),
    ("GET", "/log.txt"),
    ("GET", "/settings"),
    ("GET", "/settings/job"),
    ("POST", "/settings/job"),
    ("GET", "/settings/jobs/home"),
    ("POST", "/settings/jobs/home"),
    ("GET", "/settings/jobs/home/remove"),
    ("POST", "/settings/jobs/home/remove"),
    ("GET", "/settings/channel"),
    ("POST", "/settings/channel"),
    ("GET", "/settings/channels/phone"),
    ("POST", "/settings/channels/phone"),
    ("GET", "/settings/channels/phone/remove"),
    ("POST", "/settings/channels/phone/remove"),
    ("GET", "/settings/mqtt"),
    ("POST", "/settings/mqtt"),
    ("GET", "/settings/mqtt/remove"),
    ("POST", "/settings/mqtt/remove"),
    ("GET", "/settings/location"),
    ("POST", "/settings/location"),
    ("GET", "/settings/locations/nas"),
    ("POST", "/settings/locations/nas"),
    ("GET", "/settings/locations/nas/remove"),
    ("POST", "/settings/locations/nas/remove"),
    ("GET", "/settings/time-zone"),
    ("POST", "/settings/time-zone"),
    ("GET", "/settings/tokens"),
    ("GET", "/settings/password"),
    ("GET", "/settings/kit"),
    ("POST", "/settings/tokens"),
    ("POST", "/settings/tokens/revoke"),
    ("POST", "/settings/password"),
    ("POST", "/settings/kit"),
    ("GET", "/recovery"),
    ("GET", "/setup"),
    ("POST", "/setup"),
    ("GET", "/setup/key"),
    ("POST", "/setup/key"),
    ("GET", "/setup/kit"),
    ("POST", "/logout"),
];

/// A path with what there is in it.
fn filled(path: &str) -> String {
    let name = match () {
        () if path.contains("destinations") => "offsite",
        () if path.contains("channels") => "phone",
        () => "home",
    };
    let id = if path.contains("runs") { "8" } else { "a2" };
    path.replace("{id}", id).replace("{name}", name)
}

fn site() -> Site {
    let mut state = State::busy();
    state.status.destinations[1].waiting_for_consent = vec!["old.tar".to_owned()];
    Site::new(state)
}

async fn token(site: &Site, scope: &str) -> String {
    let body = format!(r#"{{"name":"{scope}","scope":"{scope}"}}"#);
    let made = site.api("POST", "/api/v1/tokens", &body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    format!("Bearer {}", made.json()["token"].as_str().unwrap())
}

/// Whether somebody was let in, whatever came of it.
async fn admitted(site: &Site, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> StatusCode {
    site.answer(request(method, path, headers, body), Trust::LogIn).await.status()
}

fn is_refusal(status: StatusCode) -> bool {
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::MISDIRECTED_REQUEST].contains(&status)
}

#[tokio::test]
async fn every_call_of_the_api_needs_its_token_and_nothing_less() {
    let site = site();
    let tokens =
        [(Read, token(&site, "read").await), (Act, token(&site, "act").await), (Admin, token(&site, "admin").await)];
    for (method, path, needs, body) in API {
        let path = filled(path);
        let told = format!("{method} {path}");
        let nobody = admitted(&site, method, &path, &[], body).await;
        assert_eq!(nobody == StatusCode::UNAUTHORIZED, *needs > Nothing, "{told}: nobody got {nobody}");
        let wrong = admitted(&site, method, &path, &[("authorization", "Bearer haul_wrong")], body).await;
        assert_eq!(wrong == StatusCode::UNAUTHORIZED, *needs > Nothing, "{told}: a wrong token got {wrong}");
        for (has, token) in &tokens {
            let status = admitted(&site, method, &path, &[("authorization", token)], body).await;
            assert_eq!(!is_refusal(status), has >= needs, "{told}: {has:?} got {status}");
            assert!(
                status != StatusCode::NOT_FOUND || path.contains("tokens") || path.contains("runs"),
                "{told} is not there"
            );
        }
        let elsewhere = [("authorization", tokens[2].1.as_str()), ("host", "evil.example:8745")];
        assert_eq!(admitted(&site, method, &path, &elsewhere, body).await, StatusCode::MISDIRECTED_REQUEST, "{told}");
    }
}

#[tokio::test]
async fn every_page_needs_a_session_and_every_form_comes_from_our_own_page() {
    let site = site();
    let cookie = site.log_in().await;
    let page = site.send(request("GET", "/settings", &[("cookie", &cookie)], ""), Trust::LogIn).await;
    let csrf = page.hidden("csrf");
    let (read, act) = (token(&site, "read").await, token(&site, "act").await);
    for (method, path) in PAGES.iter().filter(|(_, path)| *path != "/logout" && *path != "/settings/password") {
        let told = format!("{method} {path}");
        let is_form = *method == "POST";
        let nobody = site.answer(request(method, path, &[("content-type", FORM)], ""), Trust::LogIn).await;
        let leads = nobody.headers().get(header::LOCATION).map(|to| to.to_str().unwrap().to_owned());
        assert_eq!((nobody.status(), leads.as_deref()), (StatusCode::SEE_OTHER, Some("/login")), "{told}");
        for token in [&read, &act] {
            let headers = [("authorization", token.as_str()), ("content-type", FORM)];
            assert_eq!(admitted(&site, method, path, &headers, "").await, StatusCode::FORBIDDEN, "{told}");
        }
        let inside = [("cookie", cookie.as_str()), ("content-type", FORM)];
        let bare = admitted(&site, method, path, &inside, "").await;
        assert_eq!(bare == StatusCode::FORBIDDEN, is_form, "{told}: without the form's token: {bare}");
        let form = format!("csrf={csrf}");
        for other in [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
            let status = admitted(&site, method, path, &[inside[0], inside[1], other], &form).await;
            assert_eq!(status == StatusCode::FORBIDDEN, is_form, "{told}: {other:?} got {status}");
        }
        let elsewhere = [inside[0], inside[1], ("host", "evil.example")];
        assert_eq!(admitted(&site, method, path, &elsewhere, &form).await, StatusCode::MISDIRECTED_REQUEST, "{told}");
        assert!(!is_refusal(admitted(&site, method, path, &inside, &form).await) || !is_form, "{told}");
        let own = [inside[0], inside[1], ("origin", "http://localhost:8745"), ("sec-fetch-site", "same-origin")];
        assert!(!is_refusal(admitted(&site, method, path, &own, &form).await), "{told}");
    }
}

#[tokio::test]
async fn a_session_may_use_the_api_only_with_the_token_of_a_form() {
    let site = site();
    let cookie = site.log_in().await;
    let page = site.send(request("GET", "/settings", &[("cookie", &cookie)], ""), Trust::LogIn).await;
    let csrf = page.hidden("csrf");
    let sync = |headers: Vec<(&'static str, String)>| {
        let site = &site;
        async move {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            admitted(site, "POST", "/api/v1/sync", &headers, "").await
        }
    };
    assert_eq!(sync(vec![("cookie", cookie.clone())]).await, StatusCode::FORBIDDEN);
    assert_eq!(sync(vec![("cookie", cookie.clone()), ("x-haul-csrf", "no".to_owned())]).await, StatusCode::FORBIDDEN);
    assert_eq!(sync(vec![("cookie", cookie.clone()), ("x-haul-csrf", csrf.clone())]).await, StatusCode::ACCEPTED);
    let foreign = vec![("cookie", cookie), ("x-haul-csrf", csrf), ("origin", "http://evil.example".to_owned())];
    assert_eq!(sync(foreign).await, StatusCode::FORBIDDEN);
    assert_eq!(admitted(&site, "GET", "/api/v1/status", &[], "").await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_description_of_the_api_names_every_call_and_no_other() {
    let site = site();
    let document = site.get("/api/v1/openapi.json").await.json();
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            described.insert((method.to_uppercase(), path.clone()));
            assert!(operations[method]["responses"]["default"].is_object(), "{path} says how it fails");
        }
    }
    let undescribed = ["/healthz", "/api/v1/openapi.json"];
    let calls = API.iter().filter(|(_, path, ..)| !undescribed.contains(path));
    let calls = calls.map(|(method, path, ..)| ((*method).to_owned(), path.split('?').next().unwrap().to_owned()));
    assert_eq!(described, calls.collect());
    assert!(document["components"]["schemas"]["Status"]["properties"]["headline"].is_object());
    assert!(document["components"]["securitySchemes"]["token"].is_object());

    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["ArchiveStatus"]["properties"]["item"]["$ref"], "#/components/schemas/Item");
    for (name, written) in [
        ("Item", serde_json::to_value(site.archive(1).item).unwrap()),
        ("ArchiveStatus", serde_json::to_value(site.archive(1)).unwrap()),
        ("Status", site.get("/api/v1/status").await.json()),
        ("Event", site.get("/api/v1/events").await.json()[0].clone()),
    ] {
        let keys =
            |value: &serde_json::Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(keys(&written), keys(&schemas[name]["properties"]), "{name} is described as it is written");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_said_in_one_form() {
    let site = site();
    let long = "x".repeat(300_000);
    let deep = "[".repeat(10_000);
    for (method, path, body, status) in [
        ("GET", "/api/v1/nothing", "", StatusCode::NOT_FOUND),
        ("DELETE", "/api/v1/status", "", StatusCode::METHOD_NOT_ALLOWED),
        ("GET", "/api/v1/archives/none", "", StatusCode::NOT_FOUND),
        ("GET", "/api/v1/archives/none/contents", "", StatusCode::NOT_FOUND),
        ("GET", "/api/v1/archives/none/download", "", StatusCode::NOT_FOUND),
        ("GET", "/api/v1/archives/a1/contents?folder=missing", "", StatusCode::CONFLICT),
        ("GET", "/api/v1/archives/a1/file?path=missing", "", StatusCode::NOT_FOUND),
        ("GET", "/api/v1/archives/a1/file", "", StatusCode::BAD_REQUEST),
        ("GET", "/api/v1/archives/a1/compare", "", StatusCode::BAD_REQUEST),
        ("GET", "/api/v1/archives/%ff", "", StatusCode::BAD_REQUEST),
        ("GET", "/api/v1/archives?limit=many", "", StatusCode::BAD_REQUEST),
        ("POST", "/api/v1/jobs/none/run", "", StatusCode::NOT_FOUND),
        ("POST", "/api/v1/runs/1/cancel", "", StatusCode::NOT_FOUND),
        ("POST", "/api/v1/runs/x/cancel", "", StatusCode::NOT_FOUND),
        ("POST", "/api/v1/destinations/nas/agree", "", StatusCode::CONFLICT),
        ("POST", "/api/v1/archives/a1/verify", r#"{"destination":"none"}"#, StatusCode::NOT_FOUND),
        ("POST", "/api/v1/archives/a1/verify", r#"{"place":"nas"}"#, StatusCode::BAD_REQUEST),
        ("POST", "/api/v1/archives/a1/verify", "{", StatusCode::BAD_REQUEST),
        ("POST", "/api/v1/archives/a1/verify", deep.as_str(), StatusCode::BAD_REQUEST),
        ("POST", "/api/v1/archives/a1/delete", "", StatusCode::CONFLICT),
        ("PUT", "/api/v1/jobs/home", r#"{"settings":{"schedule":["daily 25:00"]}}"#, StatusCode::UNPROCESSABLE_ENTITY),
        ("PUT", "/api/v1/jobs/home", r#"{"settings":{"colour":"red"}}"#, StatusCode::BAD_REQUEST),
        ("PUT", "/api/v1/jobs/home", r#"{"settings":{"at":{"nas":{"colour":"red"}}}}"#, StatusCode::BAD_REQUEST),
        ("PUT", "/api/v1/jobs/home", r#"{"settings":{"keep":{"last":"many"}}}"#, StatusCode::BAD_REQUEST),
        ("DELETE", "/api/v1/jobs/none", "", StatusCode::NOT_FOUND),
        ("PUT", "/api/v1/destinations/x", r#"{"kind":"sftp","fields":{}}"#, StatusCode::UNPROCESSABLE_ENTITY),
        ("DELETE", "/api/v1/destinations/none", "", StatusCode::NOT_FOUND),
        ("POST", "/api/v1/tokens", r#"{"name":"","scope":"read"}"#, StatusCode::UNPROCESSABLE_ENTITY),
        ("POST", "/api/v1/tokens", r#"{"name":"x","scope":"all"}"#, StatusCode::BAD_REQUEST),
        ("PUT", "/api/v1/password", r#"{"password":"short"}"#, StatusCode::UNPROCESSABLE_ENTITY),
        ("PUT", "/api/v1/archives/a1/note", long.as_str(), StatusCode::PAYLOAD_TOO_LARGE),
        ("POST", "/api/v1/sync", long.as_str(), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let got = site.api(method, path, body).await;
        assert_eq!(got.status, status, "{method} {path}: {}", got.text);
        let error = got.json();
        let told = error["error"].as_str().unwrap();
        assert!(told.ends_with('.') && told.starts_with(char::is_uppercase) || told.starts_with('`'), "{told}");
        assert_eq!(got.header(header::CONTENT_TYPE), "application/json");
    }
    assert!(site.service.ordered().is_empty());
}

#[tokio::test]
async fn the_description_of_the_api_is_what_its_standard_asks_for() {
    let document = site().get("/api/v1/openapi.json").await.json();
    let is_text = |value: &serde_json::Value| value.as_str().is_some_and(|text| !text.is_empty());
    assert!(
        is_text(&document["openapi"]) && is_text(&document["info"]["title"]) && is_text(&document["info"]["version"])
    );
    let mut ids = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let what = format!("{method} {path}");
            assert!(is_text(&operation["summary"]), "{what}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{what}: its id is its own");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.len() > 1, "{what}");
            for (status, response) in responses {
                assert!(is_text(&response["description"]), "{what}: {status}: {response}");
                assert!(status == "default" || status.parse::<u16>().is_ok(), "{what}: {status}");
            }
            let mut named = BTreeSet::new();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(is_text(&parameter["name"]) && parameter["schema"].is_object(), "{what}: {parameter}");
                let is_path = parameter["in"] == "path";
                assert!(is_path || parameter["in"] == "query", "{what}: {parameter}");
                assert!(!is_path || parameter["required"] == true, "{what}: {parameter}");
                named.extend(is_path.then(|| parameter["name"].as_str().unwrap()));
            }
            let wanted = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            assert_eq!(named, wanted.collect(), "{what}");
        }
    }
    let text = document.to_string();
    for (at, _) in text.match_indices("\"$ref\":\"#") {
        let pointer = text[at..].split('#').nth(1).unwrap().split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer} is described");
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_right_to_it() {
    use futures_util::StreamExt;
    let site = site();
    let made = site.api("POST", "/api/v1/tokens", r#"{"name":"wall","scope":"read"}"#).await.json();
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let ask = crate::request("GET", "/api/v1/stream", &[("authorization", &bearer)], "");
    let mut stream = site.answer(ask, Trust::LogIn).await.into_body().into_data_stream();
    assert!(stream.next().await.unwrap().is_ok());
    assert_eq!(site.api("DELETE", "/api/v1/tokens/wall", "").await.status, StatusCode::NO_CONTENT);
    site.service.change(|state| state.status.headline = "A secret.".to_owned());
    assert!(stream.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn slow_questions_take_turns_and_end_with_who_asked() {
    let site = std::sync::Arc::new(site());
    let waiting = |site: &crate::Site| site.service.waiting.load(std::sync::atomic::Ordering::SeqCst);
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let site = site.clone();
            tokio::spawn(async move { site.get("/api/v1/archives/a1/contents?folder=far").await.status })
        })
        .collect();
    while waiting(&site) < 4 {
        tokio::task::yield_now().await;
    }
    assert_eq!(site.get("/api/v1/status").await.status, StatusCode::OK);
    assert_eq!(waiting(&site), 4, "the others wait for their turn");
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    while waiting(&site) > 0 {
        tokio::task::yield_now().await;
    }
}
