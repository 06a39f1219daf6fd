//! Coming in: the first visit with the code from the log, later ones with the password.

use std::time::Instant;

use askama::Template;
use axum::{extract::State, response::Response};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;

use super::{Answer, Frame, Service, redirect, show};
use crate::{
    auth::{AccountError, SHORTEST},
    refusal::Refusal,
    shared::{Asked, Shared},
    visitor::Visitor,
};

/// A session's cookie is kept as long as the session at most.
const COOKIE_SECONDS: u64 = 30 * 24 * 3600;

#[derive(Template)]
#[template(path = "welcome.html")]
struct Welcome {
    frame: Frame,
    code: String,
    shortest: usize,
    wrong_code: Option<String>,
    wrong_password: Option<String>,
}

#[derive(Template)]
#[template(path = "log_in.html")]
struct LogIn {
    frame: Frame,
    wrong: Option<String>,
}

pub(super) async fn welcome(State(shared): Service, asked: Asked) -> Answer {
    if shared.accounts.code().is_none() {
        return Ok(redirect(&asked, "/login"));
    }
    let code = asked.query.text("code").to_owned();
    Ok(show(&page(&asked, code, None, None)))
}

fn page(asked: &Asked, code: String, wrong_code: Option<String>, wrong_password: Option<String>) -> Welcome {
    Welcome { frame: Frame::new(asked, "Welcome", ""), code, shortest: SHORTEST, wrong_code, wrong_password }
}

pub(super) async fn first_visit(State(shared): Service, asked: Asked) -> Answer {
    if shared.accounts.code().is_none() {
        return Ok(redirect(&asked, "/login"));
    }
    let (code, password) = (asked.form.text("code").to_owned(), asked.form.text("password"));
    if let Err(wait) = shared.throttle.attempt(asked.visit.peer, Instant::now()) {
        return Ok(too_many(show(&page(&asked, code, Some(waiting(wait)), None)), wait));
    }
    if !shared.accounts.is_code(&code) {
        let wrong = "This is not the code. Haul prints it to its log when it starts.";
        return Ok(wrongly(show(&page(&asked, code, Some(wrong.to_owned()), None))));
    }
    shared.throttle.forget(asked.visit.peer);
    if password != asked.form.text("again") {
        let wrong = "The two passwords are not the same.";
        return Ok(wrongly(show(&page(&asked, code, None, Some(wrong.to_owned())))));
    }
    let password = zeroize::Zeroizing::new(password.to_owned());
    match shared.hashed(move |accounts| accounts.set_password(&password)).await? {
        Ok(()) => {}
        Err(AccountError::Invalid(wrong)) => return Ok(wrongly(show(&page(&asked, code, None, Some(wrong))))),
        Err(other) => return Err(other.into()),
    }
    come_in(&shared, &asked)
}

pub(super) async fn form(State(shared): Service, asked: Asked) -> Answer {
    if asked.visitor != Visitor::Nobody {
        return Ok(redirect(&asked, "/"));
    }
    if shared.accounts.code().is_some() {
        return Ok(redirect(&asked, "/welcome"));
    }
    Ok(show(&LogIn { frame: Frame::new(&asked, "Log in", ""), wrong: None }))
}

pub(super) async fn log_in(State(shared): Service, asked: Asked) -> Answer {
    let page = |wrong: String| show(&LogIn { frame: Frame::new(&asked, "Log in", ""), wrong: Some(wrong) });
    if let Err(wait) = shared.throttle.attempt(asked.visit.peer, Instant::now()) {
        return Ok(too_many(page(waiting(wait)), wait));
    }
    let password = zeroize::Zeroizing::new(asked.form.text("password").to_owned());
    if !shared.hashed(move |accounts| accounts.is_password(&password)).await? {
        return Ok(wrongly(page("This is not the password.".to_owned())));
    }
    come_in(&shared, &asked)
}

pub(super) async fn log_out(State(shared): Service, asked: Asked) -> Answer {
    if let Visitor::Browser { session: Some(secret), .. } = &asked.visitor {
        shared.accounts.end_session(secret);
    }
    Ok(with_cookie(redirect(&asked, "/login"), &shared.cookie(&asked.base, "", 0)))
}

/// Begins a session.
fn come_in(shared: &Shared, asked: &Asked) -> Answer {
    shared.throttle.forget(asked.visit.peer);
    with_session(shared, asked, redirect(asked, "/"))
}

pub(super) fn with_session(shared: &Shared, asked: &Asked, response: Response) -> Answer {
    let secret = shared.accounts.begin_session(Timestamp::now()).map_err(Refusal::from)?;
    Ok(with_cookie(response, &shared.cookie(&asked.base, &secret, COOKIE_SECONDS)))
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

pub(super) fn wrongly(mut response: Response) -> Response {
    *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    response
}

pub(super) fn too_many(mut response: Response, wait: std::time::Duration) -> Response {
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response.headers_mut().insert(header::RETRY_AFTER, (wait.as_secs() + 1).into());
    response
}

pub(super) fn waiting(wait: std::time::Duration) -> String {
    let seconds = wait.as_secs() + 1;
    format!("There were too many attempts. Try again in {seconds} {}.", if seconds == 1 { "second" } else { "seconds" })
}
