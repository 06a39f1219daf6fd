//! Requests: one attempt each, with timeouts for silence, bounded answers, and failures in plain words.

use std::time::Duration;

use http::{
    HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CONNECTION, UPGRADE},
};
use reqwest::{Client, Response};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use url::Url;

use crate::{
    answer::Asked,
    error::{Error, Kind},
    secret::Secret,
    text::sanitize,
    timeouts::{Timeouts, duration_text},
};

/// Where every app finds it.
const ADDRESS: &str = "http://supervisor";
/// No list of backups or jobs is longer than this.
const LONGEST_ANSWER: usize = 16 << 20;
/// Of a refusal, only the beginning is of use.
const LONGEST_REFUSAL: usize = 64 << 10;

/// Supervisor's API, used with the token of an app. Cheap to clone.
#[derive(Clone)]
pub struct Supervisor {
    client: Client,
    base: Url,
    bearer: HeaderValue,
    token: Secret,
    pub(crate) timeouts: Timeouts,
}

/// One request.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// The path's segments.
    pub(crate) path: &'a [&'a str],
    pub(crate) body: Option<Value>,
    /// As in "create the mount `haul_nas`".
    pub(crate) operation: &'a str,
    pub(crate) patience: Duration,
    /// What of the body is confidential.
    pub(crate) secrets: &'a [&'a Secret],
}

impl<'a> Ask<'a> {
    pub(crate) fn get(operation: &'a str, path: &'a [&'a str], patience: Duration) -> Self {
        Self { method: Method::GET, path, body: None, operation, patience, secrets: &[] }
    }

    pub(crate) fn post(operation: &'a str, path: &'a [&'a str], body: Value, patience: Duration) -> Self {
        Self { method: Method::POST, path, body: Some(body), operation, patience, secrets: &[] }
    }

    fn error(&self, kind: Kind, reason: impl Into<String>) -> Error {
        Error::new(self.operation, kind, reason)
    }
}

impl Supervisor {
    /// The Supervisor of the machine on which this app runs; `None` where there is none, which is everywhere but in an
    /// app.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Result<Self, Error>> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        // The second name is that of older versions.
        let token = set("SUPERVISOR_TOKEN").or_else(|| set("HASSIO_TOKEN"))?;
        Some(Self::at(ADDRESS, Secret::new(token), Timeouts::default()))
    }

    /// The one at this address.
    pub fn at(address: &str, token: Secret, timeouts: Timeouts) -> Result<Self, Error> {
        let invalid = |reason: String| Error::new("reach Supervisor", Kind::Invalid, reason);
        let base = Url::parse(address)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && !url.cannot_be_a_base())
            .ok_or_else(|| invalid("its address is not one that begins with http://".to_owned()))?;
        let bearer = token.bearer().ok_or_else(|| {
            Error::new("reach Supervisor", Kind::Token, "the app's token has characters that can't be sent")
        })?;
        // It is on the same machine: a proxy would only get to see the token, and there is nowhere to be led.
        let builder = || {
            Client::builder()
                .user_agent(concat!("haul/", env!("CARGO_PKG_VERSION")))
                .http1_only()
                .no_proxy()
                // A kept connection may have died with an earlier Supervisor, which shows only after a request is sent.
                .pool_max_idle_per_host(0)
                .connect_timeout(timeouts.connect)
                .redirect(reqwest::redirect::Policy::none())
        };
        // Slim images have no list of authorities, and this needs none.
        let client = builder()
            .build()
            .or_else(|_| builder().tls_certs_only(Vec::new()).build())
            .map_err(|error| invalid(cause(&error)))?;
        Ok(Self { client, base, bearer, token, timeouts })
    }

    pub(crate) fn token(&self) -> &Secret {
        &self.token
    }

    /// Asks, for data.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, ask: Ask<'_>) -> Result<T, Error> {
        let asked = Asked { operation: ask.operation, secrets: ask.secrets };
        let (status, body) = self.exchange(ask).await?;
        asked.data(status, &body)?.ok_or_else(|| asked.strange("it has no data"))
    }

    /// Asks for something to be done.
    pub(crate) async fn tell(&self, ask: Ask<'_>) -> Result<(), Error> {
        let asked = Asked { operation: ask.operation, secrets: ask.secrets };
        let (status, body) = self.exchange(ask).await?;
        asked.data::<IgnoredAny>(status, &body).map(drop)
    }

    async fn exchange(&self, ask: Ask<'_>) -> Result<(StatusCode, Vec<u8>), Error> {
        let mut request =
            self.client.request(ask.method.clone(), self.url(&ask)?).header(AUTHORIZATION, self.bearer.clone());
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        let exchange = async {
            let response = request.send().await.map_err(|error| broken(&ask, &error))?;
            let status = response.status();
            Ok((status, read(&ask, response).await?))
        };
        tokio::time::timeout(ask.patience, exchange).await.unwrap_or_else(|_| {
            Err(ask.error(Kind::Broken, format!("Supervisor gave no answer for {}", duration_text(ask.patience))))
        })
    }

    /// Asks for a WebSocket: the connection and how its key was answered.
    pub(crate) async fn upgrade(&self, ask: &Ask<'_>, key: &str) -> Result<(reqwest::Upgraded, String), Error> {
        // Without a header that signs it: the first message does.
        let request = self
            .client
            .get(self.url(ask)?)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", key);
        let response = request.send().await.map_err(|error| broken(ask, &error))?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let asked = Asked { operation: ask.operation, secrets: ask.secrets };
            let body = read(ask, response).await?;
            return match asked.data::<IgnoredAny>(status, &body) {
                Ok(_) => Err(asked.strange("it does not speak WebSocket")),
                Err(error) => Err(error),
            };
        }
        let accepted = response.headers().get("sec-websocket-accept").and_then(|value| value.to_str().ok());
        let accepted = accepted.unwrap_or_default().to_owned();
        Ok((response.upgrade().await.map_err(|error| broken(ask, &error))?, accepted))
    }

    fn url(&self, ask: &Ask<'_>) -> Result<Url, Error> {
        let mut url = self.base.clone();
        for segment in ask.path {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            // A name with a slash or of dots alone would lead to another request.
            if segment.is_empty() || !segment.chars().all(is_plain) {
                return Err(ask.error(Kind::Invalid, format!("{:?} can't be a name there", sanitize(segment))));
            }
        }
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(ask.path);
        }
        Ok(url)
    }
}

/// Reads an answer to its end; a refusal's only as far as it is of use.
async fn read(ask: &Ask<'_>, mut response: Response) -> Result<Vec<u8>, Error> {
    let is_success = response.status().is_success();
    let most = if is_success { LONGEST_ANSWER } else { LONGEST_REFUSAL };
    let mut body = Vec::new();
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(body),
            // A refusal whose end is missing is as clear as a whole one.
            Err(_) if !is_success => return Ok(body),
            Err(error) => return Err(broken(ask, &error)),
        };
        body.extend_from_slice(&chunk[..chunk.len().min(most - body.len())]);
        if body.len() == most {
            if is_success {
                let most = format!("the answer is longer than {} MiB", most >> 20);
                return Err(ask.error(Kind::Protocol, most));
            }
            return Ok(body);
        }
    }
}

/// A failed connection, with its usual cause.
fn broken(ask: &Ask<'_>, error: &reqwest::Error) -> Error {
    let reason = cause(error);
    if error.is_connect() {
        return ask.error(Kind::Unreachable, format!("Supervisor can't be reached: {reason}"));
    }
    let error = ask.error(Kind::Broken, format!("the connection to Supervisor broke: {reason}"));
    if ask.method == Method::GET { error.advise("try again in a moment") } else { error }
}

/// The last and most telling cause, without the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let text = cause.to_string();
    sanitize(text.split(" (os error").next().unwrap_or_default())
}
