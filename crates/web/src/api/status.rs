//! What is known.

use std::sync::Arc;

use axum::{Json, extract::State, response::Response};
use keeper::status::{Event, RunStatus, Status};

use super::{number, plain};
use crate::{
    backend::{Configuration, LogLine},
    refusal::Refusal,
    shared::{Asked, Shared},
};

/// What is listed at once, if nothing else is asked for, and at most.
const ORDINARY: usize = 100;
const MOST: usize = 1000;

/// Everything at a glance
#[utoipa::path(get, path = "/api/v1/status", tag = "status", responses((status = 200, body = Status)))]
pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Result<Json<Status>, Refusal> {
    shared.ask(|backend| Json(backend.status())).await
}

/// What happened, the newest first
#[utoipa::path(get, path = "/api/v1/events", tag = "status", responses((status = 200, body = Vec<Event>)), params(
    ("before" = Option<i64>, Query, description = "Only those older than the event of this number"),
    ("limit" = Option<usize>, Query, description = "How many; 100 if not given, at most 1000")))]
pub(super) async fn events(State(shared): State<Arc<Shared>>, asked: Asked) -> Result<Json<Vec<Event>>, Refusal> {
    let (before, most) = (number(&asked, "before")?, limit(&asked)?);
    shared.ask(move |backend| Json(backend.events(before, most))).await
}

/// Tasks that ended, the newest first
#[utoipa::path(get, path = "/api/v1/runs", tag = "status", responses((status = 200, body = Vec<RunStatus>)), params(
    ("before" = Option<i64>, Query, description = "Only those older than the run of this number"),
    ("limit" = Option<usize>, Query, description = "How many; 100 if not given, at most 1000")))]
pub(super) async fn runs(State(shared): State<Arc<Shared>>, asked: Asked) -> Result<Json<Vec<RunStatus>>, Refusal> {
    let (before, most) = (number(&asked, "before")?, limit(&asked)?);
    shared.ask(move |backend| Json(backend.runs(before, most))).await
}

/// The last lines of the service's log, the newest first
///
/// It keeps 500 lines, and at most 64 KiB. Those of before it was started are not among them.
#[utoipa::path(get, path = "/api/v1/log", tag = "status", responses((status = 200, body = Vec<LogLine>)), params(
    ("after" = Option<u64>, Query, description = "Only those with a higher number than this"),
    ("limit" = Option<usize>, Query, description = "How many; 100 if not given, at most 1000")))]
pub(super) async fn log(State(shared): State<Arc<Shared>>, asked: Asked) -> Result<Json<Vec<LogLine>>, Refusal> {
    let (after, most) = (number(&asked, "after")?.unwrap_or(0), limit(&asked)?);
    shared.ask(move |backend| Json(backend.log(after, most))).await
}

/// Metrics for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "status", responses(
    (status = 200, description = "Prometheus's text format", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Result<Response, Refusal> {
    shared.ask(|backend| plain(backend.metrics())).await
}

/// The configuration, without secrets
#[utoipa::path(get, path = "/api/v1/configuration", tag = "settings", responses((status = 200, body = Configuration)))]
pub(super) async fn configuration(State(shared): State<Arc<Shared>>) -> Result<Json<Configuration>, Refusal> {
    shared.ask(|backend| Json(backend.configuration())).await
}

pub(super) fn limit(asked: &Asked) -> Result<usize, Refusal> {
    Ok(number(asked, "limit")?.unwrap_or(ORDINARY).clamp(1, MOST))
}
