//! A restore by Home Assistant's Supervisor on this machine: what can be restored, and what that does, is said first.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use http::StatusCode;
use keeper::status::{ArchiveStatus, CopyStatus};
use zeroize::Zeroizing;

use super::{
    Answer, Frame, Service,
    archive::known,
    forms::{Typed, wrong},
    orders::said,
    show_as, view,
};
use crate::{
    backend::{History, Invalid, Parts, PartsWanted},
    fields::Fields,
    shared::{Asked, Shared},
    text::Clock,
};

#[derive(Template)]
#[template(path = "restore_parts.html")]
struct Form {
    frame: Frame,
    clock: Clock,
    archive: ArchiveStatus,
    contents: Parts,
    typed: Typed,
}

impl Form {
    fn wrong_at_all(&self) -> Vec<&Invalid> {
        self.typed.wrong_beside(&["destination", "parts", "unencrypted", "sure", "key"])
    }

    /// The copies to choose from, the best first.
    fn copies(&self) -> Vec<&CopyStatus> {
        let is_reached = |copy: &&CopyStatus| self.contents.reached.iter().any(|name| *name == *copy.destination);
        let mut copies: Vec<_> = self.archive.copies.iter().filter(is_reached).collect();
        copies.sort_by_key(|copy| view::copy_level(copy));
        copies
    }

    /// All but the one that is read.
    fn others(&self) -> Vec<&CopyStatus> {
        self.copies().into_iter().filter(|copy| *copy.destination != *self.contents.destination).collect()
    }

    /// What is wrong with the copy that is read.
    fn damage(&self) -> Option<&str> {
        let copy = self.archive.copies.iter().find(|copy| *copy.destination == *self.contents.destination)?;
        copy.verdict.as_ref().filter(|verdict| !verdict.whole).map(|verdict| &*verdict.sentence)
    }

    fn restores_folders(&self) -> bool {
        self.contents.folders.iter().any(|folder| folder.why_not.is_none())
    }

    /// Nothing can be ticked.
    fn is_empty(&self) -> bool {
        self.contents.home_assistant.is_none() && self.contents.apps.is_empty() && !self.restores_folders()
    }
}

/// What can be restored from one location; if that can't be said, why.
async fn page(
    shared: &Arc<Shared>,
    asked: &Asked,
    archive: ArchiveStatus,
    fields: Fields,
    wrong: Option<Invalid>,
) -> Answer {
    let (id, destination) = (archive.id.clone(), fields.get("destination").map(str::to_owned));
    let contents = shared.ask_slowly(move |backend, cancel| backend.parts(&id, destination.as_deref(), cancel)).await?;
    let mut mistakes: Vec<Invalid> = wrong.into_iter().collect();
    let contents = contents.unwrap_or_else(|failure| {
        // It may be why nothing was done, and then it is known already.
        if mistakes.iter().all(|known| known.failure != failure) {
            mistakes.push(Invalid { field: None, failure, offer: None });
        }
        Parts::default()
    });
    let typed = Typed::plain(fields, mistakes);
    let frame = Frame::new(asked, format!("Restore {}", view::title(&archive)), "backups");
    let status = if asked.form.is_empty() { StatusCode::OK } else { typed.status() };
    Ok(show_as(status, &Form { frame, clock: shared.clock(), archive, contents, typed }))
}

pub(super) async fn form(State(shared): Service, Path(id): Path<String>, asked: Asked) -> Answer {
    let archive = known(&shared, &id).await?;
    let destination = asked.query.get("destination").map(|name| ("destination", name.to_owned()));
    page(&shared, &asked, archive, Fields::of(destination), None).await
}

pub(super) async fn restore(State(shared): Service, Path(id): Path<String>, asked: Asked) -> Answer {
    let archive = known(&shared, &id).await?;
    let form = &asked.form;
    let all = |name: &str| -> Vec<String> {
        form.iter().filter(|(field, _)| *field == name).map(|(_, value)| value.to_owned()).collect()
    };
    let wanted = PartsWanted {
        archive: id,
        destination: form.get("destination").map(str::to_owned),
        home_assistant: form.is_set("home_assistant"),
        apps: all("app"),
        folders: all("folder"),
        key: form.get("key").map(|key| Zeroizing::new(key.to_owned())),
        unencrypted: form.is_set("unencrypted"),
    };
    // The field is there because no key that Haul knows opens it.
    if form.iter().any(|(field, value)| field == "key" && value.trim().is_empty()) {
        let wrong = wrong("key", "Enter the encryption key.");
        return page(&shared, &asked, archive, form.clone(), Some(wrong)).await;
    }
    if !form.is_set("sure") {
        let wrong = wrong("sure", "Tick the box if you mean that: what is there now is replaced.");
        return page(&shared, &asked, archive, form.clone(), Some(wrong)).await;
    }
    match shared.ask_slowly(move |backend, cancel| backend.restore_parts(&wanted, cancel)).await? {
        Ok(()) => Ok(said(&asked, "/events", "restore-parts")),
        Err(wrong) => page(&shared, &asked, archive, asked.form.clone(), Some(wrong)).await,
    }
}
