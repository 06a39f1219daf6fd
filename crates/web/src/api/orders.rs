//! Orders. Each is done or queued when the answer arrives, and the answer is always the same.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{Accepted, accepted, body, settings::refused};
use crate::{
    backend::{MoveSeen, MoveWanted, Order, PartsWanted, RestoreWanted},
    orders::{carry_out, exists, found},
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
    /// Only the copy of this name; if left out, all there.
    name: Option<String>,
    /// Even if no other copy is left.
    #[serde(default)]
    even_the_only_copy: bool,
}

/// What to restore, and where to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Restoration {
    /// A directory of the machine that Haul runs on, new or empty; if left out, a new one below `restored` in Haul's state
    /// directory. Left out with `replace`.
    #[serde(default)]
    into: String,
    /// From there; if left out, from the best copy that can be reached.
    destination: Option<String>,
    /// Only what fits one of these patterns; if left out, everything.
    #[serde(default)]
    only: Vec<String>,
    /// Takes the place of the config directory of the archive's job, which is kept beside it.
    #[serde(default)]
    replace: bool,
    /// The encryption key; if left out, that of the archive's job.
    key: Option<String>,
}

/// What Supervisor is to restore.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PartsToRestore {
    /// From there; if left out, from the best location that Supervisor reaches.
    destination: Option<String>,
    /// Home Assistant's configuration, in place of what runs.
    #[serde(default)]
    home_assistant: bool,
    /// Apps, by their ids, in place of those that are installed.
    #[serde(default)]
    apps: Vec<String>,
    /// Folders, by their names. What is in them now goes.
    #[serde(default)]
    folders: Vec<String>,
    /// The encryption key; if left out, that of the archive's job.
    key: Option<String>,
    /// Also if it is not encrypted, and automatic backups at its location are.
    #[serde(default)]
    unencrypted: bool,
}

/// Where to move to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub(super) struct Migration {
    /// The address of the new Home Assistant, as `http://new-host:8123`.
    to: String,
    /// A long-lived access token of an administrator there, if it is set up already.
    token: Option<String>,
    /// Everything in it may be replaced: users, devices, history. Needed if it is set up already.
    #[serde(default)]
    replace: bool,
    /// Looks at both sides and says what would be done; nothing is sent.
    #[serde(default)]
    check_only: bool,
    /// Encrypts the backup on its way with the key of the job.
    #[serde(default)]
    encrypt: bool,
    /// Encrypts it with this key.
    key: Option<String>,
    /// Trusts any certificate.
    #[serde(default)]
    insecure: bool,
    /// Leaves out the history.
    #[serde(default)]
    exclude_database: bool,
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
    let Deletion { destination, name, even_the_only_copy } = body(&asked)?;
    order(&shared, Order::Delete { archive, destination, name, even_the_only_copy }).await
}

/// Begins to restore an archive into a directory of the machine that Haul runs on
#[utoipa::path(post, path = "/api/v1/archives/{id}/restore", tag = "orders", request_body = Restoration,
    responses((status = 202, body = Accepted)), params(("id" = String, Path)))]
pub(super) async fn restore(State(shared): Service, Path(archive): Path<String>, asked: Asked) -> Answer {
    let Restoration { into, destination, only, replace, key } = body(&asked)?;
    let key = key.map(Zeroizing::new);
    let wanted = RestoreWanted { archive, destination, into, only, replace, key };
    shared
        .ask_slowly(move |backend, cancel| {
            found(backend, &wanted.archive)?;
            backend.restore(&wanted, cancel).map_err(refused)
        })
        .await??;
    Ok(accepted())
}

/// As an app of Home Assistant: has Supervisor restore parts of an archive on this machine
#[utoipa::path(post, path = "/api/v1/archives/{id}/restore-parts", tag = "orders", request_body = PartsToRestore,
    responses((status = 202, body = Accepted)), params(("id" = String, Path)))]
pub(super) async fn restore_parts(State(shared): Service, Path(archive): Path<String>, asked: Asked) -> Answer {
    let PartsToRestore { destination, home_assistant, apps, folders, key, unencrypted } = body(&asked)?;
    let key = key.map(Zeroizing::new);
    let wanted = PartsWanted { archive, destination, home_assistant, apps, folders, key, unencrypted };
    shared
        .ask_slowly(move |backend, cancel| {
            found(backend, &wanted.archive)?;
            backend.restore_parts(&wanted, cancel).map_err(refused)
        })
        .await??;
    Ok(accepted())
}

/// Moves a job's Home Assistant as it is now to another machine
#[utoipa::path(post, path = "/api/v1/jobs/{name}/migrate", tag = "orders", request_body = Migration,
    responses((status = 202, body = Accepted), (status = 200, body = MoveSeen, description = "It was only checked.")),
    params(("name" = String, Path)))]
pub(super) async fn migrate(State(shared): Service, Path(job): Path<String>, asked: Asked) -> Answer {
    let Migration { to, token, replace, check_only, encrypt, key, insecure, exclude_database } = body(&asked)?;
    let (token, key) = (token.map(Zeroizing::new), key.map(Zeroizing::new));
    let wanted = MoveWanted { job, to, token, replace, encrypt, key, insecure, exclude_database };
    shared
        .ask_slowly(move |backend, cancel| {
            exists(backend.status().jobs.iter().any(|known| known.name == wanted.job), "job")?;
            if check_only {
                let seen = backend.look_before_move(&wanted, cancel).map_err(refused)?;
                return Ok(Json(seen).into_response());
            }
            backend.migrate(&wanted, None, cancel).map_err(refused)?;
            Ok(accepted())
        })
        .await?
}

/// Removes what waited for consent
#[utoipa::path(post, path = "/api/v1/destinations/{name}/agree", tag = "orders",
    responses((status = 202, body = Accepted)), params(("name" = String, Path)))]
pub(super) async fn agree(State(shared): Service, Path(destination): Path<String>) -> Answer {
    order(&shared, Order::AgreeToRemovals { destination }).await
}
