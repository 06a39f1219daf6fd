//! The fake's files and folders, and what each verb does to them.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt::Write as _,
    path::Path,
    time::{Duration, SystemTime},
};

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{USER, reply};

/// Chunks but the last have at least so many bytes.
const SMALLEST: usize = 5 << 20;

/// What the server does with a `PUT` that has a `Content-Range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// Writes the piece.
    Honoured,
    /// Takes the piece for the whole, and says that all is well.
    TakenForTheWhole,
    /// Refuses (400).
    Refused,
    /// Writes pieces by `PATCH` only, as sabre/dav does.
    Patched,
}

#[derive(Clone)]
struct Node {
    // `None`: a folder.
    bytes: Option<Bytes>,
    modified: SystemTime,
}

pub(super) struct Files {
    nodes: BTreeMap<String, Node>,
    // `None`: a Nextcloud.
    pieces: Option<Pieces>,
    pub(super) quota: Option<u64>,
    pub(super) ignores_ranges: bool,
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn last(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, last)| last)
}

impl Files {
    pub(super) fn nextcloud() -> Self {
        let mut files = Self { nodes: BTreeMap::new(), pieces: None, quota: None, ignores_ranges: false };
        for path in ["/files".to_owned(), "/uploads".to_owned(), format!("/files/{USER}"), format!("/uploads/{USER}")] {
            files.nodes.insert(path, Node { bytes: None, modified: SystemTime::now() });
        }
        files
    }

    pub(super) fn plain(pieces: Pieces) -> Self {
        Self { pieces: Some(pieces), ..Self::nextcloud() }
    }

    pub(super) fn place(&mut self, path: &str, bytes: &[u8], age: Duration) {
        let modified = SystemTime::now() - age;
        if let Some(folder) = path.strip_suffix('/') {
            self.nodes.insert(folder.to_owned(), Node { bytes: None, modified });
        } else {
            self.nodes.insert(path.to_owned(), Node { bytes: Some(Bytes::copy_from_slice(bytes)), modified });
        }
    }

    pub(super) fn file(&self, path: &str) -> Option<Bytes> {
        self.nodes.get(path)?.bytes.clone()
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|(path, node)| if node.bytes.is_none() { format!("{path}/") } else { path.clone() })
            .collect()
    }

    pub(super) fn remove(&mut self, path: &str) -> bool {
        let below = format!("{path}/");
        let before = self.nodes.len();
        self.nodes.retain(|known, _| known != path && !known.starts_with(&below));
        before != self.nodes.len()
    }

    fn free(&self) -> Option<u64> {
        let used: u64 =
            self.nodes.values().filter_map(|node| node.bytes.as_ref()).map(|bytes| bytes.len() as u64).sum();
        self.quota.map(|quota| quota.saturating_sub(used))
    }

    pub(super) fn act(&mut self, root: &str, method: &str, path: &str, headers: &HeaderMap, body: &Bytes) -> Response {
        let Some(path) = reply::unescaped(path.trim_end_matches('/')) else {
            return reply::error(StatusCode::BAD_REQUEST, "no UTF-8");
        };
        let is_transfer = self.pieces.is_none() && path.starts_with("/uploads/");
        if is_transfer && matches!(method, "MKCOL" | "PUT" | "MOVE") && !headers.contains_key("destination") {
            return reply::error(
                StatusCode::BAD_REQUEST,
                "Skipping chunked file writing as the destination header was not passed",
            );
        }
        let extension = Path::new(last(&path)).extension().map(OsStr::to_ascii_lowercase);
        if self.pieces.is_none()
            && matches!(method, "MKCOL" | "PUT")
            && extension.is_some_and(|extension| extension == "part" || extension == "filepart")
        {
            return reply::error(StatusCode::BAD_REQUEST, "Filenames must not end with .part");
        }
        match method {
            "OPTIONS" => self.options(),
            "PROPFIND" => self.propfind(root, &path, headers),
            "GET" => self.get(&path, headers),
            "MKCOL" => self.mkcol(&path),
            "PUT" if is_transfer => self.chunk(&path, body),
            "PUT" => self.put(&path, headers, body),
            "PATCH" => self.patch(&path, headers, body),
            "DELETE" => reply::empty(if self.remove(&path) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }),
            "MOVE" => self.rename(root, &path, headers),
            _ => reply::empty(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn options(&self) -> Response {
        let mut response = reply::empty(StatusCode::OK);
        let features =
            if self.pieces == Some(Pieces::Patched) { "1, 3, sabredav-partialupdate" } else { "1, 3, extended-mkcol" };
        response.headers_mut().insert("dav", http::HeaderValue::from_static(features));
        response
    }

    fn propfind(&self, root: &str, path: &str, headers: &HeaderMap) -> Response {
        let Some(node) = self.nodes.get(path) else { return reply::error(StatusCode::NOT_FOUND, "File not found") };
        let mut text = r#"<?xml version="1.0"?><d:multistatus xmlns:d="DAV:" xmlns:s="http://sabredav.org/ns" xmlns:oc="http://owncloud.org/ns">"#.to_owned();
        self.describe(&mut text, root, path, node);
        if headers.get("depth").is_some_and(|depth| depth == "1") {
            for (below, node) in self.nodes.iter().filter(|(below, _)| parent(below) == path) {
                self.describe(&mut text, root, below, node);
            }
        }
        reply::xml(StatusCode::MULTI_STATUS, text + "</d:multistatus>")
    }

    fn describe(&self, text: &mut String, root: &str, path: &str, node: &Node) {
        let href = format!("{root}{}{}", reply::escaped(path), if node.bytes.is_none() { "/" } else { "" });
        let date = reply::date(node.modified);
        let free = self.free().map_or_else(|| "-3".to_owned(), |free| free.to_string());
        let what = node.bytes.as_ref().map_or_else(
            || format!("<d:resourcetype><d:collection/></d:resourcetype><d:quota-available-bytes>{free}</d:quota-available-bytes>"),
            |bytes| format!("<d:resourcetype/><d:getcontentlength>{}</d:getcontentlength>", bytes.len()),
        );
        let missing = if node.bytes.is_some() { "<d:quota-available-bytes/>" } else { "<d:getcontentlength/>" };
        let _ = write!(
            text,
            "<d:response><d:href>{}</d:href><d:propstat><d:prop>{what}<d:getlastmodified>{date}</d:getlastmodified></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat><d:propstat><d:prop>{missing}</d:prop><d:status>HTTP/1.1 404 Not Found</d:status></d:propstat></d:response>",
            href.replace('&', "&amp;")
        );
    }

    fn get(&self, path: &str, headers: &HeaderMap) -> Response {
        let Some(bytes) = self.file(path) else { return reply::error(StatusCode::NOT_FOUND, "File not found") };
        let range = headers.get("range").and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
        let Some((first, end)) = range.filter(|_| !self.ignores_ranges) else {
            return reply::with(StatusCode::OK, bytes);
        };
        let (Ok(first), Ok(end)) = (first.parse::<usize>(), end.parse::<usize>()) else {
            return reply::error(StatusCode::BAD_REQUEST, "range");
        };
        if first >= bytes.len() || end < first {
            return reply::error(StatusCode::RANGE_NOT_SATISFIABLE, "range");
        }
        let end = end.min(bytes.len() - 1);
        let mut response = reply::with(StatusCode::PARTIAL_CONTENT, bytes.slice(first..=end));
        if let Ok(value) = format!("bytes {first}-{end}/{}", bytes.len()).parse() {
            response.headers_mut().insert("content-range", value);
        }
        response
    }

    fn mkcol(&mut self, path: &str) -> Response {
        if self.nodes.contains_key(path) {
            return reply::error(StatusCode::METHOD_NOT_ALLOWED, "The resource you tried to create already exists");
        }
        if !self.nodes.contains_key(parent(path)) {
            return reply::error(StatusCode::CONFLICT, "Parent node does not exist");
        }
        self.nodes.insert(path.to_owned(), Node { bytes: None, modified: SystemTime::now() });
        reply::empty(StatusCode::CREATED)
    }

    /// Stores bytes, if there is space.
    fn store(&mut self, path: &str, bytes: Bytes) -> Response {
        if !self.nodes.contains_key(parent(path)) {
            return reply::error(StatusCode::NOT_FOUND, "File with name could not be located");
        }
        let old = self.file(path);
        let added = (bytes.len() as u64).saturating_sub(old.as_ref().map_or(0, |old| old.len() as u64));
        if self.free().is_some_and(|free| added > free) {
            return reply::error(StatusCode::INSUFFICIENT_STORAGE, "Insufficient space");
        }
        self.nodes.insert(path.to_owned(), Node { bytes: Some(bytes), modified: SystemTime::now() });
        reply::empty(if old.is_some() { StatusCode::NO_CONTENT } else { StatusCode::CREATED })
    }

    fn put(&mut self, path: &str, headers: &HeaderMap, body: &Bytes) -> Response {
        if headers.get("if-match").is_some() && !self.nodes.contains_key(path) {
            return reply::error(
                StatusCode::PRECONDITION_FAILED,
                "An If-Match header was specified, but the resource did not exist",
            );
        }
        let first = headers
            .get("content-range")
            .and_then(|range| range.to_str().ok()?.strip_prefix("bytes ")?.split('-').next()?.parse::<usize>().ok());
        match (self.pieces, first) {
            (Some(Pieces::Honoured), Some(first)) => self.write_at(path, first, body),
            (Some(Pieces::TakenForTheWhole), Some(_)) | (_, None) => self.store(path, body.clone()),
            _ => reply::error(StatusCode::BAD_REQUEST, "Content-Range on PUT requests are forbidden"),
        }
    }

    fn patch(&mut self, path: &str, headers: &HeaderMap, body: &Bytes) -> Response {
        if self.pieces != Some(Pieces::Patched) {
            return reply::empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        let is_kind = headers.get("content-type").is_some_and(|kind| kind == "application/x-sabredav-partialupdate");
        let first = headers
            .get("x-update-range")
            .and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.split('-').next()?.parse::<usize>().ok());
        match first {
            Some(first) if is_kind && self.nodes.contains_key(path) => self.write_at(path, first, body),
            Some(_) if is_kind => reply::error(StatusCode::NOT_FOUND, "File not found"),
            _ => reply::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown"),
        }
    }

    fn write_at(&mut self, path: &str, first: usize, body: &Bytes) -> Response {
        let mut bytes = self.file(path).unwrap_or_default().to_vec();
        bytes.resize(bytes.len().max(first + body.len()), 0);
        bytes[first..first + body.len()].copy_from_slice(body);
        self.store(path, bytes.into())
    }

    fn chunk(&mut self, path: &str, body: &Bytes) -> Response {
        if !last(path).parse::<u32>().is_ok_and(|number| (1..=10_000).contains(&number)) {
            return reply::error(StatusCode::BAD_REQUEST, "Invalid chunk name, must be numeric between 1 and 10000");
        }
        self.store(path, body.clone())
    }

    fn rename(&mut self, root: &str, path: &str, headers: &HeaderMap) -> Response {
        let destination = headers.get("destination").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let destination = destination
            .split_once("://")
            .map_or(destination, |(_, rest)| &rest[rest.find('/').unwrap_or(rest.len())..]);
        let Some(to) = destination.strip_prefix(root).and_then(reply::unescaped) else {
            return reply::error(StatusCode::BAD_GATEWAY, "Destination is not in here");
        };
        if self.nodes.contains_key(&to) && headers.get("overwrite").is_some_and(|overwrite| overwrite == "F") {
            return reply::error(
                StatusCode::PRECONDITION_FAILED,
                "The destination node already exists, and the overwrite header is set to false",
            );
        }
        if !self.nodes.contains_key(parent(&to)) {
            return reply::error(StatusCode::CONFLICT, "The destination node is not found");
        }
        if self.pieces.is_none() && last(path) == ".file" {
            return self.assemble(parent(path), &to, headers);
        }
        let Some(node) = self.nodes.remove(path) else { return reply::error(StatusCode::NOT_FOUND, "File not found") };
        self.nodes.insert(to, node);
        reply::empty(StatusCode::CREATED)
    }

    fn assemble(&mut self, transfer: &str, to: &str, headers: &HeaderMap) -> Response {
        if !self.nodes.contains_key(transfer) {
            return reply::error(StatusCode::NOT_FOUND, "File not found");
        }
        // In the order of their names.
        let chunks: Vec<Bytes> = self
            .nodes
            .iter()
            .filter(|(path, _)| parent(path) == transfer)
            .filter_map(|(_, node)| node.bytes.clone())
            .collect();
        if chunks.iter().rev().skip(1).any(|chunk| chunk.len() < SMALLEST) {
            return reply::error(
                StatusCode::BAD_REQUEST,
                "Your proposed upload is smaller than the minimum allowed size",
            );
        }
        let whole = chunks.concat();
        let announced = headers.get("oc-total-length").and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if let Some(announced) = announced.filter(|announced| *announced != whole.len()) {
            return reply::error(
                StatusCode::BAD_REQUEST,
                &format!("Chunks on server do not sum up to {announced} but to {} bytes", whole.len()),
            );
        }
        self.remove(transfer);
        self.nodes.insert(to.to_owned(), Node { bytes: Some(whole.into()), modified: SystemTime::now() });
        reply::empty(StatusCode::CREATED)
    }
}
