//! `/api/v1`: everything the pages can do, for programs.

mod accounts;
mod archives;
mod channels;
mod openapi;
mod orders;
mod settings;
mod status;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use http::{StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use crate::{
    auth::Scope,
    refusal::{About, ErrorBody, Refusal},
    shared::{Asked, Shared, permit},
};

/// It will be done; `GET /api/v1/status` shows how far it is.
#[derive(Serialize, ToSchema)]
struct Accepted {
    /// Always `true`.
    accepted: bool,
}

pub(crate) fn routes() -> Router<Arc<Shared>> {
    let open = Router::new().route("/healthz", get(|| async { "ok\n" }));
    let read = Router::new()
        .route("/metrics", get(status::metrics))
        .route("/api/v1/openapi.json", get(openapi::document))
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/archives", get(archives::archives))
        .route("/api/v1/archives/{id}", get(archives::archive))
        .route("/api/v1/events", get(status::events))
        .route("/api/v1/runs", get(status::runs))
        .route("/api/v1/log", get(status::log))
        .route("/api/v1/stream", get(crate::stream::stream))
        .route_layer(from_fn(|asked: Asked, request, next| permitted(Scope::Read, asked, request, next)));
    let act = Router::new()
        .route("/api/v1/sync", post(orders::sync))
        .route("/api/v1/jobs/{name}/run", post(orders::run))
        .route("/api/v1/jobs/{name}/pause", post(orders::pause))
        .route("/api/v1/jobs/{name}/resume", post(orders::resume))
        .route("/api/v1/jobs/{name}/rehearse", post(orders::rehearse_newest))
        .route("/api/v1/runs/{id}/cancel", post(orders::cancel))
        .route("/api/v1/archives/{id}/verify", post(orders::verify))
        .route("/api/v1/archives/{id}/rehearse", post(orders::rehearse))
        .route("/api/v1/archives/{id}/pin", post(orders::pin))
        .route("/api/v1/archives/{id}/note", put(orders::note))
        .route_layer(from_fn(|asked: Asked, request, next| permitted(Scope::Act, asked, request, next)));
    let admin = Router::new()
        .route("/api/v1/archives/{id}/unpin", post(orders::unpin))
        .route("/api/v1/archives/{id}/delete", post(orders::delete))
        .route("/api/v1/archives/{id}/restore", post(orders::restore))
        .route("/api/v1/archives/{id}/restore-parts", post(orders::restore_parts))
        .route("/api/v1/archives/{id}/parts", get(archives::parts))
        .route("/api/v1/jobs/{name}/migrate", post(orders::migrate))
        .route("/api/v1/archives/{id}/contents", get(archives::contents))
        .route("/api/v1/archives/{id}/compare", get(archives::compare))
        .route("/api/v1/archives/{id}/download", get(archives::download))
        .route("/api/v1/archives/{id}/file", get(archives::file))
        .route("/api/v1/destinations/{name}/agree", post(orders::agree))
        .route("/api/v1/configuration", get(status::configuration))
        .route("/api/v1/settings", get(settings::settings))
        .route("/api/v1/time-zone", put(settings::put_time_zone))
        .route("/api/v1/kinds", get(settings::kinds))
        .route("/api/v1/jobs/{name}", put(settings::put_job).delete(settings::remove_job))
        .route("/api/v1/jobs/{name}/key", post(settings::new_key))
        .route("/api/v1/emergency-kit", post(settings::kit))
        .route("/api/v1/destinations/{name}", put(settings::put_location).delete(settings::remove_location))
        .route("/api/v1/channels/{name}", put(channels::put).delete(channels::remove))
        .route("/api/v1/channels/{name}/try", post(channels::try_out))
        .route("/api/v1/mqtt", put(channels::put_broker).delete(channels::remove_broker))
        .route("/api/v1/mqtt/try", post(channels::try_broker))
        .route("/api/v1/destinations/{name}/try", post(settings::try_location))
        .route("/api/v1/destinations/{name}/sign-in", post(settings::sign_in))
        .route("/api/v1/sign-in", get(settings::signing_in).delete(settings::end_sign_in))
        .route("/api/v1/tokens", get(accounts::tokens).post(accounts::add_token))
        .route("/api/v1/tokens/{name}", delete(accounts::revoke_token))
        .route("/api/v1/password", put(accounts::set_password))
        .route_layer(from_fn(|asked: Asked, request, next| permitted(Scope::Admin, asked, request, next)));
    open.merge(read).merge(act).merge(admin)
}

async fn permitted(needed: Scope, asked: Asked, request: Request, next: Next) -> Result<Response, Refusal> {
    permit(&asked, needed)?;
    Ok(next.run(request).await)
}

/// Says it as JSON.
pub(crate) fn refused(refusal: Refusal) -> Response {
    let Refusal { status, message: error, hint, about, .. } = refusal;
    let About { field, offer, others } = about.map(|about| *about).unwrap_or_default();
    (status, Json(ErrorBody { error, hint, field, offer, others })).into_response()
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(Accepted { accepted: true })).into_response()
}

/// What a body says; an empty one says nothing of what can be left out.
fn body<T: DeserializeOwned>(asked: &Asked) -> Result<T, Refusal> {
    let text = if asked.body.is_empty() { b"{}" } else { &asked.body[..] };
    serde_json::from_slice(text).map_err(|error| {
        Refusal::bad(format!("The request's body is not what is expected: {error}."))
            .hint("Send JSON as /api/v1/openapi.json describes it.")
    })
}

/// A number in the address, if it is there.
fn number<T: std::str::FromStr>(asked: &Asked, name: &str) -> Result<Option<T>, Refusal> {
    let parsed = asked.query.get(name).map(str::parse).transpose();
    parsed.map_err(|_| Refusal::bad(format!("`{name}` is not a whole number.")))
}

/// What a program has to say in its address.
fn required<'a>(asked: &'a Asked, name: &str) -> Result<&'a str, Refusal> {
    asked.query.get(name).ok_or_else(|| Refusal::bad(format!("`{name}` is missing in the address.")))
}

/// In Prometheus's text format.
fn plain(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
