//! The move of a running installation to another machine: both sides are looked at first, and what was seen is moved.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use zeroize::Zeroizing;

use super::{
    Answer, Frame, Service,
    forms::{Typed, wrong},
    orders::said,
    show, show_as, view,
};
use crate::{
    auth::random,
    backend::{Invalid, MoveSeen, MoveWanted},
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

impl Form {
    fn wrong_at_all(&self) -> Vec<&Invalid> {
        self.typed.wrong_beside(&["to", "token", "replace", "key"])
    }

    /// What is proposed: whoever encrypts backups does not want this one to travel in the open.
    fn first_encryption(&self) -> &'static str {
        if self.has_key { "job" } else { "nothing" }
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

async fn page(shared: &Arc<Shared>, asked: &Asked, name: String, fields: Fields, wrong: Option<Invalid>) -> Answer {
    let jobs = shared.ask(|backend| backend.status().jobs).await?;
    let job =
        jobs.into_iter().find(|known| known.name == name).ok_or_else(|| Refusal::not_found("automatic backup"))?;
    let configured = shared.configured().await?.jobs.into_iter().find(|known| known.name == name);
    let has_key = configured.is_some_and(|job| job.settings.password_file.is_some());
    let typed = Typed::plain(fields, wrong.into_iter().collect());
    let frame = Frame::new(asked, format!("Move {name}"), "home");
    Ok(show_as(typed.status(), &Form { frame, job: name, source: job.source, has_key, typed }))
}

pub(super) async fn form(State(shared): Service, Path(job): Path<String>, asked: Asked) -> Answer {
    page(&shared, &asked, job, Fields::default(), None).await
}

pub(super) async fn pressed(State(shared): Service, Path(job): Path<String>, asked: Asked) -> Answer {
    if let Some(checked) = asked.form.get("checked") {
        return begin(&shared, &asked, job, checked).await;
    }
    let form = &asked.form;
    let secret = |name: &str| form.get(name).map(|text| Zeroizing::new(text.to_owned()));
    let encryption = form.text("encryption");
    if encryption == "key" && !form.is_set("key") {
        return page(&shared, &asked, job, form.clone(), Some(wrong("key", "Enter your encryption key."))).await;
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
        Err(wrong) => return page(&shared, &asked, job, form.clone(), Some(wrong)).await,
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
        return page(shared, asked, job, Fields::default(), Some(wrong("to", gone))).await;
    };
    let fields = typed(&wanted);
    match shared.ask_slowly(move |backend, cancel| backend.migrate(&wanted, Some(&seen), cancel)).await? {
        Ok(()) => Ok(said(asked, "/events", "migrate")),
        Err(wrong) => page(shared, asked, job, fields, Some(wrong)).await,
    }
}

/// The form again, without what is secret.
fn typed(wanted: &MoveWanted) -> Fields {
    let encryption = match &wanted.key {
        Some(_) => "key",
        None if wanted.encrypt => "job",
        None => "nothing",
    };
    let ticks =
        [("replace", wanted.replace), ("insecure", wanted.insecure), ("exclude_database", wanted.exclude_database)];
    let ticks = ticks.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| (name, "yes".to_owned()));
    Fields::of([("to", wanted.to.clone()), ("encryption", encryption.to_owned())].into_iter().chain(ticks))
}
