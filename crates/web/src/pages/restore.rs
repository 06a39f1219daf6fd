//! A backup's restore: what it will do is said first.

use askama::Template;
use axum::extract::{Path, State};
use keeper::status::ArchiveStatus;
use zeroize::Zeroizing;

use super::{
    Answer, Frame, Service,
    archive::known,
    forms::{Typed, wrong},
    orders::said,
    show_as, view,
};
use crate::{
    backend::{Invalid, RestoreWanted},
    fields::Fields,
    shared::{Asked, Shared},
    text::Clock,
};

#[derive(Template)]
#[template(path = "restore.html")]
struct Form {
    frame: Frame,
    clock: Clock,
    archive: ArchiveStatus,
    /// The config directory of its job.
    source: Option<String>,
    typed: Typed,
}

impl Form {
    fn wrong_at_all(&self) -> Vec<&Invalid> {
        self.typed.wrong_beside(&["destination", "into", "replace", "only", "key"])
    }

    /// The copies to choose from, the best first.
    fn copies(&self) -> Vec<&keeper::status::CopyStatus> {
        let mut copies: Vec<_> = self.archive.copies.iter().collect();
        copies.sort_by_key(|copy| view::copy_level(copy));
        copies
    }
}

async fn page(
    shared: &std::sync::Arc<Shared>,
    asked: &Asked,
    archive: ArchiveStatus,
    fields: Fields,
    wrong: Option<Invalid>,
) -> Answer {
    let job = archive.job.clone();
    let source = shared
        .ask(move |backend| backend.status().jobs.into_iter().find(|known| Some(&known.name) == job.as_ref()))
        .await?
        .map(|job| job.source);
    let typed = Typed::plain(fields, wrong.into_iter().collect());
    let frame = Frame::new(asked, format!("Restore {}", view::title(&archive)), "backups");
    Ok(show_as(typed.status(), &Form { frame, clock: shared.clock(), archive, source, typed }))
}

pub(super) async fn form(State(shared): Service, Path(id): Path<String>, asked: Asked) -> Answer {
    let archive = known(&shared, &id).await?;
    let destination = asked.query.text("destination").to_owned();
    let fields = Fields::of([("where", "new".to_owned()), ("destination", destination)]);
    page(&shared, &asked, archive, fields, None).await
}

pub(super) async fn restore(State(shared): Service, Path(id): Path<String>, asked: Asked) -> Answer {
    let archive = known(&shared, &id).await?;
    let form = &asked.form;
    if form.text("where") == "replace" && !form.is_set("sure") {
        let wrong = wrong("replace", "Tick the box if you mean that: it replaces the configuration of Home Assistant.");
        return page(&shared, &asked, archive, form.clone(), Some(wrong)).await;
    }
    let wanted = RestoreWanted {
        archive: id,
        destination: form.get("destination").map(str::to_owned),
        // What was typed beside the other choice does not count.
        into: if form.text("where") == "replace" { String::new() } else { form.text("into").to_owned() },
        only: form.text("only").lines().map(str::to_owned).collect(),
        replace: form.text("where") == "replace",
        key: form.get("key").map(|key| Zeroizing::new(key.to_owned())),
    };
    match shared.ask_slowly(move |backend, cancel| backend.restore(&wanted, cancel)).await? {
        Ok(()) => Ok(said(&asked, "/events", "restore")),
        Err(wrong) => page(&shared, &asked, archive, asked.form.clone(), Some(wrong)).await,
    }
}
