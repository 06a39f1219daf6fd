//! Questions to Home Assistant Core through Supervisor's proxy, which speaks to Core as a user of its own, an
//! administrator. Needs `homeassistant_api: true` in the app's configuration.

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, de::DeserializeOwned};
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
    error::{Error, Kind},
    lenient::or_default,
    secret::Secret,
    text::sanitize,
    timeouts::duration_text,
    wire::{Ask, Supervisor},
};

/// No list of users is longer than this.
const LONGEST_MESSAGE: usize = 4 << 20;
/// What every server answers a key with.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The group of administrators.
const ADMINISTRATORS: &str = "system-admin";

/// A user of Home Assistant.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct User {
    /// The id that `X-Remote-User-Id` has.
    #[serde(deserialize_with = "or_default")]
    pub id: String,
    /// The name as people read it.
    pub name: Option<String>,
    /// Whether the user has all rights by being the first.
    #[serde(deserialize_with = "or_default")]
    pub is_owner: bool,
    /// Whether the user may log in.
    #[serde(deserialize_with = "or_default")]
    pub is_active: bool,
    /// The groups.
    #[serde(deserialize_with = "or_default")]
    pub group_ids: Vec<String>,
}

impl User {
    /// Whether this user may do everything in Home Assistant.
    pub fn is_administrator(&self) -> bool {
        self.is_active && (self.is_owner || self.group_ids.iter().any(|group| group == ADMINISTRATORS))
    }
}

/// How Home Assistant makes backups by itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BackupConfig {
    /// Whether the user has set it up.
    #[serde(deserialize_with = "or_default")]
    pub automatic_backups_configured: bool,
    /// What is put into a backup, and where.
    #[serde(deserialize_with = "or_default")]
    pub create_backup: CreateBackup,
    /// When.
    #[serde(deserialize_with = "or_default")]
    pub schedule: Schedule,
    /// How many are kept.
    #[serde(deserialize_with = "or_default")]
    pub retention: Retention,
    /// What differs at a place, by its id.
    #[serde(deserialize_with = "or_default")]
    pub agents: BTreeMap<String, BackupAgent>,
    /// When the next one is due: ISO 8601, with an offset.
    pub next_automatic_backup: Option<String>,
    /// When the last one began.
    pub last_attempted_automatic_backup: Option<String>,
    /// When the last one ended that reached all of its places.
    pub last_completed_automatic_backup: Option<String>,
}

/// What differs at one of Home Assistant's places for backups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BackupAgent {
    /// Whether backups there are encrypted; nothing: if there is a key.
    pub protected: Option<bool>,
    /// How many are kept there; nothing: as many as elsewhere.
    pub retention: Option<Retention>,
}

/// What Home Assistant puts into its backups.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CreateBackup {
    /// The places, such as `hassio.local` or `google_drive.…`.
    #[serde(deserialize_with = "or_default")]
    pub agent_ids: Vec<String>,
    /// The encryption key.
    pub password: Option<Secret>,
    /// Whether the recorder's database is in it.
    pub include_database: Option<bool>,
    /// Whether all apps are.
    #[serde(deserialize_with = "or_default")]
    pub include_all_addons: bool,
    /// If not all, which.
    #[serde(deserialize_with = "or_default")]
    pub include_addons: Vec<String>,
    /// Which folders are.
    #[serde(deserialize_with = "or_default")]
    pub include_folders: Vec<String>,
}

/// When Home Assistant makes backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Schedule {
    /// `never`, `daily` or `custom_days`.
    pub recurrence: Option<String>,
    /// `mon` to `sun`.
    #[serde(deserialize_with = "or_default")]
    pub days: Vec<String>,
    /// Such as `04:45:00`; none is at night, at a time of its own choice.
    pub time: Option<String>,
}

/// How many backups Home Assistant keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Retention {
    /// So many, if said.
    pub copies: Option<u32>,
    /// For so many days, if said.
    pub days: Option<u32>,
}

#[derive(Deserialize)]
struct Config {
    config: BackupConfig,
}

/// Home Assistant Core. Opens a connection per question: none has to last through a restart.
pub struct Core<'a> {
    supervisor: &'a Supervisor,
}

impl Supervisor {
    /// Home Assistant Core, by way of the proxy.
    pub fn core(&self) -> Core<'_> {
        Core { supervisor: self }
    }
}

impl Core<'_> {
    /// All users. Ask anew for each login: rights change.
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        self.ask("ask Home Assistant who is an administrator", json!({ "type": "config/auth/list" })).await
    }

    /// Whether the user with this id is an administrator; who is not known is none.
    pub async fn is_administrator(&self, id: &str) -> Result<bool, Error> {
        Ok(!id.is_empty() && self.users().await?.iter().any(|user| user.id == id && user.is_administrator()))
    }

    /// How it makes backups, with its encryption key.
    pub async fn backup_config(&self) -> Result<BackupConfig, Error> {
        let question = json!({ "type": "backup/config/info" });
        let config: Config = self.ask("ask Home Assistant for its backup settings", question).await?;
        Ok(config.config)
    }

    /// Has it perform an action, such as `persistent_notification.create`. Twice may be once too often.
    pub async fn act(&self, action: &str, data: Value) -> Result<(), Error> {
        let (domain, service) = action.split_once('.').unwrap_or((action, ""));
        let command = json!({ "type": "call_service", "domain": domain, "service": service, "service_data": data });
        self.ask::<Value>(&format!("have Home Assistant perform {action}"), command).await.map(drop)
    }

    async fn ask<T: DeserializeOwned>(&self, operation: &str, command: Value) -> Result<T, Error> {
        let patience = self.supervisor.timeouts.answer;
        let question = async {
            let mut socket = Socket::open(self.supervisor, operation, patience).await?;
            let answer = socket.command(self.supervisor.token(), command).await?;
            // Not waited for: the answer is there.
            let _ = tokio::time::timeout(Duration::from_secs(1), socket.stream.close(None)).await;
            serde_json::from_value(answer).map_err(|error| socket.strange(error))
        };
        tokio::time::timeout(patience, question).await.unwrap_or_else(|_| {
            let reason = format!("it gave no answer for {}", duration_text(patience));
            Err(Error::new(operation, Kind::Broken, reason).advise("try again in a moment"))
        })
    }
}

/// A message of the server; all kinds in one, since they share their keys.
#[derive(Deserialize)]
struct Said {
    #[serde(rename = "type")]
    kind: String,
    id: Option<u64>,
    success: Option<bool>,
    #[serde(default)]
    result: Value,
    error: Option<Refusal>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    #[serde(deserialize_with = "or_default")]
    code: String,
    #[serde(deserialize_with = "or_default")]
    message: String,
}

struct Socket<'a> {
    stream: WebSocketStream<reqwest::Upgraded>,
    operation: &'a str,
}

impl<'a> Socket<'a> {
    async fn open(supervisor: &Supervisor, operation: &'a str, patience: Duration) -> Result<Self, Error> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| Error::new(operation, Kind::Invalid, error.to_string()))?;
        let key = STANDARD.encode(nonce);
        let (connection, accepted) =
            supervisor.upgrade(&Ask::get(operation, &["core", "websocket"], patience), &key).await?;
        if accepted != STANDARD.encode(Sha1::new().chain_update(&key).chain_update(GUID).finalize()) {
            return Err(Error::new(operation, Kind::Protocol, "something else answered in place of the WebSocket"));
        }
        let config =
            WebSocketConfig::default().max_message_size(Some(LONGEST_MESSAGE)).max_frame_size(Some(LONGEST_MESSAGE));
        let stream = WebSocketStream::from_raw_socket(connection, Role::Client, Some(config)).await;
        Ok(Self { stream, operation })
    }

    /// Signs in and asks the one question.
    async fn command(&mut self, token: &Secret, mut command: Value) -> Result<Value, Error> {
        let hello = self.next().await?;
        if hello.kind != "auth_required" {
            return Err(self.strange(format!("it begins with {:?}", hello.kind)));
        }
        self.send(json!({ "type": "auth", "access_token": token.expose() })).await?;
        match self.next().await?.kind.as_str() {
            "auth_ok" => {}
            // Supervisor's word both for an unknown token and for an app without `homeassistant_api`.
            "auth_invalid" => return Err(self.error(Kind::Forbidden, "Supervisor does not let this app ask Core")),
            other => return Err(self.strange(format!("it answers the token with {other:?}"))),
        }
        command["id"] = json!(1);
        self.send(command).await?;
        loop {
            let said = self.next().await?;
            if said.kind != "result" || said.id != Some(1) {
                continue;
            }
            if said.success == Some(true) {
                return Ok(said.result);
            }
            return Err(self.refused(&said.error.unwrap_or_default()));
        }
    }

    async fn send(&mut self, message: Value) -> Result<(), Error> {
        // Without the library's text: it could repeat the message, and with it the token.
        self.stream.send(Message::text(message.to_string())).await.map_err(|_| self.gone())
    }

    async fn next(&mut self) -> Result<Said, Error> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).map_err(|error| self.strange(error));
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(self.gone()),
                Some(Ok(_)) => {}
            }
        }
    }

    fn refused(&self, refusal: &Refusal) -> Error {
        let said = sanitize(if refusal.message.is_empty() { &refusal.code } else { &refusal.message });
        let kind = match refusal.code.as_str() {
            "unauthorized" => Kind::Forbidden,
            "unknown_command" => Kind::Unsupported,
            "not_found" => Kind::NotFound,
            _ => Kind::Refused,
        };
        let mut error = self.error(kind, format!("Home Assistant says: {}", said.trim_end_matches('.')));
        if kind == Kind::Unsupported {
            error = error.advise("update Home Assistant Core");
        }
        error.said = Some(said.into_boxed_str());
        error
    }

    /// The proxy ends the connection without a word when Core goes away.
    fn gone(&self) -> Error {
        self.error(Kind::NotReady, "Home Assistant Core ended the connection before it answered")
    }

    fn strange(&self, why: impl Display) -> Error {
        self.error(Kind::Protocol, format!("the answer is not Home Assistant's ({})", sanitize(&why.to_string())))
    }

    fn error(&self, kind: Kind, reason: impl Into<String>) -> Error {
        Error::new(self.operation, kind, reason)
    }
}
