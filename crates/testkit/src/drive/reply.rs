//! Requests and answers, and the few forms that all answers have.

use std::collections::HashMap;

use axum::extract::Query;
use http::{HeaderMap, Method, Uri, header};
use serde_json::{Value, json};

use super::{query, script::Call};

/// What came in, with as much of its body as arrived.
pub(super) struct Asked {
    pub(super) call: Call,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: HashMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// False when the connection broke, or was broken, before the body's end.
    pub(super) whole: bool,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The last step of the path: a file's id.
    pub(super) fn id(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    pub(super) fn json(&self) -> Option<Value> {
        let is_json = self.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
        if is_json { serde_json::from_slice(&self.body).ok() } else { None }
    }
}

/// What goes out.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(header::HeaderName, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self::new(status)
            .with(header::CONTENT_TYPE, "application/json; charset=UTF-8")
            .body(value.to_string().into_bytes())
    }

    pub(super) fn with(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }
}

/// A refusal as Drive writes it.
pub(super) fn refusal(status: u16, reason: &str, message: &str) -> Reply {
    let error = json!({ "error": { "code": status, "message": message, "errors": [{ "domain": "global", "reason": reason, "message": message }] } });
    Reply::json(status, &error)
}

/// What `fields` leaves of `value`, or what Drive gives when nothing is selected.
pub(super) fn partial(asked: &Asked, value: &Value, usual: &str) -> Reply {
    let fields = asked.query.get("fields").map_or(usual, String::as_str);
    match query::selected(value, fields) {
        Some(selected) => Reply::json(200, &selected),
        None => refusal(400, "invalidParameter", "Invalid field selection"),
    }
}

/// A form in a request's body.
pub(super) fn form(body: &[u8]) -> HashMap<String, String> {
    let uri = format!("/?{}", String::from_utf8_lossy(body)).parse::<Uri>();
    uri.ok().and_then(|uri| Query::try_from_uri(&uri).ok()).map(|query| query.0).unwrap_or_default()
}
