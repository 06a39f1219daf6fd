//! Coming in, and what the browser is told about it.

use http::{StatusCode, header};
use web::Trust;

use crate::{FORM, HOST, PASSWORD, Site, fake::state::State, request};

async fn post(site: &Site, path: &str, form: &str) -> crate::Got {
    site.send(request("POST", path, &[("content-type", FORM)], &form.replace(' ', "+")), Trust::LogIn).await
}

#[tokio::test]
async fn the_first_visitor_is_led_to_the_code_and_sets_a_password() {
    let site = Site::new(State::good());
    let got = site.send(request("GET", "/", &[], ""), Trust::LogIn).await;
    assert_eq!((got.status, got.header(header::LOCATION)), (StatusCode::SEE_OTHER, "/welcome"));

    let wrong = post(&site, "/welcome", &format!("code=22222-22222&password={PASSWORD}&again={PASSWORD}")).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.text.contains("This is not the code.") && wrong.text.contains("22222-22222"), "what was typed stays");
    assert!(!wrong.text.contains(PASSWORD));

    let code = site.app.setup_code().unwrap();
    let wrong = post(&site, "/welcome", &format!("code={code}&password=short&again=short")).await;
    assert!(wrong.text.contains("The password is too short.") && wrong.text.contains(&code));
    let wrong = post(&site, "/welcome", &format!("code={code}&password={PASSWORD}&again=other")).await;
    assert!(wrong.text.contains("The two passwords are not the same."));

    for _ in 0..3 {
        post(&site, "/welcome", "code=22222-22222").await;
    }
    let got = post(&site, "/welcome", &format!("code={code}&password={PASSWORD}&again={PASSWORD}")).await;
    assert_eq!(got.status, StatusCode::TOO_MANY_REQUESTS, "codes can't be tried one after the other");
    assert!(got.header(header::RETRY_AFTER).parse::<u64>().unwrap() >= 1);
}

#[tokio::test]
async fn with_the_password_a_session_begins_and_ends() {
    let site = Site::new(State::good());
    let cookie = site.log_in().await;
    assert!(site.app.setup_code().is_none());
    let inside = site.send(request("GET", "/", &[("cookie", &cookie)], ""), Trust::LogIn).await;
    assert_eq!(inside.status, StatusCode::OK);
    assert_eq!(inside.header(header::CACHE_CONTROL), "no-store");

    let wrong = post(&site, "/login", "password=wrong").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let got = post(&site, "/login", &format!("password={PASSWORD}")).await;
    let set = got.header(header::SET_COOKIE);
    assert!(
        set.contains("; HttpOnly; SameSite=Strict") && set.contains("; Path=/;") && !set.contains("Secure"),
        "{set}"
    );

    let out = format!("csrf={}", inside.hidden("csrf"));
    let headers = [("cookie", cookie.as_str()), ("content-type", FORM)];
    let got = site.send(request("POST", "/logout", &headers, &out), Trust::LogIn).await;
    assert!(got.header(header::SET_COOKIE).contains("haul_session=;"));
    let got = site.send(request("GET", "/", &[("cookie", &cookie)], ""), Trust::LogIn).await;
    assert_eq!((got.status, got.header(header::LOCATION)), (StatusCode::SEE_OTHER, "/login"));
}

#[tokio::test]
async fn guessing_is_slowed_down_for_everybody_behind_one_address() {
    let site = Site::new(State::good());
    let cookie = site.log_in().await;
    for _ in 0..3 {
        assert_eq!(post(&site, "/login", "password=guess").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let got = post(&site, "/login", &format!("password={PASSWORD}")).await;
    assert_eq!(got.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(got.text.contains("There were too many attempts."));
    let inside = site.send(request("GET", "/", &[("cookie", &cookie)], ""), Trust::LogIn).await;
    assert_eq!(inside.status, StatusCode::OK, "who is inside stays inside");
}

#[tokio::test]
async fn a_new_password_logs_every_other_browser_out() {
    let site = Site::new(State::good());
    let (mine, page) = {
        let cookie = site.log_in().await;
        let page = site.send(request("GET", "/settings", &[("cookie", &cookie)], ""), Trust::LogIn).await;
        (cookie, page)
    };
    let other = post(&site, "/login", &format!("password={PASSWORD}")).await;
    let other = other.header(header::SET_COOKIE).split(';').next().unwrap().to_owned();
    let change = |old: &str| {
        let form = format!("csrf={}&old={old}&password=another horse&again=another horse", page.hidden("csrf"));
        let headers = [("cookie", mine.as_str()), ("content-type", FORM)];
        request("POST", "/settings/password", &headers, &form.replace(' ', "+"))
    };
    let wrong = site.send(change("wrong"), Trust::LogIn).await;
    assert!(wrong.text.contains("This is not the current password."));
    let got = site.send(change(PASSWORD), Trust::LogIn).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
    let new = got.header(header::SET_COOKIE).split(';').next().unwrap().to_owned();
    for (cookie, status) in [(&new, StatusCode::OK), (&other, StatusCode::SEE_OTHER), (&mine, StatusCode::SEE_OTHER)] {
        let got = site.send(request("GET", "/", &[("cookie", cookie)], ""), Trust::LogIn).await;
        assert_eq!(got.status, status);
    }
}

#[tokio::test]
async fn a_base_path_stands_before_every_address() {
    let site = Site::with(State::good(), |options| {
        options.base_path = "haul/".to_owned();
        options.https = true;
    });
    let got = site.send(request("GET", "/haul", &[], ""), Trust::LogIn).await;
    assert_eq!(got.header(header::LOCATION), "/haul/welcome");
    let got = site.send(request("GET", "/haul/welcome", &[], ""), Trust::LogIn).await;
    assert!(got.text.contains("action=\"/haul/welcome\"") && got.text.contains("href=\"/haul/assets/style.css?"));
    let code = site.app.setup_code().unwrap();
    let form = format!("code={code}&password=long+enough&again=long+enough");
    let got = site.send(request("POST", "/haul/welcome", &[("content-type", FORM)], &form), Trust::LogIn).await;
    let set = got.header(header::SET_COOKIE);
    assert!(set.contains("Path=/haul;") && set.ends_with("Secure"), "{set}");
    // A proxy may also take the base path away.
    let got = site.send(request("GET", "/healthz", &[], ""), Trust::LogIn).await;
    assert_eq!(got.text, "ok\n");
}

#[tokio::test]
async fn only_administrators_of_home_assistant_are_let_in_and_only_through_it() {
    let site = Site::new(State::good());
    for (user, status, says) in [
        ("owner", StatusCode::OK, "Backups"),
        ("guest", StatusCode::FORBIDDEN, "administrators"),
        ("early", StatusCode::SERVICE_UNAVAILABLE, "it is starting"),
    ] {
        for path in ["/", "/api/v1/status"] {
            let got = site.send(request("GET", path, &[("x-remote-user-id", user)], ""), Trust::Ingress).await;
            assert_eq!(got.status, status, "{user} {path}");
            assert!(path != "/" || got.text.contains(says), "{user}: {}", got.text);
        }
        let order = request("POST", "/sync", &[("x-remote-user-id", user), ("content-type", FORM)], "");
        assert_ne!(site.send(order, Trust::Ingress).await.status, StatusCode::SEE_OTHER);
    }
    // Supervisor's own question whether the app is well.
    let got = site.send(request("GET", "/healthz", &[("x-remote-user-id", "guest")], ""), Trust::Ingress).await;
    assert_eq!(got.text, "ok\n");
    // Without anybody to ask, nobody comes in.
    let site = Site::with(State::good(), |options| options.ingress = None);
    let got = site.send(request("GET", "/", &[("x-remote-user-id", "owner")], ""), Trust::Ingress).await;
    assert_eq!(got.status, StatusCode::FORBIDDEN);
    assert!(
        got.text.contains("Home Assistant&#39;s menu") || got.text.contains("Home Assistant's menu"),
        "{}",
        got.text
    );
}

#[tokio::test]
async fn home_assistant_says_where_the_page_is_and_only_when_it_is_trusted() {
    let site = Site::new(State::good());
    let told = [("x-ingress-path", "/api/hassio_ingress/abc"), ("host", "homeassistant.local:8123")];
    let got = site.send(request("GET", "/", &told, ""), Trust::Ingress).await;
    assert!(got.text.contains("href=\"/api/hassio_ingress/abc/backups\""));
    assert!(got.header(header::CONTENT_SECURITY_POLICY).contains("frame-ancestors 'self'"));
    let form = format!("csrf={}", got.hidden("csrf"));
    let headers = [told[0], told[1], ("content-type", FORM)];
    let got = site.send(request("POST", "/sync", &headers, &form), Trust::Ingress).await;
    assert_eq!(
        (got.status, got.header(header::LOCATION)),
        (StatusCode::SEE_OTHER, "/api/hassio_ingress/abc/?done=sync")
    );
    let got = site.send(request("POST", "/sync", &headers, ""), Trust::Ingress).await;
    assert_eq!(got.status, StatusCode::FORBIDDEN, "another site's form has no token");
    let got = site.send(request("GET", "/welcome", &[told[0], ("host", HOST)], ""), Trust::LogIn).await;
    assert!(!got.text.contains("hassio_ingress"));
    assert!(got.header(header::CONTENT_SECURITY_POLICY).contains("frame-ancestors 'none'"));
}
