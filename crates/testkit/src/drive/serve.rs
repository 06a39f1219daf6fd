//! Connections, and the steps of every request: what it asks for, which fault it meets, whether its token is valid, the
//! answer.

use std::{collections::HashMap, io, net::TcpListener, sync::Arc, time::Instant};

use axum::{body::Body, extract::Query};
use futures_util::StreamExt;
use http::{HeaderMap, Method, Request, Response, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{runtime::Builder, sync::oneshot};

use super::{
    Shared, files, lock, oauth,
    reply::{Asked, Reply, refusal},
    script::{Call, Fault},
    upload,
    world::{Seen, World},
};

pub(super) fn serve(listener: TcpListener, world: &Shared, mut stopped: oneshot::Receiver<()>) {
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(listener) = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener))
        else {
            return;
        };
        loop {
            let stream = tokio::select! {
                _ = &mut stopped => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = stream else { continue };
            let world = Arc::clone(world);
            let service = service_fn(move |request| {
                let world = Arc::clone(&world);
                async move { answer(request, &world).await }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
}

/// An error drops the connection without an answer.
async fn answer(request: Request<Incoming>, world: &Shared) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let query = Query::<HashMap<String, String>>::try_from_uri(&head.uri).map(|query| query.0).unwrap_or_default();
    let Some(call) = call_of(&head.method, head.uri.path(), &query, &head.headers) else {
        return respond(refusal(404, "notFound", "Not Found"));
    };
    let fault = lock(world).script.get_mut(&call).and_then(std::collections::VecDeque::pop_front);
    let most = if let Some(Fault::Cut(most)) = fault { most } else { u64::MAX };
    let (body, whole) = receive(Body::new(body), most).await;
    let asked = Asked {
        call,
        method: head.method,
        path: head.uri.path().to_owned(),
        query,
        headers: head.headers,
        body,
        whole,
    };
    let reply = decide(&mut lock(world), &asked, fault.as_ref());
    let dropped = matches!(fault, Some(Fault::Cut(_) | Fault::Unanswered | Fault::Silent)) || !asked.whole;
    lock(world).seen.push(Seen {
        call,
        line: format!("{} {}", asked.method, asked.path),
        range: asked.header("content-range").map(str::to_owned),
        bytes: asked.body.len() as u64,
        status: if dropped { 0 } else { reply.status },
    });
    if let Some(Fault::Silent) = fault {
        std::future::pending::<()>().await;
    }
    if dropped {
        return Err(io::Error::from(io::ErrorKind::ConnectionReset));
    }
    respond(reply)
}

fn respond(reply: Reply) -> io::Result<Response<Body>> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).map_err(io::Error::other)
}

/// At most `most` bytes of a body, and whether that was all of it.
async fn receive(body: Body, most: u64) -> (Vec<u8>, bool) {
    let mut stream = body.into_data_stream();
    let mut received = Vec::new();
    while let Some(piece) = stream.next().await {
        let Ok(piece) = piece else { return (received, false) };
        received.extend_from_slice(&piece);
        if received.len() as u64 >= most {
            received.truncate(most as usize);
            return (received, false);
        }
    }
    (received, true)
}

fn call_of(method: &Method, path: &str, query: &HashMap<String, String>, headers: &HeaderMap) -> Option<Call> {
    let media = query.get("alt").is_some_and(|alt| alt == "media");
    let session = query.contains_key("upload_id");
    let asks = headers.get(header::CONTENT_RANGE).is_some_and(|range| range.as_bytes().starts_with(b"bytes */"));
    let one = path.strip_prefix("/drive/v3/files/").is_some_and(|id| !id.is_empty() && !id.contains('/'));
    Some(match (method.as_str(), path) {
        ("POST", "/oauth/device/code") => Call::Code,
        ("POST", "/oauth/token") => Call::Token,
        ("POST", "/oauth/revoke") => Call::Revoke,
        ("GET", "/drive/v3/about") => Call::About,
        ("GET", "/drive/v3/files") => Call::List,
        ("POST", "/drive/v3/files") => Call::Make,
        ("POST", "/upload/drive/v3/files") => Call::Start,
        ("PUT", "/upload/drive/v3/files") if session && asks => Call::Status,
        ("PUT", "/upload/drive/v3/files") if session => Call::Chunk,
        ("DELETE", "/upload/drive/v3/files") if session => Call::Cancel,
        ("GET", _) if one && media => Call::Download,
        ("GET", _) if one => Call::Get,
        ("PATCH", _) if one => Call::Update,
        ("DELETE", _) if one => Call::Delete,
        _ => return None,
    })
}

fn decide(world: &mut World, asked: &Asked, fault: Option<&Fault>) -> Reply {
    match fault {
        Some(Fault::Status { status, reason, retry_after }) => {
            let reply = refusal(*status, reason, "Something is wrong here");
            return match retry_after {
                Some(seconds) => reply.with(header::RETRY_AFTER, seconds.to_string()),
                None => reply,
            };
        }
        Some(Fault::Silent) => return Reply::new(503),
        Some(Fault::Expire) => world.access.clear(),
        Some(Fault::Revoke) => {
            world.refresh.clear();
            world.access.clear();
        }
        Some(Fault::Incomplete) => return Reply::json(200, &json!({ "incompleteSearch": true, "files": [] })),
        Some(Fault::Empty) => return Reply::json(200, &json!({ "files": [] })),
        _ => {}
    }
    if matches!(asked.call, Call::Code | Call::Token | Call::Revoke) {
        return oauth::answer(world, asked);
    }
    let token = asked.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let good = token.and_then(|token| world.access.get(token)).is_some_and(|until| *until > Instant::now());
    if !good {
        // The real one does not repeat the token; this one does, so that a careless program is found out.
        let message = format!("Invalid Credentials: {}", token.unwrap_or("none"));
        return refusal(401, "authError", &message)
            .with(header::WWW_AUTHENTICATE, "Bearer realm=\"https://accounts.google.com/\"");
    }
    match asked.call {
        Call::Start | Call::Chunk | Call::Status | Call::Cancel => upload::answer(world, asked, fault),
        _ => files::answer(world, asked),
    }
}
