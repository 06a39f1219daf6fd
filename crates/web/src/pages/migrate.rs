//! The move of a running installation to another machine: both sides are looked at first, and what was seen is moved.

use std::{ops::Deref, sync::Arc};

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use zeroize::Zeroizing;

use super::{
    Answer, Frame, Service,
    forms::{Typed, wrong},
    orders::said,
    show, view,
};
use crate::{
    auth::random,
    backend::{Choices, Invalid, MoveSeen, MoveWanted},
    fields::Fields,
    refusal::Refusal,
    shared::{Asked, Shared},
};

#[derive(Template)]
#[template(path = "migrate.html")]
struct Form {
    frame: Frame,
    job: String,
    /// Its config directory.
    source: String,
    /// It has an encryption key.
    has_key: bool,
    typed: Typed,
}

impl Deref for Form {
    type Target = Typed;

    fn deref(&self) -> &Typed {
        &self.typed
    }
}

impl Form {
    fn wrong_at_all(&self) -> Option<&Invalid> {
        self.wrong_beside(&["to", "token", "replace", "key"])
    }
}

/// What was seen, to be agreed to.
#[derive(Template)]
#[template(path = "move.html")]
struct Agreement {
    frame: Frame,
    job: String,
    seen: MoveSeen,
    encrypted: bool,
    exclude_database: bool,
    /// By which it is begun.
    checked: String,
}

async fn page(shared: &Arc<Shared>, asked: &Asked, name: String, wrong: Option<Invalid>) -> Answer {
    let wanted = name.clone();
    let (job, has_key) = shared
        .ask(move |backend| {
            let job = backend.status().jobs.into_iter().find(|known| known.name == wanted);
            let configured = backend.configured().unwrap_or_default().jobs.into_iter().find(|job| job.name == wanted);
            (job, configured.is_some_and(|job| job.settings.password_file.is_some()))
        })
        .await?;
    let job = job.ok_or_else(|| Refusal::not_found("job"))?;
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let fields = asked.form.clone();
    let typed = Typed { choices: Choices::default(), fields, wrong, tried: None, keeps: false, signing_in: None };
    let frame = Frame::new(asked, format!("Move {name}"), "home");
    let mut page: Response = show(&Form { frame, job: name, source: job.source, has_key, typed });
    *page.status_mut() = status;
    Ok(page)
}

pub(super) async fn form(State(shared): Service, Path(job): Path<String>, asked: Asked) -> Answer {
    page(&shared, &asked, job, None).await
}

pub(super) async fn pressed(State(shared): Service, Path(job): Path<String>, asked: Asked) -> Answer {
    if let Some(checked) = asked.form.get("checked") {
        return begin(&shared, &asked, job, checked).await;
    }
    let form = &asked.form;
    let secret = |name: &str| form.get(name).map(|text| Zeroizing::new(text.to_owned()));
    let encryption = form.text("encryption");
    if encryption == "key" && !form.is_set("key") {
        return page(&shared, &asked, job, Some(wrong("key", "Enter your key."))).await;
    }
    let wanted = MoveWanted {
        job: job.clone(),
        to: form.text("to").to_owned(),
        token: secret("token"),
        replace: form.is_set("replace"),
        encrypt: matches!(encryption, "job" | "key"),
        key: secret("key").filter(|_| encryption == "key"),
        insecure: form.is_set("insecure"),
        exclude_database: form.is_set("exclude_database"),
    };
    let looking = wanted.clone();
    let seen = match shared.ask_slowly(move |backend, cancel| backend.look_before_move(&looking, cancel)).await? {
        Ok(seen) => seen,
        Err(wrong) => return page(&shared, &asked, job, Some(wrong)).await,
    };
    let checked = random().map_err(|error| Refusal::broken(format!("This machine has no random numbers: {error}.")))?;
    let (encrypted, exclude_database) = (wanted.encrypt, wanted.exclude_database);
    shared.keep_checked(checked.clone(), wanted, seen.clone());
    let frame = Frame::new(&asked, format!("Move {job}"), "home");
    Ok(show(&Agreement { frame, job, seen, encrypted, exclude_database, checked }))
}

/// Moves what was checked, if it is still so.
async fn begin(shared: &Arc<Shared>, asked: &Asked, job: String, checked: &str) -> Answer {
    let Some((wanted, seen)) = shared.checked.take(checked).filter(|(wanted, _)| wanted.job == job) else {
        let gone = "What was checked is no longer known. If you pressed twice, the move has begun; else check again.";
        return page(shared, asked, job, Some(wrong("to", gone))).await;
    };
    let to = seen.to.address.clone();
    match shared.ask_slowly(move |backend, cancel| backend.migrate(&wanted, Some(&seen), cancel)).await? {
        Ok(()) => Ok(said(asked, "/events", "migrate")),
        Err(wrong) => {
            let asked = Asked { form: Fields::of([("to", to)]), ..asked.clone() };
            page(shared, &asked, job, Some(wrong)).await
        }
    }
}
