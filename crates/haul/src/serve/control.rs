//! How commands reach a service that is running: the API, by the socket in the state directory.

use std::{io, path::PathBuf};

use bytes::Bytes;
use keeper::status::{RunStatus, Status};
use serde::{Deserialize, de::DeserializeOwned};

use super::listening::SOCKET;
use crate::{
    destination,
    failure::{FAILED, Failure, USAGE},
};

/// A service that is running.
pub(crate) struct Control {
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

/// What the API says when it refuses.
#[derive(Deserialize)]
struct Refused {
    error: String,
    hint: Option<String>,
}

impl Control {
    /// The service that works with this state directory. The lock shows that there is one; this is how to talk to it.
    pub(crate) fn open() -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(FAILED, format!("can't talk to the running service: {error}")).hint("try again")
        };
        // Fails only when there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error: io::Error| failed(&engine::plain_reason(&error)))?;
        // No authorities: nobody needs a certificate here, and not every machine has a list of them.
        let client = reqwest::Client::builder()
            .unix_socket(Self::socket())
            .tls_certs_only(Vec::new())
            .no_proxy()
            .build()
            .map_err(|error| failed(&error))?;
        Ok(Self { client, runtime })
    }

    fn socket() -> PathBuf {
        destination::state_directory().join(SOCKET)
    }

    /// Everything at a glance.
    pub(crate) fn status(&self) -> Result<Status, Failure> {
        self.ask(self.client.get(address("status")))
    }

    /// The last runs, the newest first.
    pub(crate) fn runs(&self) -> Result<Vec<RunStatus>, Failure> {
        self.ask(self.client.get(address("runs")))
    }

    /// Does something: `path` is below `/api/v1/`.
    pub(crate) fn order(&self, path: &str) -> Result<(), Failure> {
        self.ask::<serde_json::Value>(self.client.post(address(path)).json(&serde_json::json!({}))).map(drop)
    }

    /// What is known, for Prometheus.
    pub(crate) fn metrics(&self) -> Result<String, Failure> {
        let text = self.answer(self.client.get("http://localhost/metrics"))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn ask<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, Failure> {
        let body = self.answer(request)?;
        let body = if body.is_empty() { &b"null"[..] } else { &body };
        serde_json::from_slice(body)
            .map_err(|error| Failure::new(FAILED, format!("the service's answer makes no sense: {error}")))
    }

    fn answer(&self, request: reqwest::RequestBuilder) -> Result<Bytes, Failure> {
        let socket = Self::socket();
        let lost = |error: reqwest::Error| {
            Failure::new(
                FAILED,
                format!("the service does not answer at {}: {}", socket.display(), error.without_url()),
            )
            .hint("another haul command may be running: wait for it to end; otherwise restart the service")
        };
        self.runtime.block_on(async {
            let answer = request.send().await.map_err(lost)?;
            let status = answer.status();
            let body = answer.bytes().await.map_err(lost)?;
            if status.is_success() {
                return Ok(body);
            }
            let refused: Refused = serde_json::from_slice(&body)
                .unwrap_or_else(|_| Refused { error: format!("the service answered {status}"), hint: None });
            let code = if status.is_client_error() { USAGE } else { FAILED };
            let failure = Failure::new(code, refused.error);
            Err(match refused.hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            })
        })
    }
}

fn address(path: &str) -> String {
    format!("http://localhost/api/v1/{path}")
}
