//! What every request goes through: faults that a test has set, Supervisor's state, the token and its rights, the call,
//! and what an answer is wrapped in.

use std::io;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::{IntoResponse, Response},
    routing::any,
};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Map, Value, json};

use super::{
    answer::{Answer, plain, refused, refused_with, wrapped},
    backups::{self, Begun},
    core_proxy, mounts, restore,
    world::{Fault, Role, Shared, TOKEN, World, lock},
};

pub(super) fn router(world: Shared) -> Router {
    Router::new()
        .route("/core/websocket", any(core_proxy::socket))
        .fallback(any(serve))
        .layer(axum::extract::DefaultBodyLimit::max(16 << 20))
        .with_state(world)
}

async fn serve(State(world): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    let parsed = if body.is_empty() { Ok(json!({})) } else { serde_json::from_slice::<Value>(&body) };
    let fault = {
        let mut world = lock(&world);
        world.note(method.as_str(), &path, parsed.as_ref().unwrap_or(&Value::Null));
        world.next_fault(method.as_str(), &path)
    };
    match &fault {
        Some(Fault::Silent) => std::future::pending().await,
        Some(Fault::Says(status, body)) => {
            return (StatusCode::from_u16(*status).unwrap(), [("content-type", "application/json")], body.clone())
                .into_response();
        }
        Some(Fault::Endless) => {
            let piece = || Ok::<_, io::Error>(Bytes::from_static(&[b' '; 1 << 13]));
            return Body::from_stream(futures_util::stream::repeat_with(piece)).into_response();
        }
        _ => {}
    }
    let (status, answer) = match carry_out(&world, &method, &path, &headers, parsed).await {
        Ok(answer) => answer,
        Err(response) => return response,
    };
    let cut = match fault {
        Some(Fault::Unanswered) => 0,
        Some(Fault::Short) => answer.len() / 2,
        Some(Fault::Late(late)) => {
            tokio::time::sleep(late).await;
            answer.len()
        }
        _ => answer.len(),
    };
    let response = Response::builder().status(status).header("content-type", "application/json; charset=utf-8");
    if cut == answer.len() {
        return response.body(Body::from(answer)).unwrap();
    }
    // The stream's error breaks the connection before the promised length.
    let broken = Err(io::Error::other("the connection breaks"));
    let pieces = [Ok(Bytes::copy_from_slice(&answer.as_bytes()[..cut])), broken];
    let pieces = futures_util::stream::iter(pieces.into_iter().skip(usize::from(cut == 0)));
    let response = response.header("content-length", answer.len());
    response.body(Body::from_stream(pieces)).unwrap()
}

/// The answer, or what the web server says instead.
async fn carry_out(
    world: &Shared,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: Result<Value, serde_json::Error>,
) -> Result<(u16, String), Response> {
    {
        let world = lock(world);
        if !matches!(world.state, "startup" | "running" | "freeze") {
            let words = format!("System is not ready with state: {}", world.state);
            return Ok(wrapped(Err(refused(400, words))));
        }
        admitted(&world, path, headers).map_err(|(status, words)| plain(status, words))?;
    }
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let Some(call) = call(method, &segments) else { return Err(plain(404, "404: Not Found")) };
    let answer = match body {
        Ok(Value::Object(body)) => answer(world, call, &body).await,
        _ => Err(refused(400, "Invalid json".to_owned())),
    };
    Ok(wrapped(answer))
}

/// Whether the token may do that.
fn admitted(world: &World, path: &str, headers: &HeaderMap) -> Result<(), (u16, &'static str)> {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(token) = token.rsplit(' ').next().filter(|token| !token.is_empty()) else {
        return Err((401, "401: Unauthorized"));
    };
    let own = path.strip_prefix("/addons/self/");
    let is_open = path == "/info"
        || path == "/auth"
        || path.starts_with("/services")
        || path.starts_with("/discovery")
        || own.is_some_and(|rest| !rest.contains('/') && !rest.starts_with("security") && !rest.starts_with("update"));
    let is_info = path.ends_with("/info") && path != "/info";
    let is_below = |paths: &[&str]| paths.iter().any(|allowed| path.starts_with(allowed));
    let has_role = match world.role {
        Role::Admin => true,
        Role::Default => is_info,
        Role::Homeassistant => is_info || is_below(&["/core/", "/homeassistant/"]),
        Role::Backup => is_info || is_below(&["/backups"]),
        Role::Manager => {
            let is_security = path.starts_with("/addons/") && path.ends_with("/security");
            is_info
                || (!is_security
                    && is_below(&[
                        "/addons",
                        "/backups",
                        "/core/",
                        "/host/",
                        "/jobs/",
                        "/mounts",
                        "/network/",
                        "/supervisor/",
                    ]))
        }
    };
    if token == TOKEN && (is_open || world.hassio_api && has_role) {
        return Ok(());
    }
    Err((403, "403: Forbidden"))
}

/// What it can be asked.
#[derive(Clone, Copy)]
enum Call<'a> {
    Info,
    Apps,
    App(&'a str),
    Backups,
    BackupsInfo,
    Backup(&'a str),
    NewBackup { is_full: bool },
    Restore { slug: &'a str, is_full: bool },
    DeleteBackup(&'a str),
    ReloadBackups,
    Jobs,
    Job(&'a str),
    ForgetJob(&'a str),
    Mounts,
    CreateMount,
    MountOptions,
    UpdateMount(&'a str),
    DeleteMount(&'a str),
    ReloadMount(&'a str),
    Service(&'a str),
}

fn call<'a>(method: &Method, path: &[&'a str]) -> Option<Call<'a>> {
    Some(match (method.as_str(), path) {
        ("GET", ["info"]) => Call::Info,
        ("GET", ["addons"]) => Call::Apps,
        ("GET", ["addons", app, "info"]) => Call::App(app),
        ("GET", ["backups"]) => Call::Backups,
        ("GET", ["backups", "info"]) => Call::BackupsInfo,
        ("GET", ["backups", slug, "info"]) => Call::Backup(slug),
        ("POST", ["backups", "new", "full"]) => Call::NewBackup { is_full: true },
        ("POST", ["backups", "new", "partial"]) => Call::NewBackup { is_full: false },
        ("POST", ["backups", "reload"]) => Call::ReloadBackups,
        ("POST", ["backups", slug, "restore", "full"]) => Call::Restore { slug, is_full: true },
        ("POST", ["backups", slug, "restore", "partial"]) => Call::Restore { slug, is_full: false },
        ("DELETE", ["backups", slug]) => Call::DeleteBackup(slug),
        ("GET", ["jobs", "info"]) => Call::Jobs,
        ("GET", ["jobs", uuid]) => Call::Job(uuid),
        ("DELETE", ["jobs", uuid]) => Call::ForgetJob(uuid),
        ("GET", ["mounts"]) => Call::Mounts,
        ("POST", ["mounts"]) => Call::CreateMount,
        ("POST", ["mounts", "options"]) => Call::MountOptions,
        ("PUT", ["mounts", name]) => Call::UpdateMount(name),
        ("DELETE", ["mounts", name]) => Call::DeleteMount(name),
        ("POST", ["mounts", name, "reload"]) => Call::ReloadMount(name),
        ("GET", ["services", service]) => Call::Service(service),
        _ => return None,
    })
}

async fn answer(shared: &Shared, call: Call<'_>, body: &Map<String, Value>) -> Answer {
    match call {
        Call::NewBackup { is_full } => finish(backups::begin(shared, is_full, body)?, "while making backup").await,
        Call::Restore { slug, is_full } => {
            finish(restore::begin(shared, slug, is_full, body)?, &format!("during restore of {slug}")).await
        }
        call => at_once(&mut lock(shared), call, body),
    }
}

fn at_once(world: &mut World, call: Call<'_>, body: &Map<String, Value>) -> Answer {
    match call {
        Call::Info => Ok(json!({
            "supervisor": world.version, "homeassistant": world.core_version, "hassos": "17.4", "docker": "29.1.2",
            "hostname": "homeassistant", "operating_system": "Home Assistant OS 17.4", "features": world.features,
            "machine": "green", "machine_id": "b2ad3c", "arch": "aarch64", "state": world.state,
            "supported_arch": ["aarch64"], "supported": true, "channel": "stable", "logging": "info",
            "timezone": "Europe/Berlin",
        })),
        Call::Apps => Ok(json!({ "addons": world.apps })),
        Call::App("self") => Ok(world.own.clone()),
        Call::App(slug) => {
            let app = world.apps.iter().find(|app| app["slug"] == slug).cloned();
            app.ok_or_else(|| refused(404, format!("App {slug} does not exist")))
        }
        Call::Backups => Ok(json!({ "backups": backups::list(world) })),
        Call::BackupsInfo => Ok(json!({ "backups": backups::list(world), "days_until_stale": 30 })),
        Call::Backup(slug) => backups::info(world, slug),
        Call::DeleteBackup(slug) => backups::delete(world, slug, body),
        Call::ReloadBackups => {
            backups::reload(world);
            Ok(Value::Null)
        }
        Call::Jobs => Ok(json!({ "ignore_conditions": [], "jobs": world.job_tree() })),
        Call::Job(uuid) => world.job_json(uuid).ok_or_else(|| refused(404, "Job does not exist".to_owned())),
        Call::ForgetJob(uuid) => match world.job(uuid).map(|job| job.done) {
            None => Err(refused(404, "Job does not exist".to_owned())),
            Some(Some(true)) => {
                world.forget(uuid);
                Ok(Value::Null)
            }
            Some(_) => Err(refused(400, format!("Job {uuid} is not done!"))),
        },
        Call::Mounts => Ok(mounts::list(world)),
        Call::CreateMount => mounts::create(world, body),
        Call::MountOptions => mounts::options(world, body),
        Call::UpdateMount(name) => mounts::update(world, name, body),
        Call::DeleteMount(name) => mounts::delete(world, name),
        Call::ReloadMount(name) => mounts::reload(world, name),
        Call::Service("mqtt") if !world.wants_mqtt => Err(refused(403, "No access to mqtt service!".to_owned())),
        Call::Service("mqtt") => world.mqtt.clone().ok_or_else(|| refused(400, "Service not enabled".to_owned())),
        Call::Service(_) => Err(refused(404, "Service does not exist".to_owned())),
        Call::NewBackup { .. } | Call::Restore { .. } => Ok(Value::Null),
    }
}

/// Answers at once, or when the work has ended.
async fn finish(begun: Begun, doing: &str) -> Answer {
    let Begun { job, slug, thread, in_background } = begun;
    if in_background {
        return Ok(json!({ "job_id": job }));
    }
    let is_done = tokio::task::spawn_blocking(move || thread.join().unwrap_or(false)).await.unwrap_or(false);
    if is_done {
        return Ok(slug.map_or_else(|| json!({ "job_id": job }), |slug| json!({ "job_id": job, "slug": slug })));
    }
    let words = format!("An error occurred {doing}, check job '{job}' or supervisor logs for details");
    Err(refused_with(400, words, &json!({ "job_id": job })))
}
