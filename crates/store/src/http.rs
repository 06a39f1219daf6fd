//! What every HTTP place has in common: bodies that show they move, silence that is noticed, and what a status means.

use std::{error::Error, io, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_LENGTH, RETRY_AFTER},
};
use reqwest::{Body, Client, RequestBuilder, Response};

use crate::{
    context::Tuning,
    error::{Kind, Operation, StoreError},
    parts::{Activity, Segments},
};

/// Bytes handed to the connection at once: small enough that a slow line shows life.
const MOUTHFUL: usize = 64 << 10;
/// More of an error's text than this is of no use to anybody.
const MOST_OF_A_BODY: u64 = 64 << 10;
/// No server may make us wait longer than this at once.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// A client without an overall timeout: how long an upload takes depends on its size. [`send`] notices silence.
pub(crate) fn client(tuning: &Tuning) -> Result<Client, StoreError> {
    let client = Client::builder()
        .user_agent(concat!("haul/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(tuning.connect_timeout)
        .tcp_keepalive(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .build();
    client.map_err(|error| StoreError::remote("this machine", Operation::Connect, Kind::Invalid, chain(&error)))
}

/// Puts a body on a request, with its length.
pub fn with_body(request: RequestBuilder, data: &Segments, activity: &Activity) -> RequestBuilder {
    request.header(CONTENT_LENGTH, data.len()).body(body(data, activity))
}

/// A body that touches `activity` whenever some of it leaves.
pub fn body(data: &Segments, activity: &Activity) -> Body {
    if data.is_empty() {
        return Body::from(Bytes::new());
    }
    let activity = activity.clone();
    let mut pieces = data.pieces().to_vec().into_iter();
    let mut rest = Bytes::new();
    Body::wrap_stream(stream::iter(std::iter::from_fn(move || {
        if rest.is_empty() {
            rest = pieces.next()?;
        }
        activity.touch();
        Some(Ok::<_, io::Error>(rest.split_to(rest.len().min(MOUTHFUL))))
    })))
}

/// Sends a request and waits for the answer's head, whatever its status. Silence for longer than `stall` (nothing taken of the body, nothing answered) is a
/// passing error, like every broken connection.
pub async fn send(place: &str, operation: Operation, request: RequestBuilder, activity: &Activity, stall: Duration) -> Result<Response, StoreError> {
    quiet(place, operation, activity, stall, request.send()).await?.map_err(|error| broken(place, operation, &error))
}

/// Reads an answer's whole body, at most `most` bytes of it.
pub async fn read_body(place: &str, operation: Operation, mut response: Response, most: u64, stall: Duration) -> Result<Bytes, StoreError> {
    let mut body = Vec::new();
    loop {
        let next = quiet(place, operation, &Activity::default(), stall, response.chunk()).await?;
        match next.map_err(|error| broken(place, operation, &error))? {
            None => return Ok(body.into()),
            Some(chunk) if body.len() as u64 + chunk.len() as u64 > most => {
                return Err(StoreError::remote(place, operation, Kind::Protocol, "the answer is longer than it can be"));
            }
            Some(chunk) => body.extend_from_slice(&chunk),
        }
    }
}

/// Waits for `work`, but not for longer than `stall` in which nothing moves.
pub async fn quiet<T>(place: &str, operation: Operation, activity: &Activity, stall: Duration, work: impl Future<Output = T>) -> Result<T, StoreError> {
    tokio::pin!(work);
    let mut seen = activity.count();
    loop {
        if let Ok(done) = tokio::time::timeout(stall, &mut work).await {
            return Ok(done);
        }
        let now = activity.count();
        if now == seen {
            let reason = format!("it said nothing for {} s", stall.as_secs_f64().round());
            return Err(StoreError::remote(place, operation, Kind::Passing { retry_after: None }, reason));
        }
        seen = now;
    }
}

/// A connection that failed. Everything but a refused certificate may pass.
pub fn broken(place: &str, operation: Operation, error: &reqwest::Error) -> StoreError {
    let reason = chain(error);
    if error.is_builder() {
        return StoreError::remote(place, operation, Kind::Invalid, reason);
    }
    if reason.contains("certificate") {
        return StoreError::remote(place, operation, Kind::Protocol, reason)
            .advise("the server's certificate is not trusted here: check the host name, or install its authority's certificate on this machine");
    }
    StoreError::remote(place, operation, Kind::Passing { retry_after: None }, reason)
}

/// What a refusing status usually means. `said` is what the body says, if that is for people.
pub fn refused(place: &str, operation: Operation, status: StatusCode, headers: &HeaderMap, said: &str) -> StoreError {
    let kind = match status.as_u16() {
        401 => Kind::Credentials,
        403 => Kind::Permission,
        404 | 410 => Kind::NotFound,
        412 => Kind::Exists,
        413 | 507 => Kind::Full { missing: None },
        408 | 423 | 425 | 429 | 500 | 502 | 503 | 504 | 520..=529 => Kind::Passing { retry_after: retry_after(headers) },
        _ => Kind::Protocol,
    };
    let said = said.trim();
    let name = status.canonical_reason().unwrap_or("unknown status");
    let reason =
        if said.is_empty() { format!("it answered {} ({name})", status.as_u16()) } else { format!("it answered {} ({name}): {said}", status.as_u16()) };
    StoreError::remote(place, operation, kind, reason)
}

/// As [`refused`], with the first words of the answer's body if it is plain text.
pub async fn refused_by(place: &str, operation: Operation, response: Response, stall: Duration) -> StoreError {
    let (status, headers) = (response.status(), response.headers().clone());
    let is_text = headers.get(http::header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let body = read_body(place, operation, response, MOST_OF_A_BODY, stall).await.unwrap_or_default();
    let said = if is_text { String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).take(200).collect() } else { String::new() };
    refused(place, operation, status, &headers, &said)
}

/// How long `Retry-After` asks to wait: seconds, or a date.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        Duration::try_from(date.duration_since(jiff::Timestamp::now())).unwrap_or_default()
    };
    Some(wait.min(LONGEST_WAIT))
}

/// The last and most telling cause of an error, without the URL, which may hold a token.
fn chain(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    if error.is_connect() { format!("no connection: {text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::HeaderValue;

    use super::*;

    fn asked(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        retry_after(&headers)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("99999999"), Some(LONGEST_WAIT));
        assert_eq!(asked("soon"), None);
    }

    #[test]
    fn overload_may_pass_and_wrong_keys_do_not() {
        let refuse = |status| refused("there", Operation::Write, StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), "");
        for status in [429, 500, 502, 503, 504] {
            assert!(refuse(status).is_passing(), "{status}");
        }
        for status in [400, 401, 403, 404, 507] {
            assert!(!refuse(status).is_passing(), "{status}");
        }
    }
}
