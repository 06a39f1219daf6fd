//! Requests and answers: one attempt each, with timeouts for silence, bounded bodies, and failures in plain words.

use std::time::Duration;

use http::{
    HeaderValue,
    header::{AUTHORIZATION, CONNECTION, UPGRADE},
};
use reqwest::{Client, RequestBuilder, Response};
use url::Url;

use crate::{
    address,
    error::{Error, Kind, Operation},
    proxy::Answer,
    secret::Secret,
    text::sanitize,
    timeouts::{Timeouts, duration_text},
};

/// No list of backups is longer than this.
const LONGEST_ANSWER: usize = 16 << 20;
/// For callers that need only its beginning.
const LONGEST_REFUSAL: usize = 64 << 10;

/// Whether a certificate has to be one that this machine trusts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Any certificate will do. Anybody in between then sees everything.
    pub insecure: bool,
}

/// The way to one instance.
#[derive(Clone)]
pub(crate) struct Wire {
    client: Client,
    base: Url,
    pub(crate) address: String,
    pub(crate) timeouts: Timeouts,
}

impl Wire {
    pub(crate) fn new(base: Url, tls: Tls, timeouts: Timeouts) -> Result<Self, Error> {
        let address = address::shown(&base);
        // HTTP/1 is what Home Assistant speaks, and what a WebSocket begins with. Redirects are for `look` to judge.
        let builder = || {
            let builder = Client::builder()
                .user_agent(concat!("haul/", env!("CARGO_PKG_VERSION")))
                .http1_only()
                .connect_timeout(timeouts.connect)
                .tcp_keepalive(Duration::from_secs(30))
                .redirect(reqwest::redirect::Policy::none())
                .tls_danger_accept_invalid_certs(tls.insecure);
            // A proxy's own loopback is another machine's.
            if address::is_loopback(&base) { builder.no_proxy() } else { builder }
        };
        // Slim images have no list of authorities: http:// works anyway, and https:// says that there is no trusted
        // authority.
        let client = builder()
            .build()
            .or_else(|_| builder().tls_certs_only(Vec::new()).build())
            .map_err(|error| Error::new(&address, Operation::Look, Kind::Invalid, cause(&error)))?;
        Ok(Self { client, base, address, timeouts })
    }

    /// The same way, to where a redirect led.
    pub(crate) fn moved(&self, base: Url) -> Self {
        Self { address: address::shown(&base), base, ..self.clone() }
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        // Paths are our own, and relative to a base that ends in a slash.
        self.base.join(path).unwrap_or_else(|_| self.base.clone())
    }

    pub(crate) fn error(&self, operation: Operation, kind: Kind, reason: impl Into<String>) -> Error {
        Error::new(&self.address, operation, kind, reason)
    }

    pub(crate) fn request(&self, url: Url) -> RequestBuilder {
        self.client.get(url)
    }

    pub(crate) fn post(&self, url: Url) -> RequestBuilder {
        self.client.post(url)
    }

    /// Asks for something, and waits for the whole answer, whatever its status.
    pub(crate) async fn get(&self, operation: Operation, path: &str) -> Result<Answer, Error> {
        self.exchange(operation, self.client.get(self.url(path)), self.timeouts.stall).await
    }

    /// As [`Self::get`], for nothing but a sign of life.
    pub(crate) async fn glance(&self, operation: Operation, path: &str) -> Result<Answer, Error> {
        self.exchange(operation, self.client.get(self.url(path)), self.timeouts.stall.min(Duration::from_secs(15)))
            .await
    }

    /// Sends a request with a small body or none, and reads the whole answer.
    pub(crate) async fn exchange(
        &self,
        operation: Operation,
        request: RequestBuilder,
        timeouts: Duration,
    ) -> Result<Answer, Error> {
        let exchange = async {
            match tokio::time::timeout(timeouts, request.send()).await {
                Ok(Ok(response)) => self.read(operation, response).await,
                Ok(Err(error)) => Err(self.broken(operation, &error)),
                Err(_) => Err(self.silent(operation, timeouts)),
            }
        };
        // A server that answers a byte at a time is not waited for either.
        let most = timeouts * 4;
        tokio::time::timeout(most, exchange).await.unwrap_or_else(|_| Err(self.silent(operation, most)))
    }

    /// Reads an answer to its end; a refusal's only as far as it is of use.
    pub(crate) async fn read(&self, operation: Operation, mut response: Response) -> Result<Answer, Error> {
        let (status, headers) = (response.status(), response.headers().clone());
        let most = if status.is_success() { LONGEST_ANSWER } else { LONGEST_REFUSAL };
        let mut body = Vec::new();
        loop {
            let chunk = match tokio::time::timeout(self.timeouts.stall, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => break,
                // A refusal whose end is missing is as clear as a whole one.
                _ if !status.is_success() => break,
                Ok(Err(error)) => return Err(self.broken(operation, &error)),
                Err(_) => return Err(self.silent(operation, self.timeouts.stall)),
            };
            body.extend_from_slice(&chunk[..chunk.len().min(most - body.len())]);
            if body.len() == most {
                break;
            }
        }
        Ok(Answer { status, headers, body })
    }

    /// Asks for a WebSocket; the connection, or what was answered instead.
    pub(crate) async fn upgrade(
        &self,
        operation: Operation,
        path: &str,
        key: &str,
    ) -> Result<Result<(reqwest::Upgraded, String), Answer>, Error> {
        let request = self
            .client
            .get(self.url(path))
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", key);
        let response = match tokio::time::timeout(self.timeouts.stall, request.send()).await {
            Ok(sent) => sent.map_err(|error| self.broken(operation, &error))?,
            Err(_) => return Err(self.silent(operation, self.timeouts.stall)),
        };
        if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
            return self.read(operation, response).await.map(Err);
        }
        let accepted = response
            .headers()
            .get("sec-websocket-accept")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        Ok(Ok((response.upgrade().await.map_err(|error| self.broken(operation, &error))?, accepted)))
    }

    /// Signs a request.
    pub(crate) fn signed(
        &self,
        operation: Operation,
        request: RequestBuilder,
        token: &Secret,
    ) -> Result<RequestBuilder, Error> {
        let value: HeaderValue = token
            .bearer()
            .ok_or_else(|| self.error(operation, Kind::Credentials, "the token contains invalid characters"))?;
        Ok(request.header(AUTHORIZATION, value))
    }

    /// A request for JSON that has to succeed.
    pub(crate) fn parsed<T: serde::de::DeserializeOwned>(
        &self,
        operation: Operation,
        answer: &Answer,
    ) -> Result<T, Error> {
        if !answer.status.is_success() {
            return Err(answer.refusal(&self.address, operation));
        }
        serde_json::from_slice(&answer.body).map_err(|error| {
            let html = answer.title().map(|_| self.error(operation, Kind::NotHomeAssistant, answer.strange()));
            html.unwrap_or_else(|| {
                self.error(
                    operation,
                    Kind::Protocol,
                    format!("its answer is not Home Assistant's ({})", sanitize(&error.to_string(), 200)),
                )
            })
        })
    }

    pub(crate) fn silent(&self, operation: Operation, waited: Duration) -> Error {
        self.error(operation, Kind::Broken, format!("no answer for {}", duration_text(waited)))
    }

    /// A failed connection, with its usual cause.
    pub(crate) fn broken(&self, operation: Operation, error: &reqwest::Error) -> Error {
        let reason = cause(error);
        let lower = reason.to_ascii_lowercase();
        if lower.contains("invalidcontenttype") || lower.contains("corrupt message") {
            return self
                .error(operation, Kind::Unreachable, "it does not speak https")
                .advise(format!("write http:// in front, as in {}", self.address.replacen("https://", "http://", 1)));
        }
        if lower.contains("certificate") {
            return self.error(operation, Kind::Certificate, reason).advise(
                "its certificate is not trusted here: check the host name, install its authority's certificate on this \
                 machine, or give --insecure, which trusts whoever answers",
            );
        }
        if error.is_connect() {
            let advice = if lower.contains("dns") || lower.contains("lookup") || lower.contains("name or service") {
                "check the name, or use the IP address, such as http://192.168.1.20:8123"
            } else {
                "check that Home Assistant is running there, that the port is right (8123 unless changed) and that no \
                 firewall is in between"
            };
            return self.error(operation, Kind::Unreachable, format!("no connection: {reason}")).advise(advice);
        }
        if operation == Operation::Look && self.base.scheme() == "http" {
            return self
                .error(operation, Kind::Unreachable, format!("the connection broke before an answer arrived: {reason}"))
                .advise(format!(
                    "if it uses a certificate, write {}",
                    self.address.replacen("http://", "https://", 1)
                ));
        }
        self.error(operation, Kind::Broken, format!("the connection broke: {reason}"))
    }
}

/// The last and most telling cause, without the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let text = cause.to_string();
    sanitize(text.split(" (os error").next().unwrap_or_default(), 300)
}
