//! Who is told when something changes, and the MQTT broker.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{
    body,
    settings::{Tried, change, refused},
};
use crate::{
    backend::{Change, ChannelSettings, ConfiguredChannel, Filled, What},
    refusal::Refusal,
    shared::{Asked, Shared, permit_commands},
};

type Service = State<Arc<Shared>>;

/// A channel as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelWanted {
    /// Only if the file is still of this version; if left out, whatever it says.
    version: Option<String>,
    /// One of the kinds.
    kind: String,
    /// By the ids of the kind's fields. Secrets that are left out stay as they are.
    fields: BTreeMap<String, String>,
    /// What it hears of: `nothing`, `errors`, `problems`, `backups` or `everything`; if left out, `problems`.
    on: Option<String>,
    /// Only of these jobs; if left out, of all.
    #[serde(default)]
    jobs: Vec<String>,
    /// What needs a look is told when it has lasted for so long; if left out, `1h`.
    after: Option<String>,
}

/// A broker as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BrokerWanted {
    /// Only if the file is still of this version; if left out, whatever it says.
    version: Option<String>,
    /// By the ids of the fields. Secrets that are left out stay as they are.
    fields: BTreeMap<String, String>,
}

fn filled(kind: String, fields: BTreeMap<String, String>, keeps: Option<String>) -> Filled {
    let fields = fields.into_iter().filter(|(_, text)| !text.is_empty());
    Filled { kind, fields: fields.map(|(id, text)| (id, Zeroizing::new(text))).collect(), keeps }
}

/// What is wanted, whether it is new, and of which version of the file.
async fn wanted(
    shared: &Arc<Shared>,
    asked: &Asked,
    name: &str,
) -> Result<(ChannelSettings, bool, Option<String>), Refusal> {
    let ChannelWanted { version, kind, fields, on, jobs, after } = body(asked)?;
    permit_commands(asked, kind == ChannelSettings::COMMAND)?;
    let before = shared.configured().await?.channels.into_iter().find(|known| known.name == name);
    permit_commands(asked, before.as_ref().is_some_and(ConfiguredChannel::is_command))?;
    let is_known = before.is_some();
    let way = filled(kind, fields, is_known.then(|| name.to_owned()));
    Ok((ChannelSettings { way, on, jobs, after }, !is_known, version))
}

async fn wanted_broker(shared: &Arc<Shared>, asked: &Asked) -> Result<(Filled, Option<String>), Refusal> {
    let BrokerWanted { version, fields } = body(asked)?;
    let keeps = shared.configured().await?.mqtt.map(|_| Filled::BROKER.to_owned());
    Ok((filled(Filled::BROKER.to_owned(), fields, keeps), version))
}

/// Changes a channel by which somebody is told, or adds one
#[utoipa::path(put, path = "/api/v1/channels/{name}", tag = "settings", operation_id = "put_channel",
    request_body = ChannelWanted, responses((status = 204)), params(("name" = String, Path)))]
pub(super) async fn put(State(shared): Service, Path(name): Path<String>, asked: Asked) -> Result<StatusCode, Refusal> {
    let (settings, is_new, version) = wanted(&shared, &asked, &name).await?;
    change(&shared, Change { version, what: What::Channel { name, is_new, settings: Box::new(settings) } }).await
}

/// Removes a channel: nobody is told by it any more
#[utoipa::path(delete, path = "/api/v1/channels/{name}", tag = "settings", operation_id = "remove_channel",
    responses((status = 204)), params(("name" = String, Path)))]
pub(super) async fn remove(
    State(shared): Service,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<StatusCode, Refusal> {
    let before = shared.configured().await?.channels.into_iter().find(|known| known.name == name);
    permit_commands(&asked, before.ok_or_else(|| Refusal::not_found("channel"))?.is_command())?;
    change(&shared, Change { version: None, what: What::RemoveChannel { name } }).await
}

/// Sends a test message by a channel, without saving anything
#[utoipa::path(post, path = "/api/v1/channels/{name}/try", tag = "settings", operation_id = "try_channel",
    request_body = ChannelWanted, responses((status = 200, body = Tried)), params(("name" = String, Path)))]
pub(super) async fn try_out(
    State(shared): Service,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<Tried>, Refusal> {
    let (settings, ..) = wanted(&shared, &asked, &name).await?;
    let tried = shared.ask_slowly(move |backend, cancel| backend.try_channel(&settings, cancel)).await?;
    Ok(Json(Tried { tried: tried.map_err(refused)? }))
}

/// Changes the MQTT broker by which Home Assistant learns of backups, or names one
#[utoipa::path(put, path = "/api/v1/mqtt", tag = "settings", request_body = BrokerWanted, responses((status = 204)))]
pub(super) async fn put_broker(State(shared): Service, asked: Asked) -> Result<StatusCode, Refusal> {
    let (broker, version) = wanted_broker(&shared, &asked).await?;
    change(&shared, Change { version, what: What::Broker { broker } }).await
}

/// Home Assistant no longer learns of backups, and forgets their entities
#[utoipa::path(delete, path = "/api/v1/mqtt", tag = "settings", responses((status = 204)))]
pub(super) async fn remove_broker(State(shared): Service) -> Result<StatusCode, Refusal> {
    if shared.configured().await?.mqtt.is_none() {
        return Err(Refusal::not_found("broker"));
    }
    change(&shared, Change { version: None, what: What::RemoveBroker }).await
}

/// Connects to an MQTT broker, without saving anything
#[utoipa::path(post, path = "/api/v1/mqtt/try", tag = "settings", request_body = BrokerWanted,
    responses((status = 200, body = Tried)))]
pub(super) async fn try_broker(State(shared): Service, asked: Asked) -> Result<Json<Tried>, Refusal> {
    let (broker, _) = wanted_broker(&shared, &asked).await?;
    let tried = shared.ask_slowly(move |backend, cancel| backend.try_broker(&broker, cancel)).await?;
    Ok(Json(Tried { tried: tried.map_err(refused)? }))
}
