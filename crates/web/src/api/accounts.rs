//! Tokens and the password.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::body;
use crate::{
    auth::{Scope, TokenInfo},
    refusal::Refusal,
    shared::{Asked, Shared},
};

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// A name to recognise it by.
    name: String,
    /// What it permits.
    scope: Scope,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeToken {
    /// What to send. It is not shown again.
    token: String,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// At least 8 characters.
    password: String,
}

/// All tokens, without their secrets
#[utoipa::path(get, path = "/api/v1/tokens", tag = "settings", responses((status = 200, body = Vec<TokenInfo>)))]
pub(super) async fn tokens(State(shared): State<Arc<Shared>>) -> Json<Vec<TokenInfo>> {
    Json(shared.accounts.tokens())
}

/// Makes a token
#[utoipa::path(post, path = "/api/v1/tokens", tag = "settings", request_body = NewToken,
    responses((status = 201, body = MadeToken)))]
pub(super) async fn add_token(State(shared): State<Arc<Shared>>, asked: Asked) -> Result<Response, Refusal> {
    let NewToken { name, scope } = body(&asked)?;
    let token = shared.accounts.add_token(&name, scope, jiff::Timestamp::now())?.to_string();
    Ok((StatusCode::CREATED, Json(MadeToken { token })).into_response())
}

/// Revokes a token
#[utoipa::path(delete, path = "/api/v1/tokens/{name}", tag = "settings", responses((status = 204)),
    params(("name" = String, Path)))]
pub(super) async fn revoke_token(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    if shared.accounts.revoke_token(&name)? { Ok(StatusCode::NO_CONTENT) } else { Err(Refusal::not_found("token")) }
}

/// Sets the password and ends every session
#[utoipa::path(put, path = "/api/v1/password", tag = "settings", request_body = NewPassword,
    responses((status = 204)))]
pub(super) async fn set_password(State(shared): State<Arc<Shared>>, asked: Asked) -> Result<StatusCode, Refusal> {
    let password = Zeroizing::new(body::<NewPassword>(&asked)?.password);
    shared.hashed(move |accounts| accounts.set_password(&password)).await??;
    Ok(StatusCode::NO_CONTENT)
}
