//! Core behind its proxy: the WebSocket.

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use super::{
    answer::plain,
    world::{Fault, Shared, TOKEN, World, lock},
};

/// Apps must not send these, since 2026.08.
const DENIED: [&str; 2] = ["supervisor/", "hassio/"];

pub(super) async fn socket(State(world): State<Shared>, mut request: Request) -> Response {
    let fault = lock(&world).next_fault("GET", "/core/websocket");
    if let Some(Fault::Says(status, body)) = &fault {
        return plain(*status, body);
    }
    if matches!(fault, Some(Fault::Silent)) {
        return std::future::pending().await;
    }
    if !lock(&world).core_answers {
        return plain(502, "502: Bad Gateway");
    }
    let Some(key) = request.headers().get("sec-websocket-key").and_then(|key| key.to_str().ok()) else {
        return plain(400, "No WebSocket UPGRADE hdr: None\n Can \"Upgrade\" only to \"WebSocket\".");
    };
    let accept =
        STANDARD.encode(Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(connection) = upgrade.await else { return };
        let mut stream = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, None).await;
        let version = lock(&world).core_version;
        let mut is_known = false;
        let _ = stream.send(Message::text(json!({ "type": "auth_required", "ha_version": version }).to_string())).await;
        while let Some(Ok(Message::Text(text))) = stream.next().await {
            let message: Value = serde_json::from_str(&text).unwrap_or_default();
            let command = message["type"].as_str().unwrap_or_default();
            let fault = if is_known { lock(&world).next_fault("WS", command) } else { None };
            match fault {
                None => {}
                Some(Fault::Silent) => return std::future::pending().await,
                Some(Fault::Unanswered | Fault::Short) => return,
                Some(Fault::Late(late)) => tokio::time::sleep(late).await,
                Some(Fault::Says(_, text)) => {
                    let _ = stream.send(Message::text(text)).await;
                    continue;
                }
                // One message without an end that anybody would wait for.
                Some(Fault::Endless) => {
                    let _ = stream.send(Message::text(" ".repeat(8 << 20))).await;
                    continue;
                }
            }
            let answer =
                if is_known { reply(&world, &message) } else { Some(sign_in(&lock(&world), &message, &mut is_known)) };
            let Some(answer) = answer else { return };
            let _ = stream.send(Message::text(answer.to_string())).await;
            if !is_known {
                let _ = stream.close(None).await;
                return;
            }
        }
    });
    let headers = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", accept.as_str())];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Supervisor answers the first message itself: Core gets a token of Supervisor's.
fn sign_in(world: &World, message: &Value, is_known: &mut bool) -> Value {
    *is_known = message["access_token"] == TOKEN && world.homeassistant_api;
    if *is_known {
        json!({ "type": "auth_ok", "ha_version": world.core_version })
    } else {
        json!({ "type": "auth_invalid", "message": "Invalid access" })
    }
}

/// The answer to a command; none ends the connection.
fn reply(world: &Shared, message: &Value) -> Option<Value> {
    let mut world = lock(world);
    if !world.core_answers {
        return None;
    }
    let id = &message["id"];
    let kind = message["type"].as_str().unwrap_or_default();
    let refusal = |code: &str, message: &str| {
        let error = json!({ "code": code, "message": message });
        Some(json!({ "id": id, "type": "result", "success": false, "error": error }))
    };
    let done = |result: Value| Some(json!({ "id": id, "type": "result", "success": true, "result": result }));
    if world.is_since([2026, 8, 0]) && DENIED.iter().any(|denied| kind.starts_with(denied)) {
        return refusal("unauthorized", "Unauthorized");
    }
    world.note("WS", kind, message);
    match kind {
        "config/auth/list" => done(world.users.clone()),
        "backup/config/info" => done(json!({ "config": world.backup_config })),
        "call_service" => match act(&mut world, message) {
            Ok(()) => done(json!({ "context": { "id": "01KB7", "parent_id": null, "user_id": "0ee5" } })),
            Err((code, words)) => refusal(code, &words),
        },
        _ => refusal("unknown_command", "Unknown command."),
    }
}

/// Performs an action, if there is one of this name and its data is complete.
fn act(world: &mut World, message: &Value) -> Result<(), (&'static str, String)> {
    let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
    let (domain, service, data) = (text(&message["domain"]), text(&message["service"]), &message["service_data"]);
    let keys: &[(&str, bool)] = match (domain.as_str(), service.as_str()) {
        ("persistent_notification", "create") => &[("message", true), ("title", false), ("notification_id", false)],
        ("persistent_notification", "dismiss") => &[("notification_id", true)],
        ("notify", "mobile_app_phone") => &[("message", true), ("title", false), ("target", false), ("data", false)],
        _ => return Err(("not_found", format!("Service {domain}.{service} not found."))),
    };
    let given = data.as_object().cloned().unwrap_or_default();
    if let Some(extra) = given.keys().find(|key| keys.iter().all(|(known, _)| known != key)) {
        return Err(("invalid_format", format!("not a valid option at '{extra}'")));
    }
    if let Some((missing, _)) = keys.iter().find(|(key, is_required)| *is_required && !given.contains_key(*key)) {
        return Err(("invalid_format", format!("required key not provided @ data['{missing}']. Got None")));
    }
    let id = text(&data["notification_id"]);
    match service.as_str() {
        "create" => drop(world.notifications.insert(id, (text(&data["title"]), text(&data["message"])))),
        "dismiss" => drop(world.notifications.remove(&id)),
        _ => world.messages.push((text(&data["title"]), text(&data["message"]))),
    }
    Ok(())
}
