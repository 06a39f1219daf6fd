//! Jobs and locations in the configuration file.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::body;
use crate::{
    backend::{Backend, Change, Configured, Encryption, Filled, FormKind, Invalid, JobSettings, SignIn, What},
    kit,
    refusal::{About, Mistake, Refusal},
    shared::{Asked, Shared, permit_commands},
};

type Service = State<Arc<Shared>>;

/// A job as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobWanted {
    /// Only if the file is still of this version; if left out, whatever it says.
    version: Option<String>,
    /// All of them: what is left out is no longer said. Keys that are not here stay as they are.
    settings: JobSettings,
}

/// A location as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LocationWanted {
    /// Only if the file is still of this version; if left out, whatever it says.
    version: Option<String>,
    /// One of the kinds.
    kind: String,
    /// By the ids of the kind's fields. Secrets that are left out stay as they are.
    fields: BTreeMap<String, String>,
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeKey {
    /// Put it in a safe place: nobody can restore backups without it.
    key: String,
}

/// A time zone as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeZoneWanted {
    /// Only if the file is still of this version; if left out, whatever it says.
    version: Option<String>,
    /// Its name, as `Europe/Berlin`; `null`: the system's.
    #[serde(deserialize_with = "Option::deserialize")]
    time_zone: Option<String>,
}

/// Who asks proves to be the owner.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KitWanted {
    /// The password of the page.
    password: String,
}

/// What was tried and worked.
#[derive(Serialize, ToSchema)]
pub(super) struct Tried {
    /// One sentence for each.
    pub(super) tried: Vec<String>,
}

/// The first mistake, and those besides.
pub(super) fn refused(wrong: impl Into<Vec<Invalid>>) -> Refusal {
    let mistake = |wrong: &Invalid| Mistake {
        error: match &wrong.field {
            Some(field) => format!("`{field}`: {}", wrong.failure.message),
            None => wrong.failure.message.clone(),
        },
        hint: wrong.failure.hint.clone(),
        field: wrong.field.clone(),
    };
    let wrong = wrong.into();
    let offer = wrong.first().and_then(|first| first.offer.clone());
    let mut mistakes = wrong.iter().map(mistake);
    let Some(Mistake { error, hint, field }) = mistakes.next() else { return Refusal::broken("It was not done.") };
    let refusal = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error);
    let about = About { field, offer, others: mistakes.collect() };
    Refusal { hint, about: Some(Box::new(about)), ..refusal }
}

pub(super) async fn change(shared: &Arc<Shared>, change: Change) -> Result<StatusCode, Refusal> {
    shared.ask(move |backend| backend.change(&change)).await?.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

fn location(wanted: LocationWanted, name: &str, is_new: bool) -> Filled {
    let fields = wanted.fields.into_iter().filter(|(_, text)| !text.is_empty());
    Filled {
        kind: wanted.kind,
        fields: fields.map(|(id, text)| (id, Zeroizing::new(text))).collect(),
        keeps: (!is_new).then(|| name.to_owned()),
    }
}

/// Jobs and locations, as the configuration file has them
#[utoipa::path(get, path = "/api/v1/settings", tag = "settings", responses((status = 200, body = Configured)))]
pub(super) async fn settings(State(shared): Service) -> Result<Json<Configured>, Refusal> {
    shared.configured().await.map(Json)
}

/// What a location, a channel or the MQTT broker can be, and what has to be known for it
#[utoipa::path(get, path = "/api/v1/kinds", tag = "settings", responses((status = 200, body = Vec<FormKind>)),
    params(("of" = Option<String>, Query, description = "`locations`, if not given; `channels` or `mqtt`")))]
pub(super) async fn kinds(State(shared): Service, asked: Asked) -> Result<Json<Vec<FormKind>>, Refusal> {
    let kinds = match asked.query.text("of") {
        "" | "locations" => shared.ask(|backend| backend.choices().kinds).await?,
        "channels" => shared.ask(<dyn Backend>::channel_kinds).await?,
        "mqtt" => vec![shared.ask(<dyn Backend>::broker_kind).await?],
        _ => return Err(Refusal::bad("`of` is none of locations, channels and mqtt.")),
    };
    Ok(Json(kinds))
}

/// Changes a job, or adds one
#[utoipa::path(put, path = "/api/v1/jobs/{name}", tag = "settings", request_body = JobWanted,
    responses((status = 204)), params(("name" = String, Path)))]
pub(super) async fn put_job(
    State(shared): Service,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<StatusCode, Refusal> {
    let JobWanted { version, settings } = body(&asked)?;
    let configured = shared.configured().await?;
    let before = configured.jobs.into_iter().find(|job| job.name == name).map(|job| job.settings);
    let is_new = before.is_none();
    permit_commands(&asked, settings.commands() != before.unwrap_or_default().commands())?;
    change(
        &shared,
        Change { version, what: What::Job { name, is_new, settings: Box::new(settings), encryption: None } },
    )
    .await
}

/// Makes a new encryption key for a job
///
/// Backups that are made from now on get it. The one before is kept for earlier ones.
#[utoipa::path(post, path = "/api/v1/jobs/{name}/key", tag = "settings", responses((status = 201, body = MadeKey)),
    params(("name" = String, Path)))]
pub(super) async fn new_key(
    State(shared): Service,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<MadeKey>), Refusal> {
    let configured = shared.configured().await?;
    let job = configured.jobs.into_iter().find(|job| job.name == name).ok_or_else(|| Refusal::not_found("job"))?;
    let encryption = Some(Encryption::NewKey);
    let what = What::Job { name, is_new: false, settings: Box::new(job.settings), encryption };
    let change = Change { version: Some(configured.version), what };
    let made = shared.ask(move |backend| backend.change(&change)).await?.map_err(refused)?;
    let key = made.ok_or_else(|| Refusal::broken("No key was made."))?.to_string();
    Ok((StatusCode::CREATED, Json(MadeKey { key })))
}

/// The emergency kit: all keys, and where backups are
#[utoipa::path(post, path = "/api/v1/emergency-kit", tag = "settings", request_body = KitWanted,
    responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn kit(State(shared): Service, asked: Asked) -> Result<Response, Refusal> {
    let KitWanted { password } = body(&asked)?;
    kit::allow(&shared, &asked, Zeroizing::new(password)).await?;
    kit::download(&shared, &asked).await
}

/// Removes a job; its backups stay
#[utoipa::path(delete, path = "/api/v1/jobs/{name}", tag = "settings", responses((status = 204)),
    params(("name" = String, Path)))]
pub(super) async fn remove_job(State(shared): Service, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    if shared.configured().await?.jobs.iter().all(|job| job.name != name) {
        return Err(Refusal::not_found("job"));
    }
    change(&shared, Change { version: None, what: What::RemoveJob { name } }).await
}

/// Changes a location, or adds one
#[utoipa::path(put, path = "/api/v1/destinations/{name}", tag = "settings", request_body = LocationWanted,
    responses((status = 204)), params(("name" = String, Path)))]
pub(super) async fn put_location(
    State(shared): Service,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<StatusCode, Refusal> {
    let mut wanted: LocationWanted = body(&asked)?;
    let version = wanted.version.take();
    let is_new = shared.configured().await?.locations.iter().all(|known| known.name != name);
    let location = location(wanted, &name, is_new);
    change(&shared, Change { version, what: What::Location { name, is_new, location } }).await
}

/// Says in which time zone all times are meant
#[utoipa::path(put, path = "/api/v1/time-zone", tag = "settings", request_body = TimeZoneWanted,
    responses((status = 204)))]
pub(super) async fn put_time_zone(State(shared): Service, asked: Asked) -> Result<StatusCode, Refusal> {
    let TimeZoneWanted { version, time_zone } = body(&asked)?;
    change(&shared, Change { version, what: What::TimeZone { name: time_zone } }).await
}

/// Removes a location, also from the jobs that use it; what is there stays
#[utoipa::path(delete, path = "/api/v1/destinations/{name}", tag = "settings", responses((status = 204)),
    params(("name" = String, Path)))]
pub(super) async fn remove_location(State(shared): Service, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    if shared.configured().await?.locations.iter().all(|known| known.name != name) {
        return Err(Refusal::not_found("location"));
    }
    change(&shared, Change { version: None, what: What::RemoveLocation { name } }).await
}

/// Begins a sign-in for a location whose kind needs one; if one waits already, it is that one
#[utoipa::path(post, path = "/api/v1/destinations/{name}/sign-in", tag = "settings", request_body = LocationWanted,
    responses((status = 200, body = SignIn)), params(("name" = String, Path)))]
pub(super) async fn sign_in(
    State(shared): Service,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<SignIn>, Refusal> {
    let wanted: LocationWanted = body(&asked)?;
    let is_new = shared.configured().await?.locations.iter().all(|known| known.name != name);
    let location = location(wanted, &name, is_new);
    shared.ask_slowly(move |backend, _| backend.sign_in(&location)).await?.map(Json).map_err(refused)
}

/// The sign-in that waits or has ended
#[utoipa::path(get, path = "/api/v1/sign-in", tag = "settings", responses((status = 200, body = SignIn)))]
pub(super) async fn signing_in(State(shared): Service) -> Result<Json<SignIn>, Refusal> {
    let found = shared.ask(<dyn Backend>::signing_in).await?;
    found.map(Json).ok_or_else(|| Refusal::not_found("sign-in"))
}

/// Cancels a sign-in, or forgets how it ended
#[utoipa::path(delete, path = "/api/v1/sign-in", tag = "settings", responses((status = 204)))]
pub(super) async fn end_sign_in(State(shared): Service) -> Result<StatusCode, Refusal> {
    shared.ask(<dyn Backend>::end_sign_in).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries a location, without saving anything
///
/// If the answer has an `offer`, it is what the `field` has to say next time, if you agree: the fingerprint of a host's
/// key that is not known yet.
#[utoipa::path(post, path = "/api/v1/destinations/{name}/try", tag = "settings", request_body = LocationWanted,
    responses((status = 200, body = Tried)), params(("name" = String, Path)))]
pub(super) async fn try_location(
    State(shared): Service,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<Tried>, Refusal> {
    let wanted: LocationWanted = body(&asked)?;
    let is_new = shared.configured().await?.locations.iter().all(|known| known.name != name);
    let location = location(wanted, &name, is_new);
    let tried =
        shared.ask_slowly(move |backend, cancel| backend.try_location(&location, cancel)).await?.map_err(refused)?;
    Ok(Json(Tried { tried }))
}
