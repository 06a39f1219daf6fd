//! A Blob service in memory with enough of Azure's protocol for uploads in blocks; it refuses what the real one
//! refuses.
//!
//! Source of the rules: Microsoft's reference of the Blob service REST API (Put Block, Put Block List, Get Block List,
//! Put Blob, List Blobs, conditional headers). Signatures must be there, but are not recomputed.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Query, Request, State},
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use md5::{Digest, Md5};
use tokio::sync::oneshot;

/// Name of the storage account.
pub const ACCOUNT: &str = "haultest";
/// A key as the service gives it out.
pub const ACCESS_KEY: &str = "dGhlLWtleS1vZi10aGUtdGVzdC1hY2NvdW50LW9mLWhhdWw=";

const LARGEST_BLOCK: usize = 4000 << 20;
const MOST_BLOCKS: usize = 50_000;

/// A running service; ends when dropped.
pub struct Azure {
    address: SocketAddr,
    account: Shared,
    _stop: oneshot::Sender<()>,
}

type Shared = Arc<Mutex<Account>>;
type Parameters = BTreeMap<String, String>;

#[derive(Default)]
struct Account {
    containers: BTreeMap<String, Container>,
    changes: u64,
}

#[derive(Default)]
struct Container {
    blobs: BTreeMap<String, Blob>,
    // By blob, then by block.
    uncommitted: BTreeMap<String, BTreeMap<String, Bytes>>,
}

#[derive(Clone)]
struct Blob {
    bytes: Bytes,
    tag: String,
    metadata: Vec<(String, String)>,
}

impl Azure {
    /// Starts a service that has these containers.
    pub fn start(containers: &[&str]) -> io::Result<Self> {
        let account: Shared = Arc::default();
        lock(&account).containers.extend(containers.iter().map(|name| ((*name).to_owned(), Container::default())));
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(answer).with_state(Arc::clone(&account));
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Ok(Self { address, account, _stop: stop })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Names of all blobs of a container.
    pub fn blobs(&self, container: &str) -> Vec<String> {
        lock(&self.account)
            .containers
            .get(container)
            .map(|container| container.blobs.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// Forgets all blocks that are not part of a blob, as the real service does after a week.
    pub fn forget_blocks(&self) {
        lock(&self.account).containers.values_mut().for_each(|container| container.uncommitted.clear());
    }
}

fn lock(account: &Shared) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

type Answer = Result<Response, (StatusCode, &'static str)>;

async fn answer(State(account): State<Shared>, Query(query): Query<Parameters>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let answered = match to_bytes(body, usize::MAX).await {
        Ok(body) => decide(&mut lock(&account), &parts.method, parts.uri.path(), &query, &parts.headers, body),
        Err(_) => Err((StatusCode::BAD_REQUEST, "InvalidInput")),
    };
    answered.unwrap_or_else(|(status, code)| {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>The fake says \
            no.</Message></Error>"
        );
        let body = if is_head { Body::empty() } else { Body::from(text) };
        let built = Response::builder()
            .status(status)
            .header("x-ms-error-code", code)
            .header("content-type", "application/xml")
            .body(body);
        built.unwrap_or_default()
    })
}

fn decide(
    account: &mut Account,
    method: &Method,
    path: &str,
    query: &Parameters,
    headers: &HeaderMap,
    body: Bytes,
) -> Answer {
    authorized(query, headers)?;
    account.changes += 1;
    let tag = format!("\"0x8D{:013X}\"", account.changes);
    let path = decode(path);
    let (container, blob) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let container = account.containers.get_mut(container).ok_or((StatusCode::NOT_FOUND, "ContainerNotFound"))?;
    let component = query.get("comp").map(String::as_str);
    match (method.as_str(), component, blob) {
        ("GET", Some("list"), "") => list(container, query),
        ("PUT", Some("block"), name) => put_block(container, name, query, headers, body),
        ("PUT", Some("blocklist"), name) => put_block_list(container, name, headers, &body, &tag),
        ("GET", Some("blocklist"), name) => get_block_list(container, name),
        ("PUT", None, name) => put_blob(container, name, headers, body, &tag),
        ("GET" | "HEAD", None, name) => get(container, name, method == Method::HEAD, headers),
        ("DELETE", None, name) => match container.blobs.remove(name) {
            Some(_) => reply(StatusCode::ACCEPTED, &[], Body::empty()),
            None => Err((StatusCode::NOT_FOUND, "BlobNotFound")),
        },
        _ => Err((StatusCode::BAD_REQUEST, "UnsupportedQueryParameter")),
    }
}

fn authorized(query: &Parameters, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let refused = Err((StatusCode::FORBIDDEN, "AuthenticationFailed"));
    if !headers.contains_key("x-ms-version") {
        return Err((StatusCode::BAD_REQUEST, "MissingRequiredHeader"));
    }
    if query.contains_key("sig") {
        return Ok(());
    }
    let Some(value) = headers.get("authorization").and_then(|value| value.to_str().ok()) else { return refused };
    let signature = value
        .strip_prefix(&format!("SharedKey {ACCOUNT}:"))
        .and_then(|signature| BASE64_STANDARD.decode(signature).ok());
    // HMAC-SHA256.
    if signature.is_some_and(|signature| signature.len() == 32)
        && (headers.contains_key("x-ms-date") || headers.contains_key("date"))
    {
        Ok(())
    } else {
        refused
    }
}

fn put_block(container: &mut Container, name: &str, query: &Parameters, headers: &HeaderMap, body: Bytes) -> Answer {
    let id = query.get("blockid").ok_or((StatusCode::BAD_REQUEST, "InvalidQueryParameterValue"))?;
    let length = BASE64_STANDARD.decode(id).map_err(|_| (StatusCode::BAD_REQUEST, "InvalidBlockId"))?.len();
    let blocks = container.uncommitted.entry(name.to_owned()).or_default();
    if length > 64 || blocks.keys().any(|other| BASE64_STANDARD.decode(other).is_ok_and(|other| other.len() != length))
    {
        return Err((StatusCode::BAD_REQUEST, "InvalidBlobOrBlock"));
    }
    if body.is_empty() {
        return Err((StatusCode::BAD_REQUEST, "InvalidHeaderValue"));
    }
    if body.len() > LARGEST_BLOCK {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge"));
    }
    if blocks.len() >= 2 * MOST_BLOCKS {
        return Err((StatusCode::CONFLICT, "BlockCountExceedsLimit"));
    }
    let md5 = BASE64_STANDARD.encode(Md5::digest(&body));
    if headers.get("content-md5").is_some_and(|sent| sent.as_bytes() != md5.as_bytes()) {
        return Err((StatusCode::BAD_REQUEST, "Md5Mismatch"));
    }
    blocks.insert(id.clone(), body);
    reply(StatusCode::CREATED, &[("content-md5", &md5)], Body::empty())
}

fn put_block_list(container: &mut Container, name: &str, headers: &HeaderMap, body: &Bytes, tag: &str) -> Answer {
    refuse_existing(container, name, headers)?;
    let text = String::from_utf8_lossy(body);
    let mut whole = Vec::new();
    let none = BTreeMap::new();
    let blocks = container.uncommitted.get(name).unwrap_or(&none);
    let listed =
        between(&text, "<Uncommitted>", "</Uncommitted>").into_iter().chain(between(&text, "<Latest>", "</Latest>"));
    for (count, id) in listed.enumerate() {
        if count >= MOST_BLOCKS {
            return Err((StatusCode::BAD_REQUEST, "BlockListTooLong"));
        }
        whole.extend_from_slice(blocks.get(id.trim()).ok_or((StatusCode::BAD_REQUEST, "InvalidBlockList"))?);
    }
    // What the list does not name is thrown away.
    container.uncommitted.remove(name);
    store(container, name, headers, whole.into(), tag)
}

fn put_blob(container: &mut Container, name: &str, headers: &HeaderMap, body: Bytes, tag: &str) -> Answer {
    if headers.get("x-ms-blob-type").is_none_or(|kind| kind.as_bytes() != b"BlockBlob") {
        return Err((StatusCode::BAD_REQUEST, "InvalidHeaderValue"));
    }
    refuse_existing(container, name, headers)?;
    container.uncommitted.remove(name);
    store(container, name, headers, body, tag)
}

fn refuse_existing(container: &Container, name: &str, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let is_conditional = headers.get("if-none-match").is_some_and(|value| value.as_bytes() == b"*");
    if is_conditional && container.blobs.contains_key(name) {
        Err((StatusCode::CONFLICT, "BlobAlreadyExists"))
    } else {
        Ok(())
    }
}

fn store(container: &mut Container, name: &str, headers: &HeaderMap, bytes: Bytes, tag: &str) -> Answer {
    let metadata = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-ms-meta-"));
    let metadata = metadata
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    container.blobs.insert(name.to_owned(), Blob { bytes, tag: tag.to_owned(), metadata });
    reply(StatusCode::CREATED, &[("etag", tag), ("last-modified", NOW)], Body::empty())
}

fn get_block_list(container: &Container, name: &str) -> Answer {
    let Some(blocks) = container.uncommitted.get(name) else { return Err((StatusCode::NOT_FOUND, "BlobNotFound")) };
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList><UncommittedBlocks>");
    for (id, bytes) in blocks {
        let _ = write!(text, "<Block><Name>{id}</Name><Size>{}</Size></Block>", bytes.len());
    }
    text.push_str("</UncommittedBlocks></BlockList>");
    reply(StatusCode::OK, &[("content-type", "application/xml")], Body::from(text))
}

fn get(container: &Container, name: &str, is_head: bool, headers: &HeaderMap) -> Answer {
    let blob = container.blobs.get(name).ok_or((StatusCode::NOT_FOUND, "BlobNotFound"))?;
    let asked = headers.get("x-ms-range").or_else(|| headers.get("range")).and_then(|range| range.to_str().ok());
    let whole = blob.bytes.len();
    let mut given = vec![
        ("etag", blob.tag.as_str()),
        ("last-modified", NOW),
        ("x-ms-blob-type", "BlockBlob"),
        ("accept-ranges", "bytes"),
    ];
    given.extend(blob.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let length = whole.to_string();
    if is_head {
        given.push(("content-length", &length));
        return reply(StatusCode::OK, &given, Body::empty());
    }
    let Some((first, last)) = asked.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return reply(StatusCode::OK, &given, Body::from(blob.bytes.clone()));
    };
    let first: usize = first.parse().map_err(|_| (StatusCode::BAD_REQUEST, "InvalidHeaderValue"))?;
    let last = last.parse().unwrap_or(usize::MAX).min(whole.saturating_sub(1));
    if first >= whole || first > last {
        return Err((StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"));
    }
    let range = format!("bytes {first}-{last}/{whole}");
    given.push(("content-range", &range));
    reply(StatusCode::PARTIAL_CONTENT, &given, Body::from(blob.bytes.slice(first..=last)))
}

fn list(container: &Container, query: &Parameters) -> Answer {
    let prefix = query.get("prefix").map_or("", String::as_str);
    let delimiter = query.get("delimiter").map(String::as_str);
    let mut folders = Vec::new();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Prefix>{}</Prefix><Blobs>",
        escape(prefix)
    );
    for (name, blob) in container.blobs.iter().filter(|(name, _)| name.starts_with(prefix)) {
        let rest = &name[prefix.len()..];
        if let Some((folder, _)) = delimiter.and_then(|delimiter| rest.split_once(delimiter)) {
            let folder = format!("{prefix}{folder}/");
            if !folders.contains(&folder) {
                folders.push(folder);
            }
            continue;
        }
        let _ = write!(
            text,
            "<Blob><Name>{}</Name><Properties><Last-Modified>{NOW}</Last-Modified><Etag>{}</Etag><Content-Length>{}</Content-Length>\
             <Content-Type>application/octet-stream</Content-Type><BlobType>BlockBlob</BlobType></Properties></Blob>",
            escape(name),
            blob.tag.trim_matches('"'),
            blob.bytes.len()
        );
    }
    for folder in folders {
        let _ = write!(text, "<BlobPrefix><Name>{}</Name></BlobPrefix>", escape(&folder));
    }
    text.push_str("</Blobs><NextMarker/></EnumerationResults>");
    reply(StatusCode::OK, &[("content-type", "application/xml")], Body::from(text))
}

/// Time does not pass here.
const NOW: &str = "Sun, 01 Nov 2026 12:00:00 GMT";

fn reply(status: StatusCode, headers: &[(&str, &str)], body: Body) -> Answer {
    let mut response = Response::builder().status(status).header("x-ms-version", "2023-11-03");
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body).map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"))
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|rest| rest.split_once(close).map(|(inside, _)| inside)).collect()
}

fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

fn decode(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
