//! What all HTTP destinations have in common: bodies that show progress, timeouts for silence, and what a status means.

use std::{
    error::Error,
    io,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_LENGTH, RETRY_AFTER},
};
use peer::without_number;
use reqwest::{Body, Certificate, Client, RequestBuilder, Response};

use crate::{
    error::{Kind, Operation, StoreError},
    parts::{Activity, Segments},
    tuning::Tuning,
};

/// Bytes handed to the connection at once: few enough that even a slow connection shows progress.
const CHUNK: usize = 64 << 10;
/// More of an error's text than this is of no use to anybody.
const MOST_OF_A_BODY: u64 = 64 << 10;
/// A connection that carries fewer bytes a second than this counts as silent.
const DRIP: u64 = 256;
/// No server may make us wait longer than this at once.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// A client without an overall timeout: how long an upload takes depends on its size. [`send`] notices silence.
///
/// This machine decides which authorities to trust. Slim images have no list; there the built-in one applies, unless
/// `SSL_CERT_FILE` or `SSL_CERT_DIR` name others. If those can't be read, nobody is trusted, which matters only to
/// connections that need it.
pub(crate) fn client(tuning: &Tuning) -> Result<Client, StoreError> {
    let builder = || {
        Client::builder()
            .user_agent(concat!("haul/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(tuning.connect_timeout)
            .tcp_keepalive(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none())
    };
    let is_named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some());
    let client = builder()
        .build()
        .or_else(|_| builder().tls_certs_only(if is_named { Vec::new() } else { bundled_authorities() }).build());
    client.map_err(|error| StoreError::remote("this machine", Operation::Connect, Kind::Protocol, chain(&error)))
}

/// Mozilla's list, as it was when the program was built.
fn bundled_authorities() -> Vec<Certificate> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .filter_map(|certificate| Certificate::from_der(certificate).ok())
        .collect()
}

/// Puts a body on a request, with its length.
pub fn with_body(request: RequestBuilder, data: &Segments, activity: &Activity) -> RequestBuilder {
    request.header(CONTENT_LENGTH, data.len()).body(body(data, activity))
}

/// A body that reports to `activity` whenever some of it is sent, and is sent as fast as that allows.
pub fn body(data: &Segments, activity: &Activity) -> Body {
    if data.is_empty() {
        return Body::from(Bytes::new());
    }
    let state = (data.pieces().to_vec().into_iter(), Bytes::new(), activity.clone());
    Body::wrap_stream(Box::pin(stream::unfold(state, |(mut pieces, mut rest, activity)| async move {
        if rest.is_empty() {
            rest = pieces.next()?;
        }
        let chunk = rest.split_to(rest.len().min(CHUNK));
        activity.pass(chunk.len() as u64).await;
        Some((Ok::<_, io::Error>(chunk), (pieces, rest, activity)))
    })))
}

/// Sends a request and waits for the answer's head, whatever its status. Silence for longer than `stall` (nothing taken
/// of the body, nothing answered) is a passing error, like every broken connection.
pub async fn send(
    destination: &str,
    operation: Operation,
    request: RequestBuilder,
    activity: &Activity,
    stall: Duration,
) -> Result<Response, StoreError> {
    quiet(destination, operation, activity, stall, request.send())
        .await?
        .map_err(|error| broken(destination, operation, &error))
}

/// Reads an answer's whole body, at most `most` bytes of it. One that only drips is given up like one that has fallen
/// silent.
pub async fn read_body(
    destination: &str,
    operation: Operation,
    mut response: Response,
    most: u64,
    stall: Duration,
) -> Result<Bytes, StoreError> {
    let mut body = Vec::new();
    let started = Instant::now();
    loop {
        let taken = started.elapsed();
        if taken > stall && (body.len() as u64) < taken.as_secs() * DRIP {
            let reason = format!("its answer is too slow: {} bytes in {} s", body.len(), taken.as_secs());
            return Err(StoreError::remote(destination, operation, Kind::Transient { retry_after: None }, reason));
        }
        let next = quiet(destination, operation, &Activity::default(), stall, response.chunk()).await?;
        match next.map_err(|error| broken(destination, operation, &error))? {
            None => return Ok(body.into()),
            Some(chunk) if body.len() as u64 + chunk.len() as u64 > most => {
                return Err(StoreError::remote(
                    destination,
                    operation,
                    Kind::Protocol,
                    "the answer is longer than any valid one",
                ));
            }
            Some(chunk) => body.extend_from_slice(&chunk),
        }
    }
}

/// Waits for `work`, but not for longer than `stall` in which nothing moves.
pub async fn quiet<T>(
    destination: &str,
    operation: Operation,
    activity: &Activity,
    stall: Duration,
    work: impl Future<Output = T>,
) -> Result<T, StoreError> {
    tokio::pin!(work);
    let mut seen = activity.count();
    loop {
        if let Ok(done) = tokio::time::timeout(stall, &mut work).await {
            return Ok(done);
        }
        let now = activity.count();
        if now == seen {
            let reason = format!("no answer for {} s", stall.as_secs_f64().round());
            return Err(StoreError::remote(destination, operation, Kind::Transient { retry_after: None }, reason));
        }
        seen = now;
    }
}

/// A connection that failed. Everything but a refused certificate may pass.
pub fn broken(destination: &str, operation: Operation, error: &reqwest::Error) -> StoreError {
    let reason = chain(error);
    if error.is_builder() {
        return StoreError::remote(destination, operation, Kind::Invalid, reason);
    }
    if let Some(rustls::Error::InvalidCertificate(why)) = tls_error(error) {
        let (reason, advice) = untrusted(why);
        return StoreError::remote(destination, operation, Kind::Protocol, reason).advise(advice);
    }
    StoreError::remote(destination, operation, Kind::Transient { retry_after: None }, reason)
}

/// What a refusing status usually means. `said` is the body's text, if that is meant for people.
pub fn refused(
    destination: &str,
    operation: Operation,
    status: StatusCode,
    headers: &HeaderMap,
    said: &str,
) -> StoreError {
    let kind = match status.as_u16() {
        401 => Kind::Credentials,
        403 => Kind::Permission,
        404 | 410 => Kind::NotFound,
        412 => Kind::Exists,
        413 | 507 => Kind::Full { missing: None },
        408 | 423 | 425 | 429 | 500 | 502 | 503 | 504 | 520..=529 => {
            Kind::Transient { retry_after: retry_after(headers) }
        }
        _ => Kind::Protocol,
    };
    let said = said.trim();
    let name = status.canonical_reason().unwrap_or("unknown status");
    let reason = if said.is_empty() {
        format!("it answered {} ({name})", status.as_u16())
    } else {
        format!("it answered {} ({name}): {said}", status.as_u16())
    };
    StoreError::remote(destination, operation, kind, reason)
}

/// Like [`refused`], with the beginning of the answer's body if it is plain text.
pub async fn refused_by(destination: &str, operation: Operation, response: Response, stall: Duration) -> StoreError {
    let (status, headers) = (response.status(), response.headers().clone());
    let is_text =
        headers.get(http::header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let body = read_body(destination, operation, response, MOST_OF_A_BODY, stall).await.unwrap_or_default();
    let said = if is_text {
        String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).take(200).collect()
    } else {
        String::new()
    };
    refused(destination, operation, status, &headers, &said)
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

/// The last and most useful cause of an error, without the URL, which may hold a token. An error of TLS comes first,
/// wherever it is in the chain of causes.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref::<rustls::Error>() {
        return Some(found);
    }
    // The system's errors hide what they were made of from `source`.
    let hidden = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    hidden.and_then(|inner| tls_error(inner)).or_else(|| error.source().and_then(tls_error))
}

/// Why a certificate is not believed, and what helps.
fn untrusted(why: &rustls::CertificateError) -> (&'static str, &'static str) {
    use rustls::CertificateError as Why;
    const AUTHORITY: &str = "install its authority's certificate on this machine, or name it in SSL_CERT_FILE; slim \
        images need the package ca-certificates";
    match why {
        Why::Expired | Why::ExpiredContext { .. } => {
            ("the server's certificate has expired", "renew it on the server, or correct this machine's clock")
        }
        Why::NotValidYet | Why::NotValidYetContext { .. } => {
            ("the server's certificate is not valid yet", "correct this machine's clock, preferably with NTP")
        }
        Why::NotValidForName | Why::NotValidForNameContext { .. } => {
            ("the server's certificate is for another name", "use the host name that is in the certificate")
        }
        Why::UnknownIssuer => {
            ("the server's certificate comes from an authority that this machine does not know", AUTHORITY)
        }
        Why::Revoked => ("the server's certificate was revoked", "renew it on the server"),
        // A certificate that somebody made for himself, in a single step, is an authority's and a server's in one.
        Why::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            "the server presents a certificate authority's certificate as its own",
            "give the server a certificate of its own, signed by that authority",
        ),
        _ => ("the server's certificate is not valid", AUTHORITY),
    }
}

fn chain(error: &reqwest::Error) -> String {
    match tls_error(error) {
        Some(rustls::Error::InvalidMessage(_)) => {
            return "no connection: the server does not speak TLS on this port".to_owned();
        }
        Some(rustls::Error::AlertReceived(_)) => return "no connection: it ended the TLS handshake".to_owned(),
        _ => {}
    }
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let text = cause.to_string();
    let text = without_number(&text);
    if error.is_connect() { format!("no connection: {}", text.to_lowercase()) } else { text.to_owned() }
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
    fn a_certificate_that_is_not_believed_is_reported_in_words() {
        use rustls::CertificateError as Why;
        for why in
            [Why::Expired, Why::NotValidYet, Why::NotValidForName, Why::UnknownIssuer, Why::Revoked, Why::BadEncoding]
        {
            let hidden = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(why.clone()));
            let Some(rustls::Error::InvalidCertificate(found)) = tls_error(&hidden) else { panic!("{why:?}") };
            let (reason, advice) = untrusted(found);
            assert!(
                reason.contains("certificate") && !reason.contains("::") && !advice.is_empty(),
                "{why:?}: {reason}"
            );
        }
    }

    #[test]
    fn a_machine_without_certificates_has_those_that_come_along() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        assert!(bundled_authorities().len() > 100);
        assert!(Client::builder().tls_certs_only(bundled_authorities()).build().is_ok());
        assert!(Client::builder().tls_certs_only(Vec::new()).build().is_ok());
    }

    /// All of it arrives, and the rate is felt.
    #[tokio::test]
    async fn a_body_keeps_to_the_rate() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let data = Segments::from(Bytes::from(vec![7; 400_000]));
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            // The head has no such byte.
            let sevens = |seen: &[u8]| seen.iter().map(|byte| usize::from(*byte == 7)).sum::<usize>();
            while sevens(&seen) < 400_000 {
                socket.read_buf(&mut seen).await.unwrap();
            }
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        });
        let limit = crate::limit::Limit::new(400_000);
        let activity = Activity::limited(Some(&limit));
        let request = with_body(Client::builder().no_proxy().build().unwrap().put(url), &data, &activity);
        // A wait for the rate limit is not silence.
        let response = send("there", Operation::Write, request, &activity, Duration::from_millis(700)).await.unwrap();
        assert!(response.status().is_success() && limit.is_felt());
        server.await.unwrap();
    }

    /// A server that sends a head, and then a byte now and then, for ever.
    #[tokio::test]
    async fn an_answer_that_drips_is_given_up() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.read_buf(&mut Vec::with_capacity(4096)).await.unwrap();
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
            while socket.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let stall = Duration::from_millis(1200);
        let request = Client::builder().no_proxy().build().unwrap().get(url);
        let response = send("there", Operation::List, request, &Activity::default(), stall).await.unwrap();
        let error = read_body("there", Operation::List, response, 1 << 20, stall).await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("too slow"), "{error}");
        server.abort();
    }

    #[test]
    fn overload_may_pass_and_wrong_keys_do_not() {
        let refuse =
            |status| refused("there", Operation::Write, StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), "");
        for status in [429, 500, 502, 503, 504] {
            assert!(refuse(status).is_transient(), "{status}");
        }
        for status in [400, 401, 403, 404, 507] {
            assert!(!refuse(status).is_transient(), "{status}");
        }
    }
}
