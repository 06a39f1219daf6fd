//! Home Assistant's WebSocket, over a connection that the HTTP client opened, so that certificates, proxies and
//! timeouts work as everywhere else.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, WebSocketConfig},
    },
};

use crate::{
    error::{Error, Kind, Operation},
    secret::Secret,
    text::sanitize,
    vendor::Vendor,
    wire::Wire,
};

/// No list of backups is longer than this.
const LONGEST_MESSAGE: usize = 16 << 20;
/// What every server answers a key with.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An open connection; signed in or not.
pub(crate) struct Socket {
    stream: WebSocketStream<reqwest::Upgraded>,
    wire: Wire,
    operation: Operation,
    last_id: u64,
    /// The version, which an instance sends before authentication.
    pub(crate) version: Option<String>,
}

/// A message of the server; all kinds in one, since they share their keys.
#[derive(Deserialize)]
struct Said {
    #[serde(rename = "type")]
    kind: String,
    id: Option<u64>,
    ha_version: Option<String>,
    success: Option<bool>,
    result: Option<Value>,
    event: Option<Value>,
    error: Option<Refusal>,
}

/// A command's refusal.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Refusal {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

/// How a command ended.
pub(crate) enum Outcome {
    Done(Value),
    Refused(Refusal),
    /// The connection ended before an answer.
    Gone,
}

impl Socket {
    /// Opens a connection, not yet authenticated.
    pub(crate) async fn open(wire: &Wire, operation: Operation) -> Result<Self, Error> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| wire.error(operation, Kind::Invalid, error.to_string()))?;
        let key = STANDARD.encode(nonce);
        let (connection, accepted) = match wire.upgrade(operation, "api/websocket", &key).await? {
            Ok(open) => open,
            Err(answer) => return Err(no_socket(wire, operation, &answer)),
        };
        if accepted != answer_to(&key) {
            return Err(wire.error(
                operation,
                Kind::Protocol,
                "something in between answered in place of its WebSocket",
            ));
        }
        let config =
            WebSocketConfig::default().max_message_size(Some(LONGEST_MESSAGE)).max_frame_size(Some(LONGEST_MESSAGE));
        let stream = WebSocketStream::from_raw_socket(connection, Role::Client, Some(config)).await;
        let mut socket = Self { stream, wire: wire.clone(), operation, last_id: 0, version: None };
        let hello = socket.expect().await?;
        if hello.kind != "auth_required" {
            return Err(socket.strange(&hello.kind));
        }
        socket.version = hello.ha_version;
        Ok(socket)
    }

    /// Authenticates.
    pub(crate) async fn sign_in(&mut self, token: &Secret) -> Result<(), Error> {
        self.send(&json!({ "type": "auth", "access_token": token.expose() })).await?;
        match self.expect().await?.kind.as_str() {
            "auth_ok" => Ok(()),
            "auth_invalid" => Err(self
                .wire
                .error(self.operation, Kind::Credentials, "it does not accept the token")
                .advise("create a long-lived access token in an administrator's profile there")),
            other => Err(self.strange(other)),
        }
    }

    /// A command whose answer is its result.
    pub(crate) async fn call<T: serde::de::DeserializeOwned>(&mut self, command: &str) -> Result<T, Error> {
        match self.command(json!({ "type": command }), self.wire.timeouts.stall).await? {
            Outcome::Done(result) => serde_json::from_value(result).map_err(|error| {
                self.wire.error(
                    self.operation,
                    Kind::Protocol,
                    format!("its answer is not Home Assistant's ({})", sanitize(&error.to_string(), 200)),
                )
            }),
            Outcome::Refused(refusal) => Err(self.refused(&refusal)),
            Outcome::Gone => Err(self.gone()),
        }
    }

    /// Sends a command and waits so long for how it ends.
    pub(crate) async fn command(&mut self, command: Value, timeouts: Duration) -> Result<Outcome, Error> {
        self.begin(command).await?;
        let ended = tokio::time::timeout(timeouts, async {
            while let Some(said) = self.next().await? {
                if said.kind == "result" && said.id == Some(self.last_id) {
                    return Ok(if said.success == Some(true) {
                        Outcome::Done(said.result.unwrap_or_default())
                    } else {
                        Outcome::Refused(said.error.unwrap_or_default())
                    });
                }
            }
            Ok(Outcome::Gone)
        });
        ended.await.unwrap_or_else(|_| Err(self.wire.silent(self.operation, timeouts)))
    }

    /// Begins a subscription. Its first event comes before its result, so this does not wait for the result.
    pub(crate) async fn begin(&mut self, mut command: Value) -> Result<(), Error> {
        self.last_id += 1;
        command["id"] = json!(self.last_id);
        self.send(&command).await
    }

    /// The next event of a subscription; `None` when the connection ends. Waits as long as it takes.
    pub(crate) async fn event(&mut self) -> Result<Option<Value>, Error> {
        while let Some(said) = self.next().await? {
            if said.success == Some(false) {
                return Err(self.refused(&said.error.unwrap_or_default()));
            }
            if let ("event", Some(event)) = (said.kind.as_str(), said.event) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// What a refused command means.
    pub(crate) fn refused(&self, refusal: &Refusal) -> Error {
        let said = sanitize(refusal.message.as_deref().unwrap_or_default(), 300);
        let error = match refusal.code.as_str() {
            "unauthorized" => self
                .wire
                .error(self.operation, Kind::Credentials, "the token is not an administrator's")
                .advise("create a long-lived access token in an administrator's profile there"),
            "unknown_command" => self
                .wire
                .error(self.operation, Kind::TooOld, "it does not know this command")
                .advise("Home Assistant accepts backups since 2025.1: update it"),
            "password_incorrect" => {
                self.wire.error(self.operation, Kind::WrongPassword, "the backup's password is wrong")
            }
            "backup_not_found" => self.wire.error(self.operation, Kind::NotFound, "it does not know this backup"),
            _ if said.contains("manager busy") => self
                .wire
                .error(self.operation, Kind::Busy, "it is busy with another backup, upload or restore")
                .advise("try again in a few minutes"),
            code => {
                let what = if said.is_empty() { sanitize(code, 60) } else { said.clone() };
                self.wire
                    .error(self.operation, Kind::Refused, format!("Home Assistant says: {what}"))
                    .advise("its log says more, under Settings > System > Logs")
            }
        };
        if said.is_empty() { error } else { error.quoting(said) }
    }

    pub(crate) fn gone(&self) -> Error {
        self.wire.error(self.operation, Kind::Broken, "it ended the connection before it answered")
    }

    /// Closes the connection; it does not matter if the message is lost.
    pub(crate) async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.stream.close(None)).await;
    }

    async fn send(&mut self, message: &Value) -> Result<(), Error> {
        let sent =
            tokio::time::timeout(self.wire.timeouts.stall, self.stream.send(Message::text(message.to_string()))).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            // Without the server's text: it could repeat the message, and with it the token.
            Ok(Err(_)) => Err(self.gone()),
            Err(_) => Err(self.wire.silent(self.operation, self.wire.timeouts.stall)),
        }
    }

    async fn expect(&mut self) -> Result<Said, Error> {
        match tokio::time::timeout(self.wire.timeouts.stall, self.next()).await {
            Ok(said) => said?.ok_or_else(|| self.gone()),
            Err(_) => Err(self.wire.silent(self.operation, self.wire.timeouts.stall)),
        }
    }

    /// The next message; `None` when the connection ended, however it did.
    async fn next(&mut self) -> Result<Option<Said>, Error> {
        loop {
            let text = match self.stream.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(None),
                Some(Ok(_)) => continue,
            };
            match serde_json::from_str(&text) {
                Ok(said) => return Ok(Some(said)),
                Err(error) => {
                    return Err(self.wire.error(
                        self.operation,
                        Kind::Protocol,
                        format!("its WebSocket sent an unexpected message ({})", sanitize(&error.to_string(), 200)),
                    ));
                }
            }
        }
    }

    fn strange(&self, kind: &str) -> Error {
        self.wire.error(self.operation, Kind::Protocol, format!("its WebSocket begins with {:?}", sanitize(kind, 40)))
    }
}

/// What a server must answer to this key.
fn answer_to(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// A proxy passes pages on and forgets WebSockets, which is the usual mistake.
fn no_socket(wire: &Wire, operation: Operation, answer: &crate::proxy::Answer) -> Error {
    // Home Assistant itself complains about what the proxy made of the request.
    let vendor = answer
        .passed_by()
        .or(Some(answer.vendor()).filter(|vendor| *vendor != Vendor::HomeAssistant))
        .unwrap_or(Vendor::Unknown);
    let advice = match vendor {
        Vendor::Nginx => {
            "set proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header \
             Connection \"upgrade\"; for it in nginx"
        }
        Vendor::Apache => "add upgrade=websocket to its ProxyPass in Apache",
        Vendor::Cloudflare => "enable WebSockets under Network in Cloudflare's dashboard",
        _ => "let the proxy pass WebSockets on, or give Home Assistant's own address in the home network",
    };
    let status = answer.status.as_u16();
    if matches!(status, 400 | 404 | 405 | 426 | 501) || answer.status.is_success() {
        return wire
            .error(operation, Kind::Proxy(vendor), format!("the WebSocket connection fails ({status})"))
            .advise(advice);
    }
    answer.refusal(&wire.address, operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered_as_the_standard_says() {
        assert_eq!(answer_to("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
