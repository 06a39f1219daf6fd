//! Orders. Each is done or queued when the answer arrives, and the answer is always the same.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Accepted, accepted, body};
use crate::{
    backend::Order,
    orders::carry_out,
    refusal::Refusal,
    shared::{Asked, Shared},
};

type Answer = Result<Response, Refusal>;
type Service = State<Arc<Shared>>;

/// Which copies.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Where {
    /// Only there; if left out, everywhere.
    destination: Option<String>,
}

/// Which copies to delete.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Deletion {
    /// Only there; if left out, everywhere.
    destination: Option<String>,
    /// Even if no other copy is left.
    #[serde(default)]
    even_the_only_copy: bool,
}

/// A note.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    /// Empty: no note.
    text: String,
}

async fn order(shared: &Arc<Shared>, order: Order) -> Answer {
    carry_out(shared, order).await?;
    Ok(accepted())
}

/// Brings every destination to what its jobs say
#[utoipa::path(post, path = "/api/v1/sync", tag = "orders", responses((status = 202, body = Accepted)))]
pub(super) async fn sync(State(shared): Service) -> Answer {
    order(&shared, Order::Sync).await
}

/// Makes a backup now
#[utoipa::path(post, path = "/api/v1/jobs/{name}/run", tag = "orders", responses((status = 202, body = Accepted)),
    params(("name" = String, Path)))]
pub(super) async fn run(State(shared): Service, Path(job): Path<String>) -> Answer {
    order(&shared, Order::BackUp { job }).await
}

/// Does nothing for a job until it is resumed
#[utoipa::path(post, path = "/api/v1/jobs/{name}/pause", tag = "orders", responses((status = 202, body = Accepted)),
    params(("name" = String, Path)))]
pub(super) async fn pause(State(shared): Service, Path(job): Path<String>) -> Answer {
    order(&shared, Order::Pause { job }).await
}

/// Ends a pause
#[utoipa::path(post, path = "/api/v1/jobs/{name}/resume", tag = "orders", responses((status = 202, body = Accepted)),
    params(("name" = String, Path)))]
pub(super) async fn resume(State(shared): Service, Path(job): Path<String>) -> Answer {
    order(&shared, Order::Resume { job }).await
}

/// Restores the newest archive of a job for a test
#[utoipa::path(post, path = "/api/v1/jobs/{name}/rehearse", tag = "orders", responses((status = 202, body = Accepted)),
    params(("name" = String, Path)))]
pub(super) async fn rehearse_newest(State(shared): Service, Path(job): Path<String>) -> Answer {
    order(&shared, Order::RehearseNewest { job }).await
}

/// Stops a running task
#[utoipa::path(post, path = "/api/v1/runs/{id}/cancel", tag = "orders", responses((status = 202, body = Accepted)),
    params(("id" = i64, Path)))]
pub(super) async fn cancel(State(shared): Service, Path(run): Path<String>) -> Answer {
    let run = run.parse().map_err(|_| Refusal::not_found("running task"))?;
    order(&shared, Order::Cancel { run }).await
}

/// Reads copies and checks them
#[utoipa::path(post, path = "/api/v1/archives/{id}/verify", tag = "orders", request_body = Where,
    responses((status = 202, body = Accepted)), params(("id" = String, Path)))]
pub(super) async fn verify(State(shared): Service, Path(archive): Path<String>, asked: Asked) -> Answer {
    let Where { destination } = body(&asked)?;
    order(&shared, Order::Verify { archive, destination }).await
}

/// Restores an archive for a test
#[utoipa::path(post, path = "/api/v1/archives/{id}/rehearse", tag = "orders",
    responses((status = 202, body = Accepted)), params(("id" = String, Path)))]
pub(super) async fn rehearse(State(shared): Service, Path(archive): Path<String>) -> Answer {
    order(&shared, Order::Rehearse { archive }).await
}

/// Protects an archive from removal
#[utoipa::path(post, path = "/api/v1/archives/{id}/pin", tag = "orders", responses((status = 202, body = Accepted)),
    params(("id" = String, Path)))]
pub(super) async fn pin(State(shared): Service, Path(archive): Path<String>) -> Answer {
    order(&shared, Order::Pin { archive }).await
}

/// Ends that protection; it may be removed next
#[utoipa::path(post, path = "/api/v1/archives/{id}/unpin", tag = "orders", responses((status = 202, body = Accepted)),
    params(("id" = String, Path)))]
pub(super) async fn unpin(State(shared): Service, Path(archive): Path<String>) -> Answer {
    order(&shared, Order::Unpin { archive }).await
}

/// Replaces the user's note
#[utoipa::path(put, path = "/api/v1/archives/{id}/note", tag = "orders", request_body = Note,
    responses((status = 202, body = Accepted)), params(("id" = String, Path)))]
pub(super) async fn note(State(shared): Service, Path(archive): Path<String>, asked: Asked) -> Answer {
    let Note { text } = body(&asked)?;
    order(&shared, Order::Note { archive, text }).await
}

/// Deletes copies of an archive
#[utoipa::path(post, path = "/api/v1/archives/{id}/delete", tag = "orders", request_body = Deletion,
    responses((status = 202, body = Accepted)), params(("id" = String, Path)))]
pub(super) async fn delete(State(shared): Service, Path(archive): Path<String>, asked: Asked) -> Answer {
    let Deletion { destination, even_the_only_copy } = body(&asked)?;
    order(&shared, Order::Delete { archive, destination, even_the_only_copy }).await
}

/// Removes what waited for consent
#[utoipa::path(post, path = "/api/v1/destinations/{name}/agree", tag = "orders",
    responses((status = 202, body = Accepted)), params(("name" = String, Path)))]
pub(super) async fn agree(State(shared): Service, Path(destination): Path<String>) -> Answer {
    order(&shared, Order::AgreeToRemovals { destination }).await
}
