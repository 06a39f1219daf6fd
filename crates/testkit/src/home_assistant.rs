//! A Home Assistant as seen from outside, in this process: it answers the requests of the crate `homeassistant` as the
//! real one does. Tests can change its answers between two requests, as a restart does. What only a Supervisor answers
//! comes from reading its source.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "for tests only: what fails here fails a test")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

/// The one token that is known.
pub const TOKEN: &str = "a-token.that-is.known";

/// What it says at the moment.
#[derive(Clone, Debug)]
pub struct Mind {
    /// Its version.
    pub version: &'static str,
    /// How it was installed.
    pub installation: &'static str,
    /// `None` when the first page is over.
    pub user_made: Option<bool>,
    /// What its backup manager says; null when there is none.
    pub info: Value,
    /// How a restore is answered.
    pub restore: (u16, Value),
    /// Whether restoring brings users: then its first page is over, and its token unknown.
    pub restores_users: bool,
    /// Whether it starts with its core alone, as in recovery mode.
    pub in_recovery: bool,
    /// Whether its WebSocket can be reached.
    pub has_socket: bool,
    /// How long it reads in what it got before it lists it.
    pub reads_for: Duration,
    /// Free space on its disk in GiB, as its Supervisor reports it; without one there is no answer.
    pub disk_free: Option<f64>,
    /// What was uploaded, and under which headers.
    pub uploads: Vec<(HeaderMap, Vec<u8>)>,
    /// So many looks find it down, as during a restart.
    pub down: u32,
    /// The requested restore.
    pub restores: Vec<Value>,
}

impl Default for Mind {
    fn default() -> Self {
        Self {
            version: "2026.11.0",
            installation: "Home Assistant OS",
            user_made: Some(false),
            info: json!({ "backups": [], "state": "idle", "last_action_event": null }),
            restore: (200, Value::Null),
            restores_users: false,
            in_recovery: false,
            has_socket: true,
            reads_for: Duration::ZERO,
            disk_free: None,
            uploads: Vec::new(),
            down: 0,
            restores: Vec::new(),
        }
    }
}

/// One that runs; ends when dropped.
pub struct Fake {
    /// Where it listens.
    pub address: SocketAddr,
    mind: Arc<Mutex<Mind>>,
    runtime: Option<Runtime>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

type Shared = Arc<Mutex<Mind>>;

impl Fake {
    /// Starts one.
    pub fn start(mind: Mind) -> Self {
        Self::start_at(0, mind)
    }

    /// Starts one at this port.
    pub fn start_at(port: u16, mind: Mind) -> Self {
        let mind = Arc::new(Mutex::new(mind));
        let router = Router::new()
            .route("/api/onboarding", get(onboarding))
            .route("/api/onboarding/installation_type", get(installation))
            .route("/api/onboarding/backup/info", get(info))
            .route("/api/onboarding/backup/upload", post(upload))
            .route("/api/onboarding/backup/restore", post(restore))
            .route("/api/backup/upload", post(upload))
            .route("/api/websocket", any(socket))
            .route("/auth/providers", get(providers))
            .route("/api/image/upload", get(images))
            .fallback(|| async { plain(404, "404: Not Found") })
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(Arc::clone(&mind));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(TcpListener::from_std(listener).unwrap(), router).await });
        Self { address, mind, runtime: Some(runtime) }
    }

    /// Its address as people write it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes what it says.
    pub fn think(&self, change: impl FnOnce(&mut Mind)) {
        change(&mut self.mind.lock().unwrap());
    }

    /// What it thinks now.
    pub fn mind(&self) -> Mind {
        self.mind.lock().unwrap().clone()
    }
}

/// As the real one answers: with its guard headers.
fn answer(status: u16, kind: &'static str, body: String) -> Response {
    let headers = [
        ("content-type", kind),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("server", ""),
    ];
    (StatusCode::from_u16(status).unwrap(), headers, body).into_response()
}

fn plain(status: u16, body: &str) -> Response {
    answer(status, "text/plain; charset=utf-8", body.to_owned())
}

fn json(status: u16, value: &Value) -> Response {
    answer(status, "application/json", value.to_string())
}

async fn onboarding(State(mind): State<Shared>) -> Response {
    let mut mind = mind.lock().unwrap();
    if mind.down > 0 {
        mind.down -= 1;
        // What a proxy says then.
        return (StatusCode::BAD_GATEWAY, "502 Bad Gateway").into_response();
    }
    match mind.user_made {
        Some(done) => json(200, &json!([{ "step": "user", "done": done }, { "step": "core_config", "done": false }])),
        None => plain(404, "404: Not Found"),
    }
}

async fn providers(State(mind): State<Shared>) -> Response {
    match mind.lock().unwrap().user_made {
        Some(false) => json(400, &json!({ "message": "Onboarding not finished", "code": "onboarding_required" })),
        _ => json(
            200,
            &json!({ "providers": [{ "name": "Home Assistant Local", "id": null, "type": "homeassistant" }], "preselect_remember_me": false }),
        ),
    }
}

/// Where every start but one in recovery mode takes images.
async fn images(State(mind): State<Shared>) -> Response {
    if mind.lock().unwrap().in_recovery { plain(404, "404: Not Found") } else { plain(405, "405: Method Not Allowed") }
}

/// The refusal of whatever is only for the first page, unless that is what it shows.
fn closed(mind: &Mind) -> Option<Response> {
    match mind.user_made {
        Some(false) => None,
        Some(true) => Some(plain(401, "401: Unauthorized")),
        None => Some(plain(404, "404: Not Found")),
    }
}

async fn installation(State(mind): State<Shared>) -> Response {
    let mind = mind.lock().unwrap();
    closed(&mind).unwrap_or_else(|| json(200, &json!({ "installation_type": mind.installation })))
}

async fn info(State(mind): State<Shared>) -> Response {
    let mind = mind.lock().unwrap();
    if mind.info.is_null() {
        return plain(404, "404: Not Found");
    }
    closed(&mind).unwrap_or_else(|| json(200, &mind.info))
}

async fn upload(State(mind): State<Shared>, uri: http::Uri, headers: HeaderMap, body: Bytes) -> Response {
    let reads_for = {
        let mut mind = mind.lock().unwrap();
        if uri.path().starts_with("/api/backup") {
            if headers.get("authorization").is_none_or(|value| value != format!("Bearer {TOKEN}").as_str()) {
                return plain(401, "401: Unauthorized");
            }
        } else if let Some(refusal) = closed(&mind) {
            return refusal;
        }
        mind.uploads.push((headers, body.to_vec()));
        mind.info["state"] = json!("receive_backup");
        mind.reads_for
    };
    // The client may stop waiting for the answer; the work continues.
    let read = tokio::spawn(async move {
        tokio::time::sleep(reads_for).await;
        let mut mind = mind.lock().unwrap();
        mind.info["state"] = json!("idle");
        let Some(backup) = backup(&body) else { return json!("1a2b3c4d") };
        let id = backup["backup_id"].clone();
        if let Some(backups) = mind.info["backups"].as_array_mut() {
            backups.push(backup);
        }
        id
    });
    json(201, &json!({ "backup_id": read.await.unwrap() }))
}

/// The archive in a form, as Home Assistant lists it; `None` for what does not begin as one.
fn backup(form: &[u8]) -> Option<Value> {
    let begin = form.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let end = form.windows(4).rposition(|four| four == b"\r\n--")?;
    let archive = form.get(begin..end)?;
    let json: Value = serde_json::from_slice(first_member(archive)?).ok()?;
    let kept = json!({ "hassio.local": { "protected": json["protected"], "size": archive.len() } });
    Some(json!({ "backup_id": json["slug"], "name": json["name"], "date": json["date"], "agents": kept }))
}

/// The content of a tar's first member, whatever PAX header precedes it.
fn first_member(mut tar: &[u8]) -> Option<&[u8]> {
    const BLOCK: usize = 512;
    loop {
        let length = usize::from_str_radix(std::str::from_utf8(tar.get(124..135)?).ok()?, 8).ok()?;
        if *tar.get(156)? != b'x' {
            return tar.get(BLOCK..BLOCK + length);
        }
        tar = tar.get(BLOCK + length.next_multiple_of(BLOCK)..)?;
    }
}

fn restored(mind: &mut Mind) {
    if mind.restores_users && mind.restore.0 == 200 {
        mind.user_made = None;
        mind.down = 2;
    }
}

async fn restore(State(mind): State<Shared>, body: Bytes) -> Response {
    let mut mind = mind.lock().unwrap();
    mind.restores.push(serde_json::from_slice(&body).unwrap());
    restored(&mut mind);
    let (status, value) = mind.restore.clone();
    if value.is_null() { plain(status, "") } else { json(status, &value) }
}

async fn socket(State(mind): State<Shared>, mut request: Request) -> Response {
    if !mind.lock().unwrap().has_socket {
        // The rest of the request behind a proxy that drops the upgrade.
        return plain(400, "No WebSocket UPGRADE hdr: None\n Can \"Upgrade\" only to \"WebSocket\".");
    }
    let key = request.headers().get("sec-websocket-key").unwrap().to_str().unwrap().to_owned();
    let accept =
        STANDARD.encode(Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(connection) = upgrade.await else { return };
        let mut stream = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, None).await;
        let version = mind.lock().unwrap().version;
        let _ = stream.send(Message::text(json!({ "type": "auth_required", "ha_version": version }).to_string())).await;
        while let Some(Ok(Message::Text(text))) = stream.next().await {
            for reply in reply(&mind, &serde_json::from_str(&text).unwrap()) {
                if reply.is_null() {
                    return;
                }
                let _ = stream.send(Message::text(reply.to_string())).await;
            }
        }
    });
    let headers = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", accept.as_str())];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// The answer to a message; null ends the connection.
fn reply(mind: &Shared, message: &Value) -> Vec<Value> {
    let mut mind = mind.lock().unwrap();
    let id = &message["id"];
    let done = |result: Value| vec![json!({ "id": id, "type": "result", "success": true, "result": result })];
    match message["type"].as_str().unwrap() {
        "auth" if message["access_token"] == TOKEN && (!mind.restores_users || mind.restores.is_empty()) => {
            vec![json!({ "type": "auth_ok", "ha_version": mind.version })]
        }
        "auth" => vec![json!({ "type": "auth_invalid", "message": "Invalid access token or password" }), Value::Null],
        "backup/info" => done(mind.info.clone()),
        "supervisor/api" if message["endpoint"] == "/host/info" && mind.disk_free.is_some() => {
            done(json!({ "hostname": "homeassistant", "disk_free": mind.disk_free, "disk_total": 28.5 }))
        }
        "backup/agents/info" => {
            done(json!({ "agents": [{ "agent_id": "hassio.local", "name": "local" }, { "agent_id": "cloud.cloud" }] }))
        }
        "backup/subscribe_events" => {
            let mut replies = vec![json!({ "id": id, "type": "event", "event": { "manager_state": "idle" } })];
            replies.extend(done(Value::Null));
            replies
        }
        "backup/restore" => {
            mind.restores.push(message.clone());
            restored(&mut mind);
            match mind.restore.0 {
                200 => vec![Value::Null],
                _ => vec![json!({ "id": id, "type": "result", "success": false, "error": mind.restore.1 })],
            }
        }
        _ => vec![
            json!({ "id": id, "type": "result", "success": false, "error": { "code": "unknown_command", "message": "Unknown command." } }),
        ],
    }
}
