//! One backup: its copies, what is in it, and what can be done with it.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use keeper::status::{ArchiveStatus, CopyStatus, Failure};

use super::{Answer, Frame, Service, orders::said, show, view};
use crate::{
    backend::{ContentKind, Contents, Differences, Inside, Order, Wanted},
    download,
    fields::segment,
    orders::{carry_out, removes_the_last},
    refusal::Refusal,
    shared::{Asked, Shared},
    text::{self, Clock},
};

/// Others to compare with.
const OTHERS: usize = 60;

#[derive(Template)]
#[template(path = "archive.html")]
struct Details {
    frame: Frame,
    clock: Clock,
    archive: ArchiveStatus,
    /// The config directory of its job.
    source: Option<String>,
    /// Older ones of the same instance.
    older: Vec<ArchiveStatus>,
    /// What is in it; nothing: it is still being read.
    inside: Option<Result<Inside, Failure>>,
}

impl Details {
    /// The copy that a restore is best made from, as the command line names it.
    fn address(&self) -> String {
        best(&self.archive).map(|copy| format!("{}/{}", copy.destination, copy.name)).unwrap_or_default()
    }

    /// Why it is not known what is in it, as a sentence.
    fn why(&self, failure: &Failure) -> String {
        let names: Vec<&str> = self.archive.copies.iter().map(|copy| &*copy.destination).collect();
        text::sentence(&failure.message, &names)
    }

    fn replace(&self) -> String {
        let into = self.source.as_deref().unwrap_or("/config");
        format!("haul restore {} --into {} --replace", quoted(&self.address()), quoted(into))
    }
}

/// A whole copy if there is one.
pub(super) fn best(archive: &ArchiveStatus) -> Option<&CopyStatus> {
    archive.copies.iter().min_by_key(|copy| view::copy_level(copy))
}

/// As a shell takes it for one word.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

pub(super) async fn known(shared: &Arc<Shared>, id: &str) -> Result<ArchiveStatus, Refusal> {
    let id = id.to_owned();
    shared.ask(move |backend| backend.archive(&id)).await?.ok_or_else(|| {
        Refusal::not_found("backup").hint("It may have been removed meanwhile. The list shows what there is now.")
    })
}

pub(super) async fn details(State(shared): Service, Path(id): Path<String>, asked: Asked) -> Answer {
    let archive = known(&shared, &id).await?;
    let (instance, date) = (archive.item.instance.clone(), archive.item.date);
    let job = archive.job.clone();
    let (older, source) = shared
        .ask(move |backend| {
            let mut older = backend.archives();
            older.retain(|other| other.item.instance == instance && other.item.date < date);
            older.truncate(OTHERS);
            let jobs = backend.status().jobs;
            (older, jobs.into_iter().find(|known| Some(&known.name) == job.as_ref()).map(|job| job.source))
        })
        .await?;
    let inside = if archive.copies.is_empty() { None } else { shared.ask(move |backend| backend.inside(&id)).await? };
    let frame = Frame::new(&asked, view::title(&archive), "backups");
    Ok(show(&Details { frame, clock: shared.clock(), archive, source, older, inside }))
}

#[derive(Template)]
#[template(path = "contents.html")]
struct Folder {
    frame: Frame,
    clock: Clock,
    archive: ArchiveStatus,
    /// Every folder above, with its path.
    above: Vec<(String, String)>,
    path: String,
    contents: Contents,
}

impl Folder {
    fn page(&self) -> String {
        format!("{}/backups/{}", self.frame.base, segment(&self.archive.id))
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }
}

pub(super) async fn contents(State(shared): Service, Path(id): Path<String>, asked: Asked) -> Answer {
    let archive = known(&shared, &id).await?;
    let folder = asked.query.text("folder").trim_matches('/').to_owned();
    let asked_for = folder.clone();
    let contents = shared.ask_slowly(move |backend, cancel| backend.contents(&id, &asked_for, cancel)).await??;
    let mut above = Vec::new();
    for (end, _) in folder.match_indices('/').chain([(folder.len(), "")]).filter(|_| !folder.is_empty()) {
        let path = &folder[..end];
        above.push((path.rsplit('/').next().unwrap_or(path).to_owned(), path.to_owned()));
    }
    let frame = Frame::new(&asked, format!("Contents of {}", view::title(&archive)), "backups");
    Ok(show(&Folder { frame, clock: shared.clock(), archive, above, path: folder, contents }))
}

#[derive(Template)]
#[template(path = "compare.html")]
struct Compare {
    frame: Frame,
    clock: Clock,
    archive: ArchiveStatus,
    older: ArchiveStatus,
    differences: Differences,
}

impl Compare {
    fn lists(&self) -> [(&'static str, &'static str, &[String]); 3] {
        let Differences { added, removed, changed, .. } = &self.differences;
        [("New", "+", added), ("Gone", "−", removed), ("Changed", "~", changed)]
    }
}

pub(super) async fn compare(State(shared): Service, Path(id): Path<String>, asked: Asked) -> Answer {
    let archive = known(&shared, &id).await?;
    let older = known(&shared, asked.query.text("with")).await?;
    let (old, new) = (older.id.clone(), id);
    let differences = shared.ask_slowly(move |backend, cancel| backend.compare(&old, &new, cancel)).await??;
    let frame = Frame::new(&asked, "What changed", "backups");
    Ok(show(&Compare { frame, clock: shared.clock(), archive, older, differences }))
}

pub(super) async fn download(State(shared): Service, Path(id): Path<String>, asked: Asked) -> Answer {
    known(&shared, &id).await?;
    let destination = asked.query.get("destination").map(str::to_owned);
    download::send(&shared, Wanted::Archive { archive: id, destination }).await
}

pub(super) async fn file(State(shared): Service, Path(id): Path<String>, asked: Asked) -> Answer {
    known(&shared, &id).await?;
    let path = asked.query.get("path").ok_or_else(|| Refusal::bad("The address names no file."))?.to_owned();
    download::send(&shared, Wanted::File { archive: id, path }).await
}

#[derive(Template)]
#[template(path = "delete.html")]
struct Delete {
    frame: Frame,
    clock: Clock,
    archive: ArchiveStatus,
    /// The copy that is chosen: its destination and name; nothing: all.
    copy: Option<(String, String)>,
    /// No other copy would be left.
    last: bool,
    wrong: Option<Refusal>,
}

impl Delete {
    fn is_chosen(&self, copy: &CopyStatus) -> bool {
        self.copy.as_ref().is_some_and(|(destination, name)| copy.destination == *destination && copy.name == *name)
    }

    /// Whether the location's name alone says which copy is meant.
    fn is_alone(&self, copy: &CopyStatus) -> bool {
        self.archive.copies.iter().filter(|other| other.destination == copy.destination).count() == 1
    }
}

/// `DESTINATION/NAME`, as the form says it; a destination's name has no slash.
fn chosen(fields: &crate::fields::Fields) -> Option<(String, String)> {
    fields.get("copy")?.split_once('/').map(|(destination, name)| (destination.to_owned(), name.to_owned()))
}

fn is_last(archive: &ArchiveStatus, copy: Option<&(String, String)>) -> bool {
    let (destination, name) = copy.map(|(destination, name)| (destination.as_str(), name.as_str())).unzip();
    removes_the_last(archive, destination, name)
}

fn deletion(
    shared: &Shared,
    asked: &Asked,
    archive: ArchiveStatus,
    copy: Option<(String, String)>,
    wrong: Option<Refusal>,
) -> Response {
    let last = is_last(&archive, copy.as_ref());
    let status = wrong.as_ref().map_or(StatusCode::OK, |wrong| wrong.status);
    let frame = Frame::new(asked, "Delete backup", "backups");
    let mut page = show(&Delete { frame, clock: shared.clock(), archive, copy, last, wrong });
    *page.status_mut() = status;
    page
}

pub(super) async fn ask_to_delete(State(shared): Service, Path(id): Path<String>, asked: Asked) -> Answer {
    let archive = known(&shared, &id).await?;
    let copy = chosen(&asked.query);
    Ok(deletion(&shared, &asked, archive, copy, None))
}

pub(super) async fn delete(State(shared): Service, Path(id): Path<String>, asked: Asked) -> Answer {
    let archive = known(&shared, &id).await?;
    let copy = chosen(&asked.form);
    let even_the_only_copy = asked.form.is_set("even_the_only_copy");
    if !even_the_only_copy && is_last(&archive, copy.as_ref()) {
        let wrong = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "No other copy of this backup would be left.")
            .hint("Tick the box if you mean that.");
        return Ok(deletion(&shared, &asked, archive, copy, Some(wrong)));
    }
    let remains = copy.is_some() && archive.copies.len() > 1;
    let (destination, name) = copy.unzip();
    carry_out(&shared, Order::Delete { archive: id.clone(), destination, name, even_the_only_copy }).await?;
    let page = if remains { format!("/backups/{}", segment(&id)) } else { "/backups".to_owned() };
    Ok(said(&asked, &page, "delete"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_command_can_be_pasted_whatever_the_name() {
        assert_eq!(quoted("nas/Haul_2026-11-28.tar"), "nas/Haul_2026-11-28.tar");
        assert_eq!(quoted("nas/it's; rm -rf.tar"), r"'nas/it'\''s; rm -rf.tar'");
        assert_eq!(quoted(""), "''");
    }
}
