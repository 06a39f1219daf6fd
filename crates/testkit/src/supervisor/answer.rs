//! Answers, and what they are wrapped in.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

/// An error that it answers with: the status, the message, and more keys.
pub(super) struct Refusal(u16, String, Value);
/// The data of an answer, or an error.
pub(super) type Answer = Result<Value, Refusal>;

pub(super) fn refused(status: u16, message: String) -> Refusal {
    Refusal(status, message, json!({}))
}

pub(super) fn refused_with(status: u16, message: String, more: &Value) -> Refusal {
    Refusal(status, message, more.clone())
}

/// As its web server answers by itself.
pub(super) fn plain(status: u16, body: &str) -> Response {
    let headers = [("content-type", "text/plain; charset=utf-8")];
    (StatusCode::from_u16(status).unwrap(), headers, body.to_owned()).into_response()
}

pub(super) fn wrapped(answer: Answer) -> (u16, String) {
    match answer {
        // Without data it answers with an empty object.
        Ok(Value::Null) => (200, json!({ "result": "ok", "data": {} }).to_string()),
        Ok(data) => (200, json!({ "result": "ok", "data": data }).to_string()),
        Err(Refusal(status, message, more)) => {
            let mut body = json!({ "result": "error", "message": message });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            (status, body.to_string())
        }
    }
}
