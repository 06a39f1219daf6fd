//! Archives, and what is in them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use keeper::status::ArchiveStatus;
use serde::Serialize;
use utoipa::ToSchema;

use super::{number, required, status::limit};
use crate::{
    backend::{Contents, Differences, Parts, Wanted},
    download,
    refusal::Refusal,
    shared::{Asked, Shared},
};

/// Some of all archives.
#[derive(Serialize, ToSchema)]
pub(super) struct Archives {
    /// How many there are.
    total: usize,
    /// The newest first.
    archives: Vec<ArchiveStatus>,
}

/// All archives and their copies, the newest first
#[utoipa::path(get, path = "/api/v1/archives", tag = "archives", responses((status = 200, body = Archives)), params(
    ("offset" = Option<usize>, Query, description = "How many of the newest are left out"),
    ("limit" = Option<usize>, Query, description = "How many; 100 if not given, at most 1000")))]
pub(super) async fn archives(State(shared): State<Arc<Shared>>, asked: Asked) -> Result<Json<Archives>, Refusal> {
    let (offset, limit) = (number(&asked, "offset")?.unwrap_or(0), limit(&asked)?);
    let archives = move |all: Vec<ArchiveStatus>| {
        let total = all.len();
        Json(Archives { total, archives: all.into_iter().skip(offset).take(limit).collect() })
    };
    shared.ask(move |backend| archives(backend.archives())).await
}

/// One archive and its copies
#[utoipa::path(get, path = "/api/v1/archives/{id}", tag = "archives", responses((status = 200, body = ArchiveStatus)),
    params(("id" = String, Path)))]
pub(super) async fn archive(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Json<ArchiveStatus>, Refusal> {
    shared.ask(move |backend| backend.archive(&id)).await?.map(Json).ok_or_else(|| Refusal::not_found("backup"))
}

/// What a folder of an archive holds
#[utoipa::path(get, path = "/api/v1/archives/{id}/contents", tag = "archives",
    responses((status = 200, body = Contents)),
    params(("id" = String, Path), ("folder" = Option<String>, Query, description = "The config directory if not given")))]
pub(super) async fn contents(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Json<Contents>, Refusal> {
    let folder = asked.query.text("folder").to_owned();
    Ok(Json(
        shared
            .ask_slowly(move |backend, cancel| {
                known(backend.archive(&id))?;
                backend.contents(&id, &folder, cancel).map_err(Refusal::from)
            })
            .await??,
    ))
}

/// What differs between this archive and an older one
#[utoipa::path(get, path = "/api/v1/archives/{id}/compare", tag = "archives",
    responses((status = 200, body = Differences)),
    params(("id" = String, Path), ("with" = String, Query, description = "The older archive's id")))]
pub(super) async fn compare(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Json<Differences>, Refusal> {
    let with = required(&asked, "with")?.to_owned();
    Ok(Json(
        shared
            .ask_slowly(move |backend, cancel| {
                known(backend.archive(&id))?;
                known(backend.archive(&with))?;
                backend.compare(&with, &id, cancel).map_err(Refusal::from)
            })
            .await??,
    ))
}

/// As an app of Home Assistant: what of an archive Supervisor can restore on this machine
#[utoipa::path(get, path = "/api/v1/archives/{id}/parts", tag = "archives", responses((status = 200, body = Parts)),
    params(("id" = String, Path), ("destination" = Option<String>, Query, description = "Only from there")))]
pub(super) async fn parts(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Json<Parts>, Refusal> {
    let destination = asked.query.get("destination").map(str::to_owned);
    Ok(Json(
        shared
            .ask_slowly(move |backend, cancel| {
                known(backend.archive(&id))?;
                backend.parts(&id, destination.as_deref(), cancel).map_err(Refusal::from)
            })
            .await??,
    ))
}

/// The archive as it is
#[utoipa::path(get, path = "/api/v1/archives/{id}/download", tag = "archives",
    responses((status = 200, description = "The archive", body = String, content_type = "application/octet-stream")),
    params(("id" = String, Path), ("destination" = Option<String>, Query, description = "Only from there")))]
pub(super) async fn download(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Response, Refusal> {
    let destination = asked.query.get("destination").map(str::to_owned);
    let archive = id.clone();
    shared.ask(move |backend| known(backend.archive(&archive))).await??;
    download::send(&shared, Wanted::Archive { archive: id, destination }).await
}

/// One file out of an archive
#[utoipa::path(get, path = "/api/v1/archives/{id}/file", tag = "archives",
    responses((status = 200, description = "The file", body = String, content_type = "application/octet-stream")),
    params(("id" = String, Path), ("path" = String, Query, description = "Its path in the config directory")))]
pub(super) async fn file(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Response, Refusal> {
    let path = required(&asked, "path")?.to_owned();
    let archive = id.clone();
    shared.ask(move |backend| known(backend.archive(&archive))).await??;
    download::send(&shared, Wanted::File { archive: id, path }).await
}

fn known(archive: Option<ArchiveStatus>) -> Result<(), Refusal> {
    archive.map(drop).ok_or_else(|| Refusal::not_found("backup"))
}
